//! Two streams of events, buys and sells, that excite themselves and each other.
//!
//! `alpha[k][s]` is the jump of the intensity of k when an event of s happens. With one common decay two states and one exp
//! per event are enough; the variant is chosen when it is made.

use super::columns::CHUNK;
use super::elementary::exp_decay;
use super::hawkes::{checked, decays, NS};
use super::{Indicator, Tally};
use crate::error::Result;
use crate::saved_fields;

/// Buy and sell.
pub type Pair = [f64; 2];

/// Intensities of buys and sells.
#[derive(Debug, Clone)]
pub struct HawkesBivariate {
    pub(super) tally: Tally,
    pub(super) mu: Pair,
    pub(super) alpha: [Pair; 2],
    pub(super) beta: [Pair; 2],
    pub(super) is_common: bool,
    excited: [Pair; 2], // R_ks; with a common decay both rows are the same
    last_ns: i64,
    left: Pair,
    value: Pair,
}

saved_fields!(HawkesBivariate { tally, mu, alpha, beta, is_common, excited, last_ns, left, value } is_any);

impl HawkesBivariate {
    /// Base rates, jumps `[target][source]` and decays `[target][source]`, per second.
    pub fn new(mu: Pair, alpha: [Pair; 2], beta: [Pair; 2], strict: bool) -> Result<Self> {
        for x in mu.iter().chain(alpha.as_flattened()) {
            checked(*x, false)?;
        }
        for x in beta.as_flattened() {
            checked(*x, true)?;
        }
        let [[first, ..], _] = beta;
        Ok(HawkesBivariate {
            tally: Tally::new(strict),
            mu,
            alpha,
            beta,
            is_common: beta.as_flattened().iter().all(|each| *each == first),
            excited: [[0.0; 2]; 2],
            last_ns: 0,
            left: [f64::NAN; 2],
            value: [f64::NAN; 2],
        })
    }

    fn is_any(&self) -> bool {
        true
    }

    #[inline(always)]
    fn decayed(&self, ts_ns: i64) -> [Pair; 2] {
        if self.tally.count == 0 {
            return [[0.0; 2]; 2];
        }
        let passed = ts_ns.saturating_sub(self.last_ns).max(0) as f64 * NS;
        let [[r00, r01], [r10, r11]] = self.excited;
        let [[b00, b01], [b10, b11]] = self.beta;
        let keep = exp_decay(-b00 * passed);
        if self.is_common {
            let both = [r00 * keep, r01 * keep];
            return [both, both];
        }
        [
            [r00 * keep, r01 * exp_decay(-b01 * passed)],
            [r10 * exp_decay(-b10 * passed), r11 * exp_decay(-b11 * passed)],
        ]
    }

    fn intensities(&self, excited: [Pair; 2]) -> Pair {
        intensities(self.mu, self.alpha, excited)
    }

    /// Intensities at a time, without an event.
    pub fn peek(&self, ts_ns: i64) -> Pair {
        self.intensities(self.decayed(ts_ns))
    }

    /// Left limits at a time: what an event there finds. At (or before) the last event: what that one found.
    pub fn left(&self, ts_ns: i64) -> Pair {
        if self.tally.count > 0 && ts_ns <= self.last_ns {
            self.left
        } else {
            self.peek(ts_ns)
        }
    }

    /// Intensities after the last event; NaN before the first.
    pub fn values(&self) -> Pair {
        self.value
    }

    /// Lets time pass without an event.
    pub fn decay_to(&mut self, ts_ns: i64) -> Pair {
        if self.tally.count > 0 && ts_ns > self.last_ns {
            self.excited = self.decayed(ts_ns);
            self.last_ns = ts_ns;
            self.left = self.intensities(self.excited);
            self.value = self.left;
        }
        self.value
    }

    /// One event of a buyer (side > 0) or seller (side < 0); an unknown side is skipped. The intensities after it.
    #[inline]
    pub fn event(&mut self, ts_ns: i64, side: f64) -> Pair {
        let mut hot = self.hot();
        if hot.takes(ts_ns, side) {
            let value = hot.step(ts_ns, side);
            self.cool(&hot);
            return value;
        }
        self.unusual(ts_ns, side)
    }

