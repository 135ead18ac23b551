//! The checks in their order, and what an approval changes.
//!
//! All of them run, so that the record has every one that failed; the lowest number is the answer. Rates come last: an
//! order that is refused takes no token, and it takes all of its tokens or none.

use crate::risk::ask::{of_side, Ask, AskReplace, Check};
use crate::risk::bucket::Rate;
use crate::risk::exposure::Difference;
use crate::risk::gate::{Gate, HALT_EPOCH_SHIFT, HALT_GLOBAL, HALT_REDUCING};
use crate::risk::limits::{SideLimits, NONE};
use crate::risk::open_orders::Open;
use crate::risk::parties::{Keys, Route, Steps};
use crate::risk::reason::Reason;

/// Bits of a halt by scope.
const BOTH: u8 = 1;

impl Gate {
    /// Checks a new order under a halt word, and reserves it. The epoch of the approval, or the first reason; the rest is
    /// in `denial`.
    pub fn check(&mut self, word: u64, ask: &Ask) -> Result<u64, Reason> {
        let mut check = Check::new(ask, None, i128::from(ask.size));
        self.answer(word, &mut check)
    }

    /// Checks what an order that is out is to become, and reserves the larger of both.
    pub fn check_replace(&mut self, word: u64, ask: &AskReplace) -> Result<u64, Reason> {
        let Some(order) = self.orders.get(ask.number).copied() else {
            return Err(self.refuse(Reason::NoSuchOrder));
        };
        let leaves = i128::from(ask.size) - order.filled;
        let asked = Ask {
            route: order.route as usize,
            number: ask.number,
            client_id: 0,
            side: order.side,
            price: ask.price.or(order.price),
            size: ask.size,
            is_finite: ask.is_finite,
            is_reduce_only: order.is_reduce_only,
            mono_ns: ask.mono_ns,
            wall_ns: ask.wall_ns,
        };
        let mut check = Check::new(&asked, Some(order), (leaves - order.reserved).max(0));
        self.answer(word, &mut check)
    }

    /// Lets a cancel through: only the venue's own limit stops it, and orders always leave some of that.
    pub fn check_cancel(&mut self, number: u64, mono_ns: i64) -> Result<(), Reason> {
        self.now = self.now.max(mono_ns);
        let route = self.orders.get(number).map(|order| order.route as usize);
        let Some(keys) = route.and_then(|route| self.routes.get(route)).map(|route| route.keys) else {
            return Err(self.refuse(Reason::NoSuchOrder));
        };
        if let Some(venue) = self.venues.get_mut(keys.venue) {
            if let Some(rate) = venue.cancel_rate {
                if !venue.messages.has(mono_ns, rate, 1) {
                    return Err(self.refuse(Reason::RateVenue));
                }
                venue.messages.take(mono_ns, rate, 1);
            }
        }
        if let Some(strategy) = self.strategies.get_mut(keys.strategy) {
            strategy.turn(mono_ns, self.ratio_ns);
            strategy.cancels += 1;
        }
        Ok(())
    }

    fn answer(&mut self, word: u64, check: &mut Check) -> Result<u64, Reason> {
        self.now = self.now.max(check.ask.mono_ns);
        let Some(keys) = self.routes.get(check.ask.route).map(|route| route.keys) else {
            return Err(self.refuse(Reason::UnknownInstrument));
        };
        self.run(word, check, keys);
        if check.vector == 0 {
            self.approve(check, keys);
            return Ok(word >> HALT_EPOCH_SHIFT);
        }
        self.denial.vector = check.vector;
        self.denial.first = check.first;
        self.denial.figures = check.figures;
        let first = Reason::CHECKS.get(usize::from(check.first).wrapping_sub(1));
        Err(first.copied().unwrap_or(Reason::TooMany))
    }

