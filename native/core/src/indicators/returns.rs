//! Values of a stream of prices: the realised variance family, EWMA variance, Roll's spread; and a decayed sum.

use super::elementary::{exp_decay, ln, LN_2};
use super::window::{Rows, Span};
use super::{answers, Indicator, OnPrice, Tally};
use crate::error::{Error, Reason, Result};
use crate::saved_fields;

const PI: f64 = std::f64::consts::PI;
const ROOT_3: f64 = 1.732_050_807_568_877_2;

/// Which estimator of realised variance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Estimator {
    /// Sum of squared returns.
    Realized = 0,
    /// pi/2 times the sum of products of neighbours (Barndorff-Nielsen, Shephard).
    Bipower = 1,
    /// From the median of three (Andersen, Dobrev, Schaumburg 2012).
    Median = 2,
    /// From the smaller of two (same paper).
    Minimum = 3,
}

impl super::state::Saved for Estimator {
    fn save(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }

    fn load(input: &mut super::state::Reader<'_>) -> Result<Self> {
        Ok(match u8::load(input)? {
            0 => Estimator::Realized,
            1 => Estimator::Bipower,
            2 => Estimator::Median,
            3 => Estimator::Minimum,
            _ => return input.malformed(),
        })
    }
}

impl Estimator {
    /// How many returns one term takes.
    pub(super) fn reach(self) -> i64 {
        match self {
            Estimator::Realized => 1,
            Estimator::Bipower | Estimator::Minimum => 2,
            Estimator::Median => 3,
        }
    }
}

/// Realised variance over the last returns, or all.
#[derive(Debug, Clone)]
pub struct RealizedVariance {
    pub(super) tally: Tally,
    value: f64,
    pub(super) estimator: Estimator,
    returns: u64,
    price: f64,
    last: f64,   // |r| of the last return
    second: f64, // |r| of the one before
    pub(super) window: Rows,
}

saved_fields!(RealizedVariance { tally, value, estimator, returns, price, last, second, window } is_sound);

impl RealizedVariance {
    /// Over the last `window` returns, or all.
    pub fn new(estimator: Estimator, window: Option<i64>, strict: bool) -> Result<Self> {
        let terms = match window {
            Some(returns) if returns < estimator.reach().max(2) => return Err(Error::new(Reason::Unsupported, 0)),
            Some(returns) => Some(returns - estimator.reach() + 1),
            None => None,
        };
        Ok(RealizedVariance {
            tally: Tally::new(strict),
            value: f64::NAN,
            estimator,
            returns: 0,
            price: f64::NAN,
            last: 0.0,
            second: 0.0,
            window: Rows::new(Span::last(terms), 1)?,
        })
    }

    fn is_sound(&self) -> bool {
        self.window.sums().len() == 1
    }

    fn evaluate(&self) -> f64 {
        let sum = self.window.sum(0);
        let n = (self.window.len() as i64 + self.estimator.reach() - 1) as f64;
        match self.estimator {
            Estimator::Realized => sum,
            Estimator::Bipower => PI / 2.0 * sum,
            Estimator::Median => PI / (6.0 - 4.0 * ROOT_3 + PI) * (n / (n - 2.0)) * sum,
            Estimator::Minimum => PI / (PI - 2.0) * (n / (n - 1.0)) * sum,
        }
    }
}

impl Indicator for RealizedVariance {
    const KIND: u16 = 80;

    fn kind(&self) -> u16 {
        Self::KIND + self.estimator as u16
    }

    answers!();

    fn is_ready(&self) -> bool {
        self.window.is_full() && self.returns >= 2
    }

    fn warmup(&self) -> u64 {
        let returns = self.window.warmup() as i64 + self.estimator.reach() - 1;
        returns.max(2) as u64 + 1
    }

    fn reset(&mut self) {
        self.tally.clear();
        self.window.clear();
        (self.value, self.price) = (f64::NAN, f64::NAN);
        (self.returns, self.last, self.second) = (0, 0.0, 0.0);
    }
}

