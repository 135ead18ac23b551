//! Who was the aggressor of a trade, from its price and the quote: tick rule, quote rule, Lee-Ready, EMO, CLNV; bulk share.
//!
//! For feeds without a flag. The value is 1, -1 or 0; a flag of the venue is always better.

use super::bulk::Bulk;
use super::{answers, Indicator, OnPrice, OnPrint, Tally};
use crate::error::Result;
use crate::saved_fields;

/// Which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Against the last different price; the first trade is 0.
    Tick = 0,
    /// Against the mid; 0 at the mid.
    Quote = 1,
    /// Quote rule, at the mid the tick rule (1991).
    LeeReady = 2,
    /// At the ask a buy, at the bid a sell, else the tick rule (Ellis, Michaely, O'Hara 2000).
    Emo = 3,
    /// Quote rule from the touch to 30 % of the spread inside it, else the tick rule (Chakrabarty et al. 2007).
    Clnv = 4,
}

impl super::state::Saved for Rule {
    fn save(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }

    fn load(input: &mut super::state::Reader<'_>) -> Result<Self> {
        Ok(match u8::load(input)? {
            0 => Rule::Tick,
            1 => Rule::Quote,
            2 => Rule::LeeReady,
            3 => Rule::Emo,
            4 => Rule::Clnv,
            _ => return input.malformed(),
        })
    }
}

/// A rule and the last prices.
#[derive(Debug, Clone)]
pub struct TradeSign {
    pub(super) tally: Tally,
    value: f64,
    pub(super) rule: Rule,
    price: f64,
    tick: f64, // sign of the last change
}

saved_fields!(TradeSign { tally, value, rule, price, tick } is_any);

impl TradeSign {
    /// By a rule.
    pub fn new(rule: Rule, strict: bool) -> Self {
        TradeSign {
            tally: Tally::new(strict),
            value: f64::NAN,
            rule,
            price: f64::NAN,
            tick: 0.0,
        }
    }

    fn is_any(&self) -> bool {
        true
    }

    /// By the quote alone; 0 where the rule has none, or the quote is not whole.
    fn by_quote(&self, price: f64, bid: f64, ask: f64) -> f64 {
        let sign = |buy: bool, sell: bool| f64::from(i8::from(buy) - i8::from(sell));
        match self.rule {
            Rule::Tick => 0.0,
            Rule::Quote | Rule::LeeReady => {
                let mid = (bid + ask) / 2.0;
                sign(price > mid, price < mid)
            }
            Rule::Emo => sign(price == ask, price == bid),
            Rule::Clnv => {
                let near = 0.3 * (ask - bid);
                sign(price <= ask && price >= ask - near, price >= bid && price <= bid + near)
            }
        }
    }
}

impl Indicator for TradeSign {
    const KIND: u16 = 70;

    fn kind(&self) -> u16 {
        Self::KIND + self.rule as u16
    }

    answers!();

    fn is_ready(&self) -> bool {
        self.tally.count > 0
    }

    fn warmup(&self) -> u64 {
        if self.rule == Rule::Tick {
            2
        } else {
            1
        }
    }

    fn reset(&mut self) {
        self.tally.clear();
        (self.value, self.price, self.tick) = (f64::NAN, f64::NAN, 0.0);
    }
}

impl OnPrint for TradeSign {
    #[inline]
    fn print(&mut self, price: f64, bid: f64, ask: f64) -> f64 {
        if !price.is_finite() {
            return self.tally.skip();
        }
        self.tally.count += 1;
        if price > self.price {
            self.tick = 1.0;
        } else if price < self.price {
            self.tick = -1.0;
        }
        self.price = price;
        let is_quoted = bid.is_finite() && ask.is_finite();
        let mut value = 0.0;
        if is_quoted {
            value = self.by_quote(price, bid, ask);
            self.tally.crossed += u64::from(bid >= ask && self.rule != Rule::Tick);
        }
        if value == 0.0 && self.rule != Rule::Quote {
            value = self.tick;
        }
        self.value = value;
        self.value
    }
}

impl OnPrice for TradeSign {
    /// Without a quote: by the tick rule, whatever the rule.
    #[inline]
    fn price(&mut self, price: f64, _ts_ns: i64) -> f64 {
        self.print(price, f64::NAN, f64::NAN)
    }
}

/// The bought share of each bar, by bulk volume classification.
#[derive(Debug, Clone)]
pub struct BulkShare {
    pub(super) tally: Tally,
    value: f64,
    pub(super) bulk: Bulk,
}

saved_fields!(BulkShare { tally, value, bulk } is_any);

impl BulkShare {
    /// With a classifier.
    pub fn new(bulk: Bulk, strict: bool) -> Self {
        BulkShare {
            tally: Tally::new(strict),
            value: f64::NAN,
            bulk,
        }
    }

    fn is_any(&self) -> bool {
        true
    }
}

impl Indicator for BulkShare {
    const KIND: u16 = 79;

    answers!();

    fn is_ready(&self) -> bool {
        self.tally.count > 0
    }

    fn warmup(&self) -> u64 {
        1
    }

    fn reset(&mut self) {
        self.tally.clear();
        self.value = f64::NAN;
        self.bulk.reset();
    }
}

impl OnPrice for BulkShare {
    #[inline]
    fn price(&mut self, price: f64, _ts_ns: i64) -> f64 {
        if !price.is_finite() {
            return self.tally.skip();
        }
        self.tally.count += 1;
        self.value = self.bulk.share(price);
        self.value
    }
}
