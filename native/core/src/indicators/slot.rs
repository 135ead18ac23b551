//! What one topic has in a set of indicators: its own copies, its touch and its book, fed message by message.
//!
//! It sees the events of one topic in order and says values; which topics there are, and where signals go, is the set's.

use std::collections::HashMap;

use super::member::{Member, Takes};
use super::{Quote, Trade};
use crate::book::builder::BookBuilder;
use crate::book::l2::{Levels, Side};
use crate::book::sync::Rule;
use crate::event::{flag, side, BookState, Event, Kind, PRICE_UNDEF, SIZE_UNDEF, TS_UNDEF};

/// Trades that were none: indicative ones, and those beside the order book.
const NO_TRADE: u16 = flag::TRIAL | flag::OFF_BOOK;

/// Ten to the scale of prices and of sizes.
pub(super) type Scales = (f64, f64);

/// One value: what an indicator said after one message. NaN: not ready, or the message was no use.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Number of the message's last record.
    pub seq: u64,
    /// Venue time of the message.
    pub ts_event: i64,
    /// Receive time of the message.
    pub ts_recv: i64,
    /// The value.
    pub value: f64,
    /// The instrument.
    pub instrument: u32,
    /// Place of the indicator in the set.
    pub indicator: u32,
}

/// A member of a topic.
struct Fed {
    place: u32,
    /// Whether every value is a signal.
    every: bool,
    /// Bits of the value that was a signal last.
    said: u64,
    member: Box<dyn Member>,
}

/// What one topic has.
pub(super) struct Slot {
    signals: u32,
    rule: Option<Rule>,
    instrument: u32,
    /// None: nobody defined the instrument.
    scales: Option<Scales>,
    touch: Quote,
    book: Option<BookBuilder>,
    /// Ranked levels of the book, as many as the deepest member takes.
    flat: Vec<f64>,
    members: Vec<Fed>,
}

/// A value with what its signal needs.
pub(super) struct Found {
    pub row: Row,
    pub topic: u32,
    /// Flags of the cause.
    pub flags: u16,
    pub is_signal: bool,
}

impl Slot {
    /// With members: (place, whether every value is a signal, the indicator without input).
    pub fn new(signals: u32, rule: Option<Rule>, members: Vec<(u32, bool, Box<dyn Member>)>) -> Self {
        let depth = members.iter().map(|(_, _, member)| match member.takes() {
            Takes::Levels(levels) => levels,
            _ => 0,
        });
        let depth = depth.max().unwrap_or(0);
        let fed = |(place, every, member)| Fed {
            place,
            every,
            // A NaN is never said: the first value differs from it.
            said: f64::NAN.to_bits(),
            member,
        };
        Slot {
            signals,
            rule,
            instrument: 0,
            scales: None,
            touch: Quote::EMPTY,
            book: None,
            flat: vec![0.0; 4 * depth],
            members: members.into_iter().map(fed).collect(),
        }
    }

    /// Takes whole messages of the topic; how many events had no definition.
    pub fn take(&mut self, events: &[Event], known: &HashMap<u32, Scales>, out: &mut Vec<Found>) -> u64 {
        let (mut rest, mut undefined) = (events, 0);
        while let Some((event, after)) = rest.split_first() {
            let mut end = 1;
            if event.kind == Kind::DepthHead as u8 {
                let is_level = |event: &&Event| event.kind == Kind::Depth as u8;
                end += after.iter().take_while(is_level).count();
            }
            let (message, later) = rest.split_at(end);
            rest = later;
            if event.instrument != self.instrument || self.scales.is_none() {
                self.redefine(event.instrument, known);
            }
            match self.scales {
                Some(scales) => self.message(message, scales, out),
                None => undefined += message.len() as u64,
            }
        }
        undefined
    }

    #[cold]
    fn redefine(&mut self, instrument: u32, known: &HashMap<u32, Scales>) {
        self.instrument = instrument;
        self.scales = known.get(&instrument).copied();
        // Mantissas of another scale say nothing about this one's.
        self.book = self.rule.map(BookBuilder::new);
        self.touch = Quote::EMPTY;
    }

