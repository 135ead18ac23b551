//! Hawkes intensity with an exponential kernel, in O(1): lambda(t) = mu + sum of alpha exp(-beta (t - t_j)) over earlier events.
//!
//! Times are integer nanoseconds, subtracted before they are scaled; parameters are per second. Equal times are sequential: an
//! earlier event excites a later one at once. Two streams that excite each other: `hawkes_bivariate`.

use super::columns::CHUNK;
use super::elementary::{exp_decay, exp_decays};
use super::{answers, Indicator, Tally};
use crate::error::{Error, Reason, Result};
use crate::saved_fields;

/// Seconds per nanosecond.
pub const NS: f64 = 1e-9;

/// A finite number that is not negative, or above 0 when `above`.
pub fn checked(x: f64, above: bool) -> Result<f64> {
    if x.is_finite() && (x > 0.0 || (x == 0.0 && !above)) {
        Ok(x)
    } else {
        Err(Error::new(Reason::Malformed, 0))
    }
}

/// The intensity of one stream of events.
#[derive(Debug, Clone)]
pub struct Hawkes {
    pub(super) tally: Tally,
    pub(super) mu: f64,
    pub(super) alpha: f64,
    pub(super) beta: f64,
    excited: f64, // R: decayed count of the events, each with its mark
    last_ns: i64,
    left: f64, // left limit at the last event
    value: f64,
}

saved_fields!(Hawkes { tally, mu, alpha, beta, excited, last_ns, left, value } is_any);

impl Hawkes {
    /// Base rate, jump and decay, per second.
    pub fn new(mu: f64, alpha: f64, beta: f64, strict: bool) -> Result<Self> {
        Ok(Hawkes {
            tally: Tally::new(strict),
            mu: checked(mu, false)?,
            alpha: checked(alpha, false)?,
            beta: checked(beta, true)?,
            excited: 0.0,
            last_ns: 0,
            left: f64::NAN,
            value: f64::NAN,
        })
    }

    fn is_any(&self) -> bool {
        true
    }

    /// R at a time not before the last event.
    #[inline(always)]
    fn excited_at(&self, ts_ns: i64) -> f64 {
        if self.tally.count == 0 {
            return 0.0;
        }
        let passed = ts_ns.saturating_sub(self.last_ns).max(0);
        self.excited * exp_decay(-self.beta * (passed as f64 * NS))
    }

    /// Intensity at a time, without an event; at the last event's time it includes its jump.
    pub fn peek(&self, ts_ns: i64) -> f64 {
        self.mu + self.alpha * self.excited_at(ts_ns)
    }

    /// Left limit at a time: what an event there finds. At (or before) the last event: what that one found.
    pub fn left(&self, ts_ns: i64) -> f64 {
        if self.tally.count > 0 && ts_ns <= self.last_ns {
            self.left
        } else {
            self.peek(ts_ns)
        }
    }

    /// Lets time pass without an event: for the break between sessions.
    pub fn decay_to(&mut self, ts_ns: i64) -> f64 {
        if self.tally.count > 0 && ts_ns > self.last_ns {
            self.excited = self.excited_at(ts_ns);
            self.last_ns = ts_ns;
            self.left = self.mu + self.alpha * self.excited;
            self.value = self.left;
        }
        self.value
    }

    /// Up to `CHUNK` events, in order; the row that a strict indicator refused.
    pub fn events(&mut self, times: &[i64], out: &mut [f64]) -> Option<usize> {
        let mut keeps = [0.0; CHUNK];
        let Some(keeps) = decays(self.tally.count, self.last_ns, self.beta, times, &mut keeps) else {
            for (row, (slot, ts_ns)) in out.iter_mut().zip(times).enumerate() {
                *slot = self.event(*ts_ns, 1.0);
                if self.tally.refused {
                    return Some(row);
                }
            }
            return None;
        };
        let (mut before, mut excited) = (0.0, self.excited);
        for (slot, keep) in out.iter_mut().zip(keeps) {
            before = excited * *keep;
            excited = before + 1.0;
            *slot = self.mu + self.alpha * excited;
        }
        self.left = self.mu + self.alpha * before;
        self.excited = excited;
        self.value = out.last().copied().unwrap_or(self.value);
        self.last_ns = times.last().copied().unwrap_or(self.last_ns);
        self.tally.count += times.len() as u64;
        None
    }

