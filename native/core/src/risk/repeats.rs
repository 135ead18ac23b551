//! What was asked for already: client ids, and orders of the same content within a window.
//!
//! Both are rings that are found by hash: bounded, and nothing is allocated after they were made.

use crate::risk::ring_map::RingMap;

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
    /// When it was asked for.
    contents: RingMap<Content, i64>,
    ids: RingMap<u64, ()>,
}

impl Default for Repeats {
    fn default() -> Self {
        Repeats {
            keep_ns: 0,
            contents: RingMap::new(RECENT_MAX),
            ids: RingMap::new(CLIENT_IDS_MAX),
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
        self.ids.last(&client_id).is_some()
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
        self.ids.push(client_id, ());
    }

    /// Forgets contents that are older than anybody asks.
    #[inline]
    pub fn expire(&mut self, now: i64) {
        while self.contents.oldest().is_some_and(|at| now - at >= self.keep_ns) {
            self.contents.forget();
        }
    }

    /// Whether no content more can be remembered.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.contents.is_full()
    }

    /// Remembers a content.
    #[inline]
    pub fn add(&mut self, now: i64, content: Content) {
        self.contents.push(content, now);
    }

    /// When the same was asked for last.
    #[inline]
    pub fn last(&self, content: &Content) -> Option<i64> {
        self.contents.last(content)
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
