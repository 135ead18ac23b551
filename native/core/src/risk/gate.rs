//! The gate's state: what it is told of limits, market and money, and what becomes of the orders it let through.
//!
//! Its checks are in `checks.rs`. Indices come from the caller, each table from 0; what is not there denies.

use std::collections::HashMap;

use crate::event::Event;
use crate::risk::answers::{Denial, Scope};
use crate::risk::bucket::{Bucket, Rate};
use crate::risk::exposure::{Difference, Leaf, Sum};
use crate::risk::limits::{AccountLimits, SideLimits, StrategyLimits, NONE};
use crate::risk::open_orders::{Open, OpenOrders, Resting};
use crate::risk::parties::{Account, Instrument, Keys, OrderRates, Route, SideCell, Steps, Strategy, Venue};
use crate::risk::reason::Reason;
use crate::risk::repeats::Repeats;

/// The halt word says: nothing leaves.
pub const HALT_GLOBAL: u64 = 1;
/// Orders that reduce a position may.
pub const HALT_REDUCING: u64 = 2;
/// The epoch is above the flags.
pub const HALT_EPOCH_SHIFT: u32 = 8;

/// Instruments, routes, names: at most so many of each. The caller has tighter bounds of its own.
pub const TABLE_MAX: usize = 1 << 16;

/// A key's sum, and its buckets by side.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cell {
    pub(super) sum: Sum,
    pub(super) buckets: [Bucket; 2],
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Gate {
    pub(super) instruments: Vec<Instrument>,
    pub(super) accounts: Vec<Account>,
    pub(super) strategies: Vec<Strategy>,
    pub(super) venues: Vec<Venue>,
    pub(super) routes: Vec<Route>,
    pub(super) cells: Vec<Cell>,
    pub(super) pnls: Vec<Option<i64>>,
    pub(super) orders: OpenOrders,
    pub(super) repeats: Repeats,
    pub(super) denial: Denial,
    pub(super) halts: u8,
    pub(super) period_ns: i64,
    pub(super) ratio_ns: i64,
    pub(super) ratio_min: i64,
    /// The latest time that any check was asked at: fills come without one.
    pub(super) now: i64,
    by_id: HashMap<u32, u32>,
    touched: Vec<u32>,
}

/// The entry at `index`, made with those before it when it is not there.
fn entry<T: Default>(table: &mut Vec<T>, index: usize) -> Option<&mut T> {
    if index >= TABLE_MAX {
        return None;
    }
    if index >= table.len() {
        table.resize_with(index + 1, T::default);
    }
    table.get_mut(index)
}

impl Gate {
    /// An empty gate with room for `orders_max` open orders.
    pub fn new(orders_max: usize) -> Self {
        Gate {
            instruments: Vec::new(),
            accounts: Vec::new(),
            strategies: Vec::new(),
            venues: Vec::new(),
            routes: Vec::new(),
            cells: Vec::new(),
            pnls: Vec::new(),
            orders: OpenOrders::new(orders_max.clamp(1, 1 << 20)),
            repeats: Repeats::default(),
            denial: Denial::default(),
            halts: 0,
            period_ns: 1,
            ratio_ns: 1,
            ratio_min: 1,
            now: 0,
            by_id: HashMap::new(),
            touched: Vec::new(),
        }
    }

    /// Of all limits: how long ago the period's reference was, the longest duplicate window, the window of the cancel
    /// ratio and the orders below which there is none.
    pub fn settings(&mut self, period_ns: i64, recent_ns: i64, ratio_ns: i64, ratio_min: i64) {
        (self.period_ns, self.ratio_ns, self.ratio_min) = (period_ns.max(1), ratio_ns.max(1), ratio_min);
        self.repeats.keep(recent_ns);
    }

    /// Defines an instrument, or defines it anew.
    pub fn instrument(&mut self, index: usize, id: u32, steps: Steps) {
        if let Some(known) = entry(&mut self.instruments, index) {
            known.steps = Some(steps);
            self.by_id.insert(id, index as u32);
            self.touched.reserve(self.by_id.len());
            self.revalue(index);
        }
    }

    /// Sets an account's limits.
    pub fn account(&mut self, index: usize, limits: AccountLimits) {
        if let Some(known) = entry(&mut self.accounts, index) {
            known.limits = limits;
        }
    }

    /// Sets a strategy's limits.
    pub fn strategy(&mut self, index: usize, limits: StrategyLimits) {
        if let Some(known) = entry(&mut self.strategies, index) {
            known.limit(limits, self.now);
        }
    }

