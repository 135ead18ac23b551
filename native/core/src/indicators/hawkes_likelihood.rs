//! Log-likelihood of Hawkes processes on [0, horizon], its gradient, and the compensator's increments.
//!
//! One pass each; left limits; equal times are sequential. Fitting happens outside, with these.

use super::elementary::{exp_decay, ln, one_less_exp};
use super::hawkes::{checked, NS};
use super::hawkes_bivariate::Pair;
use crate::error::{Error, Reason, Result};

fn check_times(times_ns: &[i64], horizon_ns: i64) -> Result<()> {
    let is_sorted = times_ns.windows(2).all(|pair| matches!(pair, [a, b] if a <= b));
    let first = times_ns.first().copied().unwrap_or(0);
    let last = times_ns.last().copied().unwrap_or(0);
    if !is_sorted || first < 0 || last > horizon_ns || horizon_ns < 0 {
        return Err(Error::new(Reason::Malformed, 0));
    }
    Ok(())
}

/// Log-likelihood and its derivatives by mu, alpha, beta. Times since the start, ascending, at most `horizon_ns`.
pub fn univariate(times_ns: &[i64], horizon_ns: i64, mu: f64, alpha: f64, beta: f64) -> Result<(f64, [f64; 3])> {
    check_times(times_ns, horizon_ns)?;
    let (mu, alpha, beta) = (checked(mu, true)?, checked(alpha, false)?, checked(beta, true)?);
    let horizon = horizon_ns as f64 * NS;
    let (mut logs, mut by_mu, mut by_alpha, mut by_beta) = (0.0, 0.0, 0.0, 0.0);
    let (mut spent, mut spent_by_beta) = (0.0, 0.0);
    // A: decayed count of earlier events; B: the same, weighted by age. `before` includes the previous event itself.
    let (mut before, mut aged, mut last_ns) = (0.0, 0.0, times_ns.first().copied().unwrap_or(0));
    for &t in times_ns {
        let passed = (t - last_ns) as f64 * NS;
        let keep = exp_decay(-beta * passed);
        let excited = keep * before;
        aged = keep * (aged + passed * before);
        let inverse = 1.0 / (mu + alpha * excited);
        logs += ln(mu + alpha * excited);
        by_mu += inverse;
        by_alpha += excited * inverse;
        by_beta += aged * inverse;
        let ahead = (horizon_ns - t) as f64 * NS;
        let less = one_less_exp(beta * ahead);
        spent += less;
        spent_by_beta += ahead * (1.0 - less);
        before = 1.0 + excited;
        last_ns = t;
    }
    let ratio = alpha / beta;
    let value = logs - mu * horizon - ratio * spent;
    let gradient = [
        by_mu - horizon,
        by_alpha - spent / beta,
        ratio / beta * spent - alpha * by_beta - ratio * spent_by_beta,
    ];
    Ok((value, gradient))
}

/// Lambda(t_{i-1}, t_i] of each event, the first from 0: Exp(1) under the true parameters.
pub fn residuals(times_ns: &[i64], mu: f64, alpha: f64, beta: f64, out: &mut [f64]) -> Result<()> {
    check_times(times_ns, times_ns.last().copied().unwrap_or(0))?;
    let (mu, alpha, beta) = (checked(mu, false)?, checked(alpha, false)?, checked(beta, true)?);
    if out.len() != times_ns.len() {
        return Err(Error::new(Reason::Malformed, 0));
    }
    let (mut before, mut last_ns) = (0.0, 0);
    for (&t, slot) in times_ns.iter().zip(out) {
        let passed = (t - last_ns) as f64 * NS;
        let less = one_less_exp(beta * passed);
        *slot = mu * passed + alpha / beta * before * less;
        before = 1.0 + before * (1.0 - less);
        last_ns = t;
    }
    Ok(())
}

