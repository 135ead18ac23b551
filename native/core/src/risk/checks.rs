//! The checks in their order, and what an approval changes.
//!
//! All of them run, so that the record has every one that failed; the lowest number is the answer. Rates come last: an
//! order that is refused takes no token, and it takes all of its tokens or none.

use crate::risk::bucket::Rate;
use crate::risk::exposure::{Sum, Worst, MONEY_CAP};
use crate::risk::gate::{Gate, HALT_EPOCH_SHIFT, HALT_GLOBAL, HALT_REDUCING};
use crate::risk::limits::{CellLimits, SideLimits, NONE};
use crate::risk::open_orders::Open;
use crate::risk::parties::{Keys, Route, Steps};
use crate::risk::reason::Reason;

const BPS: i64 = 10_000;
/// Bits of a halt by scope.
const BOTH: u8 = 1;

/// A new order, as numbers.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// Of whom and what.
    pub route: usize,
    /// The router's, never used before.
    pub number: u64,
    /// The asker's, never used before.
    pub client_id: u64,
    /// 0 buys, 1 sells.
    pub side: u8,
    /// None: a market order.
    pub price: Option<i64>,
    /// Size mantissa.
    pub size: i64,
    /// Whether price and size were whole numbers at all.
    pub is_finite: bool,
    /// It must reduce the account's position.
    pub is_reduce_only: bool,
    /// Monotonic.
    pub mono_ns: i64,
    /// Wall.
    pub wall_ns: i64,
}

/// What replaces an order that is out.
#[derive(Debug, Clone, Copy)]
pub struct AskReplace {
    /// Which.
    pub number: u64,
    /// None: as it is.
    pub price: Option<i64>,
    /// As a whole.
    pub size: i64,
    /// See `Ask`.
    pub is_finite: bool,
    /// Monotonic.
    pub mono_ns: i64,
    /// Wall.
    pub wall_ns: i64,
}

/// An order on its way through, and what is failing.
struct Check {
    ask: Ask,
    replacing: Option<Open>,
    /// To be reserved beyond what is.
    extra: i128,
    reducible: i128,
    reduces: bool,
    /// Of the free balance.
    need: i128,
    vector: u64,
    first: u8,
    figures: [Option<i128>; 3],
}

impl Check {
    #[cold]
    #[inline(never)]
    fn fail(&mut self, reason: Reason, figures: [Option<i128>; 3]) {
        if self.first == 0 || (reason as u8) < self.first {
            (self.first, self.figures) = (reason as u8, figures);
        }
        self.vector |= 1 << reason as u8;
    }

    #[cold]
    #[inline(never)]
    fn exceeds(&mut self, reason: Reason, limit: i64, value: i128) {
        self.fail(reason, [Some(i128::from(limit)), Some(value), None]);
    }

    #[inline]
    fn at(&self) -> usize {
        usize::from(self.ask.side)
    }
}

fn of_side<T: Copy>(both: &[T; 2], side: usize) -> T {
    let [buy, sell] = *both;
    if side == 0 {
        buy
    } else {
        sell
    }
}

impl Gate {
    /// Checks a new order under a halt word, and reserves it. The epoch of the approval, or the first reason; the rest is
    /// in `denial`.
    pub fn check(&mut self, word: u64, ask: &Ask) -> Result<u64, Reason> {
        let mut check = Check {
            ask: *ask,
            replacing: None,
            extra: i128::from(ask.size),
            reducible: 0,
            reduces: false,
            need: 0,
            vector: 0,
            first: 0,
            figures: [None; 3],
        };
        self.answer(word, &mut check)
    }

    /// Checks what an order that is out is to become, and reserves the larger of both.
    pub fn check_replace(&mut self, word: u64, ask: &AskReplace) -> Result<u64, Reason> {
        let Some(order) = self.orders.get(ask.number).copied() else {
            return Err(self.refuse(Reason::NoSuchOrder));
        };
        let leaves = i128::from(ask.size) - order.filled;
        let mut check = Check {
            ask: Ask {
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
            },
            replacing: Some(order),
            extra: (leaves - order.reserved).max(0),
            reducible: 0,
            reduces: false,
            need: 0,
            vector: 0,
            first: 0,
            figures: [None; 3],
        };
        self.answer(word, &mut check)
    }

