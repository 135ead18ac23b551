//! Prices of an instrument: quote, trade, what positions are valued at, and what the price was some time ago.
//!
//! Every source of prices is kept by itself, so that one that says no more ends no other: quotes of the stream, the top of
//! a book that somebody keeps, trades. Times are the monotonic stamps of the bursts.

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

/// Both sides of a market, as one source says.
#[derive(Debug, Clone, Copy, Default)]
struct Top {
    bid: i64,
    ask: i64,
    at: i64,
}

impl Top {
    #[inline]
    const fn is_valid(&self) -> bool {
        0 < self.bid && self.bid <= self.ask
    }
}

/// Of one instrument; 0 is no price.
#[derive(Debug, Clone, Default)]
pub struct Reference {
    /// Of the stream.
    quote: Top,
    /// Of a book that somebody keeps.
    book: Top,
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
                    self.quote.ask = price;
                } else {
                    self.quote.bid = price;
                }
                self.quote.at = mono_ns;
                true
            }
            _ => false,
        }
    }

    /// Takes the top of a book.
    pub fn take_top(&mut self, bid: i64, ask: i64, mono_ns: i64) {
        self.book = Top {
            bid: bid.max(0),
            ask: ask.max(0),
            at: mono_ns,
        };
    }

    /// The middle of the quote or of the book, whichever spoke last; the last trade where neither has one, or where it
    /// came more than a period after: a market that trades moves its quote, so that one is of no use any more.
    #[inline]
    fn chosen(&self, period_ns: i64, is_fresh: impl Fn(i64) -> bool) -> Option<i64> {
        let is_good = |top: &&Top| top.is_valid() && is_fresh(top.at);
        let top = match (Some(&self.quote).filter(is_good), Some(&self.book).filter(is_good)) {
            (Some(quote), Some(book)) if quote.at > book.at => Some(quote),
            (quote, book) => book.or(quote),
        };
        let has_trade = self.trade > 0 && is_fresh(self.trade_ns);
        match top {
            Some(top) if !(has_trade && self.trade_ns.saturating_sub(top.at) > period_ns) => {
                Some(top.bid + (top.ask - top.bid) / 2)
            }
            _ => has_trade.then_some(self.trade),
        }
    }

    /// The reference, however old.
    #[inline]
    pub fn current(&self, period_ns: i64) -> Option<i64> {
        self.chosen(period_ns, |_| true)
    }

    /// The reference if it is no older than that.
    #[inline]
    pub fn fresh(&self, now: i64, age_ns_max: i64, period_ns: i64) -> Option<i64> {
        // Data of the future means that somebody's clock is wrong.
        self.chosen(period_ns, |at| {
            age_ns_max == NONE || (0..=age_ns_max).contains(&now.wrapping_sub(at))
        })
    }

    /// After a burst: what it said is what positions are valued at, and a sample. Whether the mark moved.
    #[inline]
    pub fn settle(&mut self, mono_ns: i64, period_ns: i64) -> bool {
        let Some(price) = self.current(period_ns) else {
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

    const PERIOD: i64 = 8_000;

    fn told(bid: i64, ask: i64, at: i64) -> Reference {
        let mut reference = Reference::default();
        reference.take_top(bid, ask, at);
        reference.settle(at, PERIOD);
        reference
    }

    fn quote(reference: &mut Reference, bid: i64, ask: i64, at: i64) {
        for (side, price) in [(side::BID, bid), (side::ASK, ask)] {
            let mut event = Event::new(Kind::Quote, 1, 1, 1, 7);
            (event.side, event.price) = (side, price);
            assert!(reference.take(&event, at));
        }
    }

    #[test]
    fn of_quote_and_book_the_one_that_spoke_last_is_believed() {
        let mut reference = told(100, 102, 1_000);
        quote(&mut reference, 500, 502, 2_000);
        assert_eq!(reference.current(PERIOD), Some(501));
        reference.take_top(110, 112, 2_001);
        assert_eq!(reference.fresh(i64::MAX, NONE, PERIOD), Some(111), "the book goes on");
        quote(&mut reference, 500, 0, 3_000);
        assert_eq!(reference.current(PERIOD), Some(111), "one side is no quote");
        quote(&mut reference, 500, 502, 3_000);
        reference.take_top(0, 0, 4_000);
        assert_eq!(reference.current(PERIOD), Some(501), "an empty book is no price");
        assert_eq!(reference.fresh(4_500, 1_000, PERIOD), None);
        reference.take_top(120, 122, 4_400);
        assert_eq!(reference.fresh(4_500, 1_000, PERIOD), Some(121));
    }

    #[test]
    fn a_trade_long_after_the_quote_ends_it() {
        let mut reference = Reference::default();
        quote(&mut reference, 100, 102, 1_000);
        let mut trade = Event::new(Kind::Trade, 1, 1, 1, 7);
        trade.price = 90;
        assert!(reference.take(&trade, 1_000 + PERIOD));
        assert_eq!(reference.current(PERIOD), Some(101));
        assert!(reference.take(&trade, 1_001 + PERIOD));
        assert_eq!(reference.current(PERIOD), Some(90));
        assert_eq!(reference.fresh(i64::MAX, NONE, PERIOD), Some(90));
        quote(&mut reference, 100, 102, 1_001 + PERIOD);
        assert_eq!(reference.current(PERIOD), Some(101));
    }

    #[test]
    fn a_quote_wins_until_it_is_old_and_nonsense_is_no_price() {
        let mut reference = told(100, 103, 1_000);
        let mut trade = Event::new(Kind::Trade, 1, 1, 1, 7);
        trade.price = 90;
        assert!(reference.take(&trade, 1_500));
        let fresh = |now: i64, most: i64| reference.fresh(now, most, PERIOD);
        assert_eq!(fresh(1_600, 1_000), Some(101));
        assert_eq!(fresh(2_100, 1_000), Some(90));
        assert_eq!(fresh(2_600, 1_000), None);
        assert_eq!(fresh(900, 1_000), None, "data of the future");
        assert_eq!(fresh(i64::MAX, NONE), Some(101));
        assert_eq!(told(0, 103, 1).current(PERIOD), None);
        assert_eq!(told(104, 103, 1).current(PERIOD), None);
        assert_eq!(
            told(100, PRICE_UNDEF, 1).current(PERIOD),
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
            reference.take_top(1_000 + at, 1_000 + at, at * 500);
            reference.settle(at * 500, 8_000);
        }
        assert_eq!(reference.past(49_500), 1_098, "one sample a thousandth");
        assert_eq!(reference.past(41_500), 1_082);
        assert_eq!(reference.past(0), 1_098 - 2 * 15, "the oldest there is");
        assert_eq!(Reference::default().past(5), 0);
    }
}
