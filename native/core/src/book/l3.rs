//! An order-by-order book: every resting order in its queue, in price-time priority, with the totals of each level.
//!
//! Orders lie in one slab, linked to their neighbours in the queue by number; an order is found by id in a hash table, its
//! level by price in a `Ladder`. It belongs to one instrument and one day; ids are the venue's.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::book::l2::{key, Side, Sides, Touch};
use crate::book::ladder::Ladder;
use crate::event::{flag, side, Event, Kind, SIZE_UNDEF};

/// Orders kept per book. A Nasdaq symbol has at most some 10,000, the whole market 2 M.
pub const ORDERS_MAX: usize = 1 << 22;
/// No order.
const NONE: u32 = u32::MAX;

/// A resting order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// The venue's number.
    pub id: u64,
    /// Price mantissa.
    pub price: i64,
    /// What is left of it: size mantissa, above 0.
    pub size: i64,
    /// Whose it is.
    pub side: Side,
}

/// A price level: what its orders add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLevel {
    /// Price mantissa.
    pub price: i64,
    /// Size mantissa of all its orders.
    pub size: i64,
    /// How many orders.
    pub orders: u32,
}

/// Why an order or a change was not taken. The book is as it was, but for `Overdrawn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// An order of this id rests already.
    Duplicate,
    /// No order of this id rests here.
    Unknown,
    /// A size that is not above 0.
    BadSize,
    /// More was taken from an order than was left: it is gone now.
    Overdrawn,
    /// A level's size has no room in 64 bits.
    Overflow,
    /// `ORDERS_MAX` orders rest here.
    Full,
}

/// Changes that were refused, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refusals {
    /// `Refused::Duplicate`.
    pub duplicate: u64,
    /// `Refused::Unknown`: before the day's beginning was read, say.
    pub unknown: u64,
    /// `Refused::BadSize`.
    pub bad_size: u64,
    /// `Refused::Overdrawn`.
    pub overdrawn: u64,
    /// `Refused::Overflow` and `Refused::Full`.
    pub no_room: u64,
}

impl Refusals {
    fn count(&mut self, why: Refused) {
        *match why {
            Refused::Duplicate => &mut self.duplicate,
            Refused::Unknown => &mut self.unknown,
            Refused::BadSize => &mut self.bad_size,
            Refused::Overdrawn => &mut self.overdrawn,
            Refused::Overflow | Refused::Full => &mut self.no_room,
        } += 1;
    }
}

/// An order in its queue.
#[derive(Debug, Clone, Copy)]
struct Node {
    order: Order,
    ahead: u32,
    behind: u32,
}

/// A level's queue: its totals and its two ends.
#[derive(Debug, Clone, Copy)]
struct Queue {
    size: i64,
    orders: u32,
    first: u32,
    last: u32,
}

/// Spreads ids, which are nearly consecutive, over the table: one multiplication (Fibonacci hashing) and a fold.
#[derive(Debug, Clone, Copy, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    #[inline]
    fn write_u64(&mut self, id: u64) {
        let wide = u128::from(id) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (wide >> 64) as u64 ^ wide as u64;
    }
}

/// The orders of one side, by level.
#[derive(Debug, Clone, Default)]
struct Half {
    ladder: Ladder<Queue>,
    total: i128,
    orders: usize,
}

/// The orders of one instrument.
#[derive(Debug, Clone, Default)]
pub struct Orders {
    nodes: Vec<Node>,
    free: Vec<u32>,
    by_id: HashMap<u64, u32, BuildHasherDefault<Spread>>,
    sides: Sides<Half>,
    /// What was refused since the book was made.
    pub refusals: Refusals,
    /// Messages behind which the book was crossed.
    pub crossed: u64,
}

impl Orders {
    /// An empty book.
    pub fn new() -> Self {
        Orders::default()
    }

    // Changes ------------------------------------------------------------------------------------------------------------

    /// Puts an order at the back of its level's queue.
    pub fn add(&mut self, order: Order) -> Result<(), Refused> {
        if order.size <= 0 {
            return Err(Refused::BadSize);
        }
        if self.by_id.contains_key(&order.id) {
            return Err(Refused::Duplicate);
        }
        if self.by_id.len() >= ORDERS_MAX {
            return Err(Refused::Full);
        }
        let at = self.free.last().copied().unwrap_or(self.nodes.len() as u32);
        let key = key(order.side, order.price);
        let half = self.sides.of_mut(order.side);
        let mut ahead = NONE;
        if let Some(queue) = half.ladder.get_mut(key) {
            queue.size = queue.size.checked_add(order.size).ok_or(Refused::Overflow)?;
            queue.orders += 1;
            ahead = std::mem::replace(&mut queue.last, at);
        } else {
            let queue = Queue {
                size: order.size,
                orders: 1,
                first: at,
                last: at,
            };
            half.ladder.insert(key, queue);
        }
        half.total += i128::from(order.size);
        half.orders += 1;
        if let Some(node) = self.nodes.get_mut(ahead as usize) {
            node.behind = at;
        }
        let node = Node {
            order,
            ahead,
            behind: NONE,
        };
        if self.free.pop().is_some() {
            if let Some(place) = self.nodes.get_mut(at as usize) {
                *place = node;
            }
        } else {
            self.nodes.push(node);
        }
        self.by_id.insert(order.id, at);
        Ok(())
    }

