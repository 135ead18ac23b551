//! VPIN (Easley, Lopez de Prado, O'Hara 2012): order imbalance over buckets of equal volume.
//!
//! The value is sum |buy - sell| / sum of classified volume over the last n closed buckets, which is eq. 9 for full buckets. One
//! machine for signed trades in floats, signed trades in whole numbers (`VpinFixed`) and bulk classification (`VpinBvc`).

use super::distribution::{normal, student_quarter};
use super::state::Saved;
use super::toxicity::{is_beyond_three, z_of_floats, z_of_integers, History, Ring};
use super::{answers, masked, Indicator, OnTrade, Tally, Trade};
use crate::error::{Error, Reason, Result};
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
    volume: V,
    split: bool,
    left: V, // what the open bucket still takes
    buy: V,
    sell: V,
    imbalances: Ring<V>, // |buy - sell| of the last n
    volumes: Ring<V>,    // buy + sell of the last n
    imbalance_sum: V,
    volume_sum: V,
    total: V,        // volume taken, since the beginning
    unclassified: V, // of it, without a side
    history: History<V>,
}

saved_fields!(Buckets<f64> { volume, split, left, buy, sell, imbalances, volumes, imbalance_sum, volume_sum, total, unclassified, history } is_sound);
saved_fields!(Buckets<i64> { volume, split, left, buy, sell, imbalances, volumes, imbalance_sum, volume_sum, total, unclassified, history } is_sound);

