//! One consumer's queues, one per topic: a hot topic fills only its own, and none waits behind another.

use std::collections::VecDeque;
use std::sync::Arc;

use super::lane::{take_run, Lane};
use super::{message_end, newest_message, stretch, Dropped, Lag, Limits, State, Taken, WhenFull};
use crate::batch::{Batch, TopicRange};
use crate::event::Event;

const NO_LANE: u32 = u32::MAX;

/// The queues of one subscription.
#[derive(Debug)]
pub struct TopicQueues {
    limits: Limits,
    when_full: WhenFull,
    quantum: usize,
    state: State,
    /// Only batches that end after this sequence number are taken.
    after: u64,
    /// Topic number to lane.
    index: Vec<u32>,
    lanes: Vec<Lane>,
    /// Records waiting per lane; apart from the lanes so that the search for the longest reads few cache lines.
    depths: Vec<usize>,
    /// Most records of one topic that waited since `sums` was reset.
    peak: usize,
    /// Lanes with something to take, in the order of their turn.
    turns: VecDeque<u32>,
    total: usize,
    /// Records that the batch now asked about would add (atomic policies).
    planned: usize,
    planned_full: bool,
    unreported: bool,
}

impl TopicQueues {
    /// Empty queues that take what comes after `after`; `quantum` = records per topic and turn.
    pub fn new(limits: Limits, when_full: WhenFull, quantum: usize, after: u64) -> Self {
        TopicQueues {
            limits,
            when_full,
            quantum: quantum.max(1),
            state: State::Live,
            after,
            index: Vec::new(),
            lanes: Vec::new(),
            depths: Vec::new(),
            peak: 0,
            turns: VecDeque::new(),
            total: 0,
            planned: 0,
            planned_full: false,
            unreported: false,
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
        self.total
    }

    /// Whether drops wait to be reported.
    pub fn has_unreported(&self) -> bool {
        self.unreported
    }

    fn lane(&mut self, topic: u32) -> usize {
        let at = topic as usize;
        if at >= self.index.len() {
            self.index.resize(at + 1, NO_LANE);
        }
        match self.index.get_mut(at) {
            Some(slot) if *slot == NO_LANE => {
                *slot = self.lanes.len() as u32;
                self.lanes.push(Lane::new(topic));
                self.depths.push(0);
                self.lanes.len() - 1
            }
            Some(slot) => *slot as usize,
            None => 0,
        }
    }

    /// Asks whether a stretch of a batch would fit; call for every stretch, then `settle`.
    pub fn plan(&mut self, batch: &Batch, range: TopicRange) {
        let count = (range.stop - range.start) as usize;
        let lane = self.lane(range.topic);
        let depth = self.depths.get(lane).copied().unwrap_or(0);
        let oldest = self.lanes.get(lane).map_or(0, Lane::oldest);
        let late = self.when_full == WhenFull::Spill && self.limits.expired(oldest, batch.ts_mono);
        self.planned += count;
        self.planned_full |= late || (depth > 0 && depth + count > self.limits.records);
        self.planned_full |= self.total > 0 && self.total + self.planned > self.limits.records_total;
    }

    /// Ends a plan: returns whether the batch fits. With `Spill` a batch that does not is spilled from its first record.
    pub fn settle(&mut self, batch: &Batch, commit: bool) -> bool {
        let fits = !self.planned_full;
        let wanted = self.planned > 0 && batch.seq.1 > self.after && self.state == State::Live;
        self.planned = 0;
        self.planned_full = false;
        if commit && wanted && !fits && self.when_full == WhenFull::Spill {
            self.state = State::Spilled(batch.seq.0, batch.seq.1);
        }
        fits || !wanted
    }

    /// Queues one topic's stretch of a batch. Returns whether there may be something new to take or to know.
    pub fn push(&mut self, batch: &Arc<Batch>, range: TopicRange) -> bool {
        if batch.seq.1 <= self.after {
            return false;
        }
        match self.state {
            State::Live => {}
            State::Spilled(from, to) => {
                self.state = State::Spilled(from, to.max(batch.seq.1));
                return true;
            }
            State::Disconnected => return false,
        }
        let at = self.lane(range.topic);
        let (mut start, stop) = (range.start as usize, range.stop as usize);
        let count = stop - start;
        let limits = self.limits;
        let Some(lane) = self.lanes.get_mut(at) else {
            return false;
        };
        let depth = self.depths.get(at).copied().unwrap_or(0);
        lane.events += count as u64;
        let full = depth + count > limits.records
            || self.total + count > limits.records_total
            || limits.expired(lane.oldest(), batch.ts_mono);
        if full {
            match self.when_full {
                WhenFull::DropOldest => start = self.make_room(at, batch, range),
                WhenFull::Conflate => start = self.conflate(at, batch, range),
                WhenFull::Disconnect => {
                    self.disconnect(at, stretch(batch, range));
                    return true;
                }
                WhenFull::Spill | WhenFull::Block => {}
            }
        }
        self.append(at, batch, start, stop);
        true
    }

    fn append(&mut self, at: usize, batch: &Arc<Batch>, start: usize, stop: usize) {
        let (Some(lane), Some(depth)) = (self.lanes.get_mut(at), self.depths.get_mut(at)) else {
            return;
        };
        if start >= stop {
            return;
        }
        if !lane.in_turn {
            lane.in_turn = true;
            self.turns.push_back(at as u32);
        }
        lane.append(batch, start, stop);
        *depth += stop - start;
        self.total += stop - start;
        lane.high_water = lane.high_water.max(*depth);
        self.peak = self.peak.max(*depth);
    }

    /// Drops what is too old or too much; returns where the incoming stretch now begins.
    fn make_room(&mut self, at: usize, batch: &Batch, range: TopicRange) -> usize {
        self.expire(at, batch.ts_mono);
        let incoming = stretch(batch, range);
        let mut skip = 0;
        while self
            .depths
            .get(at)
            .is_some_and(|depth| *depth > 0 && depth + incoming.len() > self.limits.records)
        {
            self.drop_message(at);
        }
        let allowed = self.limits.records.min(self.limits.records_total);
        let newest = newest_message(incoming);
        while incoming.len() - skip > allowed && skip < newest {
            skip = message_end(incoming, skip);
        }
        if let Some(lane) = self.lanes.get_mut(at).filter(|_| skip > 0) {
            lane.refuse(incoming.get(..skip).unwrap_or_default());
            self.unreported = true;
        }
        self.shed(incoming.len() - skip);
        range.start as usize + skip
    }

    /// Makes room in the total: the longest queue gives its oldest messages, so that the hot topic pays.
    fn shed(&mut self, incoming: usize) {
        while self.total > 0 && self.total + incoming > self.limits.records_total {
            let longest = self
                .depths
                .iter()
                .enumerate()
                .max_by_key(|(at, depth)| (**depth, usize::MAX - *at));
            let Some((victim, _)) = longest else { return };
            while self.depths.get(victim).is_some_and(|depth| *depth > 0)
                && self.total + incoming > self.limits.records_total
            {
                self.drop_message(victim);
            }
        }
    }

    /// Empties the topic and returns where the newest message of the incoming stretch begins.
    fn conflate(&mut self, at: usize, batch: &Batch, range: TopicRange) -> usize {
        while self.depths.get(at).is_some_and(|depth| *depth > 0) {
            self.drop_message(at);
        }
        let incoming = stretch(batch, range);
        let newest = newest_message(incoming);
        if let Some(lane) = self.lanes.get_mut(at).filter(|_| newest > 0) {
            lane.refuse(incoming.get(..newest).unwrap_or_default());
            self.unreported = true;
        }
        self.shed(incoming.len() - newest);
        range.start as usize + newest
    }

    fn drop_message(&mut self, at: usize) {
        let (Some(lane), Some(depth)) = (self.lanes.get_mut(at), self.depths.get_mut(at)) else {
            return;
        };
        let count = lane.drop_message();
        *depth -= count;
        self.total -= count;
        self.unreported = true;
    }

    /// Drops the entries of a topic that are too old.
    fn expire(&mut self, at: usize, now: i64) {
        let (Some(lane), Some(depth)) = (self.lanes.get_mut(at), self.depths.get_mut(at)) else {
            return;
        };
        while *depth > 0 && self.limits.expired(lane.oldest(), now) {
            let count = lane.drop_entry();
            *depth -= count;
            self.total -= count;
            self.unreported = true;
        }
    }

    fn disconnect(&mut self, at: usize, incoming: &[Event]) {
        for lane in &mut self.lanes {
            lane.in_turn = false;
            while lane.drop_entry() > 0 {}
        }
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.refuse(incoming);
        }
        self.depths.fill(0);
        self.turns.clear();
        self.total = 0;
        self.unreported = true;
        self.state = State::Disconnected;
    }

