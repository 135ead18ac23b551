//! OFI per ranked level (Xu, Gould, Howison 2018), and its projection on a fitted vector (Cont, Cucuringu, Zhang 2023).
//!
//! Levels are ranked populated levels: a move of the best price relabels all, so one event shows at many levels.

use super::ofi::{flow, Policy};
use super::state::{Reader, Saved};
use super::window::{Rows, Span};
use super::{answers, Indicator, OnLevels, Quote, Tally};
use crate::error::{Error, Reason, Result};
use crate::saved_fields;

/// The levels of a flat book.
#[inline(always)]
pub fn quotes(flat: &[f64]) -> impl Iterator<Item = Quote> + '_ {
    flat.chunks_exact(4).map(|level| match *level {
        [bid_price, bid_size, ask_price, ask_size] => Quote {
            bid_price,
            bid_size,
            ask_price,
            ask_size,
        },
        _ => Quote::EMPTY, // chunks_exact gives four
    })
}

/// Most levels per side.
pub const LEVELS_MAX: i64 = 1000;

/// Room for a book that may yet be refused; no part of the state.
#[derive(Debug, Clone, Default)]
struct Scratch(Vec<Quote>);

impl Saved for Scratch {
    fn save(&self, _out: &mut Vec<u8>) {}

    fn load(_input: &mut Reader<'_>) -> Result<Self> {
        Ok(Scratch::default())
    }
}

/// MLOFI: one OFI per level; the value is their sum weighted by `weights` (by default their mean).
#[derive(Debug, Clone)]
pub struct Mlofi {
    pub(super) tally: Tally,
    pub(super) policy: Policy,
    pub(super) weights: Vec<f64>,
    pub(super) is_integrated: bool,
    before: Vec<Quote>,
    now: Scratch,
    has_before: bool,
    row: Vec<f64>, // e of each level, size shown at all levels, 1
    value: f64,
    pub(super) window: Rows,
}

saved_fields!(
    Mlofi { tally, policy, weights, is_integrated, before, now, has_before, row, value, window } is_sound
);

impl Mlofi {
    /// The mean of the levels' sums, or their sum with given weights.
    pub fn new(levels: i64, weights: Option<Vec<f64>>, span: Span, policy: Policy, strict: bool) -> Result<Self> {
        if !(1..=LEVELS_MAX).contains(&levels) {
            return Err(Error::new(Reason::TooLarge, 0));
        }
        let weights = weights.unwrap_or_else(|| vec![1.0 / levels as f64; levels as usize]);
        if weights.len() != levels as usize || weights.iter().any(|w| !w.is_finite()) {
            return Err(Error::new(Reason::Malformed, 0));
        }
        let rows = Rows::new(span, weights.len() + 2)?;
        Ok(Mlofi {
            tally: Tally::new(strict),
            policy,
            is_integrated: false,
            before: vec![Quote::EMPTY; weights.len()],
            now: Scratch::default(),
            has_before: false,
            row: vec![f64::NAN; weights.len() + 2],
            value: f64::NAN,
            window: rows,
            weights,
        })
    }

    /// The levels' sums over the mean size shown, projected on `weights`, whose absolute values are made to sum to 1.
    pub fn integrated(weights: &[f64], span: Span, policy: Policy, strict: bool) -> Result<Self> {
        let mut norm = 0.0;
        for weight in weights {
            norm += weight.abs();
        }
        if !(norm > 0.0 && norm < f64::INFINITY) {
            return Err(Error::new(Reason::Malformed, 0));
        }
        let scaled = weights.iter().map(|weight| weight / norm).collect();
        let mlofi = Mlofi::new(weights.len() as i64, Some(scaled), span, policy, strict)?;
        Ok(Mlofi {
            is_integrated: true,
            ..mlofi
        })
    }

    fn is_sound(&self) -> bool {
        let levels = self.weights.len();
        levels > 0
            && self.before.len() == levels
            && self.row.len() == levels + 2
            && self.window.sums().len() == levels + 2
    }

    /// e of each level at the last book; NaN before there are two.
    pub fn events(&self) -> &[f64] {
        self.row.get(..self.weights.len()).unwrap_or_default()
    }

    /// The levels' sums over the window.
    pub fn sums(&self) -> &[f64] {
        self.window.sums().get(..self.weights.len()).unwrap_or_default()
    }