impl OnPrice for RealizedVariance {
    #[inline]
    fn price(&mut self, price: f64, ts_ns: i64) -> f64 {
        if !(price > 0.0 && price < f64::INFINITY) {
            return self.tally.skip();
        }
        self.tally.count += 1;
        let before = std::mem::replace(&mut self.price, price);
        if before.is_nan() {
            return f64::NAN;
        }
        let now = ln(price / before).abs();
        self.returns += 1;
        let (last, second) = (self.last, self.second);
        let term = match self.estimator {
            Estimator::Realized => now * now,
            Estimator::Bipower => now * last,
            Estimator::Minimum => now.min(last) * now.min(last),
            Estimator::Median => {
                let median = now.min(last).max(now.max(last).min(second));
                median * median
            }
        };
        (self.last, self.second) = (now, last);
        if self.returns as i64 >= self.estimator.reach() {
            self.window.push(&[term], ts_ns);
        }
        if self.is_ready() {
            self.value = self.evaluate();
        }
        self.value
    }
}

/// EWMA of squared log returns, started with the first; its root is the volatility per return.
#[derive(Debug, Clone)]
pub struct EwmaVariance {
    pub(super) tally: Tally,
    value: f64,
    pub(super) keep: f64,         // weight of the past per return; 0: by time
    pub(super) half_life_ns: i64, // 0: per return
    price: f64,
    last_ns: i64,
}

saved_fields!(EwmaVariance { tally, value, keep, half_life_ns, price, last_ns } is_any);

impl EwmaVariance {
    /// Weight of the past `keep` per return, or halved every `half_life_ns`.
    pub fn new(keep: Option<f64>, half_life_ns: Option<i64>, strict: bool) -> Result<Self> {
        let (keep, half_life_ns) = match (keep, half_life_ns) {
            (Some(keep), None) if keep > 0.0 && keep < 1.0 => (keep, 0),
            (None, Some(ns)) if ns > 0 => (0.0, ns),
            _ => return Err(Error::new(Reason::Unsupported, 0)),
        };
        Ok(EwmaVariance {
            tally: Tally::new(strict),
            value: f64::NAN,
            keep,
            half_life_ns,
            price: f64::NAN,
            last_ns: 0,
        })
    }

    fn is_any(&self) -> bool {
        true
    }
}

/// Weight of the past after some time; backward time stands still.
fn faded(half_life_ns: i64, last_ns: i64, now_ns: i64) -> f64 {
    let passed = now_ns.saturating_sub(last_ns).max(0) as f64;
    exp_decay(-passed * (LN_2 / half_life_ns as f64))
}

impl Indicator for EwmaVariance {
    const KIND: u16 = 61;

    answers!();

    fn is_ready(&self) -> bool {
        !self.value.is_nan()
    }

    fn warmup(&self) -> u64 {
        2
    }

    fn reset(&mut self) {
        self.tally.clear();
        (self.value, self.price, self.last_ns) = (f64::NAN, f64::NAN, 0);
    }
}

impl OnPrice for EwmaVariance {
    #[inline]
    fn price(&mut self, price: f64, ts_ns: i64) -> f64 {
        if !(price > 0.0 && price < f64::INFINITY) {
            return self.tally.skip();
        }
        self.tally.count += 1;
        let before = std::mem::replace(&mut self.price, price);
        let last_ns = std::mem::replace(&mut self.last_ns, ts_ns);
        if before.is_nan() {
            return f64::NAN;
        }
        let change = ln(price / before);
        let square = change * change;
        let keep = if self.half_life_ns > 0 {
            faded(self.half_life_ns, last_ns, ts_ns)
        } else {
            self.keep
        };
        self.value = if self.value.is_nan() {
            square
        } else {
            keep * self.value + (1.0 - keep) * square
        };
        self.value
    }
}

/// Sum of what came, each halved every `half_life_ns`.
#[derive(Debug, Clone)]
pub struct DecayedSum {
    pub(super) tally: Tally,
    value: f64,
    pub(super) half_life_ns: i64,
    last_ns: i64,
}