    /// Up to `CHUNK` events; `out` holds (buy, sell) per row. The row that a strict indicator refused.
    pub fn events(&mut self, times: &[i64], sides: &[f64], out: &mut [f64]) -> Option<usize> {
        let mut keeps = [0.0; CHUNK];
        let [[beta, _], _] = self.beta;
        let are_sided = sides
            .iter()
            .fold(true, |so_far, side| so_far & ((*side > 0.0) | (*side < 0.0)));
        let found = decays(self.tally.count, self.last_ns, beta, times, &mut keeps);
        let (Some(keeps), true) = (found, are_sided && self.is_common) else {
            for (row, (slot, (ts_ns, side))) in out.chunks_exact_mut(2).zip(times.iter().zip(sides)).enumerate() {
                slot.copy_from_slice(&self.event(*ts_ns, *side));
                if self.tally.refused {
                    return Some(row);
                }
            }
            return None;
        };
        let [[mut buys, mut sells], _] = self.excited;
        let mut before = [0.0; 2];
        for (slot, (keep, side)) in out.chunks_exact_mut(2).zip(keeps.iter().zip(sides)) {
            before = [buys * keep, sells * keep];
            buys = before[0] + f64::from(u8::from(*side > 0.0));
            sells = before[1] + f64::from(u8::from(*side < 0.0));
            self.value = intensities(self.mu, self.alpha, [[buys, sells]; 2]);
            slot.copy_from_slice(&self.value);
        }
        self.left = self.intensities([before; 2]);
        self.excited = [[buys, sells]; 2];
        self.last_ns = times.last().copied().unwrap_or(self.last_ns);
        self.tally.count += times.len() as u64;
        None
    }

    /// The first event, one without a side, backward time, and more than one decay.
    #[inline(never)]
    fn unusual(&mut self, ts_ns: i64, side: f64) -> Pair {
        let (is_buy, is_sell) = (side > 0.0, side < 0.0);
        if !is_buy && !is_sell {
            let nan = self.tally.skip();
            return [nan, nan];
        }
        let mut now = ts_ns;
        if now < self.last_ns && self.tally.count > 0 {
            self.tally.backward += 1;
            if self.tally.strict {
                let nan = self.tally.skip();
                return [nan, nan];
            }
            now = self.last_ns;
        }
        let decayed = self.decayed(now);
        self.left = self.intensities(decayed);
        let (buy, sell) = (f64::from(u8::from(is_buy)), f64::from(u8::from(is_sell)));
        self.excited = decayed.map(|[bought, sold]| [bought + buy, sold + sell]);
        self.value = self.intensities(self.excited);
        self.last_ns = now;
        self.tally.count += 1;
        self.value
    }

    #[inline(always)]
    fn hot(&self) -> Hot {
        let [[beta, _], _] = self.beta;
        let [[buys, sells], _] = self.excited;
        Hot {
            is_usable: self.is_common && self.tally.count > 0,
            mu: self.mu,
            alpha: self.alpha,
            beta,
            buys,
            sells,
            last_ns: self.last_ns,
            count: self.tally.count,
            left: self.left,
            value: self.value,
        }
    }

    #[inline(always)]
    fn cool(&mut self, hot: &Hot) {
        if hot.is_usable {
            self.excited = [[hot.buys, hot.sells]; 2];
            (self.last_ns, self.tally.count) = (hot.last_ns, hot.count);
            (self.left, self.value) = (hot.left, hot.value);
        }
    }
}

/// What moves with every event when all decays are one: kept in registers by whoever has many events.
#[derive(Clone, Copy)]
struct Hot {
    is_usable: bool,
    mu: Pair,
    alpha: [Pair; 2],
    beta: f64,
    buys: f64,
    sells: f64,
    last_ns: i64,
    count: u64,
    left: Pair,
    value: Pair,
}

impl Hot {
    #[inline(always)]
    fn takes(&self, ts_ns: i64, side: f64) -> bool {
        self.is_usable & (ts_ns >= self.last_ns) & ((side > 0.0) | (side < 0.0))
    }

    #[inline(always)]
    fn step(&mut self, ts_ns: i64, side: f64) -> Pair {
        let passed = ts_ns.saturating_sub(self.last_ns) as f64 * NS;
        let keep = exp_decay(-self.beta * passed);
        let (buys, sells) = (self.buys * keep, self.sells * keep);
        self.left = intensities(self.mu, self.alpha, [[buys, sells]; 2]);
        self.buys = buys + f64::from(u8::from(side > 0.0));
        self.sells = sells + f64::from(u8::from(side < 0.0));
        self.value = intensities(self.mu, self.alpha, [[self.buys, self.sells]; 2]);
        self.last_ns = ts_ns;
        self.count += 1;
        self.value
    }
}

#[inline(always)]
fn intensities([mu0, mu1]: Pair, [[a00, a01], [a10, a11]]: [Pair; 2], [[r00, r01], [r10, r11]]: [Pair; 2]) -> Pair {
    [mu0 + (a00 * r00 + a01 * r01), mu1 + (a10 * r10 + a11 * r11)]
}

impl Indicator for HawkesBivariate {
    const KIND: u16 = 21;

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// (buy - sell) / (buy + sell); NaN before the first event, or without any intensity.
    fn value(&self) -> f64 {
        let [buy, sell] = self.value;
        if buy + sell > 0.0 {
            (buy - sell) / (buy + sell)
        } else {
            f64::NAN
        }
    }

    fn is_ready(&self) -> bool {
        self.tally.count > 0
    }

    fn warmup(&self) -> u64 {
        1
    }

    fn reset(&mut self) {
        self.tally.clear();
        (self.excited, self.last_ns) = ([[0.0; 2]; 2], 0);
        (self.left, self.value) = ([f64::NAN; 2], [f64::NAN; 2]);
    }
}
