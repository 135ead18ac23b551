//! Who gets which stream: subscriptions, one buffer of framed WebSocket messages per connection, and the sent-log.

use std::collections::HashMap;

use super::faults::{Entry, FaultKind, Faults};
use super::wire::wrapper_bytes;

#[derive(Debug, Clone)]
struct Slot {
    name: String,
    subscribers: Vec<usize>, // indexes into Hub::connections
    faults: Faults,
    sent: u64,
}

#[derive(Debug, Clone, Default)]
struct Connection {
    combined: bool,
    buffer: Vec<u8>,
    log: Vec<u8>,
    messages: u64,
}

/// The streams of a market and the connections that subscribed them.
#[derive(Debug, Clone, Default)]
pub struct Hub {
    slots: Vec<Slot>,
    by_name: HashMap<String, usize>,
    connections: Vec<Option<Connection>>,
    by_number: HashMap<u32, usize>,
    ledger: Vec<Entry>,
    log: bool,
    taken_log: Vec<u8>,
    messages: u64,
    scratch: Vec<u8>,
}

impl Hub {
    /// A hub for the streams `names`, by slot; an empty name is a slot nobody can subscribe. With `log`, what is taken
    /// is also kept as lines.
    pub fn new(names: Vec<String>, log: bool) -> Self {
        let mut by_name = HashMap::new();
        for (slot, name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            by_name.entry(name.clone()).or_insert(slot);
        }
        let slots = names
            .into_iter()
            .map(|name| Slot {
                name,
                subscribers: Vec::new(),
                faults: Faults::default(),
                sent: 0,
            })
            .collect();
        Hub {
            slots,
            by_name,
            log,
            scratch: Vec::with_capacity(1 << 16),
            ..Hub::default()
        }
    }

    /// The slot of a stream's name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Adds `slot` to a connection, which is made at its first subscription. Subscribing again changes nothing.
    pub fn subscribe(&mut self, number: u32, slot: usize, combined: bool) {
        let index = *self.by_number.entry(number).or_insert_with(|| {
            let free = self.connections.iter().position(Option::is_none);
            let connection = Some(Connection {
                combined,
                ..Connection::default()
            });
            match free.and_then(|free| self.connections.get_mut(free).map(|place| (free, place))) {
                Some((free, place)) => {
                    *place = connection;
                    free
                }
                None => {
                    self.connections.push(connection);
                    self.connections.len() - 1
                }
            }
        });
        if let Some(slot) = self.slots.get_mut(slot) {
            if !slot.subscribers.contains(&index) {
                slot.subscribers.push(index);
            }
        }
    }

    /// Takes `slot` from a connection: whether it had it.
    pub fn unsubscribe(&mut self, number: u32, slot: usize) -> bool {
        let Some(index) = self.by_number.get(&number) else {
            return false;
        };
        let Some(slot) = self.slots.get_mut(slot) else {
            return false;
        };
        let before = slot.subscribers.len();
        slot.subscribers.retain(|subscriber| subscriber != index);
        slot.subscribers.len() != before
    }

    /// Forgets a connection and what it has not taken: the slots it had.
    pub fn drop_connection(&mut self, number: u32) -> Vec<usize> {
        let Some(index) = self.by_number.remove(&number) else {
            return Vec::new();
        };
        if let Some(place) = self.connections.get_mut(index) {
            *place = None;
        }
        let mut had = Vec::new();
        for (position, slot) in self.slots.iter_mut().enumerate() {
            if let Some(at) = slot.subscribers.iter().position(|subscriber| *subscriber == index) {
                slot.subscribers.remove(at);
                had.push(position);
            }
        }
        had
    }

    /// Whether anybody gets `slot`.
    #[inline]
    pub fn is_wanted(&self, slot: usize) -> bool {
        self.slots.get(slot).is_some_and(|slot| !slot.subscribers.is_empty())
    }

