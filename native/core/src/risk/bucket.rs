//! GCRA: a rate limit in one integer, the time at which the bucket is full again.
//!
//! Its one job is that *every* window holds at most the limit, whatever the clock does. Times are monotonic nanoseconds.

/// Before every time there is.
const NEVER: i64 = -(1 << 62);

/// What a bucket lets through: a burst at once, then one each so often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that may go at once; 0: none ever.
    pub burst: i64,
    /// Nanoseconds per token.
    pub per_ns: i64,
}

impl Rate {
    /// The rate of which every closed window of `window_ns` holds at most `limit`.
    ///
    /// Burst b and one token each T let b + floor(W / T) through; a fifth of the limit is burst, the rest comes evenly.
    pub const fn derive(limit: i64, window_ns: i64) -> Rate {
        if limit <= 0 {
            return Rate {
                burst: 0,
                per_ns: window_ns + 1,
            };
        }
        let burst = if limit / 5 > 1 { limit / 5 } else { 1 };
        let rest = limit - burst;
        let per_ns = if rest == 0 {
            window_ns + 1
        } else {
            window_ns / rest + (window_ns % rest != 0) as i64
        };
        Rate { burst, per_ns }
    }

    /// The rates of both lanes under one limit: orders, and the share that is kept for cancels, at least one.
    pub const fn lanes(limit: i64, window_ns: i64, cancel_pct: i64) -> (Rate, Rate) {
        let share = limit.saturating_mul(cancel_pct) / 100;
        let cancels = if share > 1 { share } else { 1 };
        (
            Rate::derive(limit - cancels, window_ns),
            Rate::derive(cancels, window_ns),
        )
    }
}

/// One bucket; its rate is given with each question, because limits may be reloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    tat: i64,
}

impl Default for Bucket {
    fn default() -> Self {
        Bucket { tat: NEVER }
    }
}

impl Bucket {
    /// Whether `n` tokens are there. A clock that stands or goes back makes none.
    #[inline]
    pub const fn has(&self, now: i64, rate: Rate, n: i64) -> bool {
        let tau = rate.burst.saturating_mul(rate.per_ns);
        self.after(now, rate, n).saturating_sub(tau) <= now
    }

    /// Takes them, without asking.
    #[inline]
    pub fn take(&mut self, now: i64, rate: Rate, n: i64) {
        self.tat = self.after(now, rate, n);
    }

    #[inline]
    const fn after(&self, now: i64, rate: Rate, n: i64) -> i64 {
        let from = if self.tat > now { self.tat } else { now };
        from.saturating_add(rate.per_ns.saturating_mul(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grants(rate: Rate, times: &[i64]) -> Vec<i64> {
        let mut bucket = Bucket::default();
        let mut granted = Vec::new();
        for now in times {
            if bucket.has(*now, rate, 1) {
                bucket.take(*now, rate, 1);
                granted.push(*now);
            }
        }
        granted
    }

    proptest! {
        /// Arrivals at random: whichever window is looked at, it holds no more than the limit.
        #[test]
        fn every_window_holds_at_most_the_limit(
            limit in 1i64..60, window in 1i64..5_000, steps in prop::collection::vec(0i64..40, 1..600)
        ) {
            let mut now = 0;
            let times: Vec<i64> = steps.iter().map(|step| { now += step; now }).collect();
            let granted = grants(Rate::derive(limit, window), &times);
            for (i, first) in granted.iter().enumerate() {
                let within = granted[i..].iter().take_while(|at| **at - first <= window).count();
                prop_assert!(within as i64 <= limit, "{within} of {limit} from {first}");
            }
        }

        /// A clock that jumps back and runs through the same time again grants nothing that the first run had not left.
        #[test]
        fn a_clock_that_goes_back_grants_nothing_new(
            limit in 1i64..60, window in 1i64..5_000, steps in prop::collection::vec(-40i64..40, 1..600)
        ) {
            let rate = Rate::derive(limit, window);
            let mut now = 1_000_000;
            let times: Vec<i64> = steps.iter().map(|step| { now += step; now }).collect();
            let (mut bucket, mut highest) = (Bucket::default(), i64::MIN);
            let mut held = Bucket::default();
            for now in times {
                highest = highest.max(now);
                let granted = bucket.has(now, rate, 1);
                // The same bucket under a clock that stands still instead of going back grants at least as much.
                prop_assert!(!granted || held.has(highest, rate, 1));
                if granted {
                    bucket.take(now, rate, 1);
                    held.take(highest, rate, 1);
                    held = bucket;
                }
            }
        }

        /// Whatever was asked before: after a silence of burst times T the whole burst passes again.
        #[test]
        fn silence_gives_everything_back(
            limit in 1i64..60, window in 1i64..5_000, steps in prop::collection::vec(0i64..40, 0..200)
        ) {
            let rate = Rate::derive(limit, window);
            let (mut bucket, mut now) = (Bucket::default(), 0);
            for step in steps {
                now += step;
                if bucket.has(now, rate, 1) {
                    bucket.take(now, rate, 1);
                }
            }
            now += rate.burst * rate.per_ns;
            for _ in 0..rate.burst {
                prop_assert!(bucket.has(now, rate, 1));
                bucket.take(now, rate, 1);
            }
            prop_assert!(!bucket.has(now, rate, 1));
        }
    }

    #[test]
    fn more_than_the_burst_never_passes_and_a_limit_of_nothing_grants_nothing() {
        let rate = Rate::derive(10, 1_000);
        assert_eq!(rate, Rate { burst: 2, per_ns: 125 });
        assert!(Bucket::default().has(0, rate, 2));
        assert!(!Bucket::default().has(0, rate, 3));
        assert!(!Bucket::default().has(i64::MAX / 4, Rate::derive(0, 1_000), 1));
    }

    #[test]
    fn two_lanes_share_one_limit() {
        let (orders, cancels) = Rate::lanes(250, 10_000, 20);
        assert_eq!((orders.burst, cancels.burst), (40, 10));
        let most = |rate: Rate| rate.burst + 10_000 / rate.per_ns;
        assert!(most(orders) <= 200 && most(cancels) <= 50);
        assert_eq!(Rate::lanes(2, 10, 1), (Rate::derive(1, 10), Rate::derive(1, 10)));
    }

    #[test]
    fn the_largest_limits_do_not_overflow() {
        let rate = Rate::derive(i64::MAX, i64::MAX / 4);
        let mut bucket = Bucket::default();
        assert!(bucket.has(1, rate, 1));
        bucket.take(1, rate, i64::MAX);
        assert!(!bucket.has(1, rate, 1));
    }
}
