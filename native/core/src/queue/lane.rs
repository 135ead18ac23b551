//! The queue of one topic: runs of events, shared while the consumer keeps up, copied together when it lags.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{cut, message_end, Dropped, Taken};
use crate::batch::{Batch, TopicRange};
use crate::event::Event;

/// A stretch this long keeps its batch alive; shorter ones behind a waiting one are copied together, so that a few
/// records of a slow topic do not pin whole bursts and a late consumer pays per run, not per burst.
const SHARED_RECORDS_MIN: usize = 32;
/// A run of copies ends here: in records, and in age, because a run has one stamp.
const RUN_RECORDS_MAX: usize = 512;
/// Ten milliseconds: the resolution of the age limit under load.
const RUN_AGE_NS_MAX: i64 = 10_000_000;

/// Events waiting: part of a shared batch, or a run copied together.
#[derive(Debug)]
enum Run {
    Shared {
        batch: Arc<Batch>,
        start: usize,
        stop: usize,
    },
    Own {
        events: Vec<Event>,
        start: usize,
    },
}

impl Run {
    fn events(&self) -> &[Event] {
        match self {
            Run::Shared { batch, start, stop } => batch.events.get(*start..*stop).unwrap_or_default(),
            Run::Own { events, start } => events.get(*start..).unwrap_or_default(),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Run::Shared { start, .. } | Run::Own { start, .. } => *start += count,
        }
    }
}

#[derive(Debug)]
struct Entry {
    run: Run,
    /// Monotonic stamp of its oldest record, ns; 0 = unknown.
    oldest: i64,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub topic: u32,
    entries: VecDeque<Entry>,
    pub high_water: usize,
    pub dropped: u64,
    pub events: u64,
    pub unreported: Dropped,
    /// Whether it stands in `turns`; an emptied lane keeps its turn, so that dropping costs no search.
    pub in_turn: bool,
}

impl Lane {
    /// An empty queue.
    pub fn new(topic: u32) -> Lane {
        Lane {
            topic,
            entries: VecDeque::new(),
            high_water: 0,
            dropped: 0,
            events: 0,
            unreported: Dropped::none(topic),
            in_turn: false,
        }
    }

    /// Takes the oldest whole message away; returns its length.
    pub fn drop_message(&mut self) -> usize {
        let Some(entry) = self.entries.front_mut() else {
            return 0;
        };
        let events = entry.run.events();
        let end = message_end(events, 0);
        let whole = end == events.len();
        self.unreported.add(events.get(..end).unwrap_or_default());
        self.dropped += end as u64;
        entry.run.advance(end);
        if whole {
            self.entries.pop_front();
        }
        end
    }

    pub fn drop_entry(&mut self) -> usize {
        let Some(entry) = self.entries.pop_front() else {
            return 0;
        };
        let events = entry.run.events();
        self.unreported.add(events);
        self.dropped += events.len() as u64;
        events.len()
    }

    pub fn refuse(&mut self, events: &[Event]) {
        self.unreported.add(events);
        self.dropped += events.len() as u64;
    }

    pub fn oldest(&self) -> i64 {
        self.entries.front().map_or(0, |entry| entry.oldest)
    }

    pub fn append(&mut self, batch: &Arc<Batch>, start: usize, stop: usize) {
        let now = batch.ts_mono;
        let events = batch.events.get(start..stop).unwrap_or_default();
        if events.len() < SHARED_RECORDS_MIN {
            if let Some(Entry {
                run: Run::Own { events: run, .. },
                oldest,
            }) = self.entries.back_mut()
            {
                if run.len() + events.len() <= RUN_RECORDS_MAX && now - *oldest <= RUN_AGE_NS_MAX {
                    run.extend_from_slice(events);
                    return;
                }
            }
            if !self.entries.is_empty() {
                self.entries.push_back(Entry {
                    run: Run::Own {
                        events: events.to_vec(),
                        start: 0,
                    },
                    oldest: now,
                });
                return;
            }
        }
        self.entries.push_back(Entry {
            run: Run::Shared {
                batch: Arc::clone(batch),
                start,
                stop,
            },
            oldest: now,
        });
    }
}

/// Takes one run of at most `budget` records from the front; the first of a turn has at least one message.
pub(super) fn take_run(lane: &mut Lane, budget: usize, first: bool) -> Option<Taken> {
    let front = lane.entries.front_mut()?;
    let length = front.run.events().len();
    let count = cut(front.run.events(), budget);
    if count > budget && !first {
        return None;
    }
    let topic = lane.topic;
    if let Run::Shared { batch, start, .. } = &front.run {
        let taken = Taken {
            topic,
            batch: Arc::clone(batch),
            start: *start,
            stop: *start + count,
        };
        if count == length {
            lane.entries.pop_front();
        } else {
            front.run.advance(count);
        }
        return Some(taken);
    }
    let oldest = front.oldest;
    let events = if count == length {
        match lane.entries.pop_front() {
            Some(Entry {
                run: Run::Own { events, start: 0 },
                ..
            }) => events,
            Some(entry) => entry.run.events().to_vec(),
            None => return None,
        }
    } else {
        let events = front.run.events().get(..count).unwrap_or_default().to_vec();
        front.run.advance(count);
        events
    };
    let batch = own_batch(topic, events, oldest);
    Some(Taken {
        topic,
        batch: Arc::new(batch),
        start: 0,
        stop: count,
    })
}

fn own_batch(topic: u32, events: Vec<Event>, oldest: i64) -> Batch {
    let topics = vec![TopicRange {
        topic,
        start: 0,
        stop: events.len() as u32,
    }];
    Batch::from_parts(events, topics, oldest)
}