    #[inline]
    fn run(&mut self, word: u64, check: &mut Check, keys: Keys) {
        let side = check.at();
        let Some(route) = self.routes.get(check.ask.route) else {
            return;
        };
        let held = route.keys_of_sums().first();
        check.reducible = held
            .and_then(|cell| self.cells.get(cell.cell as usize))
            .map_or(0, |cell| match side {
                0 => -cell.sum.position - of_side(&cell.sum.open, 0),
                _ => cell.sum.position - of_side(&cell.sum.open, 1),
            });
        check.reduces =
            check.ask.is_reduce_only && check.ask.is_finite && check.ask.size > 0 && check.reducible >= check.extra;
        self.halted(word, check, keys);
        if !self.is_shaped(check, keys, of_side(&route.limits, side)) {
            return;
        }
        // What time alone changes comes first; everything after it only compares.
        if check.replacing.is_none() {
            self.repeats.expire(check.ask.mono_ns);
        }
        if !check.reduces {
            if let Some(strategy) = self.strategies.get_mut(keys.strategy) {
                strategy.turn(check.ask.mono_ns, self.ratio_ns);
            }
        }
        self.compare(check, keys);
        if check.vector == 0 {
            self.rates(check, keys);
        }
    }

    #[inline]
    fn compare(&self, check: &mut Check, keys: Keys) {
        let side = check.at();
        let route = self.routes.get(check.ask.route);
        let steps = self
            .instruments
            .get(keys.instrument)
            .and_then(|known| known.steps.as_ref());
        let (Some(route), Some(steps)) = (route, steps) else {
            return;
        };
        let limits = of_side(&route.limits, side);
        self.fixed(check, route, limits, steps);
        let is_priced = self.priced(check, route, limits, steps);
        self.summed(check, route, is_priced);
        self.repeated(check, keys, limits);
        if !check.reduces {
            self.behaved(check, keys);
            self.funded(check, keys, limits);
        }
        if check.replacing.is_none() && (self.is_full(check.ask.route, side) || self.repeats.is_full()) {
            check.fail(Reason::TooMany, [None; 3]);
        }
    }

    #[inline]
    fn halted(&self, word: u64, check: &mut Check, keys: Keys) {
        if check.reduces && word & HALT_REDUCING != 0 {
            return;
        }
        if word & (HALT_GLOBAL | HALT_REDUCING) != 0 {
            check.fail(Reason::Halted, [None; 3]);
        }
        let bits = self.halts
            | self.venues.get(keys.venue).map_or(BOTH, |each| each.halts)
            | self.accounts.get(keys.account).map_or(BOTH, |each| each.halts)
            | self.strategies.get(keys.strategy).map_or(BOTH, |each| each.halts)
            | self.instruments.get(keys.instrument).map_or(BOTH, |each| each.halts);
        if bits == 0 {
            return;
        }
        if bits & BOTH != 0 {
            check.fail(Reason::HaltedScope, [None; 3]);
        }
        if bits & (2 << check.ask.side) != 0 {
            check.fail(Reason::SideHalted, [None; 3]);
        }
    }

    /// Whether there is an order at all that the other checks can look at.
    #[inline]
    fn is_shaped(&self, check: &mut Check, keys: Keys, limits: &SideLimits) -> bool {
        let done = check.replacing.map_or(0, |order| order.filled);
        let mut is_shaped = true;
        if !check.ask.is_finite {
            check.fail(Reason::NonFinite, [None; 3]);
            is_shaped = false;
        } else if i128::from(check.ask.size) <= done {
            check.fail(Reason::BadQty, [Some(done), Some(i128::from(check.ask.size)), None]);
            is_shaped = false;
        }
        let Some(steps) = self
            .instruments
            .get(keys.instrument)
            .and_then(|known| known.steps.as_ref())
        else {
            check.fail(Reason::UnknownInstrument, [None; 3]);
            return false;
        };
        if !steps.is_linear || !limits.is_tradable {
            check.fail(Reason::NotTradable, [None; 3]);
            is_shaped = false;
        }
        is_shaped
    }

