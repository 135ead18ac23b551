//! A log-linear histogram of durations: 32 buckets per octave (error ≤ 3.2 %), u64 nanoseconds, fixed memory.
//!
//! Its one job is to count without a lock or an allocation: the counters are relaxed atomics, so one owner records and
//! anybody reads. Snapshots are therefore not atomic as a whole, which metrics do not need. Two that record at the same time
//! would lose counts: an addition that nobody else can come between costs a fifth of the locked one, per event.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const SUB_BITS: u32 = 5;
const SUB_BUCKETS: usize = 1 << SUB_BITS;
/// Octaves above the exact range 0..32.
const OCTAVES: usize = (u64::BITS - SUB_BITS) as usize;
const BUCKETS: usize = SUB_BUCKETS * (OCTAVES + 1);

/// Counts of durations; 15 KiB.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram::new()
    }
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Self {
        Histogram {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }

    /// Counts `count` durations of `ns`; the owner only.
    #[inline]
    pub fn record(&self, ns: u64, count: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(ns)) {
            bucket.store(bucket.load(Relaxed).wrapping_add(count), Relaxed);
        }
        let sum = self.sum.load(Relaxed).wrapping_add(ns.saturating_mul(count));
        self.sum.store(sum, Relaxed);
        if count > 0 && ns > self.max.load(Relaxed) {
            self.max.store(ns, Relaxed);
        }
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    /// Sum of all durations, ns (wraps after 584 years).
    pub fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }

    /// The longest duration, ns.
    pub fn max(&self) -> u64 {
        self.max.load(Relaxed)
    }

    /// Counts per interval (previous bound, bound], one more at the end for what exceeds the last bound.
    ///
    /// `bounds` ascend. A bucket that straddles a bound counts above it, so that "≤ bound" is never overstated.
    pub fn fold(&self, bounds: &[u64]) -> Vec<u64> {
        let mut folded = vec![0; bounds.len() + 1];
        for (index, bucket) in self.buckets.iter().enumerate() {
            let count = bucket.load(Relaxed);
            if count == 0 {
                continue;
            }
            let at = bounds.partition_point(|bound| *bound < upper_of(index));
            if let Some(slot) = folded.get_mut(at) {
                *slot += count;
            }
        }
        folded
    }

    /// The upper edge of the bucket that holds the `q` quantile (0..=1), at most the maximum; 0 when empty.
    pub fn quantile(&self, q: f64) -> u64 {
        let counts = self.buckets.iter().map(|bucket| bucket.load(Relaxed));
        quantile_of(counts, self.count(), q).map_or(0, |ns| ns.min(self.max()))
    }

    /// All counters as they are now.
    pub fn snapshot(&self) -> Vec<u64> {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect()
    }

    /// Quantiles (0..=1) of what was counted after `snapshot` was taken; `None` when that is nothing.
    pub fn quantiles_since(&self, snapshot: &[u64], quantiles: &[f64]) -> Option<Vec<u64>> {
        let fresh: Vec<u64> = self
            .buckets
            .iter()
            .zip(snapshot)
            .map(|(bucket, before)| bucket.load(Relaxed).saturating_sub(*before))
            .collect();
        let total = fresh.iter().sum();
        quantiles
            .iter()
            .map(|q| quantile_of(fresh.iter().copied(), total, *q).map(|ns| ns.min(self.max())))
            .collect()
    }
}

/// The upper edge of the bucket that holds a quantile of `total` values; `None` when there are none.
fn quantile_of(counts: impl Iterator<Item = u64>, total: u64, q: f64) -> Option<u64> {
    let rank = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
    let mut seen = 0;
    for (index, count) in counts.enumerate() {
        seen += count;
        if seen >= rank {
            return Some(upper_of(index));
        }
    }
    None
}

pub(crate) const fn bucket_of(ns: u64) -> usize {
    if ns < SUB_BUCKETS as u64 {
        return ns as usize;
    }
    let octave = 63 - ns.leading_zeros() - SUB_BITS;
    let sub = (ns >> octave) as usize - SUB_BUCKETS;
    SUB_BUCKETS * (octave as usize + 1) + sub
}

/// Largest value of a bucket.
pub(crate) const fn upper_of(index: usize) -> u64 {
    if index < SUB_BUCKETS {
        return index as u64;
    }
    let octave = (index / SUB_BUCKETS - 1) as u32;
    let sub = (index % SUB_BUCKETS) as u64;
    let lower = (sub + SUB_BUCKETS as u64) << octave;
    lower + ((1u64 << octave) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_within_one_thirty_second() {
        for shift in 0..64 {
            for offset in [-1i64, 0, 1] {
                let ns = (1u64 << shift).wrapping_add_signed(offset);
                let upper = upper_of(bucket_of(ns));
                assert!(upper >= ns, "{ns}");
                assert!(upper - ns <= ns / 32, "{ns} {upper}");
                if bucket_of(ns) > 0 {
                    assert!(upper_of(bucket_of(ns) - 1) < ns, "{ns}");
                }
            }
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn folding_keeps_every_count_and_never_overstates() {
        let histogram = Histogram::new();
        for ns in 1..=1000u64 {
            histogram.record(ns * 1000, 2);
        }
        let folded = histogram.fold(&[10_000, 100_000, 2_000_000]);
        assert_eq!(folded.iter().sum::<u64>(), 2000);
        assert!(folded[0] <= 20 && folded[0] >= 18);
        assert_eq!(folded[3], 0);
        assert_eq!(
            (histogram.count(), histogram.sum(), histogram.max()),
            (2000, 1_001_000_000, 1_000_000)
        );
    }

    #[test]
    fn quantiles_since_a_snapshot_know_nothing_of_what_came_before() {
        let histogram = Histogram::new();
        histogram.record(1_000_000_000, 50);
        let before = histogram.snapshot();
        assert_eq!(histogram.quantiles_since(&before, &[0.5]), None);
        histogram.record(1_000, 99);
        histogram.record(2_000_000, 1);
        let got = histogram.quantiles_since(&before, &[0.5, 0.99, 1.0]).unwrap();
        assert!((1_000..1_032).contains(&got[0]), "{got:?}");
        assert_eq!(got[0], got[1]);
        assert!((2_000_000..2_063_000).contains(&got[2]), "{got:?}");
    }

    #[test]
    fn quantiles_are_monotone_and_end_at_the_maximum() {
        let histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), 0);
        for ns in 0..10_000u64 {
            histogram.record(ns * 7, 1);
        }
        let (half, high) = (histogram.quantile(0.5), histogram.quantile(0.99));
        assert!((35_000..36_200).contains(&half), "{half}");
        assert!((69_300..71_000).contains(&high), "{high}");
        assert_eq!(histogram.quantile(1.0), 69_993);
    }
}
