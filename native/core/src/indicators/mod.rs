//! Microstructure indicators: one state machine each, fed by scalars, by columns or by the decoder, always through one step.
//!
//! Definitions, forks and edge cases: docs/indicators.md. Bad input is skipped and counted, never raised here; `strict` leaves a
//! mark that the caller turns into an error. Only IEEE basic operations in written order, so a run has the same bits on every
//! CPU and in the numpy twin. Nothing here knows Python, time or the bus.

pub mod buckets;
pub mod bulk;
pub mod columns;
pub mod distribution;
pub mod elementary;
mod exp_table;
pub mod flow;
pub mod formula;
pub mod hawkes;
pub mod hawkes_bivariate;
pub mod hawkes_likelihood;
pub mod hawkes_simulation;
pub mod levels;
pub mod member;
pub mod microprice;
pub mod mlofi;
pub mod ofi;
pub mod params;
pub mod returns;
pub mod set;
pub mod signing;
pub mod slot;
pub mod state;
pub mod toxicity;
pub mod vpin;
pub mod window;

use columns::{Chunk, Quotes, Trades};
use state::Saved;

use crate::saved_fields;

/// What an indicator took and refused.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Whether bad input is an error of the caller.
    pub strict: bool,
    /// Set by a skip when `strict`; whoever reports it clears it.
    pub refused: bool,
    /// Inputs taken.
    pub count: u64,
    /// Inputs skipped: NaN, infinite, negative size, missing side where the policy says so.
    pub skipped: u64,
    /// Quotes taken or skipped with bid >= ask.
    pub crossed: u64,
    /// Inputs whose time lay before their predecessor's.
    pub backward: u64,
}

impl Saved for Tally {
    fn save(&self, out: &mut Vec<u8>) {
        self.strict.save(out);
        [self.count, self.skipped, self.crossed, self.backward].save(out);
    }

    fn load(input: &mut state::Reader<'_>) -> crate::error::Result<Self> {
        let strict = bool::load(input)?;
        let [count, skipped, crossed, backward] = <[u64; 4]>::load(input)?;
        Ok(Tally {
            strict,
            refused: false,
            count,
            skipped,
            crossed,
            backward,
        })
    }
}

impl Tally {
    /// A tally of nothing.
    pub fn new(strict: bool) -> Self {
        Tally {
            strict,
            ..Tally::default()
        }
    }

    /// Counts a skipped input; its value is NaN. Inlined, so that a local copy of an indicator can live in registers.
    #[inline(always)]
    pub fn skip(&mut self) -> f64 {
        self.skipped += 1;
        self.refused = self.strict;
        f64::NAN
    }

    /// Forgets the counts.
    pub fn clear(&mut self) {
        *self = Tally::new(self.strict);
    }
}

/// What every indicator can be asked.
pub trait Indicator: Clone + Saved + params::Described {
    /// Which state machine a snapshot belongs to; never reused. Variants count from here.
    const KIND: u16;
    /// Layout of the snapshot.
    const VERSION: u16 = 1;

    /// What it took and refused.
    fn tally(&self) -> &Tally;
    /// The same, to clear marks.
    fn tally_mut(&mut self) -> &mut Tally;
    /// The current value; NaN until ready.
    fn value(&self) -> f64;
    /// Whether the value means what the parameters promise.
    fn is_ready(&self) -> bool;
    /// Inputs needed at least until ready.
    fn warmup(&self) -> u64;
    /// Back to the beginning with the same parameters.
    fn reset(&mut self);

    /// Which indicator this one is.
    fn kind(&self) -> u16 {
        Self::KIND
    }

    /// The snapshot.
    fn snapshot(&self) -> Vec<u8> {
        state::write(self.kind(), Self::VERSION, self)
    }

    /// The indicator of a snapshot of this kind.
    fn restore(kind: u16, bytes: &[u8]) -> crate::error::Result<Self> {
        let loaded: Self = state::read(kind, Self::VERSION, bytes)?;
        if loaded.kind() == kind {
            Ok(loaded)
        } else {
            Err(crate::error::Error::new(crate::error::Reason::Unsupported, 0))
        }
    }
}

/// `x`, or 0 when it does not count: bits instead of a branch, because what comes next cannot be predicted.
#[inline(always)]
fn masked(is: bool, x: f64) -> f64 {
    f64::from_bits(x.to_bits() & u64::from(is).wrapping_neg())
}

/// Best bid and ask with their sizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quote {
    /// Best bid, natural value or mantissa.
    pub bid_price: f64,
    /// Size at the bid; 0: no bid.
    pub bid_size: f64,
    /// Best ask.
    pub ask_price: f64,
    /// Size at the ask; 0: no ask.
    pub ask_size: f64,
}

saved_fields!(Quote { bid_price, bid_size, ask_price, ask_size } is_any);

impl Quote {
    /// No book at all.
    pub const EMPTY: Quote = Quote {
        bid_price: f64::NEG_INFINITY,
        bid_size: 0.0,
        ask_price: f64::INFINITY,
        ask_size: 0.0,
    };

