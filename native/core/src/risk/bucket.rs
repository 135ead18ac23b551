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
    /// How far ahead the time may lie at which the bucket is full again: all of the burst but one token.
    ahead_ns: i64,
}

impl Rate {
    /// The rate of which every closed window of `window_ns` holds at most `limit`.
    ///
    /// Burst b and one token each T let b + floor(W / T) through; a fifth of the limit is burst, the rest comes evenly.
    pub const fn derive(limit: i64, window_ns: i64) -> Rate {
        if limit <= 0 {
            return Rate::of(0, window_ns + 1);
        }
        let burst = if limit / 5 > 1 { limit / 5 } else { 1 };
        Rate::spread(limit, burst, window_ns)
    }

    /// What `burst` leaves of the limit comes evenly over the window.
    const fn spread(limit: i64, burst: i64, window_ns: i64) -> Rate {
        let rest = limit - burst;
        let per_ns = if rest <= 0 {
            window_ns + 1
        } else {
            window_ns / rest + (window_ns % rest != 0) as i64
        };
        Rate::of(burst, per_ns)
    }

    const fn of(burst: i64, per_ns: i64) -> Rate {
        Rate {
            burst,
            per_ns,
            ahead_ns: (burst - 1).saturating_mul(per_ns),
        }
    }

    /// The rates of one bucket for orders and for cancels, whose every closed window holds at most both limits together.
    ///
    /// Cancels may take whatever is there. Orders need that something stays: what their own share has no burst for.
    pub fn lanes(orders: i64, cancels: i64, window_ns: i64) -> (Rate, Rate) {
        let limit = orders.saturating_add(cancels);
        // Two at least, or an order could never leave one.
        let all = Rate::spread(limit, (limit / 5).max(limit.min(2)), window_ns);
        let most = all.burst - i64::from(cancels > 0);
        let burst = if orders > 0 { (orders / 5).max(1).min(most) } else { 0 };
        (Rate::of(burst, all.per_ns), all)
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
        let more = rate.per_ns.saturating_mul(n - 1);
        self.from(now).saturating_add(more) <= now.saturating_add(rate.ahead_ns)
    }

    /// Takes them, without asking.
    #[inline]
    pub fn take(&mut self, now: i64, rate: Rate, n: i64) {
        self.tat = self.from(now).saturating_add(rate.per_ns.saturating_mul(n));
    }

    #[inline]
    const fn from(&self, now: i64) -> i64 {
        if self.tat > now {
            self.tat
        } else {
            now
        }
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
        /// Orders and cancels at random out of one bucket: all windows hold the limit, and no order takes the last token.
        #[test]
        fn two_lanes_hold_one_limit(
            limit in (1i64..60, 1i64..30), window in 1i64..5_000,
            steps in prop::collection::vec((0i64..40, any::<bool>()), 1..600)
        ) {
            let (orders, cancels) = Rate::lanes(limit.0, limit.1, window);
            let (mut bucket, mut now, mut granted) = (Bucket::default(), 0, Vec::new());
            for (step, is_cancel) in steps {
                now += step;
                let rate = if is_cancel { cancels } else { orders };
                if bucket.has(now, rate, 1) {
                    bucket.take(now, rate, 1);
                    granted.push(now);
                    prop_assert!(is_cancel || bucket.has(now, cancels, 1), "an order left nothing");
                }
            }
            for (i, first) in granted.iter().enumerate() {
                let within = granted[i..].iter().take_while(|at| **at - first <= window).count();
                prop_assert!(within as i64 <= limit.0 + limit.1, "{within} from {first}");
            }
        }

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
        assert_eq!((rate.burst, rate.per_ns), (2, 125));
        assert!(Bucket::default().has(0, rate, 2));
        assert!(!Bucket::default().has(0, rate, 3));
        assert!(!Bucket::default().has(i64::MAX / 4, Rate::derive(0, 1_000), 1));
    }

    #[test]
    fn cancels_take_the_whole_limit_and_orders_leave_some_of_it() {
        let (orders, cancels) = Rate::lanes(200, 50, 10_000);
        assert_eq!((orders.burst, cancels.burst), (40, 50));
        assert_eq!((orders.per_ns, cancels.per_ns), (50, 50));
        assert_eq!(cancels, Rate::derive(250, 10_000));
        // The smallest: one order and its cancel.
        let (orders, cancels) = Rate::lanes(1, 1, 10);
        assert_eq!((orders.burst, cancels.burst, cancels.per_ns), (1, 2, 11));
        assert_eq!(Rate::lanes(0, 1, 10).0.burst, 0);
        let (orders, _) = Rate::lanes(5, 0, 10);
        assert_eq!((orders.burst, orders.per_ns), (1, 4));
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
