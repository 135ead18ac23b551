//! The messages of a feed that wait for room: kept, merged, dropped, counted.

use std::collections::BTreeMap;

use super::lane::Effect;
use super::{key_of, Feed, Key, Policy, Row};
use crate::event::{flag, Event, Kind};

/// A message that waits, or several that became one.
#[derive(Debug)]
pub(super) struct Waiting {
    pub lane: usize,
    body: Body,
    /// First number of the first message in it, records of all of them.
    seq_from: u64,
    covered: u64,
    /// Monotonic stamp of the first batch it comes from, ns.
    pub ts_mono: i64,
    /// Applied to a live book: the next change may be merged into it.
    is_change: bool,
    /// Messages behind it that say nothing to the book: (first number, last number, records).
    needless: Option<(u64, u64, u64)>,
}

#[derive(Debug)]
enum Body {
    /// As it came.
    Whole(Vec<Event>),
    /// The newest head with the ids of the first, and the newest size of every level.
    Merged {
        head: Event,
        seq: u64,
        levels: BTreeMap<(u8, i64), i64>,
    },
}

impl Waiting {
    /// A message as it came.
    pub fn whole(lane: usize, message: &[Event], ts_mono: i64) -> Waiting {
        Waiting {
            lane,
            body: Body::Whole(message.to_vec()),
            seq_from: message.first().map_or(0, |first| first.seq),
            covered: message.len() as u64,
            ts_mono,
            is_change: false,
            needless: None,
        }
    }

    /// Records that come out of it.
    pub fn records(&self) -> usize {
        match &self.body {
            Body::Whole(events) => events.len(),
            Body::Merged { levels, .. } => levels.len() + 1,
        }
    }

    /// Whether it stands for several messages.
    fn is_merged(&self) -> bool {
        self.covered > self.records() as u64 || matches!(self.body, Body::Merged { .. })
    }

    /// Takes the next change of a live book in; both must be changes.
    fn merge(&mut self, message: &[Event]) {
        let (mut first, mut merged) = (None, BTreeMap::new());
        match &mut self.body {
            Body::Whole(events) => {
                first = events.iter().find(|event| event.kind == Kind::DepthHead as u8).copied();
                add_levels(&mut merged, events);
            }
            Body::Merged { head, levels, .. } => {
                first = first.or(Some(*head));
                std::mem::swap(&mut merged, levels);
            }
        }
        add_levels(&mut merged, message);
        let newest = message.iter().find(|event| event.kind == Kind::DepthHead as u8);
        let (Some(first), Some(newest), Some(last)) = (first, newest, message.last()) else {
            return;
        };
        let mut head = *newest;
        // The chain of ids goes on: first and previous id of the oldest, last id of the newest.
        (head.price, head.size) = (first.price, first.size);
        self.covered += message.len() as u64;
        self.body = Body::Merged {
            head,
            seq: last.seq,
            levels: merged,
        };
    }

    /// Appends its records.
    pub fn write(&self, out: &mut Vec<Event>) {
        let (head, seq, levels) = match &self.body {
            Body::Whole(events) => return out.extend_from_slice(events),
            Body::Merged { head, seq, levels } => (head, *seq, levels),
        };
        // One number for all: that of the newest record. Those before it belong to records of other topics.
        let mut record = *head;
        record.seq = seq;
        record.flags = (head.flags & !flag::LAST) | flag::SYNTHETIC;
        record.aux = levels.len() as i64;
        out.push(record);
        record.kind = Kind::Depth as u8;
        for (index, ((side, price), size)) in levels.iter().enumerate() {
            (record.side, record.price, record.size, record.aux) = (*side, *price, *size, index as i64);
            out.push(record);
        }
        if let Some(last) = out.last_mut() {
            last.flags |= flag::LAST;
        }
    }
}

fn add_levels(levels: &mut BTreeMap<(u8, i64), i64>, message: &[Event]) {
    for event in message.iter().filter(|event| event.kind == Kind::Depth as u8) {
        levels.insert((event.side, event.price), event.size);
    }
}

impl Feed {
    /// Lets a message wait in its place.
    pub(super) fn keep(&mut self, message: Waiting) {
        let key = match &message.body {
            Body::Whole(events) => events.last().map_or((0, false), key_of),
            Body::Merged { seq, .. } => (*seq, false),
        };
        self.waiting_records += message.records();
        self.waiting.insert(key, message);
    }

    /// Takes a message out of its place.
    fn take(&mut self, key: Key) -> Option<Waiting> {
        let message = self.waiting.remove(&key)?;
        self.waiting_records -= message.records();
        Some(message)
    }

    /// A message goes out with the entry that is being made; it is out of `waiting` already.
    pub(super) fn leave(&mut self, key: Key, message: Waiting) {
        self.waiting_records -= message.records();
        self.droppable.remove(&key);
        message.write(&mut self.entry);
        self.seq = key.0;
        let Some(lane) = self.lanes.get_mut(message.lane) else {
            return;
        };
        lane.keys.pop_front();
        let (topic, policy) = (lane.topic, lane.policy);
        if policy != Policy::Conflate {
            lane.records -= message.records();
            return;
        }
        lane.is_merged = message.is_change && message.is_merged();
        if message.is_merged() {
            let delivered = message.records() as u64;
            self.totals.merged += message.covered.saturating_sub(delivered);
            self.rows.push(Row {
                topic,
                policy,
                seq_from: message.seq_from,
                seq_to: key.0,
                records: message.covered,
                delivered,
            });
        }
        if let Some((seq_from, seq_to, records)) = message.needless {
            self.needless(topic, seq_from, seq_to, records);
        }
    }

