//! The ledger of open gaps, and what is fetched later to fill them (docs/adr/0024-gap-filler.md).
//!
//! A fill is decoded in quarantine: of what its connection brings, the trades that the ledger misses become events of their
//! own topic, everything else is dropped. Nothing here reads or writes the continuity of a live connection.

use serde::{Deserialize, Serialize};

use crate::decode::continuity::{Hole, Numbering, COUNT_MASK};
use crate::decode::slot::Slot;
use crate::decode::stage::{time_flags, Message};
use crate::decode::{venues, Conclusion, Decoder};
use crate::event::{flag, Event, Kind};
use crate::topic::Channel;

/// Open gaps of one symbol; the oldest is let go for a new one.
pub const GAPS_MAX: usize = 64;
/// Pieces into which late arrivals may cut one gap.
pub const PIECES_MAX: usize = 64;

/// A gap whose missing ids are known, and which of them are still missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenGap {
    /// Sequence number of its GAP event: its name.
    pub seq: u64,
    /// Of the merged trades (`aggtrade`), not of the single ones.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub aggregate: bool,
    /// `GapCause` as a number.
    pub cause: i64,
    /// The interval of the GAP event.
    pub since_ns: i64,
    /// See `since_ns`.
    pub until_ns: i64,
    /// First id, as the chain counts: with the number of its count in `Counted` channels.
    pub first: u64,
    /// Last id.
    pub last: u64,
    /// What is still missing, in order.
    pub left: Vec<(u64, u64)>,
}

impl OpenGap {
    /// How many ids are still missing.
    pub fn missing(&self) -> u64 {
        self.left.iter().map(|(first, last)| last - first + 1).sum()
    }

    const fn channel(&self) -> Channel {
        if self.aggregate {
            Channel::AggTrade
        } else {
            Channel::Trade
        }
    }

    /// Takes `first..=last` out of what is missing. False, and nothing changed, when not all of it is missing.
    fn take(&mut self, first: u64, last: u64) -> bool {
        let holds = |(from, to): &(u64, u64)| *from <= first && last <= *to;
        let Some(at) = self.left.iter().position(holds) else {
            return false;
        };
        let Some((from, to)) = self.left.get(at).copied() else {
            return false;
        };
        if from < first && last < to && self.left.len() == PIECES_MAX {
            return false;
        }
        self.left.remove(at);
        if last < to {
            self.left.insert(at, (last + 1, to));
        }
        if from < first {
            self.left.insert(at, (from, first - 1));
        }
        true
    }

    /// Takes whatever of `first..=last` is still missing out of it; false when nothing is.
    fn take_any(&mut self, first: u64, last: u64) -> bool {
        let overlaps = |(from, to): &(u64, u64)| *from <= last && first <= *to;
        let mut any = false;
        while let Some((from, to)) = self.left.iter().copied().find(overlaps) {
            if !self.take(first.max(from), last.min(to)) {
                break;
            }
            any = true;
        }
        any
    }
}

/// Stretches of fetched ids remembered per symbol, to know a live trade that comes behind its fill.
const FILLED_MAX: usize = 64;

/// What became of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// No open gap misses it.
    Nothing,
    /// It was missing; more of its gap is.
    Part,
    /// It was the last that was missing of its gap.
    Closed(Closing),
}

/// A gap that is open no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closing {
    channel: Channel,
    cause: i64,
    since_ns: i64,
    first: u64,
    last: u64,
    /// Ids that stay missing.
    missing: u64,
}

/// The open gaps of one symbol, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ledger {
    gaps: Vec<OpenGap>,
    /// What was fetched last, merged trades or not; for a counter only, and no part of the state.
    #[serde(skip)]
    filled: Vec<(bool, u64, u64)>,
}

