#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]
//! The order-by-order book against the plainest one there is: a list of orders in the order of their arrival.

use proptest::collection::vec;
use proptest::prelude::*;
use tickd_core::book::l2::{Levels, Side, Touch};
use tickd_core::book::l3::{Order, Orders, Refused};

/// Orders in the order in which they stand, over all levels.
#[derive(Debug, Default)]
struct Plain(Vec<Order>);

impl Plain {
    fn add(&mut self, order: Order) -> Result<(), Refused> {
        if order.size <= 0 {
            return Err(Refused::BadSize);
        }
        if self.0.iter().any(|each| each.id == order.id) {
            return Err(Refused::Duplicate);
        }
        self.0.push(order);
        Ok(())
    }

    fn reduce(&mut self, id: u64, size: i64) -> Result<(), Refused> {
        if size <= 0 {
            return Err(Refused::BadSize);
        }
        let at = self.0.iter().position(|each| each.id == id).ok_or(Refused::Unknown)?;
        self.0[at].size -= size;
        let left = self.0[at].size;
        if left <= 0 {
            self.0.remove(at);
        }
        if left < 0 {
            return Err(Refused::Overdrawn);
        }
        Ok(())
    }

    fn take(&mut self, id: u64) -> Result<Order, Refused> {
        let at = self.0.iter().position(|each| each.id == id).ok_or(Refused::Unknown)?;
        Ok(self.0.remove(at))
    }

    fn modify(&mut self, id: u64, price: i64, size: i64) -> Result<(), Refused> {
        if size <= 0 {
            return Err(Refused::BadSize);
        }
        let at = self.0.iter().position(|each| each.id == id).ok_or(Refused::Unknown)?;
        let before = self.0[at];
        if price == before.price && size <= before.size {
            self.0[at].size = size;
        } else {
            self.0.remove(at);
            self.0.push(Order { price, size, ..before });
        }
        Ok(())
    }

    fn of(&self, side: Side) -> Vec<Order> {
        self.0.iter().copied().filter(|order| order.side == side).collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add(Order),
    Reduce(u64, i64),
    Take(u64),
    Modify(u64, i64, i64),
}

fn step() -> impl Strategy<Value = Step> {
    let (id, price, size) = (0..40u64, 0..60i64, -1..9i64);
    prop_oneof![
        4 => (id.clone(), any::<bool>(), price.clone(), size.clone()).prop_map(|(id, bid, price, size)| {
            // Sides overlap: a crossed book is a book.
            let (side, price) = if bid { (Side::Bid, price) } else { (Side::Ask, price + 20) };
            Step::Add(Order { id, price, size, side })
        }),
        2 => (id.clone(), size.clone()).prop_map(|(id, size)| Step::Reduce(id, size)),
        1 => id.clone().prop_map(Step::Take),
        1 => (id, price, size).prop_map(|(id, price, size)| Step::Modify(id, price, size)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn orders_equal_a_plain_list(steps in vec(step(), 0..200)) {
        let (mut book, mut plain) = (Orders::new(), Plain::default());
        for step in steps {
            match step {
                Step::Add(order) => prop_assert_eq!(book.add(order), plain.add(order)),
                Step::Reduce(id, size) => prop_assert_eq!(book.reduce(id, size), plain.reduce(id, size)),
                Step::Take(id) => prop_assert_eq!(book.take(id), plain.take(id)),
                Step::Modify(id, price, size) => prop_assert_eq!(book.modify(id, price, size), plain.modify(id, price, size)),
            }
            let mut touch = Vec::new();
            for side in [Side::Bid, Side::Ask] {
                let orders = plain.of(side);
                let mut prices: Vec<i64> = orders.iter().map(|order| order.price).collect();
                prices.sort_unstable();
                prices.dedup();
                if side == Side::Bid {
                    prices.reverse();
                }
                touch.push(prices.first().copied());
                let levels: Vec<_> = book.levels(side).collect();
                prop_assert_eq!(levels.iter().map(|level| level.price).collect::<Vec<_>>(), prices);
                for level in levels {
                    let queue: Vec<_> = orders.iter().copied().filter(|order| order.price == level.price).collect();
                    prop_assert_eq!(level.orders as usize, queue.len());
                    prop_assert_eq!(level.size, queue.iter().map(|order| order.size).sum::<i64>());
                    let mut ahead = 0;
                    for (place, order) in queue.iter().enumerate() {
                        prop_assert_eq!(book.ahead_of(order.id), Some((place, ahead)));
                        prop_assert_eq!(book.get(order.id), Some(*order));
                        ahead += i128::from(order.size);
                    }
                    prop_assert_eq!(book.queue(side, level.price).collect::<Vec<_>>(), queue);
                }
                prop_assert_eq!(book.count(side), orders.len());
                prop_assert_eq!(book.total(side), orders.iter().map(|order| i128::from(order.size)).sum::<i128>());
            }
            prop_assert_eq!(book.touch(), Touch::of(touch[0], touch[1]));
        }
    }

    #[test]
    fn totals_and_top_of_levels_equal_a_sum(steps in vec((any::<bool>(), 0..200i64, 0..5i64), 0..600)) {
        let mut levels = Levels::new();
        for (bid, price, size) in steps {
            levels.set(if bid { Side::Bid } else { Side::Ask }, price, size);
            for side in [Side::Bid, Side::Ask] {
                let total: i128 = levels.iter(side).map(|level| i128::from(level.size)).sum();
                prop_assert_eq!(levels.total(side), total);
                prop_assert_eq!(levels.best(side), levels.iter(side).next());
                prop_assert_eq!(levels.top(side, 20), levels.iter(side).take(20).collect::<Vec<_>>());
            }
        }
    }
}