    /// Sets a venue's limits: what orders may take of any window, and what they leave for cancels.
    pub fn venue(&mut self, index: usize, orders_max: i64, cancels_max: i64, window_ns: i64) {
        if let Some(known) = entry(&mut self.venues, index) {
            let (all, cancels) = Rate::lanes(orders_max.max(0), cancels_max.max(0), window_ns);
            let own = Rate::derive(orders_max, window_ns);
            known.orders_max = orders_max;
            known.order_rates = (orders_max != NONE).then_some(OrderRates { own, all });
            known.cancel_rate = (cancels_max != NONE).then_some(cancels);
        }
    }

    /// Makes a route, or gives it other limits; what it holds moves to its new keys. Its hours are to be told again.
    ///
    /// `cells`: of buys and of sells, the same keys.
    pub fn route(&mut self, index: usize, keys: Keys, limits: [SideLimits; 2], cells: [Vec<SideCell>; 2]) {
        if entry(&mut self.pnls, keys.pnl).is_none() || entry(&mut self.instruments, keys.instrument).is_none() {
            return;
        }
        for cell in cells.iter().flatten() {
            entry(&mut self.cells, cell.cell as usize);
        }
        let Some(route) = entry(&mut self.routes, index) else {
            return;
        };
        if let Some(instrument) = self.instruments.get_mut(keys.instrument) {
            if !instrument.routes.contains(&(index as u32)) {
                instrument.routes.push(index as u32);
                instrument.resting.iter_mut().for_each(|side| side.reserve());
            }
        }
        let (leaf, orders) = (route.leaf, route.orders);
        let old = std::mem::replace(
            route,
            Route {
                keys,
                limits,
                cells,
                leaf,
                orders,
                ..Route::default()
            },
        );
        let held = Difference::of(&leaf, orders);
        let [keys_before, _] = &old.cells;
        for cell in keys_before {
            if let Some(cell) = self.cells.get_mut(cell.cell as usize) {
                cell.sum.add(&held.away());
            }
        }
        for cell in self.routes.get(index).map_or(&[][..], Route::keys_of_sums) {
            if let Some(cell) = self.cells.get_mut(cell.cell as usize) {
                cell.sum.add(&held);
            }
        }
    }

    /// Whether a route may be traded at wall times in [from, until).
    pub fn hours(&mut self, route: usize, is_open: bool, from_ns: i64, until_ns: i64) {
        if let Some(route) = self.routes.get_mut(route) {
            (route.is_open, route.from_ns, route.until_ns) = (is_open, from_ns, until_ns);
        }
    }

    /// What a venue says of an account's money.
    pub fn money(&mut self, account: usize, equity: i64, free: i64, mono_ns: i64) {
        if let Some(account) = entry(&mut self.accounts, account) {
            account.tell(equity, free, mono_ns);
        }
    }

    /// An account's highest equity so far.
    pub fn peak(&self, account: usize) -> Option<i64> {
        self.accounts.get(account)?.peak()
    }

    /// Begins an account's highest equity with what it was before.
    pub fn set_peak(&mut self, account: usize, peak: i64) {
        if let Some(account) = entry(&mut self.accounts, account) {
            account.set_peak(peak);
        }
    }

    /// Profit or loss of the day: of an account, or of a strategy on one (`index`).
    pub fn day_pnl(&mut self, account: usize, index: Option<usize>, pnl: i64) {
        match index {
            None => {
                if let Some(account) = entry(&mut self.accounts, account) {
                    account.pnl = Some(pnl);
                }
            }
            Some(index) => {
                if let Some(place) = entry(&mut self.pnls, index) {
                    *place = Some(pnl);
                }
            }
        }
    }

    fn halts_of(&mut self, scope: Scope, index: usize) -> Option<&mut u8> {
        match scope {
            Scope::Global => Some(&mut self.halts),
            Scope::Venue => entry(&mut self.venues, index).map(|each| &mut each.halts),
            Scope::Account => entry(&mut self.accounts, index).map(|each| &mut each.halts),
            Scope::Strategy => entry(&mut self.strategies, index).map(|each| &mut each.halts),
            Scope::Instrument => entry(&mut self.instruments, index).map(|each| &mut each.halts),
        }
    }

    /// Halts a scope: bit 1 both sides, 2 buys, 4 sells. Whether that stops anything more than before.
    pub fn halt(&mut self, scope: Scope, index: usize, bits: u8) -> bool {
        self.halts_of(scope, index).is_some_and(|halts| {
            let was = *halts;
            *halts |= bits;
            *halts != was
        })
    }

