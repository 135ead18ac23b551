//! An immutable run of events with its topic index: the unit of work of the whole program.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

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

    /// The events [start, stop) as a batch of their own.
    pub fn part(&self, start: usize, stop: usize) -> Batch {
        let events = self.events.get(start..stop).unwrap_or_default().to_vec();
        Batch::from_parts(events, self.ranges_within(start, stop).collect(), self.ts_mono)
    }

    /// The stretches of topics inside [start, stop), counted from `start`.
    pub fn ranges_within(&self, start: usize, stop: usize) -> impl Iterator<Item = TopicRange> + '_ {
        let (lo, hi) = (start as u32, stop as u32);
        let inside = self
            .topics
            .iter()
            .filter(move |range| range.start < hi && range.stop > lo);
        inside.map(move |range| TopicRange {
            topic: range.topic,
            start: range.start.max(lo) - lo,
            stop: range.stop.min(hi) - lo,
        })
    }

    /// This batch with the events of another behind it: what one of its consumers made of it, with the numbers of its causes.
    pub fn joined(&self, made: &Batch) -> Batch {
        let at = self.events.len() as u32;
        let moved = made.topics.iter().map(|range| TopicRange {
            topic: range.topic,
            start: range.start + at,
            stop: range.stop + at,
        });
        Batch {
            events: [self.events.as_slice(), made.events.as_slice()].concat(),
            topics: self.topics.iter().copied().chain(moved).collect(),
            ..*self
        }
    }

    /// The events of the wanted topics in the order of their numbers, as stretches of one topic each. Of equal numbers the
    /// one further in front is first: a message stays whole, and what was made of it follows it.
    ///
    /// What depends on this order alone does not depend on how the node's stream was cut into batches.
    pub fn in_order(&self, wanted: impl Fn(u32) -> bool) -> Vec<TopicRange> {
        let number = |at: u32| self.events.get(at as usize).map_or(u64::MAX, |event| event.seq);
        let head = |range: &TopicRange| Reverse((number(range.start), range.start, range.stop, range.topic));
        let wanted = self.topics.iter().filter(|range| wanted(range.topic));
        let mut heads: BinaryHeap<_> = wanted.map(head).collect();
        let mut stretches = Vec::with_capacity(heads.len());
        while let Some(Reverse((_, start, stop, topic))) = heads.pop() {
            let until = heads
                .peek()
                .map_or((u64::MAX, u32::MAX), |Reverse((next, at, ..))| (*next, *at));
            let mut end = start + 1;
            while end < stop && (number(end), end) < until {
                end += 1;
            }
            stretches.push(TopicRange {
                topic,
                start,
                stop: end,
            });
            if end < stop {
                heads.push(head(&TopicRange {
                    topic,
                    start: end,
                    stop,
                }));
            }
        }
        stretches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;

    #[test]
    fn a_part_keeps_its_topics_and_finds_its_numbers() {
        let event = |seq| Event::new(Kind::Trade, seq, 1, 2, 7);
        let range = |topic, start, stop| TopicRange { topic, start, stop };
        let events = [9, 10, 3, 4, 5, 6]
            .map(|frame: u64| event(frame << SEQ_INDEX_BITS))
            .to_vec();
        let batch = Batch::from_parts(events, vec![range(4, 0, 2), range(2, 2, 5), range(8, 5, 6)], 11);
        let part = batch.part(1, 4);
        assert_eq!(part.topics, [range(4, 0, 1), range(2, 1, 3)]);
        assert_eq!(part.seq, (3 << SEQ_INDEX_BITS, 10 << SEQ_INDEX_BITS));
        assert_eq!((part.frame_last, part.ts_mono, part.events.len()), (10, 11, 3));
        assert_eq!(batch.part(0, 6), batch);
        assert_eq!(batch.part(2, 2).topics, []);
    }

    #[test]
    fn wanted_topics_come_in_the_order_of_their_numbers() {
        let range = |topic, start, stop| TopicRange { topic, start, stop };
        let numbers = [1, 4, 5, 9, 2, 3, 6, 7, 8];
        let events = numbers.map(|seq| Event::new(Kind::Trade, seq, 1, 2, 7)).to_vec();
        let batch = Batch::from_parts(events, vec![range(4, 0, 4), range(2, 4, 7), range(8, 7, 9)], 0);
        let order = |wanted: &dyn Fn(u32) -> bool| -> Vec<u64> {
            let stretches = batch.in_order(wanted);
            let inside = stretches.iter().flat_map(|each| each.start..each.stop);
            inside.map(|at| batch.events[at as usize].seq).collect()
        };
        assert_eq!(order(&|_| true), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(order(&|topic| topic != 2), [1, 4, 5, 7, 8, 9]);
        assert!(order(&|_| false).is_empty());
        let made = [5, 5, 7].map(|seq| Event::new(Kind::Signal, seq, 1, 2, 7)).to_vec();
        let made = Batch::from_parts(made, vec![range(3, 0, 3)], 0);
        let joined = batch.joined(&made);
        let stretches = joined.in_order(|_| true);
        let inside = stretches.iter().flat_map(|each| each.start..each.stop);
        let kinds: Vec<(u64, u8)> = inside
            .map(|at| (joined.events[at as usize].seq, joined.events[at as usize].kind))
            .collect();
        let (trade, signal) = (Kind::Trade as u8, Kind::Signal as u8);
        assert_eq!(kinds[4..8], [(5, trade), (5, signal), (5, signal), (6, trade)]);
        assert_eq!(kinds[8..], [(7, trade), (7, signal), (8, trade), (9, trade)]);
        assert!(stretches.contains(&range(4, 1, 3)));
        assert_eq!((joined.seq, joined.frame_last), (batch.seq, batch.frame_last));
        let stretches = batch.in_order(|_| true);
        assert_eq!(stretches[..3], [range(4, 0, 1), range(2, 4, 6), range(4, 1, 3)]);
    }
}
