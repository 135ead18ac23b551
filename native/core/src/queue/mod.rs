//! Bounded queues between the bus and one consumer: limits, what happens when they are reached, exact counts.
//!
//! Pure: the time is the monotonic stamp of the batches. Waiting and waking belong to the caller.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::batch::{Batch, TopicRange};
use crate::event::{flag, Event};

pub mod bursts;
mod lane;
pub mod topics;

/// What a full queue does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Stop queueing and remember the range, which the consumer rebuilds from the raw log.
    Spill,
    /// The oldest whole messages make room.
    DropOldest,
    /// Of the full topic only the newest message stays.
    Conflate,
    /// The consumer is cut off.
    Disconnect,
    /// The publisher waits (finite replays only); a push that comes all the same is accepted.
    Block,
}

impl WhenFull {
    /// The policy with this name.
    pub fn parse(name: &str) -> Option<WhenFull> {
        Some(match name {
            "spill" => WhenFull::Spill,
            "drop_oldest" => WhenFull::DropOldest,
            "conflate" => WhenFull::Conflate,
            "disconnect" => WhenFull::Disconnect,
            "block" => WhenFull::Block,
            _ => return None,
        })
    }

    /// Whether a batch is taken whole or not at all.
    pub fn is_atomic(self) -> bool {
        matches!(self, WhenFull::Spill | WhenFull::Block)
    }
}

/// Limits of one subscription. One message is always accepted, even one longer than a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records per topic.
    pub records: usize,
    /// Records of all topics together.
    pub records_total: usize,
    /// Age of the oldest record of a topic, ns; 0 = no limit. Batches without a monotonic stamp have no age.
    pub age_ns: i64,
}

impl Limits {
    /// Whether something stamped `oldest` is too old at `now`; 0 means no stamp.
    fn expired(&self, oldest: i64, now: i64) -> bool {
        self.age_ns > 0 && oldest > 0 && now > 0 && now - oldest > self.age_ns
    }
}

/// Whether a subscription receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does.
    Live,
    /// It missed this range of sequence numbers (both ends included) and still does.
    Spilled(u64, u64),
    /// It was cut off.
    Disconnected,
}

/// What one topic lost since the last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// The topic.
    pub topic: u32,
    /// Records.
    pub records: u64,
    /// Lowest sequence number dropped.
    pub seq_from: u64,
    /// Highest sequence number dropped.
    pub seq_to: u64,
}

impl Dropped {
    fn add(&mut self, events: &[Event]) {
        for event in events {
            self.seq_from = if self.records == 0 {
                event.seq
            } else {
                self.seq_from.min(event.seq)
            };
            self.seq_to = self.seq_to.max(event.seq);
            self.records += 1;
        }
    }

    /// Nothing dropped yet.
    pub const fn none(topic: u32) -> Dropped {
        Dropped {
            topic,
            records: 0,
            seq_from: 0,
            seq_to: 0,
        }
    }
}

/// How far one topic of a subscription is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// The topic.
    pub topic: u32,
    /// Records waiting.
    pub depth: usize,
    /// Most records that waited since the last reset.
    pub high_water: usize,
    /// Monotonic stamp of the oldest waiting record, ns; 0 = none.
    pub oldest_ns: i64,
    /// Records dropped since the beginning.
    pub dropped: u64,
    /// Records offered since the beginning.
    pub events: u64,
}

impl Lag {
    /// Of nothing: what `add` begins with.
    pub(crate) const fn none() -> Self {
        Lag {
            topic: u32::MAX,
            depth: 0,
            high_water: 0,
            oldest_ns: 0,
            dropped: 0,
            events: 0,
        }
    }

    /// Adds another topic; the high water stays.
    pub(crate) fn add(&mut self, other: &Lag) {
        self.depth += other.depth;
        self.dropped += other.dropped;
        self.events += other.events;
        if other.oldest_ns != 0 && (self.oldest_ns == 0 || other.oldest_ns < self.oldest_ns) {
            self.oldest_ns = other.oldest_ns;
        }
    }

    /// Sorts the topic that is furthest behind first: by the oldest record, then depth, then drops.
    pub(crate) fn badness(&self) -> (i64, Reverse<usize>, Reverse<u64>) {
        let since_ns = if self.depth > 0 && self.oldest_ns != 0 {
            self.oldest_ns
        } else {
            i64::MAX
        };
        (since_ns, Reverse(self.depth), Reverse(self.dropped))
    }
}

/// A run of one topic's events handed to the consumer.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The topic.
    pub topic: u32,
    /// The memory.
    pub batch: Arc<Batch>,
    /// First event.
    pub start: usize,
    /// One past the last event.
    pub stop: usize,
}

/// Index one past the first whole message at or after `from`.
fn message_end(events: &[Event], from: usize) -> usize {
    let rest = events.get(from..).unwrap_or_default();
    rest.iter()
        .position(|event| event.flags & flag::LAST != 0)
        .map_or(events.len(), |at| from + at + 1)
}

/// Index of the first event of the newest whole message.
fn newest_message(events: &[Event]) -> usize {
    let before = events.split_last().map_or(&[][..], |(_, head)| head);
    before
        .iter()
        .rposition(|event| event.flags & flag::LAST != 0)
        .map_or(0, |at| at + 1)
}

/// Index one past the last whole message that ends within `records`; at least one message.
fn cut(events: &[Event], records: usize) -> usize {
    if events.len() <= records {
        return events.len();
    }
    let head = events.get(..records).unwrap_or_default();
    match head.iter().rposition(|event| event.flags & flag::LAST != 0) {
        Some(at) => at + 1,
        None => message_end(events, records),
    }
}

/// The events of one topic's stretch.
fn stretch(batch: &Batch, range: TopicRange) -> &[Event] {
    batch
        .events
        .get(range.start as usize..range.stop as usize)
        .unwrap_or_default()
}
