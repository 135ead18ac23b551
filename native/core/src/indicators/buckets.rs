//! Buckets of equal volume, in floats or whole lots: the machine behind every VPIN. It knows no sides and no prices.

use super::state::Saved;
use super::toxicity::{is_beyond_three, z_of_floats, z_of_integers, History, Ring};
use crate::error::Result;
use crate::saved_fields;

/// A quantity of volume: f64, or i64 in lots.
pub trait Volume:
    Copy + Default + PartialOrd + Saved + std::ops::Add<Output = Self> + std::ops::Sub<Output = Self>
{
    /// Below this share of a bucket, what is left of it is nothing.
    fn residue(bucket: Self) -> Self;
    /// As a float.
    fn float(self) -> f64;
    /// See `History::z`.
    fn z(newest: Self, all: &[Self]) -> f64;
    /// See `History::is_toxic`.
    fn is_beyond_three(newest: Self, all: &[Self]) -> bool;
}

impl Volume for f64 {
    fn residue(bucket: f64) -> f64 {
        1e-12 * bucket
    }

    fn float(self) -> f64 {
        self
    }

    fn z(newest: f64, all: &[f64]) -> f64 {
        if all.len() < 3 {
            return f64::NAN;
        }
        z_of_floats(newest, all)
    }

    fn is_beyond_three(newest: f64, all: &[f64]) -> bool {
        Self::z(newest, all).abs() > 3.0
    }
}

impl Volume for i64 {
    fn residue(_bucket: i64) -> i64 {
        1
    }

    fn float(self) -> f64 {
        self as f64
    }

    fn z(newest: i64, all: &[i64]) -> f64 {
        z_of_integers(newest, all)
    }

    fn is_beyond_three(newest: i64, all: &[i64]) -> bool {
        is_beyond_three(newest, all)
    }
}

fn absolute<V: Volume>(x: V) -> V {
    if x < V::default() {
        V::default() - x
    } else {
        x
    }
}

/// Buckets of volume and what their imbalances sum to.
#[derive(Debug, Clone)]
pub struct Buckets<V> {
    pub(super) volume: V,
    pub(super) split: bool,
    left: V, // what the open bucket still takes
    buy: V,
    sell: V,
    imbalances: Ring<V>, // |buy - sell| of the last n
    volumes: Ring<V>,    // buy + sell of the last n
    imbalance_sum: V,
    volume_sum: V,
    pub(super) total: V,        // volume taken, since the beginning
    pub(super) unclassified: V, // of it, without a side
    pub(super) history: History<V>,
}

saved_fields!(Buckets<f64> { volume, split, left, buy, sell, imbalances, volumes, imbalance_sum, volume_sum, total, unclassified, history } is_sound);
saved_fields!(Buckets<i64> { volume, split, left, buy, sell, imbalances, volumes, imbalance_sum, volume_sum, total, unclassified, history } is_sound);

impl<V: Volume> Buckets<V> {
    /// Buckets of `volume`, a window of `buckets`, a rank among `ranked` values.
    pub fn new(volume: V, buckets: i64, split: bool, ranked: i64) -> Result<Self> {
        Ok(Buckets {
            volume,
            split,
            left: volume,
            buy: V::default(),
            sell: V::default(),
            imbalances: Ring::new(buckets)?,
            volumes: Ring::new(buckets)?,
            imbalance_sum: V::default(),
            volume_sum: V::default(),
            total: V::default(),
            unclassified: V::default(),
            history: History::new(buckets, ranked)?,
        })
    }

    fn is_sound(&self) -> bool {
        let nothing = V::default();
        self.volume > nothing && self.left > nothing && self.left <= self.volume
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.drop_partial();
        self.imbalances.clear();
        self.volumes.clear();
        self.history.clear();
        (self.imbalance_sum, self.volume_sum) = (V::default(), V::default());
        (self.total, self.unclassified) = (V::default(), V::default());
    }

    /// Forgets the open bucket: for the break between sessions.
    pub fn drop_partial(&mut self) {
        (self.left, self.buy, self.sell) = (self.volume, V::default(), V::default());
    }

