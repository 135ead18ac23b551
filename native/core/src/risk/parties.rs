//! Who and what an order is of: instrument, account, strategy, venue, and the route that joins them.
//!
//! Plain state with the one rule that belongs to each. It compares no order with anything.

use crate::risk::bucket::{Bucket, Rate};
use crate::risk::exposure::{Leaf, Worth};
use crate::risk::limits::{AccountLimits, CellLimits, SideLimits, StrategyLimits, NONE};
use crate::risk::open_orders::Resting;
use crate::risk::references::Reference;
use crate::risk::step::Step;

/// What a definition says.
#[derive(Debug, Clone, Copy)]
pub struct Steps {
    /// Of prices.
    pub tick: Step,
    /// Of sizes.
    pub lot: Step,
    /// What a size at a price is worth.
    pub worth: Worth,
    /// Whether price times size is money at all.
    pub is_linear: bool,
}

/// An instrument.
#[derive(Debug, Clone, Default)]
pub struct Instrument {
    /// None before its definition.
    pub steps: Option<Steps>,
    /// Its prices.
    pub reference: Reference,
    /// Prices of our open orders: buys, sells.
    pub resting: [Resting; 2],
    /// Routes that trade it.
    pub routes: Vec<u32>,
    /// Bits of its halts.
    pub halts: u8,
    /// A burst had a price of it.
    pub is_touched: bool,
}

/// What a venue said of an account's money.
#[derive(Debug, Clone, Copy)]
pub struct Money {
    /// Now.
    pub equity: i64,
    /// Now.
    pub free: i64,
    /// Highest equity so far.
    pub peak: i64,
    /// When it was said.
    pub mono_ns: i64,
}

/// An account.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// Its limits.
    pub limits: AccountLimits,
    /// None before it was told.
    pub money: Option<Money>,
    /// Highest equity of an earlier life, until this one is told of its money.
    kept_peak: Option<i64>,
    /// Profit or loss of the day.
    pub pnl: Option<i64>,
    /// What orders need that were approved since the last state.
    pub needed: i128,
    /// And since the one before: a state asked for while an order was on its way does not have it yet.
    pub needed_before: i128,
    /// Bits of its halts.
    pub halts: u8,
}

impl Account {
    /// Takes a state of its money.
    pub fn tell(&mut self, equity: i64, free: i64, mono_ns: i64) {
        let peak = self.peak().map_or(equity, |peak| peak.max(equity));
        self.money = Some(Money {
            equity,
            free,
            peak,
            mono_ns,
        });
        (self.needed_before, self.needed) = (self.needed, 0);
    }

    /// Its highest equity so far.
    pub fn peak(&self) -> Option<i64> {
        self.money.map(|money| money.peak).or(self.kept_peak)
    }

    /// Counts its fall from `peak`, or from what it has now where that is more.
    pub fn set_peak(&mut self, peak: i64) {
        self.kept_peak = Some(peak);
        if let Some(money) = &mut self.money {
            money.peak = peak.max(money.equity);
        }
    }
}

/// A strategy.
#[derive(Debug, Clone, Default)]
pub struct Strategy {
    /// Its limits.
    pub limits: StrategyLimits,
    /// Times of the last executions, a ring of `executions_max`.
    executions: Vec<i64>,
    executed: usize,
    /// Stopped for repeated executions.
    pub is_tripped: bool,
    window: i64,
    /// New orders in the window.
    pub orders: i64,
    /// Cancels and replaces in the window.
    pub cancels: i64,
    /// Bits of its halts.
    pub halts: u8,
}

impl Strategy {
    /// Puts other limits in force. Executions that were counted stay so: the new limit judges them at once.
    pub fn limit(&mut self, limits: StrategyLimits, now: i64) {
        if limits.executions_max != self.limits.executions_max {
            let most = limits.executions_max.clamp(0, 1 << 16) as usize;
            self.executions = self.newest(most);
            self.executed = self.executions.len();
            self.executions.resize(most, 0);
        }
        self.limits = limits;
        self.judge(now);
    }

