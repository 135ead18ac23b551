//! Orders that are not over, by number, and the prices at which those of an instrument may rest.
//!
//! A slab whose places are chained by bucket of their number, made once; the prices are kept in order, so that the best
//! is at an end.

use crate::risk::ring_map::Key;

/// Open orders of one side of one instrument.
pub const OPEN_PER_SIDE_MAX: usize = 1 << 10;

/// An order that is not over.
#[derive(Debug, Clone, Copy, Default)]
pub struct Open {
    /// Of whom and what.
    pub route: u32,
    /// 0 buys, 1 sells.
    pub side: u8,
    /// It must reduce.
    pub is_reduce_only: bool,
    /// A replace is on its way.
    pub is_pending: bool,
    /// None: a market order.
    pub price: Option<i64>,
    /// The price at which it may rest: the keener one while a replace is on its way.
    pub resting: Option<i64>,
    /// As a whole.
    pub size: i64,
    /// What of it was filled.
    pub filled: i128,
    /// What of it may still fill.
    pub reserved: i128,
}

/// No place.
const END: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Place {
    number: u64,
    /// The next one in its bucket, or the next free one.
    next: u32,
    order: Open,
}

/// All of them.
#[derive(Debug, Clone)]
pub struct OpenOrders {
    places: Vec<Place>,
    /// The first place of each bucket.
    first: Vec<u32>,
    bits: u32,
    free: u32,
}

impl OpenOrders {
    /// Room for so many.
    pub fn new(most: usize) -> Self {
        let buckets = (most * 2).next_power_of_two().max(16);
        let place = |next: usize| Place {
            number: 0,
            next: if next < most { next as u32 } else { END },
            order: Open::default(),
        };
        OpenOrders {
            places: (1..=most).map(place).collect(),
            first: vec![END; buckets],
            bits: buckets.trailing_zeros(),
            free: if most == 0 { END } else { 0 },
        }
    }

    /// Whether no order more has room.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.free == END
    }

    #[inline]
    fn find(&self, number: u64) -> Option<usize> {
        let mut at = *self.first.get(number.home(self.bits))?;
        while let Some(place) = self.places.get(at as usize) {
            if place.number == number {
                return Some(at as usize);
            }
            at = place.next;
        }
        None
    }

    /// Whether there is such an order.
    #[inline]
    pub fn has(&self, number: u64) -> bool {
        self.find(number).is_some()
    }

    /// The order.
    #[inline]
    pub fn get(&self, number: u64) -> Option<&Open> {
        self.places.get(self.find(number)?).map(|place| &place.order)
    }

    /// The order, to be changed.
    #[inline]
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Open> {
        let at = self.find(number)?;
        self.places.get_mut(at).map(|place| &mut place.order)
    }

    /// Keeps an order under a number that is not there; nothing when there is no room.
    #[inline]
    pub fn add(&mut self, number: u64, order: Open) {
        let at = self.free;
        let Some(first) = self.first.get_mut(number.home(self.bits)) else {
            return;
        };
        if let Some(place) = self.places.get_mut(at as usize) {
            self.free = place.next;
            (place.number, place.next, place.order) = (number, *first, order);
            *first = at;
        }
    }

    /// Forgets an order.
    pub fn remove(&mut self, number: u64) -> Option<Open> {
        let at = self.find(number)?;
        let Place { next, order, .. } = *self.places.get(at)?;
        let first = self.first.get_mut(number.home(self.bits))?;
        if *first as usize == at {
            *first = next;
        } else {
            let mut before = *first as usize;
            while self.places.get(before)?.next as usize != at {
                before = self.places.get(before)?.next as usize;
            }
            self.places.get_mut(before)?.next = next;
        }
        self.places.get_mut(at)?.next = self.free;
        self.free = at as u32;
        Some(order)
    }
}

/// Prices of the open orders of one side of an instrument, in rising order, each with how many rest there.
#[derive(Debug, Clone, Default)]
pub struct Resting {
    levels: Vec<(i64, u32)>,
    orders: usize,
}

/// Where a market order stands among prices: it would meet anything.
const fn place(price: Option<i64>, side: u8) -> i64 {
    match price {
        Some(price) => price,
        None if side == 0 => i64::MAX,
        None => i64::MIN,
    }
}

