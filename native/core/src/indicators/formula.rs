//! Values of one quote: mid, spread, weighted mid, imbalance, quote slope. No memory but the last value.

use std::marker::PhantomData;

use super::elementary::ln;
use super::{answers, Indicator, OnQuote, Quote, Tally};
use crate::saved_fields;

/// A value of one whole quote.
pub trait Formula: Clone {
    /// Kind of the snapshot.
    const KIND: u16;
    /// The value; NaN where it is undefined.
    fn of(quote: &Quote) -> f64;
}

/// The last value of a formula. A missing side makes it NaN.
#[derive(Debug, Clone)]
pub struct Reading<F> {
    pub(super) tally: Tally,
    pub(super) skip_crossed: bool,
    value: f64,
    formula: PhantomData<F>,
}

impl<F> super::state::Saved for PhantomData<F> {
    fn save(&self, _out: &mut Vec<u8>) {}

    fn load(_input: &mut super::state::Reader<'_>) -> crate::error::Result<Self> {
        Ok(PhantomData)
    }
}

impl<F> Reading<F> {
    /// A reading of nothing yet.
    pub fn new(skip_crossed: bool, strict: bool) -> Self {
        Reading {
            tally: Tally::new(strict),
            skip_crossed,
            value: f64::NAN,
            formula: PhantomData,
        }
    }

    fn is_any(&self) -> bool {
        true
    }
}

macro_rules! formulas {
    ($($(#[$doc:meta])* $name:ident = $kind:literal: $quote:ident => $value:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name;

        impl Formula for $name {
            const KIND: u16 = $kind;

            #[inline]
            fn of($quote: &Quote) -> f64 {
                $value
            }
        }

        saved_fields!(Reading<$name> { tally, skip_crossed, value, formula } is_any);
    )*};
}

formulas! {
    /// (bid + ask) / 2.
    Mid = 30: q => (q.bid_price + q.ask_price) / 2.0;
    /// ask - bid.
    Spread = 31: q => q.ask_price - q.bid_price;
    /// Spread over mid, in 1/10,000.
    SpreadBps = 32: q => {
        let mid = (q.bid_price + q.ask_price) / 2.0;
        if mid > 0.0 { (q.ask_price - q.bid_price) / mid * 1e4 } else { f64::NAN }
    };
    /// Mid weighted by the other side's size. Often called microprice; Stoikov's is another one.
    WeightedMid = 33: q =>
        (q.bid_price * q.ask_size + q.ask_price * q.bid_size) / (q.bid_size + q.ask_size);
    /// (bid size - ask size) / (bid size + ask size).
    QueueImbalance = 34: q => (q.bid_size - q.ask_size) / (q.bid_size + q.ask_size);
    /// ln(ask/bid) / (ln bid size + ln ask size), Hasbrouck and Seppi 2001; NaN where the sizes' product is at most 1.
    QuoteSlope = 35: q => {
        let sizes = ln(q.bid_size) + ln(q.ask_size);
        if sizes > 0.0 && q.bid_price > 0.0 { ln(q.ask_price / q.bid_price) / sizes } else { f64::NAN }
    };
}

impl<F: Formula> Indicator for Reading<F>
where
    Reading<F>: super::state::Saved,
{
    const KIND: u16 = F::KIND;

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

impl<F: Formula> OnQuote for Reading<F>
where
    Reading<F>: super::state::Saved,
{
    #[inline(always)]
    fn quote(&mut self, quote: Quote, _ts_ns: i64) -> f64 {
        let Some(now) = quote.cleaned() else {
            return self.tally.skip();
        };
        if now.is_crossed() {
            self.tally.crossed += 1;
            if self.skip_crossed {
                return self.tally.skip();
            }
        }
        self.tally.count += 1;
        self.value = if now.is_whole() { F::of(&now) } else { f64::NAN };
        self.value
    }
}
