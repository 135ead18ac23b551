//! An immutable run of events with its topic index: the unit of work of the whole program.

use crate::error::{Error, Reason, Result};
use crate::event::{Event, EVENT_BYTES, SEQ_INDEX_BITS};

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
    /// A batch of one topic (number 0) from events as they lie in memory; for tests and tools that make events themselves.
    ///
    /// `frame_last` defaults to the frame of the highest sequence number. Errors: `Truncated` when the bytes end inside an event.
    pub fn from_bytes(bytes: &[u8], frame_last: Option<u64>, ts_mono: i64) -> Result<Self> {
        if bytes.len() % EVENT_BYTES != 0 {
            return Err(Error::new(Reason::Truncated, bytes.len()));
        }
        let events: Vec<Event> = bytes
            .chunks_exact(EVENT_BYTES)
            .filter_map(<[u8]>::first_chunk)
            .map(Event::from_bytes)
            .collect();
        let topics = vec![TopicRange {
            topic: 0,
            start: 0,
            stop: events.len() as u32,
        }];
        let mut batch = Batch::from_parts(events, topics, ts_mono);
        batch.frame_last = frame_last.unwrap_or(batch.frame_last);
        Ok(batch)
    }

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