    /// Hands out up to `records_max` records (at least one message), one quantum per topic and turn.
    /// With `DropOldest` what is older at `now` than the limit is dropped instead; `now` 0 = no check.
    pub fn take(&mut self, records_max: usize, now: i64, out: &mut Vec<Taken>) {
        let mut left = records_max.max(1);
        while left > 0 {
            let Some(turn) = self.turns.pop_front() else { return };
            let at = turn as usize;
            if self.when_full == WhenFull::DropOldest && now > 0 {
                self.expire(at, now);
            }
            let (Some(lane), Some(depth)) = (self.lanes.get_mut(at), self.depths.get_mut(at)) else {
                return;
            };
            let turn_budget = self.quantum.min(left);
            let mut budget = turn_budget;
            while budget > 0 {
                let Some(taken) = take_run(lane, budget, budget == turn_budget) else {
                    break;
                };
                let count = taken.stop - taken.start;
                out.push(taken);
                *depth -= count;
                self.total -= count;
                budget = budget.saturating_sub(count);
                left = left.saturating_sub(count);
            }
            lane.in_turn = *depth > 0;
            if lane.in_turn {
                self.turns.push_back(turn);
            }
        }
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
        if !self.unreported {
            return Vec::new();
        }
        self.unreported = false;
        let lanes = self.lanes.iter_mut().filter(|lane| lane.unreported.records > 0);
        lanes
            .map(|lane| std::mem::replace(&mut lane.unreported, Dropped::none(lane.topic)))
            .collect()
    }

