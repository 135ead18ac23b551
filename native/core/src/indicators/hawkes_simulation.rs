//! Hawkes processes from a seed, by Ogata's thinning: the intensity after an event bounds it until the next one.

use super::elementary::{exp_decay, ln};
use super::hawkes::checked;
use crate::error::{Error, Reason, Result};
use crate::sim::random::Random;

/// Most events of one path: beyond it the process is explosive or the horizon a mistake.
pub const EVENTS_MAX: usize = 50_000_000;

/// Event times in (0, horizon), nanoseconds. The same seed gives the same path everywhere.
pub fn univariate(mu: f64, alpha: f64, beta: f64, horizon_ns: i64, seed: u64) -> Result<Vec<i64>> {
    let (mu, alpha, beta) = (checked(mu, true)?, checked(alpha, false)?, checked(beta, true)?);
    if alpha >= beta || horizon_ns < 0 {
        return Err(Error::new(Reason::Unsupported, 0));
    }
    let mut random = Random::new(seed);
    let mut times = Vec::new();
    let (mut now_ns, mut excited) = (0_i64, 0.0);
    loop {
        let bound = mu + alpha * excited;
        // Waits are whole nanoseconds, so that a replay of the path decays by exactly what made it.
        let wait_ns = (-ln(random.unit()) / bound * 1e9) as i64;
        now_ns = now_ns.saturating_add(wait_ns);
        if now_ns >= horizon_ns {
            return Ok(times);
        }
        excited *= exp_decay(-beta * (wait_ns as f64 * 1e-9));
        if random.unit() * bound <= mu + alpha * excited {
            if times.len() == EVENTS_MAX {
                return Err(Error::new(Reason::TooLarge, times.len()));
            }
            times.push(now_ns);
            excited += 1.0;
        }
    }
}