    /// Closes the open bucket; the sums over the last n follow.
    fn close(&mut self) {
        let signed = self.buy - self.sell;
        let (imbalance, volume) = (absolute(signed), self.buy + self.sell);
        self.imbalance_sum = self.imbalance_sum + (imbalance - self.imbalances.push(imbalance));
        self.volume_sum = self.volume_sum + (volume - self.volumes.push(volume));
        if self.imbalances.is_at_start() {
            let sum = |ring: &Ring<V>| ring.places().iter().fold(V::default(), |sum, each| sum + *each);
            (self.imbalance_sum, self.volume_sum) = (sum(&self.imbalances), sum(&self.volumes));
        }
        self.history.close(signed);
        if self.imbalances.is_full() {
            self.history.rank_among(self.value());
        }
        self.drop_partial();
    }

    /// Imbalance over classified volume of the last n; NaN until there are n.
    pub fn value(&self) -> f64 {
        if self.imbalances.is_full() && self.volume_sum > V::default() {
            // Running sums of fractions may be an ulp apart.
            (self.imbalance_sum.float() / self.volume_sum.float()).clamp(0.0, 1.0)
        } else {
            f64::NAN
        }
    }

    /// Fills buckets with `size`, of which `shares(part)` are (buy, sell). Whether one closed.
    #[inline(always)]
    pub fn fill(&mut self, size: V, shares: impl Fn(V) -> (V, V)) -> bool {
        let left = self.left - size;
        if left >= V::residue(self.volume) {
            let (buy, sell) = shares(size);
            self.total = self.total + size;
            (self.buy, self.sell, self.left) = (self.buy + buy, self.sell + sell, left);
            return false;
        }
        self.fill_over(size, shares)
    }

    /// Many at once: `parts(share, part)` are (buy, sell) of a part; `out` gets `value` after each, which changes when a bucket
    /// closes. The open bucket stays in registers meanwhile.
    #[inline(always)]
    pub fn fill_many<S: Copy>(
        &mut self,
        rows: impl Iterator<Item = (V, S)>,
        parts: impl Fn(S, V) -> (V, V),
        value: &mut f64,
        out: &mut [f64],
    ) {
        let residue = V::residue(self.volume);
        let (mut left, mut buy, mut sell, mut total) = (self.left, self.buy, self.sell, self.total);
        let mut now = *value;
        for (slot, (size, share)) in out.iter_mut().zip(rows) {
            let rest = left - size;
            if rest >= residue {
                let (bought, sold) = parts(share, size);
                (buy, sell, left, total) = (buy + bought, sell + sold, rest, total + size);
            } else {
                (self.left, self.buy, self.sell, self.total) = (left, buy, sell, total);
                if self.fill_over(size, |part| parts(share, part)) {
                    now = self.value();
                }
                (left, buy, sell, total) = (self.left, self.buy, self.sell, self.total);
            }
            *slot = now;
        }
        (self.left, self.buy, self.sell, self.total) = (left, buy, sell, total);
        *value = now;
    }

    /// The same for a trade that closes a bucket.
    #[inline(never)]
    fn fill_over(&mut self, size: V, shares: impl Fn(V) -> (V, V)) -> bool {
        self.total = self.total + size;
        let mut rest = size;
        let mut closed = false;
        loop {
            let part = if self.split && rest > self.left {
                self.left
            } else {
                rest
            };
            let (buy, sell) = shares(part);
            self.buy = self.buy + buy;
            self.sell = self.sell + sell;
            self.left = self.left - part;
            rest = rest - part;
            if self.left >= V::residue(self.volume) {
                return closed;
            }
            self.close();
            closed = true;
            // What is left of a trade that ended with the bucket is rounding, too.
            if rest < V::residue(self.volume) {
                return closed;
            }
        }
    }

    /// n of the window.
    pub fn size(&self) -> u64 {
        self.imbalances.size() as u64
    }

    /// Buckets closed so far.
    pub fn closed(&self) -> u64 {
        self.imbalances.seen()
    }

    /// Sums over the last n buckets: (|buy - sell|, buy + sell).
    pub fn sums(&self) -> (V, V) {
        (self.imbalance_sum, self.volume_sum)
    }

    /// Volume in the open bucket.
    pub fn filled(&self) -> V {
        self.volume - self.left
    }

    /// Share of all volume that had no side; NaN before the first trade.
    pub fn unclassified(&self) -> f64 {
        if self.total > V::default() {
            self.unclassified.float() / self.total.float()
        } else {
            f64::NAN
        }
    }

    /// Rank and trigger.
    pub fn history(&self) -> &History<V> {
        &self.history
    }
}