    fn needless(&mut self, topic: u32, seq_from: u64, seq_to: u64, records: u64) {
        self.totals.merged += records;
        self.rows.push(Row {
            topic,
            policy: Policy::Conflate,
            seq_from,
            seq_to,
            records,
            delivered: 0,
        });
    }

    /// Key of the oldest message of a lane that holds more than its limit and more than one message.
    pub(super) fn overfull(&self, lane: usize) -> Option<Key> {
        let lane = self.lanes.get(lane)?;
        (lane.records > self.limits.records && lane.keys.len() > 1)
            .then(|| lane.keys.front().copied())
            .flatten()
    }

    /// Drops a waiting message of a lane with the policy `DropOldest`: always the lane's oldest.
    pub(super) fn drop_message(&mut self, key: Key) {
        self.droppable.remove(&key);
        let Some(message) = self.take(key) else { return };
        let Some(lane) = self.lanes.get_mut(message.lane) else {
            return;
        };
        let records = message.records() as u64;
        lane.keys.pop_front();
        lane.records -= message.records();
        self.totals.dropped += records;
        let topic = lane.topic;
        if let Some(row) = self.rows.last_mut().filter(|row| {
            // Nothing of the topic went out since: what was dropped next is part of the same stretch.
            row.topic == topic && row.policy == Policy::DropOldest && self.seq < row.seq_from
        }) {
            (row.seq_to, row.records) = (key.0, row.records + records);
            return;
        }
        self.rows.push(Row {
            topic,
            policy: Policy::DropOldest,
            seq_from: message.seq_from,
            seq_to: key.0,
            records,
            delivered: 0,
        });
    }

    /// Lets a message of a conflated topic wait: in place of, or merged with, what waits already.
    pub(super) fn conflate(&mut self, number: usize, message: &[Event], ts_mono: i64) {
        let Some(lane) = self.lanes.get_mut(number) else { return };
        let effect = if lane.watches_book() {
            lane.effect(message)
        } else {
            Effect::Replace
        };
        let newest = lane.keys.back().copied();
        let can_replace = match effect {
            Effect::Replace => true,
            Effect::ReplaceLive => lane
                .keys
                .iter()
                .all(|key| self.waiting.get(key).is_some_and(|each| each.is_change)),
            _ => false,
        };
        if can_replace {
            return self.replace(number, message, ts_mono);
        }
        if effect == Effect::Nothing && (newest.is_some() || lane.is_merged) {
            return self.pass_over(number, message);
        }
        if effect == Effect::Change {
            if let Some(key) = newest.filter(|key| self.waiting.get(key).is_some_and(|each| each.is_change)) {
                return self.merge(number, key, message);
            }
        }
        let mut waiting = Waiting::whole(number, message, ts_mono);
        waiting.is_change = effect == Effect::Change;
        self.stand_last(number, waiting);
    }

    fn stand_last(&mut self, number: usize, message: Waiting) {
        self.keep(message);
        let key = self.waiting.last_key_value().map(|(key, _)| *key);
        if let Some(lane) = self.lanes.get_mut(number) {
            lane.keys.extend(key);
        }
    }

    /// The message speaks for all of its topic that waits.
    fn replace(&mut self, number: usize, message: &[Event], ts_mono: i64) {
        let Some(lane) = self.lanes.get_mut(number) else { return };
        let keys = std::mem::take(&mut lane.keys);
        let mut newest = Waiting::whole(number, message, ts_mono);
        for (at, key) in keys.into_iter().enumerate() {
            let Some(old) = self.take(key) else { continue };
            if at == 0 {
                (newest.seq_from, newest.ts_mono) = (old.seq_from, old.ts_mono);
            }
            newest.covered += old.covered + old.needless.map_or(0, |(_, _, records)| records);
        }
        self.stand_last(number, newest);
    }

    fn merge(&mut self, number: usize, key: Key, message: &[Event]) {
        let Some(mut old) = self.take(key) else { return };
        if let Some(lane) = self.lanes.get_mut(number) {
            lane.keys.pop_back();
        }
        old.covered += old.needless.take().map_or(0, |(_, _, records)| records);
        old.merge(message);
        self.stand_last(number, old);
    }

    /// The message says nothing to the book: it need not be sent.
    fn pass_over(&mut self, number: usize, message: &[Event]) {
        let (Some(first), Some(last)) = (message.first(), message.last()) else {
            return;
        };
        let records = message.len() as u64;
        let Some(lane) = self.lanes.get(number) else { return };
        let topic = lane.topic;
        match lane.keys.back().and_then(|key| self.waiting.get_mut(key)) {
            Some(newest) => {
                let (from, _, before) = newest.needless.unwrap_or((first.seq, 0, 0));
                newest.needless = Some((from, last.seq, before + records));
            }
            None => self.needless(topic, first.seq, last.seq, records),
        }
    }
}