    /// Takes `size` from an order, which keeps its place; with nothing left it is gone.
    pub fn reduce(&mut self, id: u64, size: i64) -> Result<(), Refused> {
        if size <= 0 {
            return Err(Refused::BadSize);
        }
        let at = *self.by_id.get(&id).ok_or(Refused::Unknown)?;
        let node = self.nodes.get_mut(at as usize).ok_or(Refused::Unknown)?;
        if node.order.size <= size {
            let overdrawn = node.order.size < size;
            self.take(id)?;
            return if overdrawn { Err(Refused::Overdrawn) } else { Ok(()) };
        }
        node.order.size -= size;
        let (side, key) = (node.order.side, key(node.order.side, node.order.price));
        let half = self.sides.of_mut(side);
        half.total -= i128::from(size);
        if let Some(queue) = half.ladder.get_mut(key) {
            queue.size -= size;
        }
        Ok(())
    }

    /// Takes an order away; what was left of it.
    pub fn take(&mut self, id: u64) -> Result<Order, Refused> {
        let at = self.by_id.remove(&id).ok_or(Refused::Unknown)?;
        let Node { order, ahead, behind } = *self.nodes.get(at as usize).ok_or(Refused::Unknown)?;
        self.free.push(at);
        if let Some(node) = self.nodes.get_mut(ahead as usize) {
            node.behind = behind;
        }
        if let Some(node) = self.nodes.get_mut(behind as usize) {
            node.ahead = ahead;
        }
        let key = key(order.side, order.price);
        let half = self.sides.of_mut(order.side);
        half.total -= i128::from(order.size);
        half.orders -= 1;
        if ahead == NONE && behind == NONE {
            half.ladder.remove(key);
        } else if let Some(queue) = half.ladder.get_mut(key) {
            queue.size -= order.size;
            queue.orders -= 1;
            if ahead == NONE {
                queue.first = behind;
            }
            if behind == NONE {
                queue.last = ahead;
            }
        }
        Ok(order)
    }

    /// Gives an order another price and size. It keeps its place if the price stays and the size does not grow; else it
    /// goes to the back of its new queue.
    pub fn modify(&mut self, id: u64, price: i64, size: i64) -> Result<(), Refused> {
        if size <= 0 {
            return Err(Refused::BadSize);
        }
        let before = self.get(id).ok_or(Refused::Unknown)?;
        if price == before.price && size <= before.size {
            return match before.size - size {
                0 => Ok(()),
                less => self.reduce(id, less),
            };
        }
        self.take(id)?;
        let refused = self.add(Order { price, size, ..before });
        if refused.is_err() {
            self.add(before)?; // as it was, but at the back
        }
        refused
    }

    /// Empties the book; counts stay.
    pub fn clear(&mut self) {
        let (refusals, crossed) = (self.refusals, self.crossed);
        *self = Orders {
            refusals,
            crossed,
            ..Orders::default()
        };
    }

    /// Takes the order events of `instrument` out of `events`; returns how many changed the book. What cannot be is counted
    /// in `refusals`. Other kinds and instruments are skipped. The meaning of each kind: `event::Kind`.
    pub fn apply(&mut self, events: &[Event], instrument: u32) -> usize {
        let mut applied = 0;
        for event in events.iter().filter(|event| event.instrument == instrument) {
            let Some(result) = self.take_event(event) else { continue };
            match result {
                Ok(()) => applied += 1,
                Err(why) => self.refusals.count(why),
            }
            if event.flags & flag::LAST != 0 && self.touch() == Touch::Crossed {
                self.crossed += 1;
            }
        }
        applied
    }