    fn is_any(&self) -> bool {
        true
    }

    /// The quote with missing sides at infinity; None when a number is not one: NaN, infinite, a negative size.
    #[inline]
    pub fn cleaned(mut self) -> Option<Self> {
        if self.is_plain() {
            return Some(self);
        }
        let sizes = self.bid_size >= 0.0 && self.ask_size >= 0.0;
        if !(sizes && self.bid_size < f64::INFINITY && self.ask_size < f64::INFINITY) {
            return None;
        }
        if self.bid_size == 0.0 {
            if self.bid_price.is_nan() {
                return None;
            }
            self.bid_price = f64::NEG_INFINITY;
        } else if !self.bid_price.is_finite() {
            return None;
        }
        if self.ask_size == 0.0 {
            if self.ask_price.is_nan() {
                return None;
            }
            self.ask_price = f64::INFINITY;
        } else if !self.ask_price.is_finite() {
            return None;
        }
        Some(self)
    }

    /// Whether every number is one and both sides are there: one branch for what nearly always comes.
    ///
    /// x - x has no bits for a number and some for infinity and NaN; a size above 0 has no sign bit, nor has its predecessor.
    #[inline(always)]
    #[allow(clippy::eq_op)]
    pub fn is_plain(&self) -> bool {
        let odd = |x: f64| (x - x).to_bits();
        let sign = |x: f64| x.to_bits() | x.to_bits().wrapping_sub(1);
        let faults = odd(self.bid_price) | odd(self.bid_size) | odd(self.ask_price) | odd(self.ask_size);
        let signs = (sign(self.bid_size) | sign(self.ask_size)) >> 63;
        faults | signs == 0
    }

    /// Whether both sides are there.
    #[inline]
    pub fn is_whole(&self) -> bool {
        self.bid_size > 0.0 && self.ask_size > 0.0
    }

    /// Locked or crossed. A missing side crosses nothing.
    #[inline]
    pub fn is_crossed(&self) -> bool {
        self.bid_price >= self.ask_price
    }
}

/// One trade.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trade {
    /// Price, natural value or mantissa.
    pub price: f64,
    /// Size.
    pub size: f64,
    /// Aggressor: > 0 buy, < 0 sell, 0 unknown.
    pub side: f64,
}

impl Trade {
    /// Whether every number is one, and the size not negative.
    #[inline]
    pub fn is_clean(&self) -> bool {
        self.price.is_finite() && self.size >= 0.0 && self.size < f64::INFINITY && !self.side.is_nan()
    }
}

/// Takes quotes.
pub trait OnQuote: Indicator {
    /// One quote; the value after it.
    fn quote(&mut self, quote: Quote, ts_ns: i64) -> f64;

    /// Many quotes, in order; the row that a strict indicator refused. `room` is for what is computed ahead.
    #[inline]
    fn quotes(&mut self, rows: &Quotes<'_>, _room: &mut Chunk, out: &mut [f64]) -> Option<usize> {
        for (row, (slot, (quote, ts_ns))) in out.iter_mut().zip(rows.each()).enumerate() {
            *slot = self.quote(quote, ts_ns);
            if self.tally().refused {
                return Some(row);
            }
        }
        None
    }
}

/// Takes trades.
pub trait OnTrade: Indicator {
    /// One trade; the value after it.
    fn trade(&mut self, trade: Trade, ts_ns: i64) -> f64;

    /// Many trades, in order; the row that a strict indicator refused.
    #[inline]
    fn trades(&mut self, rows: &Trades<'_>, out: &mut [f64]) -> Option<usize> {
        for (row, (slot, (trade, ts_ns))) in out.iter_mut().zip(rows.each()).enumerate() {
            *slot = self.trade(trade, ts_ns);
            if self.tally().refused {
                return Some(row);
            }
        }
        None
    }
}

/// Takes ranked levels: bid price, bid size, ask price, ask size, best first.
pub trait OnLevels: Indicator {
    /// Levels per row.
    fn levels(&self) -> usize;
    /// One book; the value after it.
    fn book(&mut self, flat: &[f64], ts_ns: i64) -> f64;
}

/// Takes prices.
pub trait OnPrice: Indicator {
    /// One price; the value after it.
    fn price(&mut self, price: f64, ts_ns: i64) -> f64;
}

/// Takes a trade's price with the quote that it met.
pub trait OnPrint: Indicator {
    /// One print; the aggressor after it: 1, -1 or 0.
    fn print(&mut self, price: f64, bid: f64, ask: f64) -> f64;
}

/// The answers that every indicator with the fields `tally` and `value` gives in the same way.
macro_rules! answers {
    () => {
        fn tally(&self) -> &$crate::indicators::Tally {
            &self.tally
        }

        fn tally_mut(&mut self) -> &mut $crate::indicators::Tally {
            &mut self.tally
        }

        #[inline]
        fn value(&self) -> f64 {
            self.value
        }
    };
}
pub(crate) use answers;