    /// Makes one message of `slot` with `write` (which gets the milliseconds to add to its times) and sends it.
    /// `ids` is its id range, for the ledger.
    #[inline]
    pub fn send(&mut self, slot: usize, ids: (u64, u64), now_ns: i64, write: impl FnOnce(&mut Vec<u8>, i64)) {
        let Some(slot) = self.slots.get_mut(slot) else { return };
        slot.sent += 1;
        self.messages += 1;
        if slot.faults.is_empty() {
            write(&mut self.scratch, 0);
            deliver(&mut self.connections, slot, &self.scratch, self.log);
            return;
        }
        write(&mut self.scratch, slot.faults.skew_ms());
        for payload in slot.faults.apply(&self.scratch, ids, now_ns, &mut self.ledger) {
            deliver(&mut self.connections, slot, &payload, self.log);
        }
    }

    /// What a connection has not taken yet: framed messages, empty for an unknown connection.
    pub fn buffer(&self, number: u32) -> &[u8] {
        let connection = self
            .by_number
            .get(&number)
            .and_then(|index| self.connections.get(*index));
        connection
            .and_then(Option::as_ref)
            .map_or(&[], |connection| connection.buffer.as_slice())
    }

    /// Marks the buffer as taken: it is empty again, and its lines are in the log.
    pub fn clear(&mut self, number: u32) {
        let connection = self
            .by_number
            .get(&number)
            .and_then(|index| self.connections.get_mut(*index));
        if let Some(connection) = connection.and_then(Option::as_mut) {
            connection.buffer.clear();
            for line in connection.log.split_inclusive(|byte| *byte == b'\n') {
                self.taken_log.extend_from_slice(number.to_string().as_bytes());
                self.taken_log.push(b' ');
                self.taken_log.extend_from_slice(line);
            }
            connection.log.clear();
        }
    }

    /// The lines `connection stream payload` of everything taken since the last call.
    pub fn take_log(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.taken_log)
    }

    /// Orders a fault for the next `count` messages of `slot`: its number.
    pub fn inject(&mut self, slot: usize, kind: FaultKind, count: u32, argument: i64, now_ns: i64) -> Option<u64> {
        let slot = self.slots.get_mut(slot)?;
        let entry = Entry {
            fault: self.ledger.len() as u64 + 1,
            kind,
            stream: slot.name.clone(),
            count,
            argument,
            ordered_ns: now_ns,
            first_ns: 0,
            done: false,
            ids: Vec::new(),
        };
        slot.faults.push(self.ledger.len(), &entry);
        self.ledger.push(entry);
        Some(self.ledger.len() as u64)
    }

    /// Every fault so far.
    pub fn ledger(&self) -> &[Entry] {
        &self.ledger
    }

    /// Messages made so far (once each, however many connections got them).
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Messages made of `slot`.
    pub fn sent(&self, slot: usize) -> u64 {
        self.slots.get(slot).map_or(0, |slot| slot.sent)
    }

    /// Messages handed to a connection so far, duplicates included.
    pub fn delivered(&self, number: u32) -> u64 {
        let connection = self
            .by_number
            .get(&number)
            .and_then(|index| self.connections.get(*index));
        connection
            .and_then(Option::as_ref)
            .map_or(0, |connection| connection.messages)
    }
}

#[inline]
fn deliver(connections: &mut [Option<Connection>], slot: &Slot, payload: &[u8], log: bool) {
    // The bare form is the value of `data`; a damaged payload may be too short to have one.
    let bare = || {
        let inner = payload.get(wrapper_bytes(&slot.name)..).unwrap_or(payload);
        inner.strip_suffix(b"}").unwrap_or(inner)
    };
    for index in &slot.subscribers {
        let Some(Some(connection)) = connections.get_mut(*index) else {
            continue;
        };
        let text = if connection.combined { payload } else { bare() };
        push_frame(&mut connection.buffer, text);
        connection.messages += 1;
        if log {
            connection.log.extend_from_slice(slot.name.as_bytes());
            connection.log.push(b' ');
            connection.log.extend_from_slice(text);
            connection.log.push(b'\n');
        }
    }
}