impl Ledger {
    /// Whether nothing is missing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.gaps.is_empty()
    }

    /// The open gaps, oldest first.
    pub fn gaps(&self) -> &[OpenGap] {
        &self.gaps
    }

    /// Adds a gap. True when the oldest had to go for it.
    pub fn open(&mut self, gap: OpenGap) -> bool {
        let full = self.gaps.len() >= GAPS_MAX;
        if full {
            self.gaps.remove(0);
        }
        self.gaps.push(gap);
        full
    }

    /// `first..=last` of a channel was fetched. `Nothing`, and nothing changed, when not all of it was missing.
    pub fn fill(&mut self, aggregate: bool, first: u64, last: u64) -> Taken {
        let taken = self.take(aggregate, |gap| gap.take(first, last));
        if taken != Taken::Nothing {
            self.note_filled(aggregate, first, last);
        }
        taken
    }

    /// `first..=last` of a channel has arrived by itself: whatever of it was missing is not any more.
    pub fn arrive(&mut self, aggregate: bool, first: u64, last: u64) -> Taken {
        self.take(aggregate, |gap| gap.take_any(first, last))
    }

    fn take(&mut self, aggregate: bool, mut from: impl FnMut(&mut OpenGap) -> bool) -> Taken {
        let found = self
            .gaps
            .iter_mut()
            .position(|gap| gap.aggregate == aggregate && from(gap));
        let Some(at) = found else {
            return Taken::Nothing;
        };
        if self.gaps.get(at).is_some_and(|gap| !gap.left.is_empty()) {
            return Taken::Part;
        }
        Taken::Closed(closing(&self.gaps.remove(at)))
    }

    fn note_filled(&mut self, aggregate: bool, first: u64, last: u64) {
        match self.filled.last_mut() {
            // Upwards as Binance answers, downwards as OKX does.
            Some((merged, _, to)) if *merged == aggregate && *to + 1 == first => *to = last,
            Some((merged, from, _)) if *merged == aggregate && last + 1 == *from => *from = first,
            _ => {
                if self.filled.len() == FILLED_MAX {
                    self.filled.remove(0);
                }
                self.filled.push((aggregate, first, last));
            }
        }
    }

    /// Whether any of `first..=last` was fetched, as far as is remembered.
    fn was_filled(&self, aggregate: bool, first: u64, last: u64) -> bool {
        let overlaps = |(merged, from, to): &(bool, u64, u64)| *merged == aggregate && *from <= last && first <= *to;
        self.filled.iter().any(overlaps)
    }

    /// Gives the gap named `seq` up.
    pub fn close(&mut self, seq: u64) -> Option<Closing> {
        let at = self.gaps.iter().position(|gap| gap.seq == seq)?;
        Some(closing(&self.gaps.remove(at)))
    }
}

fn closing(gap: &OpenGap) -> Closing {
    Closing {
        channel: gap.channel(),
        cause: gap.cause,
        since_ns: gap.since_ns,
        first: gap.first,
        last: gap.last,
        missing: gap.missing(),
    }
}

/// An open gap as people and the filler see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapView<'a> {
    /// tickd's name of the venue.
    pub venue: &'static str,
    /// The venue's symbol.
    pub symbol: &'a str,
    /// `trade` or `aggtrade`.
    pub channel: Channel,
    /// The number of the count its ids are totals of; 0 where ids are ids.
    pub count: u64,
    /// The gap; its ids carry the count.
    pub gap: &'a OpenGap,
}

impl GapView<'_> {
    /// The first and the last id as the venue tells them, and what is missing in between.
    pub fn told(&self) -> (u64, u64, Vec<(u64, u64)>) {
        let told = |id: u64| id & !self.count;
        let left = self.gap.left.iter().map(|(first, last)| (told(*first), told(*last)));
        (told(self.gap.first), told(self.gap.last), left.collect())
    }
}

/// The GAP event that closes: `BACKFILLED`, and `size` says how many ids stay missing.
pub(super) fn closing_event(closing: &Closing, counted: bool, seq: u64, recv_ns: i64) -> Event {
    let told = |id: u64| if counted { id & COUNT_MASK } else { id };
    let mut event = Event::new(Kind::Gap, seq, closing.since_ns, recv_ns, 0);
    event.id = told(closing.first);
    event.price = i64::try_from(told(closing.last)).unwrap_or(i64::MAX);
    event.size = i64::try_from(closing.missing).unwrap_or(i64::MAX);
    event.aux = closing.cause | (closing.channel as i64) << 8;
    event.flags = flag::SYNTHETIC | flag::LAST | flag::BACKFILLED | time_flags(closing.since_ns, recv_ns);
    event
}

