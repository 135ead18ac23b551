//! Order-flow imbalance (Cont, Kukanov, Stoikov 2014): what each quote added to one side and took from the other, summed.
//!
//! An adverse price move removes the *previous* size. Levels beyond the touch: `mlofi`.

use super::window::{Moving, Rows, Span};
use super::{answers, masked, Indicator, OnQuote, Quote, Tally};
use crate::error::Result;
use crate::saved_fields;

/// e_n between two cleaned quotes.
#[inline(always)]
pub fn flow(before: &Quote, now: &Quote) -> f64 {
    let bid = masked(now.bid_price >= before.bid_price, now.bid_size)
        - masked(now.bid_price <= before.bid_price, before.bid_size);
    let ask = masked(now.ask_price <= before.ask_price, now.ask_size)
        - masked(now.ask_price >= before.ask_price, before.ask_size);
    bid - ask
}

/// What a quote means that is not whole or not proper.
#[derive(Debug, Clone)]
pub struct Policy {
    /// A missing side is an empty one; otherwise such a quote says nothing.
    pub missing_is_empty: bool,
    /// Locked and crossed quotes are skipped; otherwise they are counted and computed.
    pub skip_crossed: bool,
}

saved_fields!(Policy { missing_is_empty, skip_crossed } is_any);

impl Policy {
    fn is_any(&self) -> bool {
        true
    }
}

/// OFI of the best quotes.
#[derive(Debug, Clone)]
pub struct Ofi {
    tally: Tally,
    policy: Policy,
    before: Quote,
    has_before: bool,
    event: f64,
    value: f64,
    window: Rows,
}

saved_fields!(Ofi { tally, policy, before, has_before, event, value, window } is_sound);

impl Ofi {
    /// An OFI over a span.
    pub fn new(span: Span, policy: Policy, strict: bool) -> Result<Self> {
        Ok(Ofi {
            tally: Tally::new(strict),
            policy,
            before: Quote::EMPTY,
            has_before: false,
            event: f64::NAN,
            value: f64::NAN,
            window: Rows::new(span, 1)?,
        })
    }

    fn is_sound(&self) -> bool {
        self.window.sums().len() == 1
    }

    /// e_n of the last quote; NaN before there are two.
    pub fn event(&self) -> f64 {
        self.event
    }

    /// The window.
    pub fn window(&self) -> &Rows {
        &self.window
    }

    /// The sum so far, and an empty window: for fixed bins. The last quote stays the reference of the next one.
    pub fn take(&mut self) -> f64 {
        let sum = self.window.sum(0);
        self.window.clear();
        self.value = f64::NAN;
        sum
    }
}

impl Indicator for Ofi {
    const KIND: u16 = 1;

    answers!();

    fn is_ready(&self) -> bool {
        self.window.is_full()
    }

    fn warmup(&self) -> u64 {
        self.window.warmup() + 1
    }

    fn reset(&mut self) {
        self.tally.clear();
        self.window.clear();
        (self.before, self.has_before) = (Quote::EMPTY, false);
        (self.event, self.value) = (f64::NAN, f64::NAN);
    }
}

impl OnQuote for Ofi {
    #[inline(always)] // by reference, the four numbers would be stored apart and loaded in pairs: a stall
    fn quote(&mut self, quote: Quote, ts_ns: i64) -> f64 {
        if self.is_usual(&quote) {
            let mut hot = self.hot();
            let value = hot.step(self.window.ring_mut(), quote, ts_ns);
            self.cool(hot);
            return value;
        }
        self.unusual(quote, ts_ns)
    }

    /// Whole quotes on a window by count go through registers; everything else takes the single step.
    fn quotes(&mut self, rows: impl Iterator<Item = (Quote, i64)>, out: &mut [f64]) -> Option<usize> {
        let mut hot = self.hot();
        // Lent, so that its address stays in a register, too.
        let mut ring = std::mem::take(self.window.ring_mut());
        let mut refused = None;
        for (row, (slot, (quote, ts_ns))) in out.iter_mut().zip(rows).enumerate() {
            if hot.is_usable & quote.is_plain() & !quote.is_crossed() {
                *slot = hot.step(&mut ring, quote, ts_ns);
                continue;
            }
            self.cool(hot);
            std::mem::swap(self.window.ring_mut(), &mut ring);
            *slot = self.unusual(quote, ts_ns);
            std::mem::swap(self.window.ring_mut(), &mut ring);
            hot = self.hot();
            if self.tally.refused {
                refused = Some(row);
                break;
            }
        }
        self.cool(hot);
        *self.window.ring_mut() = ring;
        refused
    }
}

/// What moves with every whole quote.
#[derive(Clone, Copy)]
struct Hot {
    is_usable: bool,
    needed: u64,
    count: u64,
    before: Quote,
    event: f64,
    value: f64,
    moving: Moving,
}

impl Hot {
    #[inline(always)]
    fn step(&mut self, ring: &mut [f64], now: Quote, ts_ns: i64) -> f64 {
        self.count += 1;
        self.event = flow(&self.before, &now);
        self.before = now;
        self.moving.push(ring, self.event, ts_ns);
        if self.moving.seen() >= self.needed {
            self.value = self.moving.sum();
        }
        self.value
    }
}