    #[inline]
    fn fixed(&self, check: &mut Check, route: &Route, limits: &SideLimits, steps: &Steps) {
        let &Ask {
            price, size, wall_ns, ..
        } = check.ask;
        if limits.is_restricted {
            check.fail(Reason::Restricted, [None; 3]);
        }
        if !(route.is_open && route.from_ns <= wall_ns && wall_ns < route.until_ns) {
            check.fail(Reason::TradingWindow, [None; 3]);
        }
        if let Some(price) = price {
            if price <= 0 || !steps.tick.divides(price) {
                check.exceeds(Reason::BadTick, steps.tick.value, i128::from(price));
            }
        }
        if !steps.lot.divides(size) {
            check.exceeds(Reason::BadLot, steps.lot.value, i128::from(size));
        }
        let keys = route.keys;
        if limits.is_missing
            || self
                .accounts
                .get(keys.account)
                .is_none_or(|each| each.limits.is_missing)
            || self
                .strategies
                .get(keys.strategy)
                .is_none_or(|each| each.limits.is_missing)
            || self.venues.get(keys.venue).is_none_or(|each| each.orders_max == NONE)
        {
            check.fail(Reason::MissingLimit, [None; 3]);
        }
        if limits.order_qty_max != NONE && size > limits.order_qty_max {
            check.exceeds(Reason::MaxOrderQty, limits.order_qty_max, i128::from(size));
        }
    }

    #[inline]
    fn repeated(&self, check: &mut Check, keys: Keys, limits: &SideLimits) {
        let &Ask {
            side, price, mono_ns, ..
        } = check.ask;
        if limits.denies_self_trade {
            let others = self.instruments.get(keys.instrument).map(|known| &known.resting);
            let own = others
                .and_then(|sides| sides.get(1 - usize::from(side)))
                .and_then(|resting| resting.met_by(price, side));
            if let Some(own) = own {
                check.fail(Reason::SelfTrade, [None, price.map(i128::from), Some(own.into())]);
            }
        }
        if let Some(order) = check.replacing {
            if order.is_pending {
                check.fail(Reason::Duplicate, [None; 3]);
            }
            return;
        }
        if self.orders.has(check.ask.number) || self.repeats.is_known(check.ask.client_id) {
            check.fail(Reason::Duplicate, [None; 3]);
        }
        if limits.duplicate_window_ns != NONE {
            if let Some(last) = self.repeats.last(&content(check.ask)) {
                let since = mono_ns - last;
                if since < limits.duplicate_window_ns {
                    check.exceeds(Reason::Duplicate, limits.duplicate_window_ns, since.into());
                }
            }
        }
    }

    #[inline]
    fn behaved(&self, check: &mut Check, keys: Keys) {
        let Some(strategy) = self.strategies.get(keys.strategy) else {
            return;
        };
        let limits = strategy.limits;
        if strategy.is_stopped() {
            check.fail(
                Reason::RepeatedExecution,
                [Some(limits.executions_max.into()), None, None],
            );
        }
        let most = limits.cancel_ratio_pct_max;
        if most != NONE && strategy.orders >= self.ratio_min {
            let hundredfold = i128::from(strategy.cancels) * 100;
            if hundredfold > i128::from(most) * i128::from(strategy.orders) {
                let value = hundredfold / i128::from(strategy.orders.max(1));
                check.exceeds(Reason::CancelRatio, most, value);
            }
        }
    }

    /// Both lanes or neither: the venue's token is taken when every key has one, theirs by `reserve`.
    #[inline]
    fn rates(&mut self, check: &mut Check, keys: Keys) {
        let now = check.ask.mono_ns;
        if let (false, Some(venue)) = (check.lacks_token, self.venues.get_mut(keys.venue)) {
            if let Some(rates) = venue.order_rates {
                if venue.has_room(now, &rates) {
                    venue.orders.take(now, rates.own, 1);
                    venue.messages.take(now, rates.all, 1);
                    return;
                }
            }
        }
        self.without_token(check, keys);
    }

