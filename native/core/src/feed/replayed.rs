//! The same stream again: what a feed dropped and merged while it ran, done to the same messages in a replay.

use std::collections::{BTreeMap, VecDeque};

use super::{messages, Feed, Known, Limits, Policy, Row};
use crate::batch::Batch;
use crate::event::Event;

/// Repeats the rows of one recorded feed.
#[derive(Debug)]
pub struct Replayed {
    feed: Feed,
    rows: BTreeMap<u32, VecDeque<Row>>,
    /// Records seen of the row that is being repeated, by topic.
    seen: BTreeMap<u32, u64>,
    mismatches: u64,
}

impl Default for Replayed {
    fn default() -> Self {
        Replayed::new()
    }
}

impl Replayed {
    /// One that knows no rows: everything passes.
    pub fn new() -> Self {
        let no_limit = Limits {
            records: usize::MAX,
            records_total: usize::MAX,
        };
        Replayed {
            feed: Feed::new(no_limit),
            rows: BTreeMap::new(),
            seen: BTreeMap::new(),
            mismatches: 0,
        }
    }

    /// The topics of `batch` about which `set_topic` has said nothing yet.
    pub fn unasked<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = u32> + 'a {
        self.feed.unasked(batch)
    }

    /// Says whether a topic is wanted, and by which policy.
    pub fn set_topic(&mut self, topic: u32, name: &str, policy: Option<Policy>) {
        self.feed.set_topic(topic, name, policy);
    }

    /// Adds what was recorded; the rows of a topic in their order, before its messages.
    pub fn add_row(&mut self, row: Row) {
        self.rows.entry(row.topic).or_default().push_back(row);
    }

    /// How many rows did not find the records they tell of: the log is not the one that the feed ran on.
    pub const fn mismatches(&self) -> u64 {
        self.mismatches
    }

    /// The wanted events of a batch as the strategies got them, in the order of their numbers.
    pub fn offer(&mut self, batch: &Batch) -> Vec<Event> {
        let mut out = Vec::new();
        for range in batch.in_order(|topic| matches!(self.feed.known(topic), Known::Lane(_))) {
            let events = batch.events.get(range.start as usize..range.stop as usize);
            if let (Known::Lane(lane), Some(events)) = (self.feed.known(range.topic), events) {
                for message in messages(events) {
                    self.take(range.topic, lane as usize, message, batch.ts_mono, &mut out);
                }
            }
        }
        out
    }

    fn take(&mut self, topic: u32, lane: usize, message: &[Event], ts_mono: i64, out: &mut Vec<Event>) {
        let (Some(first), Some(last)) = (message.first(), message.last()) else {
            return;
        };
        let Some(row) = self.row_of(topic, first.seq).filter(|row| row.seq_from <= first.seq) else {
            self.feed.passed(lane, message);
            out.extend_from_slice(message);
            return;
        };
        *self.seen.entry(topic).or_default() += message.len() as u64;
        if row.policy == Policy::Conflate && row.delivered > 0 {
            self.feed.conflate(lane, message, ts_mono);
        } else {
            self.feed.passed(lane, message);
        }
        if last.seq < row.seq_to {
            return;
        }
        let seen = self.seen.remove(&topic).unwrap_or(0);
        self.mismatches += u64::from(seen != row.records);
        if let Some(rows) = self.rows.get_mut(&topic) {
            rows.pop_front();
        }
        self.feed.release(lane, out);
    }

    /// The row that the message with this first number may belong to; rows that end before it are given up.
    fn row_of(&mut self, topic: u32, seq: u64) -> Option<Row> {
        let rows = self.rows.get_mut(&topic)?;
        while rows.front().is_some_and(|row| row.seq_to < seq) {
            rows.pop_front();
            self.seen.remove(&topic);
            self.mismatches += 1;
        }
        rows.front().copied()
    }
}

impl Feed {
    /// Hands over all that waits of one lane.
    fn release(&mut self, lane: usize, out: &mut Vec<Event>) {
        let keys = self.lanes.get(lane).map_or(VecDeque::new(), |lane| lane.keys.clone());
        for key in keys {
            if let Some(message) = self.waiting.remove(&key) {
                self.leave(key, message);
            }
        }
        out.append(&mut self.entry);
    }
}