    /// The weights of the value.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The window.
    pub fn window(&self) -> &Rows {
        &self.window
    }

    /// The levels' sums so far, and an empty window: for fixed bins.
    pub fn take(&mut self) -> Vec<f64> {
        let sums = self.sums().to_vec();
        self.window.clear();
        self.value = f64::NAN;
        sums
    }

    #[inline]
    fn evaluate(&self) -> f64 {
        // Two chains of additions: one would be what a row of columns waits for.
        let (weights, sums) = (self.weights.chunks_exact(2), self.sums().chunks_exact(2));
        let (mut sum, mut other) = (0.0, 0.0);
        if let ([weight], [flow]) = (weights.remainder(), sums.remainder()) {
            sum = weight * flow;
        }
        for (weights, sums) in weights.zip(sums) {
            if let ([weight, second], [flow, flows]) = (weights, sums) {
                sum += weight * flow;
                other += second * flows;
            }
        }
        sum += other;
        if !self.is_integrated {
            return sum;
        }
        let levels = self.weights.len();
        // Q = 1/M sum over levels of 1/(2 dN) sum over events of both sizes.
        let shown = self.window.sum(levels) / (2.0 * levels as f64 * self.window.sum(levels + 1));
        if shown > 0.0 {
            sum / shown
        } else {
            f64::NAN
        }
    }

    /// Reads the book into `now`; false when a number is not one.
    fn read(&mut self, flat: &[f64]) -> bool {
        self.now.0.clear();
        for quote in quotes(flat) {
            match quote.cleaned() {
                Some(clean) => self.now.0.push(clean),
                None => return false,
            }
        }
        self.now.0.len() == self.before.len()
    }

    /// A book against the last one.
    #[inline(always)]
    fn step(&mut self, book: impl Iterator<Item = Quote>, ts_ns: i64) -> f64 {
        let mut shown = 0.0;
        for ((event, before), now) in self.row.iter_mut().zip(&mut self.before).zip(book) {
            *event = flow(before, &now);
            shown += now.bid_size + now.ask_size;
            *before = now;
        }
        if let [.., sizes, one] = self.row.as_mut_slice() {
            (*sizes, *one) = (shown, 1.0);
        }
        self.window.push(&self.row, ts_ns);
        if self.window.is_full() {
            self.value = self.evaluate();
        }
        self.value
    }

    /// The first book, one that is not whole, crossed or refused.
    #[inline(never)]
    fn unusual(&mut self, flat: &[f64], ts_ns: i64) -> f64 {
        if !self.read(flat) {
            return self.tally.skip();
        }
        if self.now.0.first().is_some_and(Quote::is_crossed) {
            self.tally.crossed += 1;
            if self.policy.skip_crossed {
                return self.tally.skip();
            }
        }
        self.tally.count += 1;
        if !self.policy.missing_is_empty && !self.now.0.iter().all(Quote::is_whole) {
            return self.value;
        }
        if !self.has_before {
            self.has_before = true;
            self.before.clone_from(&self.now.0);
            return f64::NAN;
        }
        let now = std::mem::take(&mut self.now.0);
        let value = self.step(now.iter().copied(), ts_ns);
        self.now.0 = now;
        value
    }
}

impl Indicator for Mlofi {
    const KIND: u16 = 2;

    fn kind(&self) -> u16 {
        Self::KIND + u16::from(self.is_integrated)
    }

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
        self.before.fill(Quote::EMPTY);
        self.row.fill(f64::NAN);
        (self.has_before, self.value) = (false, f64::NAN);
    }
}

impl OnLevels for Mlofi {
    fn levels(&self) -> usize {
        self.weights.len()
    }

    #[inline]
    fn book(&mut self, flat: &[f64], ts_ns: i64) -> f64 {
        let mut is_usual = self.has_before & (flat.len() == 4 * self.before.len());
        for quote in quotes(flat) {
            is_usual &= quote.is_plain();
        }
        let is_crossed = quotes(flat).next().is_some_and(|touch| touch.is_crossed());
        if is_usual && !is_crossed {
            self.tally.count += 1;
            return self.step(quotes(flat), ts_ns);
        }
        self.unusual(flat, ts_ns)
    }
}
