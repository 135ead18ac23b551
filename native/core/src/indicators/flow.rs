//! Values of the stream of trades: trade-flow imbalance, cumulative volume delta, Kyle's lambda, Amihud's illiquidity.

use super::elementary::ln;
use super::window::{Rows, Span};
use super::{answers, masked, Indicator, OnTrade, Tally, Trade};
use crate::error::Result;
use crate::saved_fields;

#[inline]
fn signed(trade: &Trade) -> f64 {
    masked(trade.side > 0.0, trade.size) - masked(trade.side < 0.0, trade.size)
}

/// Sum of signed volume over the sum of volume that has a side.
#[derive(Debug, Clone)]
pub struct TradeFlowImbalance {
    pub(super) tally: Tally,
    value: f64,
    pub(super) window: Rows, // signed, classified
}

saved_fields!(TradeFlowImbalance { tally, value, window } is_sound);

impl TradeFlowImbalance {
    /// Over a span.
    pub fn new(span: Span, strict: bool) -> Result<Self> {
        Ok(TradeFlowImbalance {
            tally: Tally::new(strict),
            value: f64::NAN,
            window: Rows::new(span, 2)?,
        })
    }

    fn is_sound(&self) -> bool {
        self.window.sums().len() == 2
    }
}

impl Indicator for TradeFlowImbalance {
    const KIND: u16 = 50;

    answers!();

    fn is_ready(&self) -> bool {
        self.window.is_full()
    }

    fn warmup(&self) -> u64 {
        self.window.warmup()
    }

    fn reset(&mut self) {
        self.tally.clear();
        self.window.clear();
        self.value = f64::NAN;
    }
}

impl OnTrade for TradeFlowImbalance {
    #[inline]
    fn trade(&mut self, trade: Trade, ts_ns: i64) -> f64 {
        if !trade.is_clean() {
            return self.tally.skip();
        }
        self.tally.count += 1;
        let signed = signed(&trade);
        self.window.push(&[signed, signed.abs()], ts_ns);
        if self.window.is_full() {
            let classified = self.window.sum(1);
            self.value = if classified > 0.0 {
                (self.window.sum(0) / classified).clamp(-1.0, 1.0)
            } else {
                f64::NAN
            };
        }
        self.value
    }
}

/// Cumulative volume delta: the sum of signed volume since the beginning.
#[derive(Debug, Clone)]
pub struct Cvd {
    pub(super) tally: Tally,
    value: f64,
    sum: f64,
}

saved_fields!(Cvd { tally, value, sum } is_any);

impl Cvd {
    /// From zero.
    pub fn new(strict: bool) -> Self {
        Cvd {
            tally: Tally::new(strict),
            value: f64::NAN,
            sum: 0.0,
        }
    }

    fn is_any(&self) -> bool {
        true
    }
}

impl Indicator for Cvd {
    const KIND: u16 = 51;

    answers!();

    fn is_ready(&self) -> bool {
        self.tally.count > 0
    }

    fn warmup(&self) -> u64 {
        1
    }

    fn reset(&mut self) {
        self.tally.clear();
        (self.value, self.sum) = (f64::NAN, 0.0);
    }
}

impl OnTrade for Cvd {
    #[inline]
    fn trade(&mut self, trade: Trade, _ts_ns: i64) -> f64 {
        if !trade.is_clean() {
            return self.tally.skip();
        }
        self.tally.count += 1;
        self.sum += signed(&trade);
        self.value = self.sum;
        self.value
    }
}

/// Kyle's lambda: slope, with intercept, of price changes on signed volume.
#[derive(Debug, Clone)]
pub struct KyleLambda {
    pub(super) tally: Tally,
    value: f64,
    price: f64,
    pub(super) window: Rows, // x, y, xx, xy
}

saved_fields!(KyleLambda { tally, value, price, window } is_sound);

impl KyleLambda {
    /// Over the last `window` changes, or all.
    pub fn new(window: Option<i64>, strict: bool) -> Result<Self> {
        Ok(KyleLambda {
            tally: Tally::new(strict),
            value: f64::NAN,
            price: f64::NAN,
            window: Rows::new(Span::last(window), 4)?,
        })
    }

    fn is_sound(&self) -> bool {
        self.window.sums().len() == 4
    }

    fn evaluate(&self) -> f64 {
        let n = self.window.len() as f64;
        let [x, y, xx, xy] = *self.window.sums() else {
            return f64::NAN;
        };
        let spread = xx - x * x / n;
        // What is left of equal volumes is rounding, not a spread.
        if n >= 2.0 && spread > 1e-12 * xx {
            (xy - x * y / n) / spread
        } else {
            f64::NAN
        }
    }
}

impl Indicator for KyleLambda {
    const KIND: u16 = 52;

    answers!();

    fn is_ready(&self) -> bool {
        self.window.is_full() && self.window.len() >= 2
    }

    fn warmup(&self) -> u64 {
        self.window.warmup().max(2) + 1
    }

    fn reset(&mut self) {
        self.tally.clear();
        self.window.clear();
        (self.value, self.price) = (f64::NAN, f64::NAN);
    }
}

impl OnTrade for KyleLambda {
    #[inline]
    fn trade(&mut self, trade: Trade, ts_ns: i64) -> f64 {
        if !trade.is_clean() {
            return self.tally.skip();
        }
        self.tally.count += 1;
        let change = trade.price - self.price;
        let is_first = self.price.is_nan();
        self.price = trade.price;
        if is_first {
            return f64::NAN;
        }
        let x = signed(&trade);
        self.window.push(&[x, change, x * x, x * change], ts_ns);
        if self.is_ready() {
            self.value = self.evaluate();
        }
        self.value
    }
}

/// Amihud's illiquidity: mean of |log return| over traded value.
#[derive(Debug, Clone)]
pub struct Amihud {
    pub(super) tally: Tally,
    value: f64,
    price: f64,
    pub(super) window: Rows,
}

saved_fields!(Amihud { tally, value, price, window } is_sound);

impl Amihud {
    /// Over the last `window` trades, or all.
    pub fn new(window: Option<i64>, strict: bool) -> Result<Self> {
        Ok(Amihud {
            tally: Tally::new(strict),
            value: f64::NAN,
            price: f64::NAN,
            window: Rows::new(Span::last(window), 1)?,
        })
    }

    fn is_sound(&self) -> bool {
        self.window.sums().len() == 1
    }
}

impl Indicator for Amihud {
    const KIND: u16 = 53;

    answers!();

    fn is_ready(&self) -> bool {
        self.window.is_full()
    }

    fn warmup(&self) -> u64 {
        self.window.warmup() + 1
    }

    fn reset(&mut self) {
        self.tally.clear();
        self.window.clear();
        (self.value, self.price) = (f64::NAN, f64::NAN);
    }
}

impl OnTrade for Amihud {
    #[inline]
    fn trade(&mut self, trade: Trade, ts_ns: i64) -> f64 {
        // A trade without volume moves no price: skipped with the rest that says nothing.
        if !trade.is_clean() || trade.price <= 0.0 || trade.size == 0.0 {
            return self.tally.skip();
        }
        self.tally.count += 1;
        let before = std::mem::replace(&mut self.price, trade.price);
        if before.is_nan() {
            return f64::NAN;
        }
        let change = ln(trade.price / before).abs();
        self.window.push(&[change / (trade.price * trade.size)], ts_ns);
        if self.window.is_full() {
            self.value = self.window.sum(0) / self.window.len() as f64;
        }
        self.value
    }
}