/// Appends `payload` as one unmasked, final WebSocket text frame (RFC 6455, section 5.2).
#[inline]
pub fn push_frame(out: &mut Vec<u8>, payload: &[u8]) {
    let length = payload.len();
    if length < 126 {
        out.extend_from_slice(&[0x81, length as u8]);
    } else if let Ok(short) = u16::try_from(length) {
        let [high, low] = short.to_be_bytes();
        out.extend_from_slice(&[0x81, 126, high, low]);
    } else {
        out.extend_from_slice(&[0x81, 127]);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub() -> Hub {
        Hub::new(vec!["a@trade".to_owned(), String::new()], true)
    }

    fn say(hub: &mut Hub, number: u64) {
        hub.send(0, (number, number), 5, |out, skew| {
            out.clear();
            out.extend_from_slice(format!(r#"{{"stream":"a@trade","data":{{"t":{number},"E":{skew}}}}}"#).as_bytes());
        });
    }

    fn texts(hub: &mut Hub, number: u32) -> Vec<String> {
        let mut rest = hub.buffer(number);
        let mut texts = Vec::new();
        while rest.len() >= 2 {
            let (length, skip) = match rest[1] {
                126 => (u16::from_be_bytes([rest[2], rest[3]]) as usize, 4),
                127 => (u64::from_be_bytes(rest[2..10].try_into().unwrap()) as usize, 10),
                short => (short as usize, 2),
            };
            texts.push(String::from_utf8_lossy(&rest[skip..skip + length]).into_owned());
            rest = &rest[skip + length..];
        }
        hub.clear(number);
        texts
    }

    #[test]
    fn test_combined_and_bare_connections_get_their_forms() {
        let mut hub = hub();
        hub.subscribe(1, 0, true);
        hub.subscribe(2, 0, false);
        say(&mut hub, 7);
        assert_eq!(texts(&mut hub, 1), [r#"{"stream":"a@trade","data":{"t":7,"E":0}}"#]);
        assert_eq!(texts(&mut hub, 2), [r#"{"t":7,"E":0}"#]);
        let log = String::from_utf8(hub.take_log()).unwrap();
        assert_eq!(
            log,
            "1 a@trade {\"stream\":\"a@trade\",\"data\":{\"t\":7,\"E\":0}}\n2 a@trade {\"t\":7,\"E\":0}\n"
        );
        assert!(hub.take_log().is_empty());
    }

    #[test]
    fn test_a_dropped_connection_gets_and_logs_nothing() {
        let mut hub = hub();
        hub.subscribe(1, 0, true);
        say(&mut hub, 1);
        assert_eq!(hub.drop_connection(1), [0]);
        assert!(!hub.is_wanted(0) && hub.buffer(1).is_empty() && hub.take_log().is_empty());
        hub.subscribe(2, 0, true);
        say(&mut hub, 2);
        assert_eq!(texts(&mut hub, 2).len(), 1);
    }

    #[test]
    fn test_every_fault_is_done_and_told_exactly() {
        let mut hub = hub();
        hub.subscribe(1, 0, true);
        for (kind, count) in [
            (FaultKind::Gap, 2),
            (FaultKind::Duplicate, 1),
            (FaultKind::Reorder, 3),
            (FaultKind::Skew, 1),
            (FaultKind::Truncated, 1),
        ] {
            hub.inject(0, kind, count, if kind == FaultKind::Skew { 99 } else { 0 }, 1);
        }
        (1..=9).for_each(|number| say(&mut hub, number));
        let seen: Vec<String> = texts(&mut hub, 1)
            .iter()
            .map(|text| {
                text.trim_start_matches(r#"{"stream":"a@trade","data":{"#)
                    .trim_end_matches('}')
                    .to_owned()
            })
            .collect();
        let good = |number: u32| format!(r#""t":{number},"E":0"#);
        let expected = [
            good(3),
            good(3),
            good(6),
            good(5),
            good(4),
            r#""t":7,"E":99"#.to_owned(),
        ];
        assert_eq!(seen[..6], expected);
        assert_eq!(seen[7], good(9));
        assert_eq!(seen.len(), 8);
        let ids: Vec<_> = hub.ledger().iter().map(|entry| entry.ids.clone()).collect();
        let single = |range: std::ops::RangeInclusive<u64>| range.map(|id| (id, id)).collect::<Vec<_>>();
        assert_eq!(
            ids,
            [
                single(1..=2),
                single(3..=3),
                single(4..=6),
                single(7..=7),
                single(8..=8)
            ]
        );
        assert!(hub.ledger().iter().all(|entry| entry.done && entry.first_ns == 5));
    }

    #[test]
    fn test_frame_lengths_at_their_borders() {
        for (length, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let mut out = Vec::new();
            push_frame(&mut out, &vec![b'x'; length]);
            assert_eq!(out.len(), length + header);
        }
    }
}
