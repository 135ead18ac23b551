//! Stoikov's microprice (2018): mid plus an adjustment looked up by imbalance and spread. The table is fitted outside.

use super::{answers, Indicator, OnQuote, Quote, Tally};
use crate::error::{Error, Reason, Result};
use crate::saved_fields;

/// Most cells of a table.
const CELLS_MAX: usize = 1 << 20;

/// Mid plus a looked up adjustment.
#[derive(Debug, Clone)]
pub struct Microprice {
    pub(super) tally: Tally,
    value: f64,
    pub(super) tick: f64,
    pub(super) buckets: u64,    // of imbalance
    spreads: u64,               // 1 .. spreads ticks
    pub(super) table: Vec<f64>, // spreads rows of buckets, in price units
}

saved_fields!(Microprice { tally, value, tick, buckets, spreads, table } is_sound);

impl Microprice {
    /// A table of `buckets` columns of imbalance, ascending, and a row per spread of 1, 2, ... ticks.
    pub fn new(table: Vec<f64>, buckets: i64, tick: f64, strict: bool) -> Result<Self> {
        let refused = Err(Error::new(Reason::Malformed, 0));
        if buckets < 1 || table.is_empty() || table.len() > CELLS_MAX {
            return refused;
        }
        let made = Microprice {
            tally: Tally::new(strict),
            value: f64::NAN,
            tick,
            buckets: buckets as u64,
            spreads: table.len() as u64 / buckets as u64,
            table,
        };
        if made.is_sound() {
            Ok(made)
        } else {
            refused
        }
    }

    fn is_sound(&self) -> bool {
        let cells = self.buckets.checked_mul(self.spreads);
        self.tick > 0.0
            && self.tick < f64::INFINITY
            && self.buckets > 0
            && self.spreads > 0
            && cells == Some(self.table.len() as u64)
            && self.table.iter().all(|cell| cell.is_finite())
    }

    /// Wider spreads than the table knows use its last row.
    fn adjustment(&self, quote: &Quote) -> f64 {
        let share = quote.bid_size / (quote.bid_size + quote.ask_size);
        let column = ((share * self.buckets as f64) as u64).min(self.buckets - 1);
        let ticks = (quote.ask_price - quote.bid_price) / self.tick + 0.5;
        let row = (ticks as u64).clamp(1, self.spreads) - 1;
        let cell = self.table.get((row * self.buckets + column) as usize);
        cell.copied().unwrap_or(f64::NAN)
    }
}

impl Indicator for Microprice {
    const KIND: u16 = 36;

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

impl OnQuote for Microprice {
    #[inline]
    fn quote(&mut self, quote: Quote, _ts_ns: i64) -> f64 {
        let Some(now) = quote.cleaned() else {
            return self.tally.skip();
        };
        self.tally.count += 1;
        self.value = if now.is_crossed() {
            self.tally.crossed += 1;
            f64::NAN
        } else if now.is_whole() {
            (now.bid_price + now.ask_price) / 2.0 + self.adjustment(&now)
        } else {
            f64::NAN
        };
        self.value
    }
}