const fn is_aggregate(channel: Channel) -> Option<bool> {
    match channel {
        Channel::Trade => Some(false),
        Channel::AggTrade => Some(true),
        _ => None,
    }
}

impl Decoder {
    /// All open gaps, by symbol and age.
    pub fn gaps(&self) -> impl Iterator<Item = GapView<'_>> + '_ {
        self.slots.iter().enumerate().flat_map(move |(number, slot)| {
            let (venue, symbol) = self.stage.symbols.name(number as u32).unwrap_or_default();
            let venue = venues::decoder(venue).map_or("", |decoder| decoder.venue());
            slot.ledger.gaps().iter().map(move |gap| {
                let channel = gap.channel();
                let counted = slot.numbering(channel) == Numbering::Counted;
                GapView {
                    venue,
                    symbol,
                    channel,
                    count: if counted { gap.first & !COUNT_MASK } else { 0 },
                    gap,
                }
            })
        })
    }

    /// Grows with every change of what `gaps` shows, so that nobody has to read it in vain.
    pub const fn ledger_changes(&self) -> u64 {
        self.ledger_changes
    }

    /// Enters the gap that `event` has just told into the ledger; `count` are the bits above the ids of a counted channel.
    pub(super) fn note_gap(&mut self, slot: u32, channel: Channel, hole: &Hole, count: u64, event: &Event) {
        let (Some(aggregate), Some((first, last)), false) = (is_aggregate(channel), hole.range, self.without_ledger)
        else {
            return;
        };
        let Some(slot) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let (first, last) = (first | count, last | count);
        let gap = OpenGap {
            seq: event.seq,
            aggregate,
            cause: hole.cause as i64,
            since_ns: hole.since_ns,
            until_ns: event.ts_recv,
            first,
            last,
            left: vec![(first, last)],
        };
        self.ledger_changes += 1;
        if slot.ledger.open(gap) {
            self.stage.report.count("gaps_forgotten", 1);
        }
    }

    /// A live message has brought its ids: they are missing no more.
    #[cold]
    pub(super) fn arrived_late(&mut self, message: &Message) {
        let Some(aggregate) = is_aggregate(message.channel) else {
            return;
        };
        let Some(slot) = self.slots.get_mut(message.slot as usize) else {
            return;
        };
        if slot.ledger.was_filled(aggregate, message.first, message.last) {
            self.stage.report.count("filled_then_live", 1);
        }
        let taken = slot.ledger.arrive(aggregate, message.first, message.last);
        self.ledger_changes += u64::from(taken != Taken::Nothing);
        if let Taken::Closed(closing) = taken {
            self.conclusions.push(Conclusion::Closed {
                slot: message.slot,
                closing,
            });
        }
    }

    /// Whether a fetched message is one that is missing; marks what is kept.
    #[cold]
    pub(super) fn fill(&mut self, message: &Message) -> bool {
        let (Some(aggregate), Some(slot)) = (is_aggregate(message.channel), self.slots.get_mut(message.slot as usize))
        else {
            return false;
        };
        let mut flags = flag::BACKFILLED;
        let mut taken = slot.ledger.fill(aggregate, message.first, message.last);
        if taken == Taken::Nothing && !aggregate && slot.merged_by_trade_id() {
            // The venue numbers merged trades by the fills in them, and only the fills can be had.
            flags |= flag::AGGREGATE;
            taken = slot.ledger.fill(true, message.first, message.last);
        }
        if taken == Taken::Nothing {
            return false;
        }
        self.ledger_changes += 1;
        for event in self.stage.events.iter_mut().take(message.stop).skip(message.start) {
            event.flags |= flags;
        }
        if let Taken::Closed(closing) = taken {
            self.conclusions.push(Conclusion::Closed {
                slot: message.slot,
                closing,
            });
        }
        self.stage.report.count("backfilled", 1);
        true
    }

