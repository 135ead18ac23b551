//! Order-flow imbalance (Cont, Kukanov, Stoikov 2014): what each quote added to one side and took from the other, summed.
//!
//! An adverse price move removes the *previous* size. Levels beyond the touch: `mlofi`.

use super::columns::{Chunk, Quotes};
use super::window::{Rows, Span};
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
    pub(super) tally: Tally,
    pub(super) policy: Policy,
    before: Quote,
    has_before: bool,
    event: f64,
    value: f64,
    pub(super) window: Rows,
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
            self.tally.count += 1;
            self.event = flow(&self.before, &quote);
            self.before = quote;
            let mut moving = self.window.moving();
            moving.push(self.window.ring_mut(), self.event, ts_ns);
            self.window.set_moving(moving);
            if moving.seen() >= self.window.warmup() {
                self.value = moving.sum();
            }
            return self.value;
        }
        self.unusual(quote, ts_ns)
    }

    /// Whole quotes on a window by count: first all events, then the window. Everything else takes the single step.
    fn quotes(&mut self, rows: &Quotes<'_>, events: &mut Chunk, out: &mut [f64]) -> Option<usize> {
        let are_usual = flows(rows, events);
        let mut done = 0;
        for (slot, (quote, ts_ns)) in out.iter_mut().zip(rows.each()) {
            if are_usual && self.is_moving() {
                break;
            }
            *slot = self.quote(quote, ts_ns);
            if self.tally.refused {
                return Some(done);
            }
            done += 1;
        }
        if let (Some(events), Some(rest)) = (events.get_mut(done..out.len()), out.get_mut(done..)) {
            self.take_many(&rows.from(done), events, rest);
        }
        None
    }
}

/// e_n of every quote after the first, and whether all of them are whole, proper and uncrossed. Without a branch per row, and
/// in one pass, so two rows are computed together.
#[inline(always)]
#[allow(clippy::eq_op)] // x - x: 0 for a number, else not
fn flows(rows: &Quotes<'_>, events: &mut Chunk) -> bool {
    let Some((first, _)) = rows.each().next() else {
        return false;
    };
    let (mut faults, mut signs) = (0, 0);
    let pairs = rows.from(1).each().zip(rows.each());
    for (slot, ((now, _), (before, _))) in events.iter_mut().skip(1).zip(pairs) {
        // What is infinite or no number makes the sum so; a sum of numbers that is too large only takes the long way.
        let sum = (now.bid_price + now.bid_size) + (now.ask_price + now.ask_size);
        faults |= (sum - sum).to_bits();
        let least = smaller(smaller(now.bid_size, now.ask_size), now.ask_price - now.bid_price);
        signs |= least.to_bits() | least.to_bits().wrapping_sub(1); // no highest bit: above 0
        *slot = flow(&before, &now);
    }
    faults | (signs >> 63) == 0 && first.is_plain() && !first.is_crossed()
}

/// One instruction, unlike `f64::min`: NaN is found elsewhere.
#[inline(always)]
fn smaller(a: f64, b: f64) -> f64 {
    if a < b {
        a
    } else {
        b
    }
}

impl Ofi {
    /// Whether there is a reference, and a window by count that has begun.
    #[inline(always)]
    fn is_moving(&self) -> bool {
        self.has_before & self.window.is_by_count() & !self.window.is_empty()
    }

    /// Usual quotes, on a window that moves, and their events; the first event is still missing.
    #[inline(always)]
    fn take_many(&mut self, rows: &Quotes<'_>, events: &mut [f64], out: &mut [f64]) {
        let (Some(first_event), Some((first, _)), Some(last)) = (events.first_mut(), rows.each().next(), rows.last())
        else {
            return;
        };
        *first_event = flow(&self.before, &first);
        let (mut moving, needed) = (self.window.moving(), self.window.warmup());
        let waiting = needed.saturating_sub(moving.seen() + 1).min(out.len() as u64) as usize;
        moving.push_many(self.window.ring_mut(), events, rows.ts_ns, out);
        self.window.set_moving(moving);
        if let Some(early) = out.get_mut(..waiting) {
            early.fill(self.value);
        }
        self.tally.count += out.len() as u64;
        self.before = last;
        self.event = events.last().copied().unwrap_or(self.event);
        self.value = out.last().copied().unwrap_or(self.value);
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