    /// Lets a cancel through: only the venue's lane for cancels stops it.
    pub fn check_cancel(&mut self, number: u64, mono_ns: i64) -> Result<(), Reason> {
        self.now = self.now.max(mono_ns);
        let route = self.orders.get(number).map(|order| order.route as usize);
        let Some(keys) = route.and_then(|route| self.routes.get(route)).map(|route| route.keys) else {
            return Err(self.refuse(Reason::NoSuchOrder));
        };
        if let Some(venue) = self.venues.get_mut(keys.venue) {
            if let Some(rate) = venue.cancel_rate {
                if !venue.cancels.has(mono_ns, rate, 1) {
                    return Err(self.refuse(Reason::RateVenue));
                }
                venue.cancels.take(mono_ns, rate, 1);
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
        Err(REASONS
            .into_iter()
            .find(|reason| *reason as u8 == check.first)
            .unwrap_or(Reason::TooMany))
    }

    #[inline]
    fn run(&mut self, word: u64, check: &mut Check, keys: Keys) {
        let side = check.at();
        let Some(route) = self.routes.get(check.ask.route) else {
            return;
        };
        let limits = of_side(&route.limits, side);
        let held = route.cells.first().and_then(|cell| self.cells.get(cell.cell as usize));
        check.reducible = held.map_or(0, |cell| match side {
            0 => -cell.sum.position - of_side(&cell.sum.open, 0),
            _ => cell.sum.position - of_side(&cell.sum.open, 1),
        });
        check.reduces =
            check.ask.is_reduce_only && check.ask.is_finite && check.ask.size > 0 && check.reducible >= check.extra;
        self.halted(word, check, keys);
        let Some(steps) = self.shaped(check, keys, &limits) else {
            return;
        };
        self.fixed(check, route, &limits, steps);
        self.priced(check, route, &limits, steps);
        self.exposed(check, route);
        self.repeated(check, keys, &limits);
        if !check.reduces {
            self.behaved(check, keys);
            self.funded(check, keys, &limits);
        }
        if check.replacing.is_none() && (self.is_full(check.ask.route, side) || self.repeats.is_full()) {
            check.fail(Reason::TooMany, [None; 3]);
        }
        if check.vector == 0 {
            self.rates(check, keys);
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
    fn shaped(&self, check: &mut Check, keys: Keys, limits: &SideLimits) -> Option<Steps> {
        let done = check.replacing.map_or(0, |order| order.filled);
        let mut is_shaped = true;
        if !check.ask.is_finite {
            check.fail(Reason::NonFinite, [None; 3]);
            is_shaped = false;
        } else if i128::from(check.ask.size) <= done {
            check.fail(Reason::BadQty, [Some(done), Some(i128::from(check.ask.size)), None]);
            is_shaped = false;
        }
        let Some(steps) = self.instruments.get(keys.instrument).and_then(|known| known.steps) else {
            check.fail(Reason::UnknownInstrument, [None; 3]);
            return None;
        };
        if !steps.is_linear || !limits.is_tradable {
            check.fail(Reason::NotTradable, [None; 3]);
            is_shaped = false;
        }
        is_shaped.then_some(steps)
    }

    #[inline]
    fn fixed(&self, check: &mut Check, route: &Route, limits: &SideLimits, steps: Steps) {
        let Ask {
            price, size, wall_ns, ..
        } = check.ask;
        if limits.is_restricted {
            check.fail(Reason::Restricted, [None; 3]);
        }
        if !(route.is_open && route.from_ns <= wall_ns && wall_ns < route.until_ns) {
            check.fail(Reason::TradingWindow, [None; 3]);
        }
        if let Some(price) = price {
            if price <= 0 || price % steps.tick.max(1) != 0 {
                check.exceeds(Reason::BadTick, steps.tick, i128::from(price));
            }
        }
        if size % steps.lot.max(1) != 0 {
            check.exceeds(Reason::BadLot, steps.lot, i128::from(size));
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
    fn priced(&self, check: &mut Check, route: &Route, limits: &SideLimits, steps: Steps) {
        let Some(known) = self.instruments.get(route.keys.instrument) else {
            return;
        };
        let (now, side) = (check.ask.mono_ns, check.at());
        let Some(reference) = known.reference.fresh(now, limits.reference_age_ns_max) else {
            let is_old = known.reference.current().is_some();
            let reason = if is_old {
                Reason::StaleReference
            } else {
                Reason::MissingReference
            };
            check.fail(reason, [None; 3]);
            return;
        };
        let asked = check.ask.price.map_or(reference, |price| price.max(0));
        collar(check, Reason::PriceCollar, limits.collar_bps, asked, reference);
        if limits.period_collar_bps != NONE {
            let past = known.reference.past(now.saturating_sub(self.period_ns));
            collar(check, Reason::PeriodCollar, limits.period_collar_bps, asked, past);
        }
        // What it may cost at worst: a market order buys at the collar's edge, a limit to sell may fill at the market.
        let worst = match (check.ask.price, side) {
            (Some(_), 0) => asked,
            (Some(_), _) => asked.max(reference),
            (None, 0) if limits.collar_bps != NONE => above(reference, limits.collar_bps),
            _ => reference,
        };
        let value = steps.worth.of(check.ask.size.unsigned_abs().into(), worst);
        if value >= MONEY_CAP {
            check.fail(Reason::Overflow, [None; 3]);
        }
        if limits.order_notional_max != NONE && value > i128::from(limits.order_notional_max) {
            let figures = [limits.order_notional_max.into(), value, worst.into()];
            check.fail(Reason::MaxNotional, figures.map(Some));
        }
        if check.extra > check.reducible {
            check.need = percent(value, limits.margin_pct);
        }
        // Gross and net exposure under every key, with the order filled.
        let extra = if side == 0 { [check.extra, 0] } else { [0, check.extra] };
        let old = route.leaf.worst;
        let new = route.leaf.worst_with(extra, Some(steps.worth), known.reference.mark);
        if new.gross >= MONEY_CAP {
            check.fail(Reason::Overflow, [None; 3]);
        }
        for cell in &route.cells {
            let limits = of_side(&cell.limits, side);
            if limits.gross_max != NONE || limits.net_max != NONE {
                if let Some(cell) = self.cells.get(cell.cell as usize) {
                    valued(check, &limits, &cell.sum, &old, &new);
                }
            }
        }
    }

    #[inline]
    fn exposed(&self, check: &mut Check, route: &Route) {
        let side = check.at();
        if check.ask.is_reduce_only && !check.reduces {
            let figures = [Some(check.reducible.max(0)), Some(check.extra), None];
            check.fail(Reason::ReduceOnly, figures);
        }
        for cell in &route.cells {
            let limits = of_side(&cell.limits, side);
            let Some(cell) = self.cells.get(cell.cell as usize) else {
                continue;
            };
            if limits.position_max != NONE {
                let held = if side == 0 {
                    cell.sum.position
                } else {
                    -cell.sum.position
                };
                let worst = held + of_side(&cell.sum.open, side) + check.extra;
                if worst > i128::from(limits.position_max) {
                    check.exceeds(Reason::PositionLimit, limits.position_max, worst);
                }
            }
            let count = i64::from(of_side(&cell.sum.orders, side));
            if limits.open_orders_max != NONE && count >= limits.open_orders_max && check.replacing.is_none() {
                check.exceeds(Reason::MaxOpenOrders, limits.open_orders_max, (count + 1).into());
            }
        }
    }

    #[inline]
    fn repeated(&mut self, check: &mut Check, keys: Keys, limits: &SideLimits) {
        let Ask {
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
        self.repeats.expire(mono_ns);
        if self.orders.has(check.ask.number) || self.repeats.is_known(check.ask.client_id) {
            check.fail(Reason::Duplicate, [None; 3]);
        }
        if limits.duplicate_window_ns != NONE {
            if let Some(last) = self.repeats.last(&content(&check.ask)) {
                let since = mono_ns - last;
                if since < limits.duplicate_window_ns {
                    check.exceeds(Reason::Duplicate, limits.duplicate_window_ns, since.into());
                }
            }
        }
    }

    #[inline]
    fn behaved(&mut self, check: &mut Check, keys: Keys) {
        let Some(strategy) = self.strategies.get_mut(keys.strategy) else {
            return;
        };
        let limits = strategy.limits;
        if strategy.is_tripped && limits.executions_max != NONE {
            check.fail(
                Reason::RepeatedExecution,
                [Some(limits.executions_max.into()), None, None],
            );
        }
        strategy.turn(check.ask.mono_ns, self.ratio_ns);
        let most = limits.cancel_ratio_pct_max;
        if most != NONE && strategy.orders >= self.ratio_min {
            let hundredfold = i128::from(strategy.cancels) * 100;
            if hundredfold > i128::from(most) * i128::from(strategy.orders) {
                let value = hundredfold / i128::from(strategy.orders.max(1));
                check.exceeds(Reason::CancelRatio, most, value);
            }
        }
    }

    #[inline]
    fn funded(&self, check: &mut Check, keys: Keys, limits: &SideLimits) {
        let Some(account) = self.accounts.get(keys.account) else {
            check.fail(Reason::MissingAccount, [None; 3]);
            return;
        };
        lost(check, account.limits.daily_loss_max, account.pnl);
        if limits.strategy_loss_max != NONE {
            let pnl = self.pnls.get(keys.pnl).copied().flatten();
            lost(check, limits.strategy_loss_max, pnl);
        }
        let Some(money) = account.money else {
            check.fail(Reason::MissingAccount, [None; 3]);
            return;
        };
        let limits = account.limits;
        let age = check.ask.mono_ns.wrapping_sub(money.mono_ns);
        if limits.age_ns_max != NONE && !(0..=limits.age_ns_max).contains(&age) {
            check.exceeds(Reason::StaleAccount, limits.age_ns_max, age.into());
        }
        let fall = i128::from(money.peak) - i128::from(money.equity);
        if limits.drawdown_max != NONE && fall >= i128::from(limits.drawdown_max) {
            check.exceeds(Reason::Drawdown, limits.drawdown_max, fall);
        }
        let free = i128::from(money.free) - account.needed - account.needed_before - check.need;
        if limits.free_balance_min != NONE && free < i128::from(limits.free_balance_min) {
            check.exceeds(Reason::FreeBalance, limits.free_balance_min, free);
        }
    }

    /// Both lanes or neither: nothing is taken before all have said yes.
    #[inline]
    fn rates(&mut self, check: &mut Check, keys: Keys) {
        let (now, side) = (check.ask.mono_ns, check.at());
        let Some(route) = self.routes.get(check.ask.route) else {
            return;
        };
        for each in &route.cells {
            let Some(rate) = of_side(&each.rates, side) else {
                continue;
            };
            let most = of_side(&each.limits, side).orders_max;
            if let Some(cell) = self.cells.get(each.cell as usize) {
                let has = of_side(&cell.buckets, side).has(now, rate, 1);
                lane(check, Reason::RateSide, rate, has, most);
            }
        }
        let Some(venue) = self.venues.get_mut(keys.venue) else {
            return;
        };
        let Some(venue_rate) = venue.order_rate else { return };
        let has = venue.orders.has(now, venue_rate, 1);
        lane(check, Reason::RateVenue, venue_rate, has, venue.orders_max);
        if check.vector != 0 {
            return;
        }
        venue.orders.take(now, venue_rate, 1);
        for each in &route.cells {
            let Some(rate) = of_side(&each.rates, side) else {
                continue;
            };
            let cell = self.cells.get_mut(each.cell as usize);
            if let Some(bucket) = cell.and_then(|cell| cell.buckets.get_mut(side)) {
                bucket.take(now, rate, 1);
            }
        }
    }

    #[inline]
    fn approve(&mut self, check: &Check, keys: Keys) {
        if let Some(account) = self.accounts.get_mut(keys.account) {
            account.needed += check.need;
        }
        let ask = &check.ask;
        if let Some(strategy) = self.strategies.get_mut(keys.strategy) {
            strategy.turn(ask.mono_ns, self.ratio_ns);
            match check.replacing {
                None => strategy.orders += 1,
                Some(_) => strategy.cancels += 1,
            }
        }
        let Some(order) = check.replacing else {
            self.repeats.remember(ask.client_id);
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
            self.keep(ask.number, order);
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
        let extra = check.extra;
        self.change(ask.route, 0, if ask.side == 0 { [extra, 0] } else { [0, extra] });
        self.rest(ask.route, ask.side, order.resting, resting);
    }
}

#[inline]
fn collar(check: &mut Check, reason: Reason, bps: i64, asked: i64, against: i64) {
    if bps == NONE {
        return;
    }
    let off = i128::from(asked.abs_diff(against)) * i128::from(BPS);
    if off > i128::from(against) * i128::from(bps) {
        check.fail(reason, [bps, asked, against].map(|figure| Some(figure.into())));
    }
}

/// A price with so many ten-thousandths on it, rounded up.
#[inline]
fn above(price: i64, bps: i64) -> i64 {
    let more = (i128::from(price) * i128::from(bps) + i128::from(BPS - 1)) / i128::from(BPS);
    i64::try_from(i128::from(price) + more).unwrap_or(i64::MAX)
}

#[inline]
fn percent(value: i128, pct: i64) -> i128 {
    if pct == 100 {
        return value;
    }
    (value * i128::from(pct) + 99) / 100
}

#[inline]
fn valued(check: &mut Check, limits: &CellLimits, sum: &Sum, old: &Worst, new: &Worst) {
    if sum.unvalued > 0 {
        check.fail(Reason::MissingReference, [None; 3]);
    }
    let gross = sum.gross - old.gross + new.gross;
    // What does not raise it is let through: a limit may be tighter than what is held.
    if limits.gross_max != NONE && gross > i128::from(limits.gross_max) && gross > sum.gross {
        check.exceeds(Reason::GrossExposure, limits.gross_max, gross);
    }
    let net = match check.ask.side {
        0 => sum.long - old.long + new.long,
        _ => old.short - sum.short - new.short,
    };
    if limits.net_max != NONE && net > i128::from(limits.net_max) {
        check.exceeds(Reason::NetExposure, limits.net_max, net);
    }
}

#[inline]
fn lost(check: &mut Check, most: i64, pnl: Option<i64>) {
    if most == NONE {
        return;
    }
    match pnl.map(|pnl| -i128::from(pnl)) {
        None => check.fail(Reason::MissingAccount, [None; 3]),
        Some(lost) if lost >= i128::from(most) => check.exceeds(Reason::DailyLoss, most, lost),
        Some(_) => {}
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

/// Every reason that a check can have.
const REASONS: [Reason; 37] = [
    Reason::Halted,
    Reason::HaltedScope,
    Reason::SideHalted,
    Reason::NonFinite,
    Reason::BadQty,
    Reason::UnknownInstrument,
    Reason::NotTradable,
    Reason::Restricted,
    Reason::TradingWindow,
    Reason::BadTick,
    Reason::BadLot,
    Reason::MissingLimit,
    Reason::MaxOrderQty,
    Reason::MissingReference,
    Reason::StaleReference,
    Reason::PriceCollar,
    Reason::PeriodCollar,
    Reason::MaxNotional,
    Reason::ReduceOnly,
    Reason::PositionLimit,
    Reason::GrossExposure,
    Reason::NetExposure,
    Reason::MaxOpenOrders,
    Reason::SelfTrade,
    Reason::Duplicate,
    Reason::RepeatedExecution,
    Reason::CancelRatio,
    Reason::DailyLoss,
    Reason::Drawdown,
    Reason::MissingAccount,
    Reason::StaleAccount,
    Reason::FreeBalance,
    Reason::RateSide,
    Reason::RateVenue,
    Reason::BurstTooSmall,
    Reason::Overflow,
    Reason::TooMany,
];
