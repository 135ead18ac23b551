//! Prices of an instrument: quote, trade, what positions are valued at, and what the price was some time ago.
//!
//! The reference is the middle of the quote, else the last trade. Times are the monotonic stamps of the bursts.

use crate::event::{flag, side, Event, Kind, PRICE_UNDEF};
use crate::risk::limits::NONE;

/// Samples that are kept.
pub const SAMPLES_MAX: usize = 16;
/// So many of them per period.
pub const SAMPLES_PER_PERIOD: i64 = 8;

/// Trades that are no price of now.
const NO_TRADE: u16 = flag::BACKFILLED | flag::TRIAL | flag::OFF_BOOK | flag::ODD_LOT;
const NO_QUOTE: u16 = flag::BACKFILLED | flag::TRIAL | flag::ODD_LOT;

#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    slot: i64,
    at: i64,
    price: i64,
}

/// Of one instrument; 0 is no price.
#[derive(Debug, Clone, Default)]
pub struct Reference {
    bid: i64,
    ask: i64,
    quote_ns: i64,
    trade: i64,
    trade_ns: i64,
    /// The last price there was, however old; 0: none ever.
    pub mark: i64,
    samples: [Sample; SAMPLES_MAX],
    /// Samples ever taken; the newest is at `(taken - 1) % SAMPLES_MAX`.
    taken: usize,
}

impl Reference {
    /// Takes an event of this instrument; whether it was a price.
    #[inline]
    pub fn take(&mut self, event: &Event, mono_ns: i64) -> bool {
        const TRADE: u8 = Kind::Trade as u8;
        const QUOTE: u8 = Kind::Quote as u8;
        let price = if event.price == PRICE_UNDEF {
            0
        } else {
            event.price.max(0)
        };
        match event.kind {
            TRADE if event.flags & NO_TRADE == 0 => {
                (self.trade, self.trade_ns) = (price, mono_ns);
                true
            }
            QUOTE if event.flags & NO_QUOTE == 0 => {
                if event.side == side::ASK {
                    self.ask = price;
                } else {
                    self.bid = price;
                }
                self.quote_ns = mono_ns;
                true
            }
            _ => false,
        }
    }

    /// Sets both sides at once: the top of a book.
    pub fn set_quote(&mut self, bid: i64, ask: i64, mono_ns: i64) {
        (self.bid, self.ask, self.quote_ns) = (bid.max(0), ask.max(0), mono_ns);
    }

    #[inline]
    fn quoted(&self) -> Option<i64> {
        (0 < self.bid && self.bid <= self.ask).then(|| self.bid + (self.ask - self.bid) / 2)
    }

    /// The reference, however old.
    #[inline]
    pub fn current(&self) -> Option<i64> {
        self.quoted().or((self.trade > 0).then_some(self.trade))
    }

    /// The reference if it is no older than that.
    #[inline]
    pub fn fresh(&self, now: i64, age_ns_max: i64) -> Option<i64> {
        // Data of the future means that somebody's clock is wrong.
        let is_fresh = |at: i64| age_ns_max == NONE || (0..=age_ns_max).contains(&now.wrapping_sub(at));
        if let Some(price) = self.quoted() {
            if is_fresh(self.quote_ns) {
                return Some(price);
            }
        }
        (self.trade > 0 && is_fresh(self.trade_ns)).then_some(self.trade)
    }

    /// After a burst: what it said is what positions are valued at, and a sample. Whether the mark moved.
    #[inline]
    pub fn settle(&mut self, mono_ns: i64, period_ns: i64) -> bool {
        let Some(price) = self.current() else {
            return false;
        };
        let moved = self.mark != price;
        self.mark = price;
        let slot = mono_ns.div_euclid((period_ns / SAMPLES_PER_PERIOD).max(1));
        let newest = self.samples.get(self.taken.wrapping_sub(1) % SAMPLES_MAX);
        if self.taken == 0 || newest.is_some_and(|sample| sample.slot < slot) {
            if let Some(sample) = self.samples.get_mut(self.taken % SAMPLES_MAX) {
                *sample = Sample {
                    slot,
                    at: mono_ns,
                    price,
                };
            }
            self.taken += 1;
        }
        moved
    }

    /// The newest sample that is as old as that, else the oldest there is; 0 before the first.
    #[inline]
    pub fn past(&self, until_ns: i64) -> i64 {
        let mut oldest = 0;
        for back in 1..=self.taken.min(SAMPLES_MAX) {
            if let Some(sample) = self.samples.get((self.taken - back) % SAMPLES_MAX) {
                if sample.at <= until_ns {
                    return sample.price;
                }
                oldest = sample.price;
            }
        }
        oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(bid: i64, ask: i64, at: i64) -> Reference {
        let mut reference = Reference::default();
        reference.set_quote(bid, ask, at);
        reference.settle(at, 8_000);
        reference
    }

    #[test]
    fn a_quote_wins_until_it_is_old_and_nonsense_is_no_price() {
        let mut reference = quoted(100, 103, 1_000);
        let mut trade = Event::new(Kind::Trade, 1, 1, 1, 7);
        trade.price = 90;
        assert!(reference.take(&trade, 1_500));
        assert_eq!(reference.fresh(1_600, 1_000), Some(101));
        assert_eq!(reference.fresh(2_100, 1_000), Some(90));
        assert_eq!(reference.fresh(2_600, 1_000), None);
        assert_eq!(reference.fresh(900, 1_000), None, "data of the future");
        assert_eq!(reference.fresh(i64::MAX, NONE), Some(101));
        assert_eq!(quoted(0, 103, 1).current(), None);
        assert_eq!(quoted(104, 103, 1).current(), None);
        assert_eq!(
            quoted(100, PRICE_UNDEF, 1).current(),
            Some(100 + (PRICE_UNDEF - 100) / 2)
        );
        for skipped in [flag::BACKFILLED, flag::TRIAL, flag::OFF_BOOK, flag::ODD_LOT] {
            trade.flags = skipped;
            assert!(!Reference::default().take(&trade, 1));
        }
    }

    #[test]
    fn the_past_is_the_newest_sample_that_is_old_enough() {
        let mut reference = Reference::default();
        for at in 0..100 {
            reference.set_quote(1_000 + at, 1_000 + at, at * 500);
            reference.settle(at * 500, 8_000);
        }
        assert_eq!(reference.past(49_500), 1_098, "one sample a thousandth");
        assert_eq!(reference.past(41_500), 1_082);
        assert_eq!(reference.past(0), 1_098 - 2 * 15, "the oldest there is");
        assert_eq!(Reference::default().past(5), 0);
    }
}