    #[inline]
    fn message(&mut self, message: &[Event], scales: Scales, out: &mut Vec<Found>) {
        const TRADE: u8 = Kind::Trade as u8;
        const QUOTE: u8 = Kind::Quote as u8;
        const HEAD: u8 = Kind::DepthHead as u8;
        const CLEAR: u8 = Kind::Clear as u8;
        let (Some(first), Some(last)) = (message.first(), message.last()) else {
            return;
        };
        match first.kind {
            TRADE if first.flags & NO_TRADE == 0 && is_said(first) => {
                let trade = trade_of(first, scales);
                let (lots, ts_ns) = (first.size, time_of(first));
                self.say(first, out, |member| member.trade(trade, lots, ts_ns));
            }
            QUOTE => {
                self.side(first, scales);
                if first.flags & flag::LAST != 0 {
                    let (quote, ts_ns) = (self.touch, time_of(first));
                    self.say(first, out, |member| member.quote(quote, ts_ns));
                }
            }
            HEAD => self.depth(message, last, scales, out),
            CLEAR => {
                if let Some(book) = &mut self.book {
                    book.apply(message, self.instrument);
                }
            }
            _ => {}
        }
    }

    /// One side of a quote; a side that is not said stays.
    #[inline]
    fn side(&mut self, event: &Event, (price_scale, size_scale): Scales) {
        let is_there = is_said(event) && event.size > 0;
        let (price, size) = (event.price as f64 / price_scale, event.size as f64 / size_scale);
        let touch = &mut self.touch;
        if event.side == side::ASK {
            (touch.ask_price, touch.ask_size) = if is_there { (price, size) } else { (f64::INFINITY, 0.0) };
        } else {
            (touch.bid_price, touch.bid_size) = if is_there {
                (price, size)
            } else {
                (f64::NEG_INFINITY, 0.0)
            };
        }
    }

    /// A depth message; it feeds only what is proven to be the book.
    fn depth(&mut self, message: &[Event], last: &Event, scales: Scales, out: &mut Vec<Found>) {
        let Some(book) = &mut self.book else { return };
        if book.apply(message, self.instrument) == 0 || book.state() != BookState::Synced {
            return;
        }
        let levels = book.levels();
        levels.write_flat(&mut self.flat);
        for level in self.flat.chunks_exact_mut(4) {
            for (slot, scale) in level.iter_mut().zip([scales.0, scales.1, scales.0, scales.1]) {
                *slot /= scale;
            }
        }
        self.touch = touch_of(levels, scales);
        let (touch, ts_ns, flat) = (self.touch, time_of(last), std::mem::take(&mut self.flat));
        self.say(last, out, |member| member.book(&flat, touch, ts_ns));
        self.flat = flat;
    }

    /// Feeds every member and keeps what it says.
    #[inline]
    fn say(&mut self, cause: &Event, out: &mut Vec<Found>, mut feed: impl FnMut(&mut dyn Member) -> f64) {
        for fed in &mut self.members {
            let value = feed(fed.member.as_mut());
            let is_signal = !value.is_nan() && (fed.every || value.to_bits() != fed.said);
            if is_signal {
                fed.said = value.to_bits();
            }
            out.push(Found {
                row: Row {
                    seq: cause.seq,
                    ts_event: cause.ts_event,
                    ts_recv: cause.ts_recv,
                    value,
                    instrument: cause.instrument,
                    indicator: fed.place,
                },
                topic: self.signals,
                flags: cause.flags,
                is_signal,
            });
        }
    }
}

/// Whether price and size are numbers.
#[inline]
fn is_said(event: &Event) -> bool {
    event.price != PRICE_UNDEF && event.size != SIZE_UNDEF
}

/// Venue time where there is one.
#[inline]
fn time_of(event: &Event) -> i64 {
    if event.ts_event == TS_UNDEF {
        event.ts_recv
    } else {
        event.ts_event
    }
}

#[inline]
fn trade_of(event: &Event, (price_scale, size_scale): Scales) -> Trade {
    Trade {
        price: event.price as f64 / price_scale,
        size: event.size as f64 / size_scale,
        side: match event.side {
            side::BID => 1.0,
            side::ASK => -1.0,
            _ => 0.0,
        },
    }
}

fn touch_of(levels: &Levels, (price_scale, size_scale): Scales) -> Quote {
    let best = |side, nowhere| {
        levels.best(side).map_or((nowhere, 0.0), |level| {
            (level.price as f64 / price_scale, level.size as f64 / size_scale)
        })
    };
    let (bid_price, bid_size) = best(Side::Bid, f64::NEG_INFINITY);
    let (ask_price, ask_size) = best(Side::Ask, f64::INFINITY);
    Quote {
        bid_price,
        bid_size,
        ask_price,
        ask_size,
    }
}
