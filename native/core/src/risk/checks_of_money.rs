//! The checks that are about money and size: prices, worth, exposure under every key, what the account has left.

use crate::risk::ask::{of_side, Check};
use crate::risk::exposure::{Sum, Worst, MONEY_CAP};
use crate::risk::gate::{Cell, Gate};
use crate::risk::limits::{CellLimits, SideLimits, NONE};
use crate::risk::parties::{Keys, Route, Steps};
use crate::risk::reason::Reason;

const BPS: i64 = 10_000;

impl Gate {
    /// Price and worth; whether it has either.
    #[inline]
    pub(super) fn priced(&self, check: &mut Check, route: &Route, limits: &SideLimits, steps: &Steps) -> bool {
        let Some(known) = self.instruments.get(route.keys.instrument) else {
            return false;
        };
        let (now, side) = (check.ask.mono_ns, check.at());
        let Some(reference) = known.reference.fresh(now, limits.reference_age_ns_max, self.period_ns) else {
            let is_old = known.reference.current(self.period_ns).is_some();
            let reason = if is_old {
                Reason::StaleReference
            } else {
                Reason::MissingReference
            };
            check.fail(reason, [None; 3]);
            return false;
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
        let extra = if side == 0 { [check.extra, 0] } else { [0, check.extra] };
        check.worst = route.leaf.worst_with(extra, Some(steps.worth), known.reference.mark);
        if check.worst.gross >= MONEY_CAP {
            check.fail(Reason::Overflow, [None; 3]);
        }
        true
    }

    /// Everything that is summed under a key, with the order filled; and whether every rate has a token.
    #[inline]
    pub(super) fn summed(&self, check: &mut Check, route: &Route, is_priced: bool) {
        let (now, side) = (check.ask.mono_ns, check.at());
        if check.ask.is_reduce_only && !check.reduces {
            let figures = [Some(check.reducible.max(0)), Some(check.extra), None];
            check.fail(Reason::ReduceOnly, figures);
        }
        for each in of_side(&route.cells, side) {
            let limits = &each.limits;
            let Some(Cell { sum, buckets }) = self.cells.get(each.cell as usize) else {
                continue;
            };
            if is_priced && each.is_valued {
                valued(check, limits, sum, &route.leaf.worst);
            }
            if limits.position_max != NONE {
                let held = if side == 0 { sum.position } else { -sum.position };
                let worst = held + of_side(&sum.open, side) + check.extra;
                if worst > i128::from(limits.position_max) {
                    check.exceeds(Reason::PositionLimit, limits.position_max, worst);
                }
            }
            let count = i64::from(*of_side(&sum.orders, side));
            if limits.open_orders_max != NONE && count >= limits.open_orders_max && check.replacing.is_none() {
                check.exceeds(Reason::MaxOpenOrders, limits.open_orders_max, (count + 1).into());
            }
            if let Some(rate) = each.rate {
                check.lacks_token |= rate.burst < 1 || !of_side(buckets, side).has(now, rate, 1);
            }
        }
    }

    #[inline]
    pub(super) fn funded(&self, check: &mut Check, keys: Keys, limits: &SideLimits) {
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
fn valued(check: &mut Check, limits: &CellLimits, sum: &Sum, old: &Worst) {
    let new = check.worst;
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