/// Log-likelihood of two streams and its derivatives: by mu, by alpha row by row, by beta row by row.
///
/// `is_sell[i]` says whose event `times_ns[i]` is. Derivatives by a beta that several pairs share are to be added.
pub fn bivariate(
    times_ns: &[i64],
    is_sell: &[bool],
    horizon_ns: i64,
    mu: Pair,
    alpha: [Pair; 2],
    beta: [Pair; 2],
) -> Result<(f64, [f64; 10])> {
    check_times(times_ns, horizon_ns)?;
    if is_sell.len() != times_ns.len() {
        return Err(Error::new(Reason::Malformed, 0));
    }
    let [mu_buy, mu_sell] = mu;
    let first = times_ns.first().copied().unwrap_or(0);
    let mut buy = Target::new(mu_buy, alpha.first(), beta.first(), first)?;
    let mut sell = Target::new(mu_sell, alpha.last(), beta.last(), first)?;
    for (&t, &sold) in times_ns.iter().zip(is_sell) {
        let ahead = (horizon_ns - t) as f64 * NS;
        buy.event(t, usize::from(sold), !sold, ahead);
        sell.event(t, usize::from(sold), sold, ahead);
    }
    let horizon = horizon_ns as f64 * NS;
    let (buy_value, [m0, a00, a01, b00, b01]) = buy.result(horizon);
    let (sell_value, [m1, a10, a11, b10, b11]) = sell.result(horizon);
    Ok((buy_value + sell_value, [m0, m1, a00, a01, a10, a11, b00, b01, b10, b11]))
}

/// The sums of one of the two intensities over the events of both.
struct Target {
    mu: f64,
    alpha: Pair,
    beta: Pair,
    before: Pair,
    aged: Pair,
    last_ns: i64,
    logs: f64,
    by_mu: f64,
    by_alpha: Pair,
    by_beta: Pair,
    spent: Pair,
    spent_by_beta: Pair,
}

impl Target {
    fn new(mu: f64, alpha: Option<&Pair>, beta: Option<&Pair>, first_ns: i64) -> Result<Self> {
        let (Some(alpha), Some(beta)) = (alpha, beta) else {
            return Err(Error::new(Reason::Malformed, 0));
        };
        let ([alpha_buy, alpha_sell], [beta_buy, beta_sell]) = (*alpha, *beta);
        let nothing = [0.0; 2];
        Ok(Target {
            mu: checked(mu, true)?,
            alpha: [checked(alpha_buy, false)?, checked(alpha_sell, false)?],
            beta: [checked(beta_buy, true)?, checked(beta_sell, true)?],
            before: nothing,
            aged: nothing,
            last_ns: first_ns,
            logs: 0.0,
            by_mu: 0.0,
            by_alpha: nothing,
            by_beta: nothing,
            spent: nothing,
            spent_by_beta: nothing,
        })
    }

    /// An event of `source`; `is_own` when it is an event of this intensity.
    fn event(&mut self, t: i64, source: usize, is_own: bool, ahead: f64) {
        let passed = (t - self.last_ns) as f64 * NS;
        self.last_ns = t;
        let pairs = self.before.iter_mut().zip(&mut self.aged).zip(&self.beta);
        for ((before, aged), beta) in pairs {
            let keep = exp_decay(-beta * passed);
            *aged = keep * (*aged + passed * *before);
            *before *= keep;
        }
        if is_own {
            let ([from_buys, from_sells], [to_buys, to_sells]) = (self.before, self.alpha);
            let intensity = self.mu + (to_buys * from_buys + to_sells * from_sells);
            let inverse = 1.0 / intensity;
            self.logs += ln(intensity);
            self.by_mu += inverse;
            for (sum, before) in self.by_alpha.iter_mut().zip(&self.before) {
                *sum += before * inverse;
            }
            for (sum, aged) in self.by_beta.iter_mut().zip(&self.aged) {
                *sum += aged * inverse;
            }
        }
        let beta = self.beta.get(source).copied().unwrap_or(f64::NAN);
        let less = one_less_exp(beta * ahead);
        if let Some(spent) = self.spent.get_mut(source) {
            *spent += less;
        }
        if let Some(spent) = self.spent_by_beta.get_mut(source) {
            *spent += ahead * (1.0 - less);
        }
        if let Some(before) = self.before.get_mut(source) {
            *before += 1.0;
        }
    }

    /// Its part of the log-likelihood; derivatives by mu, alpha of buys and sells, beta of buys and sells.
    fn result(&self, horizon: f64) -> (f64, [f64; 5]) {
        let ([a0, a1], [b0, b1]) = (self.alpha, self.beta);
        let ([s0, s1], [w0, w1]) = (self.spent, self.spent_by_beta);
        let ([da0, da1], [db0, db1]) = (self.by_alpha, self.by_beta);
        let value = self.logs - self.mu * horizon - (a0 / b0 * s0 + a1 / b1 * s1);
        let by_beta =
            |a: f64, b: f64, sum: f64, spent: f64, weighted: f64| a / b / b * spent - a * sum - a / b * weighted;
        let gradient = [
            self.by_mu - horizon,
            da0 - s0 / b0,
            da1 - s1 / b1,
            by_beta(a0, b0, db0, s0, w0),
            by_beta(a1, b1, db1, s1, w1),
        ];
        (value, gradient)
    }
}
