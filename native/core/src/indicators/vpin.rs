//! VPIN (Easley, Lopez de Prado, O'Hara 2012): order imbalance over buckets of equal volume.
//!
//! The value is sum |buy - sell| / sum of classified volume over the last n closed buckets, which is eq. 9 for full buckets. One
//! machine for signed trades in floats, signed trades in whole numbers (`VpinFixed`) and bulk classification (`VpinBvc`).

use super::buckets::{Buckets, Volume};
use super::bulk::{positive, Bulk};
use super::columns::{Trades, CHUNK};
use super::{answers, masked, Indicator, OnTrade, Tally, Trade};
use crate::error::{Error, Reason, Result};
use crate::saved_fields;

/// Most buckets that one trade may close: beyond it the parameters are wrong, and a loop would hang.
const CLOSED_PER_TRADE_MAX: f64 = 1e6;

/// VPIN of trades with an aggressor.
#[derive(Debug, Clone)]
pub struct Vpin {
    pub(super) tally: Tally,
    value: f64,
    pub(super) buckets: Buckets<f64>,
}

saved_fields!(Vpin { tally, value, buckets } is_any);

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
    #[inline(always)]
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
    pub(super) tally: Tally,
    value: f64,
    pub(super) buckets: Buckets<i64>,
}

saved_fields!(VpinFixed { tally, value, buckets } is_any);

/// Bounds buckets times volume so that sums of squares fit 128 bits.
const FIXED_VOLUME_MAX: i64 = 1 << 53;
/// Beyond it the lifetime's volume is halved, long before it overflows.
const FIXED_TOTAL_MAX: i64 = 1 << 61;

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

    /// Most lots of one trade: a bucket that takes it whole must keep the bound on sums of squares.
    #[inline]
    fn lots_max(&self) -> i64 {
        if self.buckets.split {
            let most = self.buckets.volume.saturating_mul(CLOSED_PER_TRADE_MAX as i64);
            most.min(FIXED_TOTAL_MAX)
        } else {
            FIXED_VOLUME_MAX / self.buckets.size() as i64
        }
    }

    /// One trade in whole lots.
    #[inline]
    pub fn lots(&mut self, size: i64, side: i64) -> f64 {
        if size < 0 || size > self.lots_max() {
            return self.tally.skip();
        }
        self.tally.count += 1;
        if self.buckets.total > FIXED_TOTAL_MAX {
            // Only the share of the unclassified is made of them.
            self.buckets.total /= 2;
            self.buckets.unclassified /= 2;
        }
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
    #[inline(always)]
    fn trade(&mut self, trade: Trade, _ts_ns: i64) -> f64 {
        let whole = trade.size as i64;
        if !trade.is_clean() || whole as f64 != trade.size {
            return self.tally.skip();
        }
        self.lots(whole, i64::from(trade.side > 0.0) - i64::from(trade.side < 0.0))
    }
}

/// VPIN with bulk volume classification: sides are estimated from price changes.
#[derive(Debug, Clone)]
pub struct VpinBvc {
    pub(super) tally: Tally,
    value: f64,
    pub(super) bulk: Bulk,
    pub(super) buckets: Buckets<f64>,
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
    #[inline(always)]
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

    /// Trades that all count: first the shares, then the buckets. Everything else takes the single step.
    fn trades(&mut self, rows: &Trades<'_>, out: &mut [f64]) -> Option<usize> {
        let mut shares = [0.0; CHUNK];
        let Some(shares) = shares
            .get_mut(..rows.price.len())
            .filter(|_| count_all(rows, self.buckets.volume))
        else {
            for (row, (slot, (trade, ts_ns))) in out.iter_mut().zip(rows.each()).enumerate() {
                *slot = self.trade(trade, ts_ns);
                if self.tally.refused {
                    return Some(row);
                }
            }
            return None;
        };
        self.bulk.shares(rows.price, shares);
        self.tally.count += shares.len() as u64;
        let sized = rows.size.iter().copied().zip(shares.iter().copied());
        let parts = |share: f64, part: f64| (share * part, part - share * part);
        self.buckets.fill_many(sized, parts, &mut self.value, out);
        None
    }
}

/// Whether every trade is clean, has a size, and none is too large. Without a branch per row.
fn count_all(rows: &Trades<'_>, volume: f64) -> bool {
    let most = CLOSED_PER_TRADE_MAX * volume;
    rows.each().fold(true, |so_far, (trade, _)| {
        so_far
            & trade.price.is_finite()
            & (trade.size > 0.0)
            & (trade.size <= most)
            & (trade.size < f64::INFINITY)
            & !trade.side.is_nan()
    })
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