    fn take_event(&mut self, event: &Event) -> Option<Result<(), Refused>> {
        let kind = event.kind;
        if kind == Kind::Add as u8 {
            let side = match event.side {
                side::BID => Side::Bid,
                side::ASK => Side::Ask,
                _ => return Some(Err(Refused::BadSize)),
            };
            return Some(self.add(Order {
                id: event.id,
                price: event.price,
                size: if event.size == SIZE_UNDEF { 0 } else { event.size },
                side,
            }));
        }
        if kind == Kind::Cancel as u8 && event.size == SIZE_UNDEF {
            return Some(self.take(event.id).map(|_| ()));
        }
        if kind == Kind::Cancel as u8 || kind == Kind::Execute as u8 {
            return Some(self.reduce(event.id, event.size));
        }
        if kind == Kind::Modify as u8 {
            return Some(self.modify(event.id, event.price, event.size));
        }
        if kind == Kind::Clear as u8 {
            self.clear();
            return Some(Ok(()));
        }
        None
    }

    // Questions ----------------------------------------------------------------------------------------------------------

    /// The order of this id.
    pub fn get(&self, id: u64) -> Option<Order> {
        let at = *self.by_id.get(&id)?;
        self.nodes.get(at as usize).map(|node| node.order)
    }

    /// How many orders rest on a side.
    pub fn count(&self, side: Side) -> usize {
        self.sides.of(side).orders
    }

    /// How many price levels a side has.
    pub fn level_count(&self, side: Side) -> usize {
        self.sides.of(side).ladder.count()
    }

    /// Sum of the sizes of a side.
    pub fn total(&self, side: Side) -> i128 {
        self.sides.of(side).total
    }

    /// The best level.
    pub fn best(&self, side: Side) -> Option<QueueLevel> {
        self.levels(side).next()
    }

