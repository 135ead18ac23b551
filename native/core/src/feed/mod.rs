//! What one strategy process gets: wanted topics in the order of their numbers, and what happens while it cannot take more.
//!
//! Pure: the ring is an `Outlet`. As long as there is room every message passes as it is. From the first message that finds
//! none, messages wait here, by the policy of their topic, and go out in the order of their numbers as soon as there is room
//! again; so what the other side sees has strictly rising numbers. Whatever was dropped or merged on the way is told by
//! `Row`s, from which a replay (`replayed`) makes the same stream.

use std::collections::{BTreeMap, BTreeSet};

use crate::batch::Batch;
use crate::decode::venues;
use crate::event::{flag, Event, Kind};

mod lane;
pub mod replayed;
mod waiting;

use lane::Lane;
use waiting::Waiting;

/// What becomes of a topic's messages while there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Changes of a book are merged by level; of anything else the newest message stays.
    Conflate,
    /// The oldest whole messages go.
    DropOldest,
    /// Nothing goes; when too much waits the feed ends.
    Disconnect,
}

impl Policy {
    /// The policy with this name.
    pub fn parse(name: &str) -> Option<Policy> {
        Some(match name {
            "conflate" => Policy::Conflate,
            "drop_oldest" => Policy::DropOldest,
            "disconnect" => Policy::Disconnect,
            _ => return None,
        })
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Policy::Conflate => "conflate",
            Policy::DropOldest => "drop_oldest",
            Policy::Disconnect => "disconnect",
        }
    }
}

/// Where the events go: a ring of which the other side takes them.
pub trait Outlet {
    /// Events that one entry may have at this moment.
    fn room(&mut self) -> usize;

    /// Events that an entry could have if nothing waited on the other side.
    fn room_max(&self) -> usize;

    /// Hands over one entry of at most `room()` events; `ts_mono` is the stamp of its oldest record, ns.
    fn put(&mut self, ts_mono: i64, parts: &[&[Event]]);
}

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records of one topic (`DropOldest`, `Disconnect`; a conflated topic has one message).
    pub records: usize,
    /// Records of all topics together.
    pub records_total: usize,
}

/// Why a feed ended; it takes nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A topic with the policy `Disconnect` has more waiting than its limit.
    TopicFull(u32),
    /// All topics together have more waiting than the limit, and nothing may be dropped.
    AllFull,
    /// A message of this topic would not even fit into an empty ring.
    TooLarge(u32),
}

/// What was dropped or merged: all messages of `topic` from `seq_from` to `seq_to`, both ends included.
///
/// `Conflate`: of them came one, at the place of the last, or (`delivered` = 0) none because they said nothing to the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The topic.
    pub topic: u32,
    /// What was done.
    pub policy: Policy,
    /// First number of the first message.
    pub seq_from: u64,
    /// Last number of the last message.
    pub seq_to: u64,
    /// Records that these messages had.
    pub records: u64,
    /// Records that came instead.
    pub delivered: u64,
}

/// Totals since the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records of wanted topics.
    pub offered: u64,
    /// Records handed over, those of merged messages among them.
    pub delivered: u64,
    /// Records that went by `DropOldest`.
    pub dropped: u64,
    /// Records that went into a merged message, or that a newer message replaced, less those that came instead.
    pub merged: u64,
    /// Messages that had to wait.
    pub waited: u64,
}

/// What the feed knows of a topic number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Unasked,
    Unwanted,
    Lane(u32),
}

/// Events of one topic, and the number of its lane.
type Stretch<'a> = (usize, &'a [Event]);

/// The feed of one strategy process.
#[derive(Debug)]
pub struct Feed {
    limits: Limits,
    topics: Vec<Known>,
    lanes: Vec<Lane>,
    /// By the last number of the newest message in it: the order in which they go out.
    waiting: BTreeMap<Key, Waiting>,
    /// Keys of those that may be dropped.
    droppable: BTreeSet<Key>,
    waiting_records: usize,
    rows: Vec<Row>,
    totals: Totals,
    /// Last number handed over.
    seq: u64,
    ended: Option<Ending>,
    /// One entry of waiting messages.
    entry: Vec<Event>,
}

impl Feed {
    /// A feed that has asked for no topic yet.
    pub fn new(limits: Limits) -> Self {
        Feed {
            limits,
            topics: Vec::new(),
            lanes: Vec::new(),
            waiting: BTreeMap::new(),
            droppable: BTreeSet::new(),
            waiting_records: 0,
            rows: Vec::new(),
            totals: Totals::default(),
            seq: 0,
            ended: None,
            entry: Vec::new(),
        }
    }

