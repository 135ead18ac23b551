//! Many indicators advanced in one pass over a batch: for every topic its own copies, fed in the order of the node.
//!
//! Events are taken by `seq`, never by their place in the batch, and a message counts when its last record has come; so what
//! comes out does not depend on how the stream was cut. Numbers are natural values (mantissa over ten to its scale). Which
//! topic feeds which indicator is decided by the caller, once per topic.

use std::collections::HashMap;

use super::member::Member;
use super::slot::{Found, Row, Scales, Slot};
use crate::batch::{Batch, TopicRange};
use crate::book::sync::Rule;
use crate::event::{flag, Event, Kind};

/// What is said of the cause in a signal as well.
const INHERITED: u16 = flag::BAD_TS_RECV | flag::SKEW | flag::NO_EVENT_TIME;
/// Largest scale of an instrument: 10^18 is exact as a float.
const SCALE_MAX: usize = 18;

/// One indicator of the set, as it begins for every topic.
pub struct Spec {
    /// Stable number of its definition, `aux` of its signals.
    pub id: u32,
    /// Whether every value is a signal; otherwise only those that differ from the one before.
    pub every: bool,
    /// The indicator without any input.
    pub start: Box<dyn Member>,
}

/// Which of the set's indicators a topic feeds, and where their signals go.
pub struct Feed {
    /// The topic of the signals.
    pub signals: u32,
    /// The venue's rule of books, for depth.
    pub rule: Option<Rule>,
    /// Places of the indicators.
    pub members: Vec<usize>,
}

/// What is known of a topic.
#[derive(Default)]
enum Place {
    /// Nobody asked yet.
    #[default]
    Unknown,
    /// It feeds nothing.
    Unwanted,
    /// It feeds these.
    Wanted(Box<Slot>),
}

/// The set.
#[derive(Default)]
pub struct IndicatorSet {
    specs: Vec<Spec>,
    scales: HashMap<u32, Scales>,
    /// By topic.
    places: Vec<Place>,
    found: Vec<Found>,
    /// Events whose instrument nobody defined: they feed nothing.
    pub undefined: u64,
    /// Values so far.
    pub values: u64,
    /// Signals so far.
    pub signals: u64,
}

impl IndicatorSet {
    /// A set of these indicators; nothing is bound yet.
    pub fn new(specs: Vec<Spec>) -> Self {
        IndicatorSet {
            specs,
            ..IndicatorSet::default()
        }
    }

    /// Takes the decimals of an instrument, before its first event.
    pub fn define(&mut self, instrument: u32, price_scale: u8, size_scale: u8) {
        let power = |scale: u8| 10_f64.powi(i32::from(scale).min(SCALE_MAX as i32));
        self.scales.insert(instrument, (power(price_scale), power(size_scale)));
    }

    /// Whether the caller was asked about a topic.
    pub fn knows(&self, topic: u32) -> bool {
        !matches!(self.places.get(topic as usize), None | Some(Place::Unknown))
    }

    /// Decides about a topic; without members it feeds nothing.
    pub fn bind(&mut self, topic: u32, feed: &Feed) {
        let fresh = |place: &usize| {
            let spec = self.specs.get(*place)?;
            Some((*place as u32, spec.every, spec.start.copy()))
        };
        let members: Vec<_> = feed.members.iter().filter_map(fresh).collect();
        let at = topic as usize;
        if self.places.len() <= at {
            self.places.resize_with(at + 1, Place::default);
        }
        if let Some(place) = self.places.get_mut(at) {
            *place = match members.is_empty() {
                true => Place::Unwanted,
                false => Place::Wanted(Box::new(Slot::new(feed.signals, feed.rule, members))),
            };
        }
    }

    /// Feeds a batch; a row for every indicator and message.
    pub fn rows(&mut self, batch: &Batch) -> impl Iterator<Item = &Row> {
        self.pass(batch);
        self.found.iter().map(|found| &found.row)
    }

    /// Feeds a batch; the signals it caused as a batch of their own, None when there are none.
    pub fn signals(&mut self, batch: &Batch) -> Option<Batch> {
        self.pass(batch);
        let said = self.found.iter().filter(|found| found.is_signal);
        let mut said: Vec<&Found> = said.collect();
        // By topic, as batches are; inside a topic the order stays.
        said.sort_by_key(|found| found.topic);
        let mut topics: Vec<TopicRange> = Vec::new();
        let mut events = Vec::with_capacity(said.len());
        for found in said {
            let at = events.len() as u32;
            events.push(signal(found, &self.specs));
            match topics.last_mut() {
                Some(last) if last.topic == found.topic => last.stop = at + 1,
                _ => topics.push(TopicRange {
                    topic: found.topic,
                    start: at,
                    stop: at + 1,
                }),
            }
        }
        let made = Batch {
            frame_last: batch.frame_last,
            ..Batch::from_parts(events, topics, batch.ts_mono)
        };
        (!made.events.is_empty()).then_some(made)
    }

    fn pass(&mut self, batch: &Batch) {
        self.found.clear();
        let places = &mut self.places;
        let order = batch.in_order(|topic| matches!(places.get(topic as usize), Some(Place::Wanted(_))));
        for stretch in order {
            let Some(Place::Wanted(slot)) = places.get_mut(stretch.topic as usize) else {
                continue;
            };
            let events = batch.events.get(stretch.start as usize..stretch.stop as usize);
            self.undefined += slot.take(events.unwrap_or_default(), &self.scales, &mut self.found);
        }
        self.values += self.found.len() as u64;
        self.signals += self.found.iter().filter(|found| found.is_signal).count() as u64;
    }
}