    /// The filler has given the gap named `seq` up.
    pub(super) fn give_up(&mut self, seq: u64) {
        let closed = self
            .slots
            .iter_mut()
            .map(|slot: &mut Slot| slot.ledger.close(seq))
            .enumerate()
            .find_map(|(slot, closing)| closing.map(|closing| (slot as u32, closing)));
        match closed {
            Some((slot, closing)) => {
                self.ledger_changes += 1;
                self.conclusions.push(Conclusion::Closed { slot, closing });
            }
            None => self.stage.report.count("fills_unknown", 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(seq: u64, first: u64, last: u64) -> OpenGap {
        OpenGap {
            seq,
            aggregate: false,
            cause: 3,
            since_ns: 1,
            until_ns: 2,
            first,
            last,
            left: vec![(first, last)],
        }
    }

    #[test]
    fn a_gap_closes_with_the_last_id_that_was_missing_and_each_id_counts_once() {
        let mut ledger = Ledger::default();
        ledger.open(gap(7, 11, 13));
        assert_eq!(ledger.fill(false, 12, 12), Taken::Part);
        assert_eq!(ledger.fill(false, 12, 12), Taken::Nothing);
        assert_eq!(ledger.fill(true, 11, 11), Taken::Nothing);
        assert_eq!(ledger.fill(false, 10, 11), Taken::Nothing);
        assert_eq!(ledger.fill(false, 11, 11), Taken::Part);
        assert!(matches!(
            ledger.fill(false, 13, 13),
            Taken::Closed(Closing { missing: 0, .. })
        ));
        assert!(ledger.is_empty());
    }

    #[test]
    fn what_arrives_by_itself_is_taken_out_wherever_it_was_missing() {
        let mut ledger = Ledger::default();
        ledger.open(gap(7, 11, 20));
        assert_eq!(ledger.fill(false, 13, 13), Taken::Part);
        assert_eq!(ledger.fill(false, 12, 14), Taken::Nothing);
        assert_eq!(ledger.arrive(false, 12, 14), Taken::Part);
        assert_eq!(
            ledger.gaps().first().map(|gap| gap.left.clone()),
            Some(vec![(11, 11), (15, 20)])
        );
        assert_eq!(ledger.arrive(false, 12, 14), Taken::Nothing);
        assert_eq!(ledger.arrive(false, 1, 11), Taken::Part);
        assert!(matches!(ledger.arrive(false, 15, 30), Taken::Closed(_)));
        assert!(ledger.was_filled(false, 10, 13) && !ledger.was_filled(false, 14, 20));
    }

    #[test]
    fn what_is_given_up_says_how_much_stays_missing() {
        let mut ledger = Ledger::default();
        ledger.open(gap(7, 11, 13));
        assert_eq!(ledger.fill(false, 11, 11), Taken::Part);
        assert_eq!(ledger.close(8), None);
        assert_eq!(ledger.close(7).map(|closing| closing.missing), Some(2));
        assert_eq!(ledger.close(7), None);
    }

    #[test]
    fn the_ledger_is_bounded_in_gaps_and_pieces() {
        let mut ledger = Ledger::default();
        for seq in 0..GAPS_MAX as u64 {
            assert!(!ledger.open(gap(seq, seq * 1000, seq * 1000 + 999)));
        }
        assert!(ledger.open(gap(99, 1 << 20, (1 << 20) + 999)));
        assert_eq!(
            (ledger.gaps().len(), ledger.gaps().first().map(|gap| gap.seq)),
            (GAPS_MAX, Some(1))
        );
        for id in (0..2 * PIECES_MAX as u64).map(|number| 1001 + 2 * number) {
            ledger.fill(false, id, id);
        }
        assert_eq!(ledger.gaps().first().map(|gap| gap.left.len()), Some(PIECES_MAX));
    }
}