    /// Takes that back.
    pub fn lift(&mut self, scope: Scope, index: usize, bits: u8) {
        if let Some(halts) = self.halts_of(scope, index) {
            *halts &= !bits;
        }
    }

    /// Lets a strategy go on that was stopped for repeated executions.
    pub fn enable(&mut self, strategy: usize) {
        if let Some(strategy) = self.strategies.get_mut(strategy) {
            strategy.enable();
        }
    }

    /// Whether a strategy is stopped for repeated executions.
    pub fn is_stopped(&self, strategy: usize) -> bool {
        self.strategies.get(strategy).is_some_and(Strategy::is_stopped)
    }

    /// Takes the prices of a burst.
    pub fn take(&mut self, events: &[Event], mono_ns: i64) {
        // Most events come in runs of one instrument.
        let mut recent = (0, None);
        for event in events {
            if recent.0 != event.instrument {
                recent = (event.instrument, self.by_id.get(&event.instrument).copied());
            }
            let Some(index) = recent.1 else { continue };
            let Some(known) = self.instruments.get_mut(index as usize) else {
                continue;
            };
            if known.reference.take(event, mono_ns) && !known.is_touched {
                known.is_touched = true;
                self.touched.push(index);
            }
        }
        while let Some(index) = self.touched.pop() {
            self.settle(index as usize, mono_ns);
        }
    }

    /// Takes the top of a book; a side without levels is 0.
    pub fn quote(&mut self, id: u32, bid: i64, ask: i64, mono_ns: i64) {
        if let Some(index) = self.by_id.get(&id).map(|index| *index as usize) {
            if let Some(known) = self.instruments.get_mut(index) {
                known.reference.take_top(bid, ask, mono_ns);
            }
            self.settle(index, mono_ns);
        }
    }

    /// What an instrument is valued at, however old; `None`: no price came yet.
    pub fn reference(&self, id: u32) -> Option<i64> {
        let index = *self.by_id.get(&id)? as usize;
        self.instruments.get(index)?.reference.current(self.period_ns)
    }

    fn settle(&mut self, index: usize, mono_ns: i64) {
        let Some(known) = self.instruments.get_mut(index) else {
            return;
        };
        known.is_touched = false;
        if known.reference.settle(mono_ns, self.period_ns) {
            self.revalue(index);
        }
    }

    /// Values every route of an instrument at its mark.
    fn revalue(&mut self, index: usize) {
        for at in 0..self.instruments.get(index).map_or(0, |known| known.routes.len()) {
            let route = self.instruments.get(index).and_then(|known| known.routes.get(at));
            if let Some(route) = route.map(|route| *route as usize) {
                self.change(route, 0, [0, 0], [0, 0]);
            }
        }
    }

    /// Changes what a route holds and how many of its orders are out, and every sum that it is part of.
    #[inline]
    pub(super) fn change(&mut self, route: usize, position: i128, open: [i128; 2], orders: [i32; 2]) {
        let Some(route) = self.routes.get_mut(route) else {
            return;
        };
        let now = &mut route.leaf;
        let was = now.worst;
        now.position += position;
        for (size, more) in now.open.iter_mut().zip(open) {
            *size += more;
        }
        if let Some(known) = self.instruments.get(route.keys.instrument) {
            let worth = known.steps.map(|steps| steps.worth);
            now.worst = now.worst_with([0, 0], worth, known.reference.mark);
        }
        let by = Difference::new(position, open, orders, &was, &now.worst);
        for (count, more) in route.orders.iter_mut().zip(orders) {
            *count = count.saturating_add_signed(more);
        }
        for cell in route.keys_of_sums() {
            if let Some(cell) = self.cells.get_mut(cell.cell as usize) {
                cell.sum.add(&by);
            }
        }
    }

    /// Keeps an order, reserves it, and counts it.
    #[inline]
    pub(super) fn keep(&mut self, number: u64, order: Open) {
        let (route, side) = (order.route as usize, order.side);
        self.orders.add(number, order);
        if side == 0 {
            self.change(route, 0, [order.reserved, 0], [1, 0]);
        } else {
            self.change(route, 0, [0, order.reserved], [0, 1]);
        }
        if let Some(resting) = self.resting(route, side) {
            resting.add(order.resting, side);
        }
    }

    pub(super) fn resting(&mut self, route: usize, side: u8) -> Option<&mut Resting> {
        let instrument = self.routes.get(route)?.keys.instrument;
        self.instruments.get_mut(instrument)?.resting.get_mut(usize::from(side))
    }