    /// Which of the rates has no token.
    #[cold]
    #[inline(never)]
    fn without_token(&self, check: &mut Check, keys: Keys) {
        let (now, side) = (check.ask.mono_ns, check.at());
        let route = self.routes.get(check.ask.route);
        for each in route.iter().flat_map(|route| of_side(&route.cells, side)) {
            let (Some(rate), Some(cell)) = (each.rate, self.cells.get(each.cell as usize)) else {
                continue;
            };
            let has = of_side(&cell.buckets, side).has(now, rate, 1);
            lane(check, Reason::RateSide, rate, has, each.limits.orders_max);
        }
        let venue = self.venues.get(keys.venue);
        if let Some((venue, rates)) = venue.and_then(|venue| venue.order_rates.map(|rates| (venue, rates))) {
            let has = venue.has_room(now, &rates);
            lane(check, Reason::RateVenue, rates.own, has, venue.orders_max);
        }
        if check.vector == 0 {
            check.fail(Reason::MissingLimit, [None; 3]);
        }
    }

    #[inline]
    fn approve(&mut self, check: &Check, keys: Keys) {
        if let Some(account) = self.accounts.get_mut(keys.account) {
            account.needed += check.need;
        }
        let ask = check.ask;
        if let Some(strategy) = self.strategies.get_mut(keys.strategy) {
            strategy.turn(ask.mono_ns, self.ratio_ns);
            match check.replacing {
                None => strategy.orders += 1,
                Some(_) => strategy.cancels += 1,
            }
        }
        self.reserve(check);
        let Some(order) = &check.replacing else {
            // Not known, or it would be a duplicate.
            self.repeats.add_id(ask.client_id);
            self.repeats.add(ask.mono_ns, content(ask));
            let order = Open {
                route: ask.route as u32,
                side: ask.side,
                is_reduce_only: ask.is_reduce_only,
                is_pending: false,
                price: ask.price,
                resting: ask.price,
                size: ask.size,
                filled: 0,
                reserved: ask.size.into(),
            };
            self.orders.add(ask.number, order);
            if let Some(resting) = self.resting(ask.route, ask.side) {
                resting.add(ask.price, ask.side);
            }
            return;
        };
        let resting = match (order.resting, ask.price) {
            (Some(was), Some(now)) if ask.side == 0 => Some(was.max(now)),
            (Some(was), Some(now)) => Some(was.min(now)),
            _ => order.resting,
        };
        if let Some(open) = self.orders.get_mut(ask.number) {
            open.reserved += check.extra;
            (open.is_pending, open.resting) = (true, resting);
        }
        self.rest(ask.route, ask.side, order.resting, resting);
    }

    /// Takes what was approved into every sum under its keys, and its tokens out of their buckets.
    #[inline]
    fn reserve(&mut self, check: &Check) {
        let side = check.at();
        let Some(route) = self.routes.get_mut(check.ask.route) else {
            return;
        };
        let count = i32::from(check.replacing.is_none());
        let (open, orders) = match side {
            0 => ([check.extra, 0], [count, 0]),
            _ => ([0, check.extra], [0, count]),
        };
        let by = Difference::new(0, open, orders, &route.leaf.worst, &check.worst);
        route.leaf.add(open, check.worst);
        for (count, more) in route.orders.iter_mut().zip(orders) {
            *count = count.saturating_add_signed(more);
        }
        for each in of_side(&route.cells, side) {
            let Some(cell) = self.cells.get_mut(each.cell as usize) else {
                continue;
            };
            cell.sum.add(&by);
            if let (Some(rate), Some(bucket)) = (each.rate, cell.buckets.get_mut(side)) {
                bucket.take(check.ask.mono_ns, rate, 1);
            }
        }
    }
}

#[inline]
fn lane(check: &mut Check, reason: Reason, rate: Rate, has: bool, most: i64) {
    if rate.burst < 1 {
        check.fail(Reason::BurstTooSmall, [Some(most.into()), None, None]);
    } else if !has {
        check.fail(reason, [Some(most.into()), None, None]);
    }
}

/// What makes two orders the same; 0 is the price of none.
#[inline]
const fn content(ask: &Ask) -> [i64; 4] {
    let price = match ask.price {
        Some(price) => price,
        None => 0,
    };
    [ask.route as i64, ask.side as i64, price, ask.size]
}
