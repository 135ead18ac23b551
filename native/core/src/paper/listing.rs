//! One instrument at the paper venue: its market, its terms and our orders in it; here orders meet the market.
//!
//! The rules:
//! - An arriving order takes the displayed levels it may, best first, each at its price, less what we took of it before.
//! - A resting order trades by trades at its price that come past its place in the queue, up to their size; by trades beyond
//!   its price, up to their size; and when the other side is displayed at its price or better, up to what is displayed.
//!   Always at its own price, as the maker.
//! - One volume fills one order: better prices first, then the earlier order.

use crate::book::l2::Side;
use crate::event::{flag, side, Event, Kind, PRICE_UNDEF, SIZE_UNDEF};
use crate::paper::config::Config;
use crate::paper::contract::Contract;
use crate::paper::market::{is_better, is_depth, opposite, Market};
use crate::paper::order::{End, New, Order, OrderView, TimeInForce};
use crate::paper::queue::{Place, Rule};
use crate::paper::report::{Desk, Reason, ReportKind};

const SIDES: [Side; 2] = [Side::Bid, Side::Ask];

/// One instrument.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Which.
    pub instrument: u32,
    /// What is seen of it.
    pub market: Market,
    /// What its trades are worth; without terms nothing is traded.
    pub contract: Option<Contract>,
    /// Requests that are on their way to it.
    pub asked: u32,
    /// Whether it stands in the exchange's list of those that need their events in order.
    pub is_live: bool,
    /// Bids and asks of ours, best price first, then the earlier.
    resting: [Vec<Order>; 2],
    position: i64,
    /// It has trades one by one, so those that the venue also tells merged are the same again.
    has_single_trades: bool,
}

const fn index(of: Side) -> usize {
    match of {
        Side::Bid => 0,
        Side::Ask => 1,
    }
}

impl Listing {
    /// An instrument at first sight.
    pub fn new(instrument: u32) -> Self {
        Listing {
            instrument,
            market: Market::default(),
            contract: None,
            asked: 0,
            is_live: false,
            resting: [Vec::new(), Vec::new()],
            position: 0,
            has_single_trades: false,
        }
    }

    /// Whether its events have to be looked at in order.
    pub fn needs_events(&self) -> bool {
        self.asked > 0 || self.resting.iter().any(|orders| !orders.is_empty()) || self.market.has_taken()
    }

    /// More that is held in it: what earlier lives of the account left.
    pub fn hold(&mut self, size: i64) {
        self.position = self.position.saturating_add(size);
    }