/// The event of a value: its bits in `id`, which indicator in `aux`.
fn signal(found: &Found, specs: &[Spec]) -> Event {
    let row = &found.row;
    let mut event = Event::new(Kind::Signal, row.seq, row.ts_event, row.ts_recv, row.instrument);
    event.id = row.value.to_bits();
    event.aux = specs.get(row.indicator as usize).map_or(0, |spec| i64::from(spec.id));
    event.flags = flag::SYNTHETIC | flag::LAST | found.flags & INHERITED;
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{side, PRICE_UNDEF, SIZE_UNDEF};
    use crate::indicators::flow::Cvd;
    use crate::indicators::formula::{Mid, Reading};
    use crate::indicators::member::restore;
    use crate::indicators::Indicator;

    const QUOTES: u32 = 3;
    const TRADES: u32 = 1;

    fn set(every: bool) -> IndicatorSet {
        let start = |snapshot: Vec<u8>| restore(&snapshot).unwrap();
        let spec = |id, start| Spec { id, every, start };
        let mut set = IndicatorSet::new(vec![
            spec(70, start(Reading::<Mid>::new(false, false).snapshot())),
            spec(80, start(Cvd::new(false).snapshot())),
        ]);
        set.define(5, 2, 1);
        for (topic, members) in [(QUOTES, vec![0]), (TRADES, vec![1]), (9, vec![])] {
            assert!(!set.knows(topic));
            set.bind(
                topic,
                &Feed {
                    signals: 20,
                    rule: None,
                    members,
                },
            );
            assert!(set.knows(topic));
        }
        set
    }

    fn event(kind: Kind, seq: u64, side: u8, price: i64, size: i64) -> Event {
        Event {
            price,
            size,
            side,
            flags: if side == side::ASK || kind == Kind::Trade {
                flag::LAST
            } else {
                0
            },
            ..Event::new(kind, seq, 1_000 + seq as i64, 2_000 + seq as i64, 5)
        }
    }

    /// A quote, two trades, a quote of the same mid; the batch is grouped by topic.
    fn batch() -> Batch {
        let events = vec![
            event(Kind::Trade, 12, side::BID, 10_050, 5),
            event(Kind::Trade, 13, side::ASK, 10_050, 5),
            event(Kind::Quote, 10, side::BID, 10_000, 10),
            event(Kind::Quote, 11, side::ASK, 10_100, 10),
            event(Kind::Quote, 14, side::BID, 10_000, 20),
            event(Kind::Quote, 15, side::ASK, 10_100, 10),
        ];
        let range = |topic, start, stop| TopicRange { topic, start, stop };
        Batch::from_parts(events, vec![range(TRADES, 0, 2), range(QUOTES, 2, 6)], 7)
    }

    #[test]
    fn values_come_in_the_order_of_the_node_and_in_natural_units() {
        let mut set = set(false);
        let rows: Vec<Row> = set.rows(&batch()).copied().collect();
        let told: Vec<_> = rows.iter().map(|row| (row.seq, row.indicator, row.value)).collect();
        assert_eq!(told, [(11, 0, 100.5), (12, 1, 0.5), (13, 1, 0.0), (15, 0, 100.5)]);
        assert_eq!(
            (rows[1].ts_event, rows[1].ts_recv, rows[1].instrument),
            (1_012, 2_012, 5)
        );
        assert_eq!((set.values, set.signals, set.undefined), (4, 3, 0));
    }

    #[test]
    fn signals_are_what_changed_and_name_their_cause() {
        for (every, seqs) in [(false, vec![11, 12, 13]), (true, vec![11, 12, 13, 15])] {
            let made = set(every).signals(&batch()).unwrap();
            assert_eq!(made.events.iter().map(|event| event.seq).collect::<Vec<_>>(), seqs);
            let range = TopicRange {
                topic: 20,
                start: 0,
                stop: seqs.len() as u32,
            };
            assert_eq!((made.topics, made.ts_mono), (vec![range], 7));
            let first = made.events[0];
            assert_eq!((f64::from_bits(first.id), first.aux), (100.5, 70));
            assert_eq!((first.price, first.size), (PRICE_UNDEF, SIZE_UNDEF));
            assert_eq!(first.kind, Kind::Signal as u8);
            assert_eq!(first.flags, flag::SYNTHETIC | flag::LAST);
        }
        assert!(set(true).signals(&Batch::default()).is_none());
    }

    #[test]
    fn what_was_no_trade_and_what_nobody_defined_feeds_nothing() {
        let mut set = set(true);
        let trade = |seq, instrument, flags, price| Event {
            instrument,
            flags,
            ..event(Kind::Trade, seq, side::BID, price, 1)
        };
        let events = vec![
            trade(1, 5, flag::TRIAL, 1),
            trade(2, 5, flag::OFF_BOOK, 1),
            trade(3, 5, flag::LAST, PRICE_UNDEF),
            trade(4, 6, flag::LAST, 1),
            trade(5, 5, flag::LAST | flag::SKEW, 1),
        ];
        let range = TopicRange {
            topic: TRADES,
            start: 0,
            stop: 5,
        };
        let made = set.signals(&Batch::from_parts(events, vec![range], 0)).unwrap();
        assert_eq!(made.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [5]);
        assert_eq!(made.events[0].flags, flag::SYNTHETIC | flag::LAST | flag::SKEW);
        assert_eq!(set.undefined, 1);
    }
}