    /// Whether an order more of a route's side has no room.
    pub(super) fn is_full(&self, route: usize, side: usize) -> bool {
        let instrument = self.routes.get(route).map(|route| route.keys.instrument);
        let resting = instrument
            .and_then(|instrument| self.instruments.get(instrument))
            .and_then(|known| known.resting.get(side));
        self.orders.is_full() || resting.is_none_or(|resting| resting.is_full())
    }

    /// A fill: reservation becomes position. False: no such order.
    pub fn filled(&mut self, number: u64, size: i64) -> bool {
        let Some(order) = self.orders.get_mut(number) else {
            return false;
        };
        let taken = i128::from(size).min(order.reserved);
        order.filled += i128::from(size);
        order.reserved -= taken;
        let (route, side) = (order.route as usize, order.side);
        let open = if side == 0 { [-taken, 0] } else { [0, -taken] };
        self.execute(route, side, size, open);
        true
    }

    /// A fill of an order whose reservation is gone.
    pub fn late_fill(&mut self, route: usize, side: u8, size: i64) {
        self.execute(route, side, size, [0, 0]);
    }

    fn execute(&mut self, route: usize, side: u8, size: i64, open: [i128; 2]) {
        let size = i128::from(size);
        self.change(route, if side == 0 { size } else { -size }, open, [0, 0]);
        let strategy = self.routes.get(route).map(|route| route.keys.strategy);
        if let Some(strategy) = strategy.and_then(|strategy| self.strategies.get_mut(strategy)) {
            strategy.executed(self.now);
        }
    }

    /// An order is over: what is still reserved goes. False: no such order.
    pub fn released(&mut self, number: u64) -> bool {
        let Some(order) = self.orders.remove(number) else {
            return false;
        };
        let (route, side) = (order.route as usize, order.side);
        if side == 0 {
            self.change(route, 0, [-order.reserved, 0], [-1, 0]);
        } else {
            self.change(route, 0, [0, -order.reserved], [0, -1]);
        }
        if let Some(resting) = self.resting(route, side) {
            resting.remove(order.resting, side);
        }
        true
    }

    /// The venue replaced an order; price none: it kept its own. False: no such order.
    pub fn replaced(&mut self, number: u64, price: Option<i64>, size: i64) -> bool {
        let Some(order) = self.orders.get_mut(number) else {
            return false;
        };
        let (route, side, was) = (order.route as usize, order.side, order.resting);
        order.price = price.or(order.price);
        (order.size, order.resting, order.is_pending) = (size, order.price, false);
        let reserved = (i128::from(size) - order.filled).max(0);
        let more = reserved - order.reserved;
        order.reserved = reserved;
        let now = order.resting;
        self.change(route, 0, if side == 0 { [more, 0] } else { [0, more] }, [0, 0]);
        self.rest(route, side, was, now);
        true
    }

    pub(super) fn rest(&mut self, route: usize, side: u8, was: Option<i64>, now: Option<i64>) {
        if was != now {
            if let Some(resting) = self.resting(route, side) {
                resting.remove(was, side);
                resting.add(now, side);
            }
        }
    }

    /// The venue refused to replace it: it is what it was.
    pub fn replace_refused(&mut self, number: u64) -> bool {
        let size = self.orders.get(number).map(|order| order.size);
        size.is_some_and(|size| self.replaced(number, None, size))
    }

    /// Reserves for an order that was out before a restart, without a check. False: it is there, or there is no room.
    pub fn restore(&mut self, number: u64, client_id: u64, order: Open) -> bool {
        if self.orders.has(number) || self.is_full(order.route as usize, usize::from(order.side)) {
            return false;
        }
        self.repeats.remember(client_id);
        self.keep(number, order);
        true
    }

    /// Sets what a route holds.
    pub fn set_position(&mut self, route: usize, size: i64) {
        let held = self.routes.get(route).map_or(0, |route| route.leaf.position);
        self.change(route, i128::from(size) - held, [0, 0], [0, 0]);
    }

    /// What a route holds.
    pub fn leaf(&self, route: usize) -> Leaf {
        self.routes.get(route).map(|route| route.leaf).unwrap_or_default()
    }

    /// What is summed under a key.
    pub fn sum(&self, cell: usize) -> Sum {
        self.cells.get(cell).map(|cell| cell.sum).unwrap_or_default()
    }

    /// The last refusal.
    pub fn denial(&self) -> &Denial {
        &self.denial
    }

    pub(super) fn refuse(&mut self, reason: Reason) -> Reason {
        self.denial = Denial {
            vector: 1 << reason as u8,
            first: reason as u8,
            figures: [None; 3],
        };
        reason
    }
}
