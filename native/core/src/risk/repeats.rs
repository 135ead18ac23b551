//! What was asked for already: client ids, and orders of the same content within a window.
//!
//! Both are rings with an index: bounded, and nothing is allocated after they were made.

use std::collections::VecDeque;

use crate::risk::fixed_map::FixedMap;

/// Orders within the longest duplicate window.
pub const RECENT_MAX: usize = 1 << 14;
/// Client ids that are remembered.
pub const CLIENT_IDS_MAX: usize = 1 << 15;

/// Route, side, price, size.
pub type Content = [i64; 4];

/// The memory.
#[derive(Debug, Clone)]
pub struct Repeats {
    keep_ns: i64,
    /// (time, content, number), the oldest first.
    recent: VecDeque<(i64, Content, u64)>,
    /// Time and number of the newest of a content.
    last: FixedMap<Content, (i64, u64)>,
    next: u64,
    ids: VecDeque<u64>,
    known: FixedMap<u64, ()>,
}

impl Default for Repeats {
    fn default() -> Self {
        Repeats {
            keep_ns: 0,
            recent: VecDeque::with_capacity(RECENT_MAX),
            last: FixedMap::new(RECENT_MAX),
            next: 0,
            ids: VecDeque::with_capacity(CLIENT_IDS_MAX),
            // Twice the room: what goes is looked for among its neighbours.
            known: FixedMap::new(2 * CLIENT_IDS_MAX),
        }
    }
}

impl Repeats {
    /// How long contents are of interest.
    pub fn keep(&mut self, keep_ns: i64) {
        self.keep_ns = keep_ns;
    }

    /// Whether a client id was used.
    #[inline]
    pub fn is_known(&self, client_id: u64) -> bool {
        self.known.get(&client_id).is_some()
    }

    /// Remembers a client id; the oldest is forgotten when there is no room.
    pub fn remember(&mut self, client_id: u64) {
        if !self.is_known(client_id) {
            self.add_id(client_id);
        }
    }

    /// Remembers one that is not known.
    #[inline]
    pub fn add_id(&mut self, client_id: u64) {
        if self.ids.len() >= CLIENT_IDS_MAX {
            if let Some(oldest) = self.ids.pop_front() {
                self.known.remove(&oldest);
            }
        }
        self.ids.push_back(client_id);
        self.known.insert(client_id, ());
    }

    /// Forgets contents that are older than anybody asks.
    #[inline]
    pub fn expire(&mut self, now: i64) {
        while let Some((at, content, number)) = self.recent.front().copied() {
            if now - at < self.keep_ns {
                break;
            }
            self.recent.pop_front();
            if self.last.get(&content).is_some_and(|(_, newest)| newest == number) {
                self.last.remove(&content);
            }
        }
    }

    /// Whether no content more can be remembered.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.recent.len() >= RECENT_MAX
    }

    /// Remembers a content.
    pub fn add(&mut self, now: i64, content: Content) {
        self.recent.push_back((now, content, self.next));
        self.last.insert(content, (now, self.next));
        self.next += 1;
    }

    /// When the same was asked for last.
    #[inline]
    pub fn last(&self, content: &Content) -> Option<i64> {
        self.last.get(content).map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_forgotten_with_their_window() {
        let mut repeats = Repeats::default();
        repeats.keep(100);
        repeats.add(0, [1, 0, 5, 5]);
        repeats.add(50, [1, 0, 5, 5]);
        repeats.add(60, [1, 1, 5, 5]);
        repeats.expire(100);
        assert_eq!(repeats.last(&[1, 0, 5, 5]), Some(50), "the second stays");
        repeats.expire(155);
        assert_eq!(
            (repeats.last(&[1, 0, 5, 5]), repeats.last(&[1, 1, 5, 5])),
            (None, Some(60))
        );
    }

    #[test]
    fn the_oldest_client_id_makes_room() {
        let mut repeats = Repeats::default();
        for id in 0..=CLIENT_IDS_MAX as u64 {
            repeats.remember(id);
            repeats.remember(id);
        }
        assert!(!repeats.is_known(0) && repeats.is_known(1) && repeats.is_known(CLIENT_IDS_MAX as u64));
    }
}