    /// One event; `mark` scales its jump, 0 makes none. The intensity after it.
    #[inline(always)]
    pub fn event(&mut self, ts_ns: i64, mark: f64) -> f64 {
        if !(0.0..f64::INFINITY).contains(&mark) {
            return self.tally.skip();
        }
        let mut now = ts_ns;
        if now < self.last_ns && self.tally.count > 0 {
            self.tally.backward += 1;
            if self.tally.strict {
                return self.tally.skip();
            }
            now = self.last_ns;
        }
        let excited = self.excited_at(now);
        self.left = self.mu + self.alpha * excited;
        self.excited = excited + mark;
        self.value = self.mu + self.alpha * self.excited;
        self.last_ns = now;
        self.tally.count += 1;
        self.value
    }
}

/// What is left of the excitement at each of the times, as a share of what it was at the one before. None for what needs a look
/// at each: the first event, and times that run backward.
#[inline(always)]
pub fn decays<'a>(
    count: u64,
    last_ns: i64,
    beta: f64,
    times: &[i64],
    keeps: &'a mut [f64; CHUNK],
) -> Option<&'a mut [f64]> {
    let (first, last) = (times.first()?, times.last()?);
    let ascend = times
        .iter()
        .zip(times.iter().skip(1))
        .fold(true, |so_far, (a, b)| so_far & (a <= b));
    if count == 0 || *first < last_ns || !ascend || last.checked_sub(last_ns).is_none() {
        return None;
    }
    let keeps = keeps.get_mut(..times.len())?;
    let mut before = last_ns;
    for (keep, ts_ns) in keeps.iter_mut().zip(times) {
        *keep = -beta * ((ts_ns - before) as f64 * NS);
        before = *ts_ns;
    }
    exp_decays(keeps, &mut [0; CHUNK]);
    Some(keeps)
}

impl Indicator for Hawkes {
    const KIND: u16 = 20;

    answers!();

    fn is_ready(&self) -> bool {
        self.tally.count > 0
    }

    fn warmup(&self) -> u64 {
        1
    }

    fn reset(&mut self) {
        self.tally.clear();
        (self.excited, self.last_ns) = (0.0, 0);
        (self.left, self.value) = (f64::NAN, f64::NAN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_its_definition() {
        let (mu, alpha, beta) = (0.5, 1.2, 3.0);
        let mut hawkes = Hawkes::new(mu, alpha, beta, false).unwrap();
        let times = [0_i64, 100_000_000, 100_000_000, 900_000_000];
        let base = 1_760_000_000_123_456_789;
        for (i, t) in times.iter().enumerate() {
            let earlier = times[..i]
                .iter()
                .map(|s| alpha * (-beta * ((t - s) as f64 * 1e-9)).exp());
            let left: f64 = mu + earlier.sum::<f64>();
            assert!((hawkes.left(base + t) - left).abs() < 1e-12 || (i == 2));
            assert!((hawkes.event(base + t, 1.0) - (left + alpha)).abs() < 1e-12);
            assert!((hawkes.left(base + t) - left).abs() < 1e-12);
        }
        assert!(hawkes.peek(i64::MAX) == mu);
    }

    #[test]
    fn backward_time_stands_still() {
        let mut hawkes = Hawkes::new(0.5, 1.0, 3.0, false).unwrap();
        hawkes.event(1000, 1.0);
        assert_eq!(hawkes.event(0, 1.0), 2.5);
        assert_eq!(hawkes.tally().backward, 1);
        let mut strict = Hawkes::new(0.5, 1.0, 3.0, true).unwrap();
        strict.event(1000, 1.0);
        let before = strict.excited;
        assert!(strict.event(0, 1.0).is_nan() && strict.tally().refused);
        assert_eq!(strict.excited, before);
    }
}