    /// Times of the last executions, the oldest first, at most so many.
    fn newest(&self, most: usize) -> Vec<i64> {
        let size = self.executions.len();
        let count = self.executed.min(size).min(most);
        let places = self.executed - count..self.executed;
        places
            .filter_map(|at| self.executions.get(at % size).copied())
            .collect()
    }

    /// Begins to count anew with each window; a clock that goes back begins none.
    #[inline]
    pub fn turn(&mut self, mono_ns: i64, window_ns: i64) {
        if mono_ns >= self.window.saturating_add(1).saturating_mul(window_ns) {
            self.window = mono_ns / window_ns.max(1);
            (self.orders, self.cancels) = (0, 0);
        }
    }

    /// An execution; so many within the window stop it until a person enables it.
    pub fn executed(&mut self, now: i64) {
        let most = self.executions.len();
        if most == 0 {
            return;
        }
        if let Some(place) = self.executions.get_mut(self.executed % most) {
            *place = now;
        }
        self.executed += 1;
        self.judge(now);
    }

    /// Whether the last executions came within the window; without a limit none is remembered.
    fn judge(&mut self, now: i64) {
        let most = self.executions.len();
        if most > 0 && self.executed >= most {
            let oldest = self.executions.get(self.executed % most).copied().unwrap_or(now);
            self.is_tripped |= now - oldest < self.limits.executions_window_ns;
        }
    }

    /// Whether it is stopped for repeated executions.
    pub fn is_stopped(&self) -> bool {
        self.is_tripped && self.limits.executions_max != NONE
    }

    /// A person says that it may go on.
    pub fn enable(&mut self) {
        (self.is_tripped, self.executed) = (false, 0);
    }
}

/// What orders need of a venue: room in their own share, and in everything, where they must leave some.
#[derive(Debug, Clone, Copy)]
pub struct OrderRates {
    /// Of their share.
    pub own: Rate,
    /// Of everything.
    pub all: Rate,
}

/// A venue's allowance: one bucket for everything, and one for the share of it that orders may take.
#[derive(Debug, Clone, Default)]
pub struct Venue {
    /// New orders and replaces in any window; `NONE`: not written.
    pub orders_max: i64,
    /// None: not written.
    pub order_rates: Option<OrderRates>,
    /// What a cancel needs of everything; none: not written, nothing stops them.
    pub cancel_rate: Option<Rate>,
    /// Everything that was sent.
    pub messages: Bucket,
    /// New orders and replaces among it.
    pub orders: Bucket,
    /// Bits of its halts.
    pub halts: u8,
}

impl Venue {
    /// Whether an order has room in both.
    #[inline]
    pub const fn has_room(&self, now: i64, rates: &OrderRates) -> bool {
        self.orders.has(now, rates.own, 1) && self.messages.has(now, rates.all, 1)
    }
}

/// A key under which a route counts, with its limits for one side.
#[derive(Debug, Clone, Copy)]
pub struct SideCell {
    /// Which sum.
    pub cell: u32,
    /// Whether a limit of it is money.
    pub is_valued: bool,
    /// Of its limits.
    pub limits: CellLimits,
    /// Rate of its limits; none: not limited.
    pub rate: Option<Rate>,
}

impl SideCell {
    /// With what follows from its limits.
    pub fn new(cell: u32, limits: CellLimits) -> Self {
        let is_limited = limits.orders_max != NONE;
        SideCell {
            cell,
            is_valued: limits.gross_max != NONE || limits.net_max != NONE,
            limits,
            rate: is_limited.then(|| Rate::derive(limits.orders_max, limits.orders_window_ns)),
        }
    }
}

/// Indices of what a route joins.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keys {
    /// Account.
    pub account: usize,
    /// Strategy.
    pub strategy: usize,
    /// Instrument.
    pub instrument: usize,
    /// Venue.
    pub venue: usize,
    /// Profit or loss of the strategy on the account.
    pub pnl: usize,
}