impl<V: Volume> Buckets<V> {
    fn new(volume: V, buckets: i64, split: bool, ranked: i64) -> Result<Self> {
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

    fn reset(&mut self) {
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

    fn value(&self) -> f64 {
        if self.imbalances.is_full() && self.volume_sum > V::default() {
            // Running sums of fractions may be an ulp apart.
            (self.imbalance_sum.float() / self.volume_sum.float()).clamp(0.0, 1.0)
        } else {
            f64::NAN
        }
    }

    /// Fills buckets with `size`, of which `shares(part)` are (buy, sell). Whether one closed.
    #[inline(always)]
    fn fill(&mut self, size: V, shares: impl Fn(V) -> (V, V)) -> bool {
        let left = self.left - size;
        if left >= V::residue(self.volume) {
            let (buy, sell) = shares(size);
            self.total = self.total + size;
            (self.buy, self.sell, self.left) = (self.buy + buy, self.sell + sell, left);
            return false;
        }
        self.fill_over(size, shares)
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
            if !(self.left < V::residue(self.volume)) {
                return closed;
            }
            self.close();
            closed = true;
            // What is left of a trade that ended with the bucket is rounding, too.
            if !(rest >= V::residue(self.volume)) {
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

/// Most buckets that one trade may close: beyond it the parameters are wrong, and a loop would hang.
const CLOSED_PER_TRADE_MAX: f64 = 1e6;

/// VPIN of trades with an aggressor.
#[derive(Debug, Clone)]
pub struct Vpin {
    tally: Tally,
    value: f64,
    buckets: Buckets<f64>,
}

saved_fields!(Vpin { tally, value, buckets } is_any);

fn positive(volume: f64) -> Result<f64> {
    if volume > 0.0 && volume < f64::INFINITY {
        Ok(volume)
    } else {
        Err(Error::new(Reason::Malformed, 0))
    }
}

impl Vpin {
    /// Buckets of `volume`, a window of `buckets`, a rank among `ranked` values.
    pub fn new(volume: f64, buckets: i64, split: bool, ranked: i64, strict: bool) -> Result<Self> {
        Ok(Vpin {
            tally: Tally::new(strict),
            value: f64::NAN,
            buckets: Buckets::new(positive(volume)?, buckets, split, ranked)?,
        })
    }

    fn is_any(&self) -> bool {
        true
    }
}

/// What every VPIN adds to the common answers.
macro_rules! vpin_answers {
    ($volume:ty) => {
        answers!();

        fn is_ready(&self) -> bool {
            !self.value.is_nan()
        }

        fn warmup(&self) -> u64 {
            1
        }

        fn reset(&mut self) {
            self.tally.clear();
            self.value = f64::NAN;
            self.buckets.reset();
        }
    };
}

/// The buckets behind a VPIN.
pub trait Bucketed {
    /// What volume is counted in.
    type Volume: Volume;
    /// The buckets.
    fn buckets(&self) -> &Buckets<Self::Volume>;
    /// The same, to drop the open one.
    fn buckets_mut(&mut self) -> &mut Buckets<Self::Volume>;
}

macro_rules! bucketed {
    ($($name:ty: $volume:ty),*) => {$(
        impl Bucketed for $name {
            type Volume = $volume;

            fn buckets(&self) -> &Buckets<$volume> {
                &self.buckets
            }

            fn buckets_mut(&mut self) -> &mut Buckets<$volume> {
                &mut self.buckets
            }
        }
    )*};
}

bucketed!(Vpin: f64, VpinBvc: f64, VpinFixed: i64);

impl Indicator for Vpin {
    const KIND: u16 = 10;

    vpin_answers!(f64);
}

impl OnTrade for Vpin {
    #[inline]
    fn trade(&mut self, trade: Trade, _ts_ns: i64) -> f64 {
        if !trade.is_clean() || trade.size > CLOSED_PER_TRADE_MAX * self.buckets.volume {
            return self.tally.skip();
        }
        self.tally.count += 1;
        if trade.size == 0.0 {
            return self.value;
        }
        let (is_buy, is_sell) = (trade.side > 0.0, trade.side < 0.0);
        self.buckets.unclassified += masked(!(is_buy | is_sell), trade.size);
        let shares = |part| (masked(is_buy, part), masked(is_sell, part));
        if self.buckets.fill(trade.size, shares) {
            self.value = self.buckets.value();
        }
        self.value
    }
}

/// VPIN in whole lots: every sum is an integer, so nothing ever rounds but the last division.
#[derive(Debug, Clone)]
pub struct VpinFixed {
    tally: Tally,
    value: f64,
    buckets: Buckets<i64>,
}

saved_fields!(VpinFixed { tally, value, buckets } is_any);

/// Bounds buckets times volume so that sums of squares fit 128 bits.
const FIXED_VOLUME_MAX: i64 = 1 << 53;

impl VpinFixed {
    /// Buckets of `volume` lots; `volume * buckets` at most 2^53.
    pub fn new(volume: i64, buckets: i64, split: bool, ranked: i64, strict: bool) -> Result<Self> {
        let parts = Buckets::new(volume, buckets, split, ranked)?;
        if volume < 1 || volume > FIXED_VOLUME_MAX / buckets {
            return Err(Error::new(Reason::Overflow, 0));
        }
        Ok(VpinFixed {
            tally: Tally::new(strict),
            value: f64::NAN,
            buckets: parts,
        })
    }

    fn is_any(&self) -> bool {
        true
    }

    /// VPIN in parts per billion, rounded down; None until ready.
    pub fn parts_per_billion(&self) -> Option<i64> {
        let (imbalance, volume) = self.buckets.sums();
        let is_ready = !self.value.is_nan();
        is_ready.then(|| (i128::from(imbalance) * 1_000_000_000 / i128::from(volume)) as i64)
    }

    /// One trade in whole lots.
    #[inline]
    pub fn lots(&mut self, size: i64, side: i64) -> f64 {
        let total = self.buckets.total.checked_add(size);
        if size < 0 || total.is_none() || size / self.buckets.volume > CLOSED_PER_TRADE_MAX as i64 {
            return self.tally.skip();
        }
        self.tally.count += 1;
        if size == 0 {
            return self.value;
        }
        let (is_buy, is_sell) = (i64::from(side > 0), i64::from(side < 0));
        self.buckets.unclassified += size * (1 - is_buy - is_sell);
        if self.buckets.fill(size, |part| (part * is_buy, part * is_sell)) {
            self.value = self.buckets.value();
        }
        self.value
    }
}

impl Indicator for VpinFixed {
    const KIND: u16 = 11;

    vpin_answers!(i64);
}

impl OnTrade for VpinFixed {
    #[inline]
    fn trade(&mut self, trade: Trade, _ts_ns: i64) -> f64 {
        let whole = trade.size as i64;
        if !trade.is_clean() || whole as f64 != trade.size {
            return self.tally.skip();
        }
        self.lots(whole, i64::from(trade.side > 0.0) - i64::from(trade.side < 0.0))
    }
}

/// Which share of a bar's volume was bought, from its price change.
#[derive(Debug, Clone)]
pub struct Bulk {
    sigma: f64, // 0: estimated
    decay: f64,
    is_student: bool,
    price: f64, // NaN before the first
    variance: f64,
    has_variance: bool,
}

saved_fields!(Bulk { sigma, decay, is_student, price, variance, has_variance } is_any);

impl Bulk {
    /// A fixed sigma, or one from the squared changes *before* each bar, averaged with weight `decay` on the past.
    pub fn new(sigma: Option<f64>, decay: f64, is_student: bool) -> Result<Self> {
        let sigma = sigma.map_or(Ok(0.0), positive)?;
        if !(decay > 0.0 && decay < 1.0) {
            return Err(Error::new(Reason::Malformed, 0));
        }
        Ok(Bulk {
            sigma,
            decay,
            is_student,
            price: f64::NAN,
            variance: 0.0,
            has_variance: false,
        })
    }

    fn is_any(&self) -> bool {
        true
    }

    /// Back to the beginning.
    pub fn reset(&mut self) {
        (self.price, self.variance, self.has_variance) = (f64::NAN, 0.0, false);
    }

    /// The bought share of a bar that ended at `price`; 1/2 for the first.
    #[inline]
    pub fn share(&mut self, price: f64) -> f64 {
        let change = price - self.price;
        let is_first = self.price.is_nan();
        self.price = price;
        if is_first {
            return 0.5;
        }
        let sigma = if self.sigma > 0.0 {
            self.sigma
        } else {
            self.estimate(change)
        };
        if sigma > 0.0 && !self.is_student {
            return normal(change / sigma); // exactly 1/2 at 0
        }
        if change == 0.0 {
            return 0.5;
        }
        let x = change / sigma; // infinite when sigma is 0: the sign decides
        if self.is_student {
            student_quarter(x)
        } else {
            normal(x)
        }
    }

    /// Sigma before this change, which then joins the estimate.
    fn estimate(&mut self, change: f64) -> f64 {
        let sigma = self.variance.sqrt();
        let square = change * change;
        self.variance = if self.has_variance {
            self.decay * self.variance + (1.0 - self.decay) * square
        } else {
            square
        };
        self.has_variance = true;
        sigma
    }
}

/// VPIN with bulk volume classification: sides are estimated from price changes.
#[derive(Debug, Clone)]
pub struct VpinBvc {
    tally: Tally,
    value: f64,
    bulk: Bulk,
    buckets: Buckets<f64>,
}

saved_fields!(VpinBvc { tally, value, bulk, buckets } is_any);

impl VpinBvc {
    /// As `Vpin::new`, with a classifier.
    pub fn new(volume: f64, buckets: i64, bulk: Bulk, split: bool, ranked: i64, strict: bool) -> Result<Self> {
        Ok(VpinBvc {
            tally: Tally::new(strict),
            value: f64::NAN,
            bulk,
            buckets: Buckets::new(positive(volume)?, buckets, split, ranked)?,
        })
    }

    fn is_any(&self) -> bool {
        true
    }
}

impl Indicator for VpinBvc {
    const KIND: u16 = 12;

    answers!();

    fn is_ready(&self) -> bool {
        !self.value.is_nan()
    }

    fn warmup(&self) -> u64 {
        1
    }

    fn reset(&mut self) {
        self.tally.clear();
        self.value = f64::NAN;
        self.bulk.reset();
        self.buckets.reset();
    }
}

impl OnTrade for VpinBvc {
    #[inline]
    fn trade(&mut self, trade: Trade, _ts_ns: i64) -> f64 {
        if !trade.is_clean() || trade.size > CLOSED_PER_TRADE_MAX * self.buckets.volume {
            return self.tally.skip();
        }
        self.tally.count += 1;
        if trade.size == 0.0 {
            return self.value;
        }
        let share = self.bulk.share(trade.price);
        if self
            .buckets
            .fill(trade.size, |part| (share * part, part - share * part))
        {
            self.value = self.buckets.value();
        }
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paper's literal form: every trade as `size` trades of one lot.
    fn expanded(trades: &[(i64, i64)], volume: i64, buckets: usize) -> f64 {
        let units: Vec<i64> = trades
            .iter()
            .flat_map(|(size, side)| vec![*side; *size as usize])
            .collect();
        let closed: Vec<i64> = units
            .chunks_exact(volume as usize)
            .map(|units| units.iter().sum::<i64>().abs())
            .collect();
        match closed.len().checked_sub(buckets) {
            Some(first) => closed[first..].iter().sum::<i64>() as f64 / (buckets as i64 * volume) as f64,
            None => f64::NAN,
        }
    }

    #[test]
    fn equals_the_expansion_into_lots() {
        let trades: Vec<(i64, i64)> = (0..400_i64)
            .map(|i| ((i * i * 7) % 23, if (i * 5) % 11 < 6 { 1 } else { -1 }))
            .collect();
        let mut fixed = VpinFixed::new(17, 5, true, 10, false).unwrap();
        let mut float = Vpin::new(17.0, 5, true, 10, false).unwrap();
        for end in 0..trades.len() {
            let (size, side) = trades[end];
            let value = fixed.lots(size, side);
            let trade = Trade {
                price: 1.0,
                size: size as f64,
                side: side as f64,
            };
            assert_eq!(float.trade(trade, 0).to_bits(), value.to_bits());
            assert_eq!(value.to_bits(), expanded(&trades[..=end], 17, 5).to_bits());
            assert_eq!(float.buckets.history.is_toxic(), fixed.buckets.history.is_toxic());
        }
        assert!(fixed.parts_per_billion().is_some());
    }

    #[test]
    fn a_whole_trade_overshoots_when_not_split() {
        let mut vpin = Vpin::new(10.0, 2, false, 10, false).unwrap();
        let mut trade = |size, side| vpin.trade(Trade { price: 1.0, size, side }, 0);
        assert!(trade(25.0, 1.0).is_nan());
        assert!(trade(4.0, -1.0).is_nan());
        assert_eq!(trade(8.0, 1.0), (25.0 + 4.0) / 37.0);
    }

    #[test]
    fn the_current_bucket_is_not_its_own_measure() {
        let mut vpin = Vpin::new(1.0, 10, true, 10, false).unwrap();
        for i in 0..30 {
            let size = if i % 2 == 0 { 0.4 } else { 0.6 };
            for (size, side) in [(size, 1.0), (1.0 - size, -1.0)] {
                vpin.trade(Trade { price: 1.0, size, side }, 0);
            }
        }
        assert!(!vpin.buckets.history.is_toxic());
        vpin.trade(
            Trade {
                price: 1.0,
                size: 1.0,
                side: 1.0,
            },
            0,
        );
        assert!(vpin.buckets.history.z() > 3.0, "{}", vpin.buckets.history.z());
        assert!(vpin.buckets.history.is_toxic());
    }
}