    /// How far each topic is behind; `reset` begins a new high-water period.
    pub fn lag(&mut self, reset: bool) -> Vec<Lag> {
        let rows = self.lanes.iter_mut().zip(&self.depths).map(|(lane, depth)| {
            let high_water = lane.high_water.max(*depth);
            if reset {
                lane.high_water = *depth;
            }
            Lag {
                topic: lane.topic,
                depth: *depth,
                high_water,
                oldest_ns: lane.oldest(),
                dropped: lane.dropped,
                events: lane.events,
            }
        });
        rows.collect()
    }

    /// All topics together, and the `worst` of those that wait or dropped something: by age, then depth. `reset` begins
    /// a new period of the high water, which is that of the fullest topic.
    pub fn sums(&mut self, worst: usize, reset: bool) -> (Lag, Vec<Lag>) {
        let mut sums = Lag::none();
        sums.high_water = self.peak;
        let mut rows = Vec::new();
        for (lane, depth) in self.lanes.iter().zip(&self.depths) {
            let row = Lag {
                topic: lane.topic,
                depth: *depth,
                high_water: lane.high_water.max(*depth),
                oldest_ns: lane.oldest(),
                dropped: lane.dropped,
                events: lane.events,
            };
            sums.add(&row);
            if worst > 0 && (row.depth > 0 || row.dropped > 0) {
                rows.push(row);
            }
        }
        if reset {
            self.peak = self.depths.iter().copied().max().unwrap_or(0);
        }
        if rows.len() > worst && worst > 0 {
            rows.select_nth_unstable_by_key(worst - 1, Lag::badness);
            rows.truncate(worst);
        }
        rows.sort_unstable_by_key(Lag::badness);
        (sums, rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{flag, Kind};

    const NO_LIMIT: Limits = Limits {
        records: usize::MAX,
        records_total: usize::MAX,
        age_ns: 0,
    };

    fn batch(seq: u64, counts: &[(u32, u32)], mono: i64) -> Arc<Batch> {
        let (mut events, mut topics) = (Vec::new(), Vec::new());
        for (topic, count) in counts {
            let start = events.len() as u32;
            for _ in 0..*count {
                let mut event = Event::new(Kind::Trade, seq + events.len() as u64, 0, 0, 1);
                event.flags = flag::LAST;
                events.push(event);
            }
            topics.push(TopicRange {
                topic: *topic,
                start,
                stop: start + count,
            });
        }
        Arc::new(Batch::from_parts(events, topics, mono))
    }

    fn push(queues: &mut TopicQueues, batch: &Arc<Batch>) {
        for range in &batch.topics {
            queues.push(batch, *range);
        }
    }

    fn numbers(taken: &[Taken]) -> Vec<u64> {
        let events = taken
            .iter()
            .flat_map(|run| run.batch.events[run.start..run.stop].iter());
        events.map(|event| event.seq).collect()
    }

    #[test]
    fn single_batches_are_shared_and_late_ones_copied_together() {
        let mut queues = TopicQueues::new(NO_LIMIT, WhenFull::DropOldest, 1000, 0);
        let first = batch(1, &[(0, 2)], 5);
        push(&mut queues, &first);
        for n in 0..10 {
            push(&mut queues, &batch(10 + n, &[(0, 1)], 6));
        }
        let mut taken = Vec::new();
        queues.take(100, 0, &mut taken);
        assert!(Arc::ptr_eq(&taken[0].batch, &first));
        assert_eq!(taken.len(), 2);
        assert_eq!(taken[1].batch.ts_mono, 6);
        assert_eq!(numbers(&taken), [1, 2, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
    }

    #[test]
    fn run_of_copies_ends_after_ten_milliseconds() {
        let mut queues = TopicQueues::new(NO_LIMIT, WhenFull::DropOldest, 1000, 0);
        for (n, mono) in [1, 2, 3, 10_000_003, 10_000_004].into_iter().enumerate() {
            push(&mut queues, &batch(1 + n as u64, &[(0, 1)], mono));
        }
        let mut taken = Vec::new();
        queues.take(100, 0, &mut taken);
        assert_eq!(
            taken.iter().map(|run| run.stop - run.start).collect::<Vec<_>>(),
            [1, 2, 2]
        );
    }

    #[test]
    fn emptied_lane_is_not_listed_twice() {
        let limits = Limits { records: 1, ..NO_LIMIT };
        let mut queues = TopicQueues::new(limits, WhenFull::Conflate, 10, 0);
        for n in 0..100 {
            push(&mut queues, &batch(1 + n, &[(0, 1)], 0));
        }
        assert_eq!(queues.turns.len(), 1);
        let mut taken = Vec::new();
        queues.take(10, 0, &mut taken);
        assert_eq!((numbers(&taken), queues.depth()), (vec![100], 0));
        assert_eq!(queues.take_dropped()[0].records, 99);
    }

    #[test]
    fn spill_is_decided_for_the_whole_batch() {
        let limits = Limits { records: 3, ..NO_LIMIT };
        let mut queues = TopicQueues::new(limits, WhenFull::Spill, 10, 0);
        push(&mut queues, &batch(1, &[(0, 2), (1, 1)], 0));
        let next = batch(4, &[(1, 1), (0, 2)], 0);
        for range in &next.topics {
            queues.plan(&next, *range);
        }
        assert!(!queues.settle(&next, true));
        push(&mut queues, &next);
        assert_eq!((queues.state(), queues.depth()), (State::Spilled(4, 6), 3));
        assert_eq!(queues.resume(), Some((4, 6)));
        assert_eq!(queues.resume(), None);
    }
}
