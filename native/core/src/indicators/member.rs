//! One indicator of a set: whatever it takes behind one face, made out of a snapshot.
//!
//! A set feeds trades, quotes and books; each adapter here takes from them what its indicator is about, and answers NaN to what
//! it cannot use. It knows neither events nor topics.

use super::flow::{Amihud, Cvd, KyleLambda, TradeFlowImbalance};
use super::formula::{self, Reading};
use super::hawkes::Hawkes;
use super::hawkes_bivariate::HawkesBivariate;
use super::levels::BookReading;
use super::microprice::Microprice;
use super::mlofi::Mlofi;
use super::ofi::Ofi;
use super::returns::{EwmaVariance, RealizedVariance, RollSpread};
use super::signing::BulkShare;
use super::vpin::{Vpin, VpinBvc, VpinFixed};
use super::{Indicator, OnLevels, OnPrice, OnQuote, OnTrade, Quote, Tally, Trade};
use crate::error::{Error, Reason, Result};

/// Where the kind stands in a snapshot, behind the magic word.
const KIND_AT: usize = 4;

/// What an indicator is fed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Best quotes: of quote messages, or the touch of a book.
    Quotes,
    /// Trades.
    Trades,
    /// This many ranked levels of a book.
    Levels(usize),
    /// Prices: of trades, else the mid of whole quotes.
    Prices,
}

/// An indicator behind one face. What it does not take is NaN and leaves it alone.
pub trait Member: Send + Sync {
    /// What it is fed with.
    fn takes(&self) -> Takes;
    /// One quote; the value after it.
    fn quote(&mut self, _quote: Quote, _ts_ns: i64) -> f64 {
        f64::NAN
    }
    /// One trade, and its size in mantissas; the value after it.
    fn trade(&mut self, _trade: Trade, _lots: i64, _ts_ns: i64) -> f64 {
        f64::NAN
    }
    /// One book: ranked levels, at least as many as it takes; the value after it.
    fn book(&mut self, _flat: &[f64], _touch: Quote, _ts_ns: i64) -> f64 {
        f64::NAN
    }
    /// What it took and refused.
    fn tally(&self) -> &Tally;
    /// Its snapshot.
    fn snapshot(&self) -> Vec<u8>;
    /// Another one with the same state.
    fn copy(&self) -> Box<dyn Member>;
}

/// What every adapter answers in the same way.
macro_rules! same {
    () => {
        fn tally(&self) -> &Tally {
            self.0.tally()
        }

        fn snapshot(&self) -> Vec<u8> {
            self.0.snapshot()
        }

        fn copy(&self) -> Box<dyn Member> {
            Box::new(Self(self.0.clone()))
        }
    };
}

struct ByQuote<I>(I);

impl<I: OnQuote + Send + Sync + 'static> Member for ByQuote<I> {
    same!();

    fn takes(&self) -> Takes {
        Takes::Quotes
    }

    fn quote(&mut self, quote: Quote, ts_ns: i64) -> f64 {
        self.0.quote(quote, ts_ns)
    }

    fn book(&mut self, _flat: &[f64], touch: Quote, ts_ns: i64) -> f64 {
        self.0.quote(touch, ts_ns)
    }
}

struct ByTrade<I>(I);

impl<I: OnTrade + Send + Sync + 'static> Member for ByTrade<I> {
    same!();

    fn takes(&self) -> Takes {
        Takes::Trades
    }

    fn trade(&mut self, trade: Trade, _lots: i64, ts_ns: i64) -> f64 {
        self.0.trade(trade, ts_ns)
    }
}

/// Trades counted in mantissas of the size scale.
struct ByLots(VpinFixed);

impl Member for ByLots {
    same!();

    fn takes(&self) -> Takes {
        Takes::Trades
    }

    fn trade(&mut self, trade: Trade, lots: i64, ts_ns: i64) -> f64 {
        let size = lots as f64;
        self.0.trade(Trade { size, ..trade }, ts_ns)
    }
}

struct ByPrice<I>(I);

