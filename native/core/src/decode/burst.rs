//! The events of one burst by topic: notes runs while records come in, gathers them once at the end.

use crate::batch::{Batch, TopicRange};
use crate::event::Event;
use crate::record::Record;
use crate::reuse;
use crate::topic::Topics;

const NONE: u32 = u32::MAX;

/// Neighbouring events of one topic.
#[derive(Debug, Clone, Copy)]
struct Run {
    start: u32,
    stop: u32,
    /// The topic's next run.
    next: u32,
}

/// Per topic: its runs in this burst, its totals for ever.
#[derive(Debug, Clone, Copy)]
struct Place {
    head: u32,
    tail: u32,
    total: u64,
    last_mono_ns: i64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Burst {
    pub(super) topics: Topics,
    runs: Vec<Run>,
    /// Topics of this burst in order of first appearance.
    order: Vec<u32>,
    places: Vec<Place>,
    frame_last: u64,
    ts_mono: Option<i64>,
}

impl Burst {
    /// Notes that `record` belongs to the burst.
    #[inline]
    pub(super) fn note(&mut self, record: &Record<'_>) {
        self.frame_last = self.frame_last.max(record.frame_no);
        self.ts_mono.get_or_insert(record.mono_ns);
    }

    /// Events `[start, stop)` of the burst belong to `topic`.
    #[inline]
    pub(super) fn run(&mut self, topic: u32, start: usize, stop: usize, mono_ns: i64) {
        let (start, stop) = (start as u32, stop as u32);
        if self.places.len() <= topic as usize {
            let new = Place {
                head: NONE,
                tail: NONE,
                total: 0,
                last_mono_ns: 0,
            };
            self.places.resize(topic as usize + 1, new);
        }
        let number = self.runs.len() as u32;
        let Some(place) = self.places.get_mut(topic as usize) else {
            return;
        };
        place.total += u64::from(stop - start);
        place.last_mono_ns = mono_ns;
        if place.tail == NONE {
            place.head = number;
            self.order.push(topic);
        } else if let Some(tail) = self.runs.get_mut(place.tail as usize) {
            if tail.stop == start {
                tail.stop = stop;
                return;
            }
            tail.next = number;
        }
        place.tail = number;
        self.runs.push(Run {
            start,
            stop,
            next: NONE,
        });
    }

    /// The batch of the burst; `events` is left empty for the next one.
    pub(super) fn finish(&mut self, events: &mut Vec<Event>) -> Batch {
        let seq = match (events.first(), events.last()) {
            (Some(first), Some(last)) => (first.seq, last.seq),
            _ => (0, 0),
        };
        let (frame_last, ts_mono) = (self.frame_last, self.ts_mono.take().unwrap_or(0));
        let mut topics = Vec::with_capacity(self.order.len());
        let gathered = if self.runs.len() == 1 {
            topics.extend(self.order.iter().map(|topic| TopicRange {
                topic: *topic,
                start: 0,
                stop: events.len() as u32,
            }));
            // Nothing to move: the buffer itself goes out, and one of its size takes its place.
            let capacity = events.len();
            std::mem::replace(events, Vec::with_capacity(capacity))
        } else {
            let gathered = self.gather(events, &mut topics);
            reuse::empty(events);
            gathered
        };
        for topic in self.order.drain(..) {
            if let Some(place) = self.places.get_mut(topic as usize) {
                (place.head, place.tail) = (NONE, NONE);
            }
        }
        reuse::empty(&mut self.runs);
        Batch {
            events: gathered,
            topics,
            seq,
            frame_last,
            ts_mono,
        }
    }

    /// Topic, events since the start, last monotonic stamp.
    pub(super) fn stats(&self) -> impl Iterator<Item = (u32, u64, i64)> + '_ {
        self.places
            .iter()
            .enumerate()
            .map(|(topic, place)| (topic as u32, place.total, place.last_mono_ns))
    }

    fn gather(&self, events: &[Event], topics: &mut Vec<TopicRange>) -> Vec<Event> {
        let mut gathered = Vec::with_capacity(events.len());
        for topic in &self.order {
            let start = gathered.len() as u32;
            let mut next = self.places.get(*topic as usize).map_or(NONE, |place| place.head);
            while let Some(run) = self.runs.get(next as usize) {
                gathered.extend_from_slice(events.get(run.start as usize..run.stop as usize).unwrap_or_default());
                next = run.next;
            }
            topics.push(TopicRange {
                topic: *topic,
                start,
                stop: gathered.len() as u32,
            });
        }
        gathered
    }
}