    /// Orders that rest.
    pub fn orders(&self) -> impl Iterator<Item = &Order> + '_ {
        self.resting.iter().flatten()
    }

    fn side_mut(&mut self, of: Side) -> &mut Vec<Order> {
        let [bids, asks] = &mut self.resting;
        match of {
            Side::Bid => bids,
            Side::Ask => asks,
        }
    }

    /// Takes the records of one message.
    pub fn take(&mut self, config: &Config, desk: &mut Desk, message: &[Event], now: i64) {
        let mut changed = false;
        for event in message {
            match event.kind {
                kind if kind == Kind::Trade as u8 => self.trade(config, desk, event, now),
                kind if kind == Kind::Quote as u8 => {
                    self.market.quote(event);
                    changed = true;
                }
                _ => {}
            }
        }
        if self.market.follows() && message.iter().any(|event| is_depth(event.kind)) {
            self.market.depth(message, self.instrument);
            changed = true;
        }
        if changed {
            self.shown(config, desk, now);
        }
    }

    /// A trade of others: which of ours it would have met.
    fn trade(&mut self, config: &Config, desk: &mut Desk, event: &Event, now: i64) {
        const BESIDE: u16 = flag::TRIAL | flag::ODD_LOT | flag::BACKFILLED | flag::OFF_BOOK | flag::SNAPSHOT;
        let is_told = event.price != PRICE_UNDEF && event.size != SIZE_UNDEF && event.size > 0;
        let Some(contract) = self.contract.as_ref().filter(|_| is_told && event.flags & BESIDE == 0) else {
            return;
        };
        let is_merged = event.flags & flag::AGGREGATE != 0;
        if is_merged && self.has_single_trades {
            return;
        }
        self.has_single_trades |= !is_merged;
        let hit = match event.side {
            side::BID => Side::Ask,
            side::ASK => Side::Bid,
            // Nobody says who took: whose price it was is.
            _ if self.market.best(Side::Bid).is_some_and(|bid| event.price <= bid) => Side::Bid,
            _ if self.market.best(Side::Ask).is_some_and(|ask| event.price >= ask) => Side::Ask,
            _ => return,
        };
        let Some(orders) = self.resting.get_mut(index(hit)) else {
            return;
        };
        let mut left = event.size;
        for order in orders.iter_mut() {
            let Some(price) = order.view.price else { continue };
            let ours = if is_better(hit, price, event.price) {
                order.place.passed();
                left
            } else if price == event.price {
                order.place.trade(event.size, left)
            } else {
                break;
            };
            let size = tradable(contract, ours, order.leaves());
            if size > 0 && desk.fill((config, contract), order, (price, size), true, now) {
                left -= size;
                self.position += if hit == Side::Bid { size } else { -size };
            }
        }
        self.clear_filled(desk, hit);
    }

    /// The displayed market changed.
    fn shown(&mut self, config: &Config, desk: &mut Desk, now: i64) {
        let rule = Rule {
            kind: config.queue,
            power: config.queue_power,
        };
        let market = &self.market;
        for order in self.resting.iter_mut().flatten() {
            let view = &order.view;
            if let Some(shown) = view.price.and_then(|price| market.shown(view.side, price)) {
                order.place.show(rule, shown);
            }
        }
        self.market.forget_gone();
        for of in SIDES {
            let Some(best) = self.market.best(opposite(of)) else {
                continue;
            };
            let meets = |order: &Order| order.view.price.is_some_and(|price| !is_better(of, best, price));
            if !self.side_mut(of).first().is_some_and(meets) {
                continue;
            }
            let mut orders = std::mem::take(self.side_mut(of));
            for order in orders.iter_mut().take_while(|order| meets(order)) {
                self.sweep(config, desk, order, true, now);
            }
            *self.side_mut(of) = orders;
            self.clear_filled(desk, of);
        }
    }

    /// Takes what is displayed for an order and may be taken: as the maker at its own price, else level by level.
    fn sweep(&mut self, config: &Config, desk: &mut Desk, order: &mut Order, is_maker: bool, now: i64) {
        let Some(contract) = self.contract.as_ref() else { return };
        let (of, limit) = (order.view.side, order.view.price);
        for level in self.market.within(opposite(of), limit, order.leaves()) {
            let price = limit.filter(|_| is_maker).unwrap_or(level.price);
            let size = tradable(contract, level.size, order.leaves());
            if size == 0 {
                continue;
            }
            // The note comes first: what cannot be noted must not be taken.
            if !self.market.note_taken(opposite(of), level.price, size)
                || !desk.fill((config, contract), order, (price, size), is_maker, now)
            {
                return;
            }
            self.position += if of == Side::Bid { size } else { -size };
        }
    }

    fn clear_filled(&mut self, desk: &mut Desk, of: Side) {
        self.side_mut(of).retain(|order| {
            let is_open = order.leaves() > 0;
            if !is_open {
                desk.note_end(&order.view, End::Filled);
            }
            is_open
        });
    }

    fn refusal(&self, new: &New) -> Option<Reason> {
        let Some(contract) = &self.contract else {
            return Some(Reason::UnknownInstrument);
        };
        if let Some(reason) = grid(contract, new.price, new.size) {
            return Some(reason);
        }
        let reduces = match new.side {
            Side::Bid => new.size <= self.position.saturating_neg(),
            Side::Ask => new.size <= self.position,
        };
        if new.reduce_only && !reduces {
            return Some(Reason::ReduceOnly);
        }
        let takes = || !self.market.within(opposite(new.side), new.price, 1).is_empty();
        (new.time_in_force == TimeInForce::PostOnly && (new.price.is_none() || takes())).then_some(Reason::WouldTake)
    }

    /// A new order arrives.
    pub fn arrive(&mut self, config: &Config, desk: &mut Desk, new: &New, venue_id: u64, now: i64) {
        if let Some(reason) = self.refusal(new) {
            return refuse(config, desk, new, reason, now);
        }
        let mut order = Order::of(new, venue_id);
        desk.tell_of(config, &order.view, ReportKind::Acked, Reason::None, now);
        self.match_and_rest(config, desk, &mut order, now);
    }

    /// An order that was taken trades what it can at once; the rest of it waits or expires.
    fn match_and_rest(&mut self, config: &Config, desk: &mut Desk, order: &mut Order, now: i64) {
        let view = order.view;
        let leaves = order.leaves();
        let lot = self.contract.as_ref().map_or(1, |contract| contract.lot);
        let can = || self.market.within(opposite(view.side), view.price, leaves);
        let lots = || can().iter().map(|level| level.size - level.size % lot).sum::<i64>();
        if order.time_in_force != TimeInForce::Fok || lots() == leaves {
            self.sweep(config, desk, order, false, now);
        }
        if order.leaves() == 0 {
            desk.note_end(&order.view, End::Filled);
        } else if order.rests() {
            self.rest(order.clone());
        } else {
            desk.tell_of(config, &order.view, ReportKind::Expired, Reason::NoMarket, now);
            desk.note_end(&order.view, End::Expired);
        }
    }

    fn rest(&mut self, mut order: Order) {
        let (of, Some(price)) = (order.view.side, order.view.price) else {
            return;
        };
        order.place = Place::behind(self.market.shown(of, price));
        let orders = self.side_mut(of);
        let is_before = |other: &Order| other.view.price.is_some_and(|other| !is_better(of, price, other));
        orders.insert(orders.partition_point(is_before), order);
    }

    fn find(&self, number: u64) -> Option<(Side, usize)> {
        let is_it = |order: &Order| order.view.number == number;
        SIDES.into_iter().find_map(|of| {
            let orders = self.resting.get(index(of))?;
            Some((of, orders.iter().position(is_it)?))
        })
    }

    /// A cancel arrives.
    pub fn cancel(&mut self, config: &Config, desk: &mut Desk, number: u64, now: i64) {
        let Some((of, at)) = self.find(number) else {
            return no_such_order(config, desk, number, ReportKind::CancelRejected, now);
        };
        let order = self.side_mut(of).remove(at);
        desk.tell_of(config, &order.view, ReportKind::Cancelled, Reason::None, now);
        desk.note_end(&order.view, End::Cancelled);
    }

    /// Another price and whole size arrive. The place is kept if the price stays and the size does not grow.
    pub fn replace(&mut self, config: &Config, desk: &mut Desk, number: u64, to: (i64, i64), now: i64) {
        let Some((of, at)) = self.find(number) else {
            return no_such_order(config, desk, number, ReportKind::ReplaceRejected, now);
        };
        let reason = self.replace_refusal((of, at), to);
        let (price, size) = to;
        let Some(order) = self.side_mut(of).get_mut(at) else {
            return;
        };
        if let Some(reason) = reason {
            return desk.tell_of(config, &order.view, ReportKind::ReplaceRejected, reason, now);
        }
        let keeps_place = order.view.price == Some(price) && size <= order.view.size;
        (order.view.price, order.view.size) = (Some(price), size);
        desk.tell_of(config, &order.view, ReportKind::Replaced, Reason::None, now);
        if !keeps_place {
            let mut order = self.side_mut(of).remove(at);
            self.match_and_rest(config, desk, &mut order, now);
        }
    }

    fn replace_refusal(&self, (of, at): (Side, usize), (price, size): (i64, i64)) -> Option<Reason> {
        let order = self.resting.get(index(of))?.get(at)?;
        let Some(contract) = &self.contract else {
            return Some(Reason::UnknownInstrument);
        };
        if size <= order.view.cum {
            return Some(Reason::BadLot);
        }
        let takes = || !self.market.within(opposite(of), Some(price), 1).is_empty();
        grid(contract, Some(price), size).or_else(|| {
            let is_new = order.view.price != Some(price) || size > order.view.size;
            (order.time_in_force == TimeInForce::PostOnly && is_new && takes()).then_some(Reason::WouldTake)
        })
    }
}

