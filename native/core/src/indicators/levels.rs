//! Values of one book of ranked levels: depth imbalance, volume-adjusted prices, slope. No memory but the last value.

use super::mlofi::quotes;
use super::{answers, Indicator, OnLevels, Quote, Tally};
use crate::error::{Error, Reason, Result};
use crate::saved_fields;

const LEVELS_MAX: i64 = super::mlofi::LEVELS_MAX;

/// Sums over the levels of one book. Missing levels add nothing.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    bids: f64,
    asks: f64,
    cross: f64, // sum of bid price * ask size + ask price * bid size, where both are there
    same: f64,  // sum of price * size of the same side
    cross_size: f64,
    last_bid: f64, // price of the last populated level
    last_ask: f64,
}

/// Which value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// (bids - asks) / (bids + asks).
    Imbalance = 0,
    /// VAMP: each price weighted by the other side's size.
    CrossPrice = 1,
    /// Each price weighted by its own size.
    DepthPrice = 2,
    /// Depth over distance, mean of both sides (Della Vedova, Gao, Grant, Westerholm).
    Slope = 3,
    /// The same of the bids.
    BidSlope = 4,
    /// The same of the asks.
    AskSlope = 5,
}

impl super::state::Saved for Shape {
    fn save(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }

    fn load(input: &mut super::state::Reader<'_>) -> Result<Self> {
        Ok(match u8::load(input)? {
            0 => Shape::Imbalance,
            1 => Shape::CrossPrice,
            2 => Shape::DepthPrice,
            3 => Shape::Slope,
            4 => Shape::BidSlope,
            5 => Shape::AskSlope,
            _ => return input.malformed(),
        })
    }
}

/// The last value of a book.
#[derive(Debug, Clone)]
pub struct BookReading {
    pub(super) tally: Tally,
    pub(super) shape: Shape,
    pub(super) levels: u64,
    value: f64,
}

saved_fields!(BookReading { tally, shape, levels, value } is_sound);

impl BookReading {
    /// A reading of `levels` levels.
    pub fn new(shape: Shape, levels: i64, strict: bool) -> Result<Self> {
        if !(1..=LEVELS_MAX).contains(&levels) {
            return Err(Error::new(Reason::TooLarge, 0));
        }
        Ok(BookReading {
            tally: Tally::new(strict),
            shape,
            levels: levels as u64,
            value: f64::NAN,
        })
    }

    fn is_sound(&self) -> bool {
        (1..=LEVELS_MAX as u64).contains(&self.levels)
    }

    fn evaluate(&self, sums: Sums, touch: Quote) -> f64 {
        let mid = (touch.bid_price + touch.ask_price) / 2.0;
        let bid = || over(sums.bids, mid - sums.last_bid);
        let ask = || over(sums.asks, sums.last_ask - mid);
        match self.shape {
            Shape::Imbalance => over(sums.bids - sums.asks, sums.bids + sums.asks),
            Shape::CrossPrice => over(sums.cross, sums.cross_size),
            Shape::DepthPrice => over(sums.same, sums.bids + sums.asks),
            Shape::Slope => (bid() + ask()) / 2.0,
            Shape::BidSlope => bid(),
            Shape::AskSlope => ask(),
        }
    }
}

/// A quotient; NaN without a positive finite divisor.
fn over(part: f64, whole: f64) -> f64 {
    if whole > 0.0 && whole < f64::INFINITY {
        part / whole
    } else {
        f64::NAN
    }
}

impl Indicator for BookReading {
    const KIND: u16 = 40;

    /// The slopes of either side are one indicator.
    fn kind(&self) -> u16 {
        Self::KIND + (self.shape as u16).min(Shape::Slope as u16)
    }

    answers!();

    fn is_ready(&self) -> bool {
        !self.value.is_nan()
    }

    fn warmup(&self) -> u64 {
        1
    }

    fn reset(&mut self) {
        self.tally.clear();
        self.value = f64::NAN;
    }
}

impl OnLevels for BookReading {
    fn levels(&self) -> usize {
        self.levels as usize
    }

    fn book(&mut self, flat: &[f64], _ts_ns: i64) -> f64 {
        let mut sums = Sums::default();
        let mut touch = None;
        for quote in quotes(flat) {
            let Some(clean) = quote.cleaned() else {
                return self.tally.skip();
            };
            touch.get_or_insert(clean);
            sums.bids += clean.bid_size;
            sums.asks += clean.ask_size;
            if clean.bid_size > 0.0 {
                sums.same += clean.bid_price * clean.bid_size;
                sums.last_bid = clean.bid_price;
            }
            if clean.ask_size > 0.0 {
                sums.same += clean.ask_price * clean.ask_size;
                sums.last_ask = clean.ask_price;
            }
            if clean.is_whole() {
                sums.cross += clean.bid_price * clean.ask_size + clean.ask_price * clean.bid_size;
                sums.cross_size += clean.bid_size + clean.ask_size;
            }
        }
        let Some(touch) = touch else {
            return self.tally.skip();
        };
        if touch.is_crossed() {
            self.tally.crossed += 1;
        }
        self.tally.count += 1;
        self.value = self.evaluate(sums, touch);
        self.value
    }
}
