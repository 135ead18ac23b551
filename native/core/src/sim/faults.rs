//! Faults on purpose: what is done to a stream's next messages, and the ledger that says exactly what was done.

use std::collections::VecDeque;

use serde::Serialize;

use crate::sim::Market;

/// What can be done to messages of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The messages are never sent; ids go on.
    Gap,
    /// The messages are sent twice.
    Duplicate,
    /// The messages are held and sent in reverse order.
    Reorder,
    /// The messages are cut inside the JSON (at `argument` bytes when it is positive).
    Truncated,
    /// A byte in the middle of the messages becomes 0xFF.
    NonUtf8,
    /// The messages get a filler of `argument` bytes (1 MiB by default); they stay valid JSON.
    Oversized,
    /// `E` and `T` are shifted by `argument` milliseconds.
    Skew,
}

impl FaultKind {
    /// The fault behind its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "gap" => FaultKind::Gap,
            "duplicate" => FaultKind::Duplicate,
            "reorder" => FaultKind::Reorder,
            "truncated" => FaultKind::Truncated,
            "non_utf8" => FaultKind::NonUtf8,
            "oversized" => FaultKind::Oversized,
            "skew" => FaultKind::Skew,
            _ => return None,
        })
    }

    /// The damaged form of `payload`; none for faults that do not touch the bytes.
    fn damage(self, payload: &[u8], argument: i64) -> Option<Vec<u8>> {
        match self {
            FaultKind::Truncated => {
                let cut = if argument > 0 {
                    argument as usize
                } else {
                    payload.len() * 2 / 3
                };
                Some(payload.get(..cut.min(payload.len().saturating_sub(1)))?.to_vec())
            }
            FaultKind::NonUtf8 => {
                let mut damaged = payload.to_vec();
                let middle = damaged.len() / 2;
                *damaged.get_mut(middle)? = 0xff;
                Some(damaged)
            }
            FaultKind::Oversized => {
                let filler = if argument > 0 { argument as usize } else { 1 << 20 };
                let mut grown = payload.strip_suffix(b"}")?.to_vec();
                grown.extend_from_slice(br#","filler":""#);
                grown.resize(grown.len() + filler, b'x');
                grown.extend_from_slice(br#""}"#);
                Some(grown)
            }
            _ => None,
        }
    }
}

/// One line of the ledger.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Number of the fault, from 1.
    pub fault: u64,
    /// What was done.
    pub kind: FaultKind,
    /// To which stream.
    pub stream: String,
    /// To how many messages, as ordered.
    pub count: u32,
    /// Cut position, filler bytes or milliseconds, by kind.
    pub argument: i64,
    /// When it was ordered, simulated ns.
    pub ordered_ns: i64,
    /// When the first message was affected; 0 = not yet.
    pub first_ns: i64,
    /// Whether all messages have been affected (and held ones sent).
    pub done: bool,
    /// The id ranges of the affected messages, in the order of their making: (t, t), (u, u) or (U, u).
    pub ids: Vec<(u64, u64)>,
}

#[derive(Debug, Clone)]
struct Fault {
    entry: usize,
    kind: FaultKind,
    remaining: u32,
    argument: i64,
    held: Vec<Vec<u8>>,
}

/// The faults waiting for one stream's messages, in order.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    queue: VecDeque<Fault>,
}

impl Faults {
    /// Orders `entry`'s fault, `at` its place in the ledger.
    pub fn push(&mut self, at: usize, entry: &Entry) {
        self.queue.push_back(Fault {
            entry: at,
            kind: entry.kind,
            remaining: entry.count,
            argument: entry.argument,
            held: Vec::new(),
        });
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Milliseconds to add to the next message's times.
    pub fn skew_ms(&self) -> i64 {
        self.queue
            .front()
            .filter(|fault| fault.kind == FaultKind::Skew)
            .map_or(0, |fault| fault.argument)
    }

    /// What to send instead of `payload`, with the ledger brought up to date. `ids` is the message's id range.
    pub fn apply(&mut self, payload: &[u8], ids: (u64, u64), now_ns: i64, ledger: &mut [Entry]) -> Vec<Vec<u8>> {
        let Some(fault) = self.queue.front_mut() else {
            return vec![payload.to_vec()];
        };
        fault.remaining = fault.remaining.saturating_sub(1);
        let last = fault.remaining == 0;
        let sent = match fault.kind {
            FaultKind::Gap => Vec::new(),
            FaultKind::Duplicate => vec![payload.to_vec(), payload.to_vec()],
            FaultKind::Skew => vec![payload.to_vec()],
            FaultKind::Reorder => {
                fault.held.push(payload.to_vec());
                if last {
                    fault.held.drain(..).rev().collect()
                } else {
                    Vec::new()
                }
            }
            kind => kind.damage(payload, fault.argument).into_iter().collect(),
        };
        if let Some(entry) = ledger.get_mut(fault.entry) {
            if entry.first_ns == 0 {
                entry.first_ns = now_ns;
            }
            entry.ids.push(ids);
            entry.done = last;
        }
        if last {
            self.queue.pop_front();
        }
        sent
    }
}

impl Market {
    /// Orders a fault for the next `count` messages of a stream: its number; none for an unknown stream.
    pub fn inject(&mut self, stream: &str, kind: FaultKind, count: u32, argument: i64) -> Option<u64> {
        let slot = self.hub.find(stream)?;
        self.hub.inject(slot, kind, count.max(1), argument, self.now_ns)
    }

    /// Every fault so far.
    pub fn ledger(&self) -> &[Entry] {
        self.hub.ledger()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_damage_is_what_it_says() {
        let payload = br#"{"stream":"a@trade","data":{"e":"trade"}}"#;
        let cut = FaultKind::Truncated.damage(payload, 0).unwrap();
        assert!(serde_json::from_slice::<serde_json::Value>(&cut).is_err());
        assert!(std::str::from_utf8(&FaultKind::NonUtf8.damage(payload, 0).unwrap()).is_err());
        let grown = FaultKind::Oversized.damage(payload, 500).unwrap();
        assert!(grown.len() > 500 && serde_json::from_slice::<serde_json::Value>(&grown).is_ok());
        assert!(FaultKind::Gap.damage(payload, 0).is_none());
    }
}