impl<I: OnPrice + Send + Sync + 'static> Member for ByPrice<I> {
    same!();

    fn takes(&self) -> Takes {
        Takes::Prices
    }

    fn trade(&mut self, trade: Trade, _lots: i64, ts_ns: i64) -> f64 {
        self.0.price(trade.price, ts_ns)
    }

    /// The mid; a quote with a side missing has no price.
    fn quote(&mut self, quote: Quote, ts_ns: i64) -> f64 {
        if !quote.is_whole() {
            return f64::NAN;
        }
        self.0.price((quote.bid_price + quote.ask_price) / 2.0, ts_ns)
    }

    fn book(&mut self, _flat: &[f64], touch: Quote, ts_ns: i64) -> f64 {
        self.quote(touch, ts_ns)
    }
}

struct ByLevels<I>(I);

impl<I: OnLevels + Send + Sync + 'static> Member for ByLevels<I> {
    same!();

    fn takes(&self) -> Takes {
        Takes::Levels(self.0.levels())
    }

    fn book(&mut self, flat: &[f64], _touch: Quote, ts_ns: i64) -> f64 {
        match flat.get(..4 * self.0.levels()) {
            Some(own) => self.0.book(own, ts_ns),
            None => f64::NAN,
        }
    }
}

struct ByTime(Hawkes);

impl Member for ByTime {
    same!();

    fn takes(&self) -> Takes {
        Takes::Trades
    }

    fn trade(&mut self, _trade: Trade, _lots: i64, ts_ns: i64) -> f64 {
        self.0.event(ts_ns, 1.0)
    }
}

/// Its value is how much of the intensity is the buyers', -1 to 1.
struct BySide(HawkesBivariate);

impl Member for BySide {
    same!();

    fn takes(&self) -> Takes {
        Takes::Trades
    }

    fn trade(&mut self, trade: Trade, _lots: i64, ts_ns: i64) -> f64 {
        if self.0.event(ts_ns, trade.side)[0].is_nan() {
            return f64::NAN;
        }
        self.0.value()
    }
}

/// The indicator of a snapshot. Errors: those of the snapshot; `Unsupported` for what no set can feed.
pub fn restore(snapshot: &[u8]) -> Result<Box<dyn Member>> {
    let number = snapshot.get(KIND_AT..).and_then(<[u8]>::first_chunk::<2>);
    let kind = number.map_or(0, |bytes| u16::from_le_bytes(*bytes));
    macro_rules! made {
        ($adapter:ident, $core:ty) => {
            Box::new($adapter(<$core>::restore(kind, snapshot)?))
        };
    }
    Ok(match kind {
        1 => made!(ByQuote, Ofi),
        2 | 3 => made!(ByLevels, Mlofi),
        10 => made!(ByTrade, Vpin),
        11 => made!(ByLots, VpinFixed),
        12 => made!(ByTrade, VpinBvc),
        20 => made!(ByTime, Hawkes),
        21 => made!(BySide, HawkesBivariate),
        30 => made!(ByQuote, Reading<formula::Mid>),
        31 => made!(ByQuote, Reading<formula::Spread>),
        32 => made!(ByQuote, Reading<formula::SpreadBps>),
        33 => made!(ByQuote, Reading<formula::WeightedMid>),
        34 => made!(ByQuote, Reading<formula::QueueImbalance>),
        35 => made!(ByQuote, Reading<formula::QuoteSlope>),
        36 => made!(ByQuote, Microprice),
        40..=49 => made!(ByLevels, BookReading),
        50 => made!(ByTrade, TradeFlowImbalance),
        51 => made!(ByTrade, Cvd),
        52 => made!(ByTrade, KyleLambda),
        53 => made!(ByTrade, Amihud),
        61 => made!(ByPrice, EwmaVariance),
        63 => made!(ByPrice, RollSpread),
        79 => made!(ByPrice, BulkShare),
        80..=83 => made!(ByPrice, RealizedVariance),
        _ => return Err(Error::new(Reason::Unsupported, KIND_AT)),
    })
}
