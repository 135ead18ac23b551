//! What the reader of a ring says of itself to those who watch it; nothing here is needed to take an entry.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use crate::shared::SharedWords;

/// What a reader says of itself in the header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Monotonic stamp at which it began with what it has in hand, ns: a callback, or a portion; 0 = it has nothing in hand.
    pub busy_since: i64,
    /// Events it is done with.
    pub events: u64,
    /// Portions it is done with.
    pub entries: u64,
    /// Number of the last event it is done with.
    pub seq: u64,
}

/// Says in the header since when a reader is at work on one thing, from wherever that work is done.
#[derive(Debug, Clone)]
pub struct BusyStamp {
    memory: Arc<SharedWords>,
    word: usize,
}

impl BusyStamp {
    /// `word`: its place in the header.
    pub(crate) const fn new(memory: Arc<SharedWords>, word: usize) -> Self {
        BusyStamp { memory, word }
    }

    /// It began with what it has in hand at `mono_ns`.
    #[inline]
    pub fn set(&self, mono_ns: i64) {
        if let Some(word) = self.memory.words().get(self.word) {
            word.store(mono_ns as u64, Relaxed);
        }
    }
}
