//! An immutable run of events with its topic index: the unit of work of the whole program.

use crate::event::{Event, SEQ_INDEX_BITS};

/// A stretch of a batch that belongs to one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicRange {
    /// Interned topic.
    pub topic: u32,
    /// First event.
    pub start: u32,
    /// One past the last event.
    pub stop: u32,
}

/// Events of one socket burst (or one replayed chunk), grouped by topic; inside a topic in `seq` order.
/// A batch never ends inside a venue message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The events, grouped by topic.
    pub events: Vec<Event>,
    /// Which stretch belongs to which topic, in order of first appearance.
    pub topics: Vec<TopicRange>,
    /// Lowest and highest sequence number; (0, 0) for an empty batch.
    pub seq: (u64, u64),
    /// Highest frame number the batch was made from, also when a frame gave no event.
    pub frame_last: u64,
    /// Monotonic stamp of the oldest frame, ns; 0 in replays.
    pub ts_mono: i64,
}

impl Batch {
    /// A batch of these events: its numbers are found by looking at each.
    pub fn from_parts(events: Vec<Event>, topics: Vec<TopicRange>, ts_mono: i64) -> Batch {
        let first = events.iter().map(|event| event.seq).min().unwrap_or(0);
        let last = events.iter().map(|event| event.seq).max().unwrap_or(0);
        Batch {
            frame_last: last >> SEQ_INDEX_BITS,
            seq: (first, last),
            ts_mono,
            topics,
            events,
        }
    }
}