impl Ofi {
    /// Whether there is a reference, and a window by count that has begun.
    #[inline(always)]
    fn is_moving(&self) -> bool {
        self.has_before & self.window.is_by_count() & !self.window.is_empty()
    }

    #[inline(always)]
    fn is_usual(&self, quote: &Quote) -> bool {
        self.is_moving() & quote.is_plain() & !quote.is_crossed()
    }

    /// The first quote, one that is not whole, crossed or refused, and windows by time.
    #[inline(never)]
    fn unusual(&mut self, quote: Quote, ts_ns: i64) -> f64 {
        let Some(now) = quote.cleaned() else {
            return self.tally.skip();
        };
        if now.is_crossed() {
            self.tally.crossed += 1;
            if self.policy.skip_crossed {
                return self.tally.skip();
            }
        }
        self.tally.count += 1;
        if !self.policy.missing_is_empty && !now.is_whole() {
            self.event = if self.has_before { 0.0 } else { f64::NAN };
            return self.value;
        }
        let before = std::mem::replace(&mut self.before, now);
        if !self.has_before {
            self.has_before = true;
            return f64::NAN;
        }
        self.event = flow(&before, &now);
        self.window.push(&[self.event], ts_ns);
        if self.window.is_full() {
            self.value = self.window.sum(0);
        }
        self.value
    }

    #[inline(always)]
    fn hot(&self) -> Hot {
        Hot {
            is_usable: self.is_moving(),
            needed: self.window.warmup(),
            count: self.tally.count,
            before: self.before,
            event: self.event,
            value: self.value,
            moving: self.window.moving(),
        }
    }

    #[inline(always)]
    fn cool(&mut self, hot: Hot) {
        if hot.is_usable {
            self.tally.count = hot.count;
            (self.before, self.event, self.value) = (hot.before, hot.event, hot.value);
            self.window.set_moving(hot.moving);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: Policy = Policy {
        missing_is_empty: true,
        skip_crossed: false,
    };

    fn quote(bid_price: f64, bid_size: f64, ask_price: f64, ask_size: f64) -> Quote {
        Quote {
            bid_price,
            bid_size,
            ask_price,
            ask_size,
        }
    }

    #[test]
    fn every_move_of_each_side_has_its_sign() {
        let before = quote(100.0, 5.0, 101.0, 7.0).cleaned().unwrap();
        for (now, want) in [
            (quote(100.5, 2.0, 101.0, 7.0), 2.0),
            (quote(100.0, 8.0, 101.0, 7.0), 3.0),
            (quote(99.0, 8.0, 101.0, 7.0), -5.0), // the previous size, not 8
            (quote(100.0, 5.0, 100.5, 4.0), -4.0),
            (quote(100.0, 5.0, 101.0, 9.0), -2.0),
            (quote(100.0, 5.0, 102.0, 9.0), 7.0), // the previous size, not 9
            (quote(0.0, 0.0, 101.0, 7.0), -5.0),
            (quote(100.0, 5.0, 101.0, 7.0), 0.0),
        ] {
            assert_eq!(flow(&before, &now.cleaned().unwrap()), want, "{now:?}");
        }
        assert_eq!(flow(&Quote::EMPTY, &before), -2.0);
    }

    #[test]
    fn skipped_rows_leave_the_state_alone() {
        let mut ofi = Ofi::new(Span::last(Some(2)), EMPTY, false).unwrap();
        ofi.quote(quote(1.0, 1.0, 2.0, 1.0), 0);
        ofi.quote(quote(1.0, 2.0, 2.0, 1.0), 1);
        let mut tried = ofi.clone();
        for bad in [
            quote(f64::NAN, 1.0, 2.0, 1.0),
            quote(1.0, -1.0, 2.0, 1.0),
            quote(1.0, 1.0, f64::INFINITY, 1.0),
            quote(1.0, 1.0, 2.0, f64::INFINITY),
            quote(1.0, 1.0, f64::NAN, 0.0),
        ] {
            assert!(tried.quote(bad, 2).is_nan());
        }
        assert_eq!(tried.tally().skipped, 5);
        tried.tally_mut().skipped = 0;
        assert_eq!(tried.snapshot(), ofi.snapshot());
    }

    #[test]
    fn a_snapshot_goes_on_bit_by_bit() {
        let mut ofi = Ofi::new(Span::last(Some(3)), EMPTY, false).unwrap();
        for i in 0..40 {
            let x = f64::from(i % 7) * 0.1;
            let row = quote(1.0 + x, 1.0 / (1.0 + x), 2.0 + x, 1.1 + x);
            let mut other = Ofi::restore(1, &ofi.snapshot()).unwrap();
            assert_eq!(ofi.quote(row, i.into()).to_bits(), other.quote(row, i.into()).to_bits());
            assert_eq!(ofi.snapshot(), other.snapshot());
        }
    }
}