saved_fields!(DecayedSum { tally, value, half_life_ns, last_ns } is_sound);

impl DecayedSum {
    /// With a half-life.
    pub fn new(half_life_ns: i64, strict: bool) -> Result<Self> {
        let made = DecayedSum {
            tally: Tally::new(strict),
            value: f64::NAN,
            half_life_ns,
            last_ns: 0,
        };
        if made.is_sound() {
            Ok(made)
        } else {
            Err(Error::new(Reason::Malformed, 0))
        }
    }

    fn is_sound(&self) -> bool {
        self.half_life_ns > 0
    }
}

impl Indicator for DecayedSum {
    const KIND: u16 = 62;

    answers!();

    fn is_ready(&self) -> bool {
        self.tally.count > 0
    }

    fn warmup(&self) -> u64 {
        1
    }

    fn reset(&mut self) {
        self.tally.clear();
        (self.value, self.last_ns) = (f64::NAN, 0);
    }
}

impl OnPrice for DecayedSum {
    #[inline]
    fn price(&mut self, x: f64, ts_ns: i64) -> f64 {
        if !x.is_finite() {
            return self.tally.skip();
        }
        if self.tally.count == 0 {
            (self.value, self.last_ns) = (x, ts_ns);
        } else {
            self.value = self.value * faded(self.half_life_ns, self.last_ns, ts_ns) + x;
            self.last_ns = self.last_ns.max(ts_ns);
        }
        self.tally.count += 1;
        self.value
    }
}

/// Roll's spread: 2 sqrt(-cov) of neighbouring price changes; NaN where they are not negatively correlated.
#[derive(Debug, Clone)]
pub struct RollSpread {
    pub(super) tally: Tally,
    value: f64,
    price: f64,
    change: f64,
    pub(super) window: Rows, // previous, current, product
}

saved_fields!(RollSpread { tally, value, price, change, window } is_sound);

impl RollSpread {
    /// Over the last `window` pairs of changes, or all.
    pub fn new(window: Option<i64>, strict: bool) -> Result<Self> {
        if window.is_some_and(|pairs| pairs < 2) {
            return Err(Error::new(Reason::Unsupported, 0));
        }
        Ok(RollSpread {
            tally: Tally::new(strict),
            value: f64::NAN,
            price: f64::NAN,
            change: f64::NAN,
            window: Rows::new(Span::last(window), 3)?,
        })
    }

    fn is_sound(&self) -> bool {
        self.window.sums().len() == 3
    }

    fn evaluate(&self) -> f64 {
        let n = self.window.len() as f64;
        let covariance = (self.window.sum(2) - self.window.sum(0) * self.window.sum(1) / n) / (n - 1.0);
        if covariance < 0.0 {
            2.0 * (-covariance).sqrt()
        } else {
            f64::NAN
        }
    }
}

impl Indicator for RollSpread {
    const KIND: u16 = 63;

    answers!();

    fn is_ready(&self) -> bool {
        self.window.is_full() && self.window.len() >= 2
    }

    fn warmup(&self) -> u64 {
        self.window.warmup().max(2) + 2
    }

    fn reset(&mut self) {
        self.tally.clear();
        self.window.clear();
        (self.value, self.price, self.change) = (f64::NAN, f64::NAN, f64::NAN);
    }
}

impl OnPrice for RollSpread {
    #[inline]
    fn price(&mut self, price: f64, ts_ns: i64) -> f64 {
        if !price.is_finite() {
            return self.tally.skip();
        }
        self.tally.count += 1;
        let change = price - std::mem::replace(&mut self.price, price);
        let before = std::mem::replace(&mut self.change, change);
        if before.is_nan() {
            return f64::NAN;
        }
        self.window.push(&[before, change, before * change], ts_ns);
        if self.is_ready() {
            self.value = self.evaluate();
        }
        self.value
    }
}
