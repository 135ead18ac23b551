//! The queue of a consumer of everything: whole batches, in their order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{stretch, Dropped, Lag, Limits, State, WhenFull};
use crate::batch::Batch;

/// Whole batches for one consumer; `records_total` is its limit of records. It does not conflate.
#[derive(Debug)]
pub struct BurstQueue {
    limits: Limits,
    when_full: WhenFull,
    state: State,
    after: u64,
    batches: VecDeque<Arc<Batch>>,
    depth: usize,
    high_water: usize,
    /// As `high_water`, of the period that `sums` resets.
    peak: usize,
    events: u64,
    dropped: u64,
    unreported: BTreeMap<u32, Dropped>,
}

impl BurstQueue {
    /// An empty queue that takes what comes after `after`.
    pub fn new(limits: Limits, when_full: WhenFull, after: u64) -> Self {
        BurstQueue {
            limits,
            when_full,
            state: State::Live,
            after,
            batches: VecDeque::new(),
            depth: 0,
            high_water: 0,
            peak: 0,
            events: 0,
            dropped: 0,
            unreported: BTreeMap::new(),
        }
    }

    /// Whether it receives.
    pub fn state(&self) -> State {
        self.state
    }

    /// Its policy.
    pub fn when_full(&self) -> WhenFull {
        self.when_full
    }

    /// Records waiting.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Monotonic stamp of the oldest waiting batch, ns; 0 = none.
    pub fn oldest_ns(&self) -> i64 {
        self.batches.front().map_or(0, |batch| batch.ts_mono)
    }

    /// (records offered, records dropped, high water) since the beginning; `reset` begins a new high-water period.
    pub fn totals(&mut self, reset: bool) -> (u64, u64, usize) {
        let high_water = self.high_water;
        if reset {
            self.high_water = self.depth;
        }
        (self.events, self.dropped, high_water)
    }

    /// How far it is behind; `reset` begins a new period of this high water, `totals` has one of its own.
    pub fn sums(&mut self, reset: bool) -> Lag {
        let sums = Lag {
            depth: self.depth,
            high_water: self.peak,
            oldest_ns: self.oldest_ns(),
            dropped: self.dropped,
            events: self.events,
            ..Lag::none()
        };
        if reset {
            self.peak = self.depth;
        }
        sums
    }

    /// Whether drops wait to be reported.
    pub fn has_unreported(&self) -> bool {
        !self.unreported.is_empty()
    }

    /// Whether `batch` fits now. One batch always fits into an empty queue.
    pub fn fits(&self, batch: &Batch) -> bool {
        self.batches.is_empty()
            || (self.depth + batch.events.len() <= self.limits.records_total
                && !self.limits.expired(self.oldest_ns(), batch.ts_mono))
    }

    /// Queues a batch. Returns whether there may be something new to take or to know.
    pub fn push(&mut self, batch: &Arc<Batch>) -> bool {
        if batch.seq.1 <= self.after || self.state == State::Disconnected {
            return false;
        }
        if let State::Spilled(from, to) = self.state {
            self.state = State::Spilled(from, to.max(batch.seq.1));
            return true;
        }
        self.events += batch.events.len() as u64;
        if !self.fits(batch) {
            match self.when_full {
                WhenFull::Spill => {
                    self.state = State::Spilled(batch.seq.0, batch.seq.1);
                    return true;
                }
                WhenFull::DropOldest | WhenFull::Conflate => {
                    while !self.fits(batch) {
                        self.drop_front();
                    }
                }
                WhenFull::Disconnect => {
                    while !self.batches.is_empty() {
                        self.drop_front();
                    }
                    self.count_dropped(batch);
                    self.state = State::Disconnected;
                    return true;
                }
                WhenFull::Block => {}
            }
        }
        self.depth += batch.events.len();
        self.high_water = self.high_water.max(self.depth);
        self.peak = self.peak.max(self.depth);
        self.batches.push_back(Arc::clone(batch));
        true
    }

    fn drop_front(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.depth -= batch.events.len();
            self.count_dropped(&batch);
        }
    }

    fn count_dropped(&mut self, batch: &Batch) {
        self.dropped += batch.events.len() as u64;
        for range in &batch.topics {
            let dropped = self.unreported.entry(range.topic).or_insert(Dropped::none(range.topic));
            dropped.add(stretch(batch, *range));
        }
    }

    /// Hands out batches of up to `records_max` records together, at least one batch.
    pub fn take(&mut self, records_max: usize) -> Vec<Arc<Batch>> {
        let mut out = Vec::new();
        let mut count = 0;
        while let Some(batch) = self.batches.front() {
            let length = batch.events.len();
            if !out.is_empty() && count + length > records_max {
                break;
            }
            count += length;
            out.extend(self.batches.pop_front());
        }
        self.depth -= count;
        out
    }

    /// After a spill: returns the range that was missed and receives again what comes after it.
    pub fn resume(&mut self) -> Option<(u64, u64)> {
        let State::Spilled(from, to) = self.state else {
            return None;
        };
        self.after = to;
        self.state = State::Live;
        Some((from, to))
    }

    /// What was dropped since the last call.
    pub fn take_dropped(&mut self) -> Vec<Dropped> {
        std::mem::take(&mut self.unreported).into_values().collect()
    }
}