    /// The topics of `batch` about which `set_topic` has said nothing yet; their events would be passed over.
    pub fn unasked<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = u32> + 'a {
        let topics = batch.topics.iter().map(|range| range.topic);
        topics.filter(|topic| self.known(*topic) == Known::Unasked)
    }

    /// Says whether a topic is wanted, and by which policy. Once per topic; later words are not heard.
    pub fn set_topic(&mut self, topic: u32, name: &str, policy: Option<Policy>) {
        if self.known(topic) != Known::Unasked {
            return;
        }
        let at = topic as usize;
        if self.topics.len() <= at {
            self.topics.resize(at + 1, Known::Unasked);
        }
        let known = match policy {
            None => Known::Unwanted,
            Some(policy) => {
                self.lanes.push(Lane::new(topic, policy, rule_of(name)));
                Known::Lane(self.lanes.len() as u32 - 1)
            }
        };
        if let Some(slot) = self.topics.get_mut(at) {
            *slot = known;
        }
    }

    /// Hands over the wanted events of a batch, or lets them wait. Errors: the feed ended; it stays ended.
    pub fn offer(&mut self, batch: &Batch, outlet: &mut impl Outlet) -> Result<(), Ending> {
        self.flush(outlet)?;
        let stretches = batch.in_order(|topic| matches!(self.known(topic), Known::Lane(_)));
        let mut rest: Vec<Stretch<'_>> = Vec::with_capacity(stretches.len());
        for range in &stretches {
            let events = batch.events.get(range.start as usize..range.stop as usize);
            if let (Known::Lane(lane), Some(events)) = (self.known(range.topic), events) {
                rest.push((lane as usize, events));
                self.totals.offered += events.len() as u64;
            }
        }
        let mut rest = rest.as_slice();
        let mut cut = None;
        if self.waiting.is_empty() && !rest.iter().any(|(lane, _)| self.was_merged(*lane)) {
            (rest, cut) = self.pass(rest, batch.ts_mono, outlet);
        }
        for (lane, events) in cut.into_iter().chain(rest.iter().copied()) {
            for message in messages(events) {
                self.wait(lane, message, batch.ts_mono).map_err(|end| self.end(end))?;
                if outlet.room() > 0 {
                    self.flush(outlet)?;
                }
            }
        }
        Ok(())
    }

    /// Hands over what waits, as far as there is room. Errors: as `offer`.
    pub fn flush(&mut self, outlet: &mut impl Outlet) -> Result<(), Ending> {
        if let Some(ending) = self.ended {
            return Err(ending);
        }
        while !self.waiting.is_empty() {
            let room = outlet.room();
            let mut ts_mono = 0;
            self.entry.clear();
            while let Some(next) = self.waiting.first_entry() {
                let records = next.get().records();
                if records > outlet.room_max() {
                    let topic = self.lanes.get(next.get().lane).map_or(0, |lane| lane.topic);
                    return Err(self.end(Ending::TooLarge(topic)));
                }
                if self.entry.len() + records > room {
                    break;
                }
                if self.entry.is_empty() {
                    ts_mono = next.get().ts_mono;
                }
                let (key, message) = next.remove_entry();
                self.leave(key, message);
            }
            if self.entry.is_empty() {
                return Ok(());
            }
            self.totals.delivered += self.entry.len() as u64;
            outlet.put(ts_mono, &[&self.entry]);
        }
        crate::reuse::empty(&mut self.entry);
        Ok(())
    }

    /// What was dropped or merged since the last call, each topic in order.
    pub fn take_rows(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.rows)
    }

    /// Totals since the beginning.
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Records that wait.
    pub const fn depth(&self) -> usize {
        self.waiting_records
    }

    /// Monotonic stamp of the oldest message that waits, ns; 0 = none.
    pub fn oldest_ns(&self) -> i64 {
        self.waiting.first_key_value().map_or(0, |(_, first)| first.ts_mono)
    }

    /// Last number handed over.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Why it ended, if it did.
    pub const fn ended(&self) -> Option<Ending> {
        self.ended
    }

    fn end(&mut self, ending: Ending) -> Ending {
        self.ended = Some(ending);
        ending
    }

    fn known(&self, topic: u32) -> Known {
        self.topics.get(topic as usize).copied().unwrap_or(Known::Unasked)
    }

    /// Hands whole messages over as long as there is room; returns what is left, a stretch that was cut apart first.
    fn pass<'a>(
        &mut self,
        mut rest: &'a [Stretch<'a>],
        ts_mono: i64,
        outlet: &mut impl Outlet,
    ) -> (&'a [Stretch<'a>], Option<Stretch<'a>>) {
        let mut cut: Option<Stretch<'_>> = None;
        let mut parts: Vec<&[Event]> = Vec::with_capacity(rest.len() + 1);
        loop {
            let mut room = outlet.room();
            parts.clear();
            let mut is_full = false;
            while !is_full {
                let (lane, events) = match (cut.take(), rest.split_first()) {
                    (Some(cut), _) => cut,
                    (None, Some((first, others))) => {
                        rest = others;
                        *first
                    }
                    (None, None) => break,
                };
                let (now, later) = events.split_at(whole_within(events, room));
                if !now.is_empty() {
                    room -= now.len();
                    self.passed(lane, now);
                    parts.push(now);
                }
                if !later.is_empty() {
                    (cut, is_full) = (Some((lane, later)), true);
                }
            }
            if parts.is_empty() {
                return (rest, cut);
            }
            outlet.put(ts_mono, &parts);
        }
    }

    /// Whether the last message of a lane was a merged one: the next must be looked at before it may pass.
    fn was_merged(&self, lane: usize) -> bool {
        self.lanes.get(lane).is_some_and(|lane| lane.is_merged)
    }

    fn passed(&mut self, lane: usize, events: &[Event]) {
        self.totals.delivered += events.len() as u64;
        self.seq = events.last().map_or(self.seq, |last| last.seq);
        let Some(lane) = self.lanes.get_mut(lane) else { return };
        if lane.watches_book() {
            for message in messages(events) {
                lane.effect(message);
            }
        }
    }

    /// A message finds no room.
    fn wait(&mut self, number: usize, message: &[Event], ts_mono: i64) -> Result<(), Ending> {
        let Some(lane) = self.lanes.get_mut(number) else {
            return Ok(());
        };
        let Some(last) = message.last() else { return Ok(()) };
        self.totals.waited += 1;
        match lane.policy {
            Policy::Conflate => self.conflate(number, message, ts_mono),
            Policy::DropOldest => {
                lane.records += message.len();
                lane.keys.push_back(key_of(last));
                self.droppable.insert(key_of(last));
                self.keep(Waiting::whole(number, message, ts_mono));
                while let Some(key) = self.overfull(number) {
                    self.drop_message(key);
                }
            }
            Policy::Disconnect => {
                lane.records += message.len();
                lane.keys.push_back(key_of(last));
                let is_full = lane.records > self.limits.records;
                let topic = lane.topic;
                self.keep(Waiting::whole(number, message, ts_mono));
                if is_full {
                    return Err(Ending::TopicFull(topic));
                }
            }
        }
        while self.waiting_records > self.limits.records_total {
            let Some(key) = self.droppable.first().copied() else {
                return Err(Ending::AllFull);
            };
            self.drop_message(key);
        }
        Ok(())
    }
}

/// The rule of the book whose changes a topic carries; None for any other topic.
fn rule_of(name: &str) -> Option<crate::book::sync::Rule> {
    let mut parts = name.splitn(3, '.');
    if parts.next() != Some("depth") {
        return None;
    }
    let venue = venues::number(parts.next()?).and_then(venues::decoder)?;
    Some(venue.rule())
}

/// The place of a message among those that wait: its last number; signals have that of their cause and stand behind it.
type Key = (u64, bool);

const fn key_of(last: &Event) -> Key {
    (last.seq, last.kind == Kind::Signal as u8)
}

/// The whole messages of a stretch of one topic. Signals of one cause have one number and are one message.
pub fn messages(events: &[Event]) -> impl Iterator<Item = &[Event]> {
    events.chunk_by(|one, next| one.flags & flag::LAST == 0 || one.seq == next.seq)
}

/// How many events of the front are whole messages within `room`.
fn whole_within(events: &[Event], room: usize) -> usize {
    if events.len() <= room {
        return events.len();
    }
    let head = events.get(..room).unwrap_or_default();
    head.iter()
        .rposition(|event| event.flags & flag::LAST != 0)
        .map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests;