/// An account, a strategy, an instrument.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// Who and what.
    pub keys: Keys,
    /// Buys, sells.
    pub limits: [SideLimits; 2],
    /// Sums that it is part of, with the limits of buys, of sells; the first is that of account and instrument.
    pub cells: [Vec<SideCell>; 2],
    /// What it holds.
    pub leaf: Leaf,
    /// Its orders that are not over: buys, sells.
    pub orders: [u32; 2],
    /// Whether it may be traded at wall times in [from, until).
    pub is_open: bool,
    /// See `is_open`.
    pub from_ns: i64,
    /// See `is_open`.
    pub until_ns: i64,
}

impl Route {
    /// Every key, once.
    pub fn keys_of_sums(&self) -> &[SideCell] {
        let [cells, _] = &self.cells;
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_executions_within_the_window_stop_a_strategy() {
        let mut strategy = Strategy::default();
        strategy.limit(most(3), 0);
        for now in [0, 60, 120, 180] {
            strategy.executed(now);
            assert!(!strategy.is_tripped, "three within 120");
        }
        strategy.executed(190);
        assert!(strategy.is_tripped, "120, 180, 190");
        strategy.enable();
        strategy.executed(191);
        strategy.executed(192);
        assert!(!strategy.is_tripped);
        strategy.executed(193);
        assert!(strategy.is_tripped);
    }

    fn most(executions_max: i64) -> StrategyLimits {
        StrategyLimits {
            executions_max,
            executions_window_ns: 100,
            ..StrategyLimits::default()
        }
    }

    #[test]
    fn another_limit_counts_what_was_executed_before_it() {
        let mut strategy = Strategy::default();
        strategy.limit(most(5), 0);
        for now in [0, 10, 20, 30] {
            strategy.executed(now);
        }
        let mut at_once = strategy.clone();
        at_once.limit(most(4), 99);
        assert!(at_once.is_stopped(), "four within 100");
        strategy.limit(most(4), 100);
        assert!(!strategy.is_tripped, "the first was before the window");
        strategy.limit(most(6), 100);
        for now in [101, 102] {
            strategy.executed(now);
            assert_eq!(strategy.is_tripped, now == 102, "10, 20, 30, 101, 102 are five of six");
            strategy.limit(most(5), now);
        }
    }

    #[test]
    fn no_limit_stops_nobody_and_remembers_nothing() {
        let mut strategy = Strategy::default();
        strategy.limit(most(1), 0);
        strategy.executed(1);
        assert!(strategy.is_stopped());
        strategy.limit(most(NONE), 2);
        strategy.executed(3);
        assert!(!strategy.is_stopped() && strategy.is_tripped);
        strategy.enable();
        strategy.limit(most(1), 3);
        assert!(!strategy.is_tripped);
    }

    #[test]
    fn counts_begin_anew_with_each_window() {
        let mut strategy = Strategy::default();
        strategy.turn(1_050, 100);
        strategy.orders = 5;
        strategy.turn(1_099, 100);
        strategy.turn(900, 100);
        assert_eq!(strategy.orders, 5);
        strategy.turn(1_100, 100);
        assert_eq!(strategy.orders, 0);
    }

    #[test]
    fn an_order_stays_counted_until_the_second_state_after_it() {
        let mut account = Account {
            needed: 7,
            ..Account::default()
        };
        account.tell(10, 10, 1);
        assert_eq!(account.needed + account.needed_before, 7);
        account.tell(8, 8, 2);
        assert_eq!(account.needed + account.needed_before, 0);
        assert_eq!(account.peak(), Some(10));
    }

    #[test]
    fn the_highest_equity_of_an_earlier_life_counts() {
        let mut account = Account::default();
        account.set_peak(10);
        assert_eq!(account.peak(), Some(10));
        account.tell(7, 7, 1);
        assert_eq!(account.money.map(|money| money.peak), Some(10));
        account.set_peak(5);
        assert_eq!(account.peak(), Some(7), "it has more than that");
        account.tell(6, 6, 2);
        account.tell(11, 11, 3);
        assert_eq!(account.peak(), Some(11));
    }
}