    /// The levels of a side, best first.
    pub fn levels(&self, side: Side) -> impl Iterator<Item = QueueLevel> + '_ {
        self.sides.of(side).ladder.iter().map(move |rung| QueueLevel {
            price: key(side, rung.key),
            size: rung.value.size,
            orders: rung.value.orders,
        })
    }

    /// The orders of a level, the first to trade first.
    pub fn queue(&self, side: Side, price: i64) -> impl Iterator<Item = Order> + '_ {
        let first = self
            .sides
            .of(side)
            .ladder
            .get(key(side, price))
            .map(|queue| queue.first);
        let node = |at: u32| self.nodes.get(at as usize);
        std::iter::successors(first.and_then(node), move |last| node(last.behind)).map(|each| each.order)
    }

    /// Orders and size in front of an order in its queue: what has to trade or go before it does.
    pub fn ahead_of(&self, id: u64) -> Option<(usize, i128)> {
        let order = self.get(id)?;
        let mut ahead = (0, 0);
        for each in self.queue(order.side, order.price).take_while(|each| each.id != id) {
            ahead = (ahead.0 + 1, ahead.1 + i128::from(each.size));
        }
        Some(ahead)
    }

    /// How the best prices stand to each other.
    pub fn touch(&self) -> Touch {
        let price = |side| self.sides.of(side).ladder.best().map(|rung| key(side, rung.key));
        Touch::of(price(Side::Bid), price(Side::Ask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: u64, side: Side, price: i64, size: i64) -> Order {
        Order { id, price, size, side }
    }

    fn ids(book: &Orders, side: Side, price: i64) -> Vec<u64> {
        book.queue(side, price).map(|order| order.id).collect()
    }

    /// Three bids at 10, one at 9, one ask at 12.
    fn small() -> Orders {
        let mut book = Orders::new();
        for (id, price, size) in [(1, 10, 5), (2, 10, 7), (3, 10, 1), (4, 9, 100)] {
            book.add(order(id, Side::Bid, price, size)).unwrap();
        }
        book.add(order(5, Side::Ask, 12, 3)).unwrap();
        book
    }

    #[test]
    fn orders_stand_in_the_order_they_came() {
        let book = small();
        assert_eq!(ids(&book, Side::Bid, 10), [1, 2, 3]);
        let best = QueueLevel {
            price: 10,
            size: 13,
            orders: 3,
        };
        assert_eq!(book.best(Side::Bid), Some(best));
        assert_eq!(
            (
                book.total(Side::Bid),
                book.count(Side::Bid),
                book.level_count(Side::Bid)
            ),
            (113, 4, 2)
        );
        assert_eq!(
            (book.ahead_of(1), book.ahead_of(3), book.ahead_of(9)),
            (Some((0, 0)), Some((2, 12)), None)
        );
        assert!(ids(&book, Side::Bid, 11).is_empty());
    }

    #[test]
    fn an_execution_keeps_the_place_and_the_last_one_ends_the_order() {
        let mut book = small();
        book.reduce(2, 6).unwrap();
        assert_eq!(
            (ids(&book, Side::Bid, 10), book.get(2).unwrap().size),
            (vec![1, 2, 3], 1)
        );
        book.reduce(2, 1).unwrap();
        assert_eq!((ids(&book, Side::Bid, 10), book.total(Side::Bid)), (vec![1, 3], 106));
        book.reduce(5, 3).unwrap();
        assert_eq!((book.best(Side::Ask), book.touch()), (None, Touch::OneSided));
    }

    #[test]
    fn a_changed_order_keeps_its_place_only_if_it_asks_for_less() {
        let mut book = small();
        book.modify(1, 10, 2).unwrap();
        assert_eq!(ids(&book, Side::Bid, 10), [1, 2, 3]);
        book.modify(1, 10, 3).unwrap();
        assert_eq!(ids(&book, Side::Bid, 10), [2, 3, 1]);
        book.modify(2, 9, 7).unwrap();
        assert_eq!(
            (ids(&book, Side::Bid, 10), ids(&book, Side::Bid, 9)),
            (vec![3, 1], vec![4, 2])
        );
    }

    #[test]
    fn what_cannot_be_is_refused_and_changes_nothing() {
        let mut book = small();
        let before: Vec<_> = book.levels(Side::Bid).collect();
        assert_eq!(book.add(order(1, Side::Ask, 20, 1)), Err(Refused::Duplicate));
        assert_eq!(book.add(order(6, Side::Bid, 10, 0)), Err(Refused::BadSize));
        assert_eq!(book.add(order(6, Side::Bid, 10, i64::MAX)), Err(Refused::Overflow));
        assert_eq!(book.reduce(6, 1), Err(Refused::Unknown));
        assert_eq!(book.reduce(1, 0), Err(Refused::BadSize));
        assert_eq!(book.take(6), Err(Refused::Unknown));
        assert_eq!(book.modify(1, 10, -1), Err(Refused::BadSize));
        assert_eq!(book.modify(3, 10, i64::MAX), Err(Refused::Overflow));
        assert_eq!(book.levels(Side::Bid).collect::<Vec<_>>(), before);
        assert_eq!((book.total(Side::Bid), book.count(Side::Bid)), (113, 4));
    }

    #[test]
    fn an_overdrawn_order_is_gone() {
        let mut book = small();
        assert_eq!(book.reduce(1, 6), Err(Refused::Overdrawn));
        assert_eq!((book.get(1), ids(&book, Side::Bid, 10)), (None, vec![2, 3]));
    }

    #[test]
    fn events_build_the_book_and_what_is_wrong_is_counted() {
        let event = |kind, id, price, size, side| Event {
            id,
            price,
            size,
            side,
            flags: flag::LAST,
            ..Event::new(kind, 1, 0, 0, 7)
        };
        let mut book = Orders::new();
        let applied = book.apply(
            &[
                event(Kind::Add, 1, 10, 5, side::BID),
                event(Kind::Add, 2, 11, 5, side::ASK),
                event(Kind::Add, 3, 9, 5, side::ASK),
                event(Kind::Cancel, 3, 0, SIZE_UNDEF, side::ASK),
                event(Kind::Execute, 1, 10, 2, side::BID),
                event(Kind::Cancel, 1, 10, 1, side::BID),
                event(Kind::Modify, 2, 12, 4, side::ASK),
                event(Kind::Execute, 9, 10, 1, side::BID),
                event(Kind::Add, 1, 10, 5, side::BID),
                event(Kind::Add, 4, 10, 5, b'N'),
                event(Kind::Execute, 2, 12, 5, side::ASK),
                Event {
                    instrument: 8,
                    ..event(Kind::Add, 5, 10, 5, side::BID)
                },
                event(Kind::Trade, 5, 10, 5, side::BID),
            ],
            7,
        );
        assert_eq!((applied, book.crossed), (7, 1));
        let refusals = Refusals {
            duplicate: 1,
            unknown: 1,
            bad_size: 1,
            overdrawn: 1,
            no_room: 0,
        };
        assert_eq!(book.refusals, refusals);
        assert_eq!(book.best(Side::Bid).unwrap().size, 2);
        assert_eq!(book.apply(&[event(Kind::Clear, 0, 0, 0, side::BID)], 7), 1);
        assert_eq!((book.count(Side::Bid), book.refusals), (0, refusals));
    }

    #[test]
    fn places_of_gone_orders_are_used_again() {
        let mut book = Orders::new();
        for id in 0..10_000 {
            book.add(order(id, Side::Bid, 10 + id as i64 % 3, 1)).unwrap();
            if id >= 10 {
                book.take(id - 10).unwrap();
            }
        }
        assert_eq!((book.nodes.len(), book.count(Side::Bid)), (11, 10));
    }
}
