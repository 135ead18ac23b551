//! What VPIN's history says: the rank of the current value, and the 3-sigma trigger against the *previous* buckets.
//!
//! Asked rarely, so it is computed when asked, over rings that the buckets fill. It knows no trades.

use super::buckets::Volume;
use super::state::Saved;
use crate::error::{Error, Reason, Result};
use crate::saved_fields;

/// Most values that a ring of buckets holds.
pub const BUCKETS_MAX: i64 = 1 << 16;

/// The last `N` things, oldest first out.
#[derive(Debug, Clone)]
pub struct Ring<T> {
    places: Vec<T>,
    head: u64,
    seen: u64,
}

impl<T: Saved> Saved for Ring<T> {
    fn save(&self, out: &mut Vec<u8>) {
        self.places.save(out);
        self.head.save(out);
        self.seen.save(out);
    }

    fn load(input: &mut super::state::Reader<'_>) -> Result<Self> {
        let (places, head, seen) = (Vec::load(input)?, u64::load(input)?, u64::load(input)?);
        if places.is_empty() || head >= places.len() as u64 {
            return input.malformed();
        }
        Ok(Ring { places, head, seen })
    }
}

impl<T: Copy + Default> Ring<T> {
    /// An empty ring of `size` places.
    pub fn new(size: i64) -> Result<Self> {
        if !(1..=BUCKETS_MAX).contains(&size) {
            return Err(Error::new(Reason::TooLarge, 0));
        }
        Ok(Ring {
            places: vec![T::default(); size as usize],
            head: 0,
            seen: 0,
        })
    }

    /// Adds one; returns what had to leave, the default while there is room.
    pub fn push(&mut self, what: T) -> T {
        let Some(place) = self.places.get_mut(self.head as usize) else {
            return what;
        };
        let left = std::mem::replace(place, what);
        self.head += 1;
        if self.head == self.places.len() as u64 {
            self.head = 0;
        }
        self.seen += 1;
        left
    }

    /// How many were ever added.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// How many it can hold.
    pub fn size(&self) -> usize {
        self.places.len()
    }

    /// Whether every place is taken.
    pub fn is_full(&self) -> bool {
        self.seen >= self.places.len() as u64
    }

    /// Whether the next one goes to the first place.
    pub fn is_at_start(&self) -> bool {
        self.head == 0
    }

    /// The newest, when there is one.
    pub fn newest(&self) -> Option<T> {
        if self.seen == 0 {
            return None;
        }
        let at = if self.head == 0 {
            self.places.len()
        } else {
            self.head as usize
        } - 1;
        self.places.get(at).copied()
    }

    /// What it holds, in the order of places.
    pub fn places(&self) -> &[T] {
        let filled = (self.seen as usize).min(self.places.len());
        self.places.get(..filled).unwrap_or_default()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.places.fill(T::default());
        (self.head, self.seen) = (0, 0);
    }
}

/// Signed imbalances of the current and the n previous buckets, and VPINs for the rank.
#[derive(Debug, Clone)]
pub struct History<V> {
    imbalances: Ring<V>, // n + 1
    values: Ring<f64>,
}

saved_fields!(History<f64> { imbalances, values } is_any);
saved_fields!(History<i64> { imbalances, values } is_any);

impl<V: Volume> History<V> {
    /// For `buckets` previous buckets and a rank among `ranked` values.
    pub fn new(buckets: i64, ranked: i64) -> Result<Self> {
        Ok(History {
            imbalances: Ring::new(buckets + 1)?,
            values: Ring::new(ranked)?,
        })
    }

    fn is_any(&self) -> bool {
        true
    }

    /// A bucket closed with this signed imbalance.
    pub fn close(&mut self, imbalance: V) {
        self.imbalances.push(imbalance);
    }

    /// VPIN after that bucket.
    pub fn rank_among(&mut self, value: f64) {
        self.values.push(value);
    }

    /// Share of the last values that are not above the newest; NaN before there is one.
    pub fn cdf(&self) -> f64 {
        let Some(newest) = self.values.newest() else {
            return f64::NAN;
        };
        let values = self.values.places();
        values.iter().filter(|value| **value <= newest).count() as f64 / values.len() as f64
    }

    /// (x - mean) / std of the newest imbalance against the n before it; NaN while there are fewer, or all are equal.
    pub fn z(&self) -> f64 {
        match self.imbalances.newest() {
            Some(newest) if self.imbalances.is_full() => V::z(newest, self.imbalances.places()),
            _ => f64::NAN,
        }
    }

    /// Whether |z| > 3; exact for integers.
    pub fn is_toxic(&self) -> bool {
        match self.imbalances.newest() {
            Some(newest) if self.imbalances.is_full() => V::is_beyond_three(newest, self.imbalances.places()),
            _ => false,
        }
    }

    /// Among how many values the rank is taken.
    pub fn ranked(&self) -> usize {
        self.values.size()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.imbalances.clear();
        self.values.clear();
    }
}

/// z of `newest` against all of `all` but one occurrence of itself: sums over the previous values.
pub fn z_of_floats(newest: f64, all: &[f64]) -> f64 {
    let n = (all.len() - 1) as f64;
    let mut sum = 0.0;
    for x in all {
        sum += x;
    }
    let mean = (sum - newest) / n;
    let mut square = 0.0;
    for x in all {
        square += (x - mean) * (x - mean);
    }
    let variance = (square - (newest - mean) * (newest - mean)) / (n - 1.0);
    // What is left of equal values is rounding of the sums, not a spread.
    if variance > 0.0 && variance > 1e-24 * mean * mean {
        (newest - mean) / variance.sqrt()
    } else {
        f64::NAN
    }
}

/// The parts of z in whole numbers: (x n - S1, n S2 - S1^2), n.
fn parts(newest: i64, all: &[i64]) -> (i128, i128, i128) {
    let n = all.len() as i128 - 1;
    let sum: i128 = all.iter().map(|x| i128::from(*x)).sum::<i128>() - i128::from(newest);
    let squares: i128 =
        all.iter().map(|x| i128::from(*x) * i128::from(*x)).sum::<i128>() - i128::from(newest) * i128::from(newest);
    (i128::from(newest) * n - sum, n * squares - sum * sum, n)
}

/// z of integers: one rounding at the end.
pub fn z_of_integers(newest: i64, all: &[i64]) -> f64 {
    let (distance, spread, n) = parts(newest, all);
    if n < 2 || spread <= 0 {
        return f64::NAN;
    }
    // (x - S1/n) / sqrt((S2 - S1^2/n) / (n - 1)), both over n.
    distance as f64 / ((spread as f64 * n as f64) / (n - 1) as f64).sqrt()
}

/// (x n - S1)^2 (n - 1) > 9 n (n S2 - S1^2), in whole numbers.
pub fn is_beyond_three(newest: i64, all: &[i64]) -> bool {
    let (distance, spread, n) = parts(newest, all);
    let squared = distance.checked_mul(distance).and_then(|d| d.checked_mul(n - 1));
    let limit = spread.checked_mul(9).and_then(|s| s.checked_mul(n));
    match (squared, limit) {
        (Some(squared), Some(limit)) => n >= 2 && spread > 0 && squared > limit,
        _ => z_of_integers(newest, all).abs() > 3.0,
    }
}