/// What of `size` an order with `leaves` can trade: whole lots, as the venue would.
fn tradable(contract: &Contract, size: i64, leaves: i64) -> i64 {
    let size = size.min(leaves);
    size - size % contract.lot
}

fn grid(contract: &Contract, price: Option<i64>, size: i64) -> Option<Reason> {
    if size <= 0 || size == SIZE_UNDEF || size % contract.lot != 0 {
        return Some(Reason::BadLot);
    }
    let is_off = |price: i64| price == PRICE_UNDEF || price % contract.tick != 0;
    price.is_some_and(is_off).then_some(Reason::BadTick)
}

/// Says that an order is not taken.
pub fn refuse(config: &Config, desk: &mut Desk, new: &New, reason: Reason, now: i64) {
    let view: OrderView = new.view(0, End::Rejected);
    desk.tell_of(config, &view, ReportKind::Rejected, reason, now);
    desk.note_end(&view, End::Rejected);
}

/// Says that there is no such order.
pub fn no_such_order(config: &Config, desk: &mut Desk, number: u64, kind: ReportKind, now: i64) {
    let view = OrderView {
        number,
        venue_id: 0,
        instrument: 0,
        side: Side::Bid,
        price: None,
        size: 0,
        cum: 0,
        end: End::Rejected,
    };
    desk.tell_of(config, &view, kind, Reason::UnknownOrder, now);
}