impl Resting {
    /// Makes room for all there may ever be.
    pub fn reserve(&mut self) {
        self.levels
            .reserve_exact(OPEN_PER_SIDE_MAX.saturating_sub(self.levels.len()));
    }

    /// Whether no order more has room.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.orders >= OPEN_PER_SIDE_MAX
    }

    /// An order of `side` came.
    #[inline]
    pub fn add(&mut self, price: Option<i64>, side: u8) {
        let price = place(price, side);
        self.orders += 1;
        match self.levels.binary_search_by_key(&price, |level| level.0) {
            Ok(at) => {
                if let Some(level) = self.levels.get_mut(at) {
                    level.1 += 1;
                }
            }
            Err(at) => self.levels.insert(at, (price, 1)),
        }
    }

    /// One went.
    #[inline]
    pub fn remove(&mut self, price: Option<i64>, side: u8) {
        let Ok(at) = self.levels.binary_search_by_key(&place(price, side), |level| level.0) else {
            return;
        };
        self.orders = self.orders.saturating_sub(1);
        match self.levels.get_mut(at) {
            Some(level) if level.1 > 1 => level.1 -= 1,
            _ => {
                self.levels.remove(at);
            }
        }
    }

    /// The price that an order of the other side at `price` would meet; 0 stands for a market order of ours.
    #[inline]
    pub fn met_by(&self, price: Option<i64>, side: u8) -> Option<i64> {
        // `side` is the asker's: a buyer meets the lowest of our sells.
        let level = if side == 0 {
            self.levels.first()
        } else {
            self.levels.last()
        };
        let best = level?.0;
        let meets = match (price, side) {
            (None, _) => true,
            (Some(price), 0) => price >= best,
            (Some(price), _) => price <= best,
        };
        let is_market = best == place(None, 1 - side);
        meets.then_some(if is_market { 0 } else { best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        /// Few buckets, numbers of the same ones: chains, and holes in them.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((any::<bool>(), 0u64..40, any::<u32>()), 0..400)) {
            let (mut orders, mut model) = (OpenOrders::new(12), HashMap::new());
            for (adds, number, route) in steps {
                let number = number * 8;
                if !adds {
                    prop_assert_eq!(orders.remove(number).map(|open| open.route), model.remove(&number));
                } else if !orders.has(number) && !orders.is_full() {
                    orders.add(number, Open { route, ..Open::default() });
                    model.insert(number, route);
                }
                prop_assert_eq!(orders.is_full(), model.len() == 12);
                for number in (0..40).map(|each| each * 8) {
                    prop_assert_eq!(orders.get(number).map(|open| open.route), model.get(&number).copied());
                }
            }
        }
    }

    #[test]
    fn orders_come_and_go_within_their_room() {
        let mut orders = OpenOrders::new(2);
        for number in [5, 6] {
            orders.add(
                number,
                Open {
                    size: 1,
                    ..Open::default()
                },
            );
        }
        assert!(orders.is_full() && orders.has(5) && !orders.has(7));
        assert_eq!(orders.remove(5).map(|open| open.size), Some(1));
        assert!(orders.remove(5).is_none() && !orders.is_full());
        orders.add(7, Open::default());
        assert!(orders.has(7) && orders.get_mut(6).is_some() && orders.get(5).is_none());
    }

    #[test]
    fn a_buyer_meets_the_lowest_sell_and_a_market_order_meets_all() {
        let mut sells = Resting::default();
        assert_eq!(sells.met_by(None, 0), None);
        for price in [12, 10, 11] {
            sells.add(Some(price), 1);
        }
        assert_eq!((sells.met_by(Some(9), 0), sells.met_by(Some(10), 0)), (None, Some(10)));
        assert_eq!(sells.met_by(None, 0), Some(10));
        sells.remove(Some(10), 1);
        assert_eq!(sells.met_by(Some(10), 0), None);
        sells.add(None, 1);
        assert_eq!(sells.met_by(Some(1), 0), Some(0));
        let mut buys = Resting::default();
        buys.add(Some(7), 0);
        buys.add(Some(8), 0);
        assert_eq!((buys.met_by(Some(9), 1), buys.met_by(Some(8), 1)), (None, Some(8)));
        buys.add(None, 0);
        assert_eq!(buys.met_by(Some(1_000), 1), Some(0));
    }
}
