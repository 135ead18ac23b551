//! Price levels of one book: both sides, their totals, and how far a snapshot told them. It knows nothing of ids or venues.

use crate::book::ladder::{Ladder, Rung};

/// Levels kept per side. The deepest recorded book has about 5,000; beyond the bound the worst levels are dropped and the
/// known limit moves up with them.
pub const LEVELS_MAX: usize = 1 << 16;

/// One price level: mantissas in the instrument's scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Price mantissa.
    pub price: i64,
    /// Size mantissa, never 0.
    pub size: i64,
}

/// Which half of the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Buyers: the best price is the highest.
    Bid,
    /// Sellers: the best price is the lowest.
    Ask,
}

/// How the two best prices stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// The best bid is below the best ask.
    Open,
    /// They are equal.
    Locked,
    /// The best bid is above the best ask: the book is wrong or the venue is in an auction.
    Crossed,
    /// A side is empty.
    OneSided,
}

impl Touch {
    /// Of the best prices of both sides.
    pub fn of(bid: Option<i64>, ask: Option<i64>) -> Self {
        match (bid, ask) {
            (Some(bid), Some(ask)) if bid < ask => Touch::Open,
            (Some(bid), Some(ask)) if bid == ask => Touch::Locked,
            (Some(_), Some(_)) => Touch::Crossed,
            _ => Touch::OneSided,
        }
    }
}

/// The two halves of a book.
#[derive(Debug, Clone, Default)]
pub(super) struct Sides<T> {
    bids: T,
    asks: T,
}

impl<T> Sides<T> {
    pub fn of(&self, side: Side) -> &T {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }

    pub fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        }
    }
}

/// One side of the book.
#[derive(Debug, Clone, Default)]
struct Half {
    ladder: Ladder<i64>,
    /// Sum of the sizes.
    total: i128,
    /// Key of the worst level a snapshot told: beyond it, untouched levels are unknown, not empty.
    known: Option<i64>,
}

/// The levels of one instrument.
#[derive(Debug, Clone, Default)]
pub struct Levels {
    sides: Sides<Half>,
}

/// Key of a price and price of a key. Saturates: `i64::MIN` is no price.
pub(super) const fn key(side: Side, price: i64) -> i64 {
    match side {
        Side::Bid => price,
        Side::Ask => price.saturating_neg(),
    }
}

impl Half {
    #[inline]
    fn set(&mut self, key: i64, size: i64) {
        let before = if size == 0 {
            self.ladder.remove(key)
        } else {
            self.ladder.insert(key, size)
        };
        self.total += i128::from(size) - i128::from(before.unwrap_or(0));
        if self.ladder.count() > LEVELS_MAX {
            self.drop_worst();
        }
    }

    /// Drops the worst levels; what is left is known only up to its new worst level.
    #[cold]
    fn drop_worst(&mut self) {
        let dropped = self.ladder.drop_worst();
        self.total -= dropped.iter().map(|rung| i128::from(rung.value)).sum::<i128>();
        self.known = self.known.max(self.ladder.worst());
    }
}

fn level(side: Side, rung: &Rung<i64>) -> Level {
    Level {
        price: key(side, rung.key),
        size: rung.value,
    }
}

impl Levels {
    /// An empty book.
    pub fn new() -> Self {
        Levels::default()
    }

    /// Sets the size at `price`; 0 deletes the level.
    #[inline]
    pub fn set(&mut self, side: Side, price: i64, size: i64) {
        self.sides.of_mut(side).set(key(side, price), size);
    }

    /// Empties both sides and forgets the known limits.
    pub fn clear(&mut self) {
        *self = Levels::default();
    }

    /// Declares the present levels to be a snapshot: beyond its worst level of each side nothing is known.
    pub fn mark_known(&mut self) {
        for half in [&mut self.sides.bids, &mut self.sides.asks] {
            half.known = half.ladder.worst();
        }
    }

    /// Worst price the last snapshot told; a level beyond it is unknown until a change touches it. `None`: no snapshot, or
    /// its side was empty.
    pub fn known_limit(&self, side: Side) -> Option<i64> {
        self.sides.of(side).known.map(|known| key(side, known))
    }

    /// The best level.
    pub fn best(&self, side: Side) -> Option<Level> {
        self.sides.of(side).ladder.best().map(|rung| level(side, rung))
    }

    /// The size at a price; `None`: no level there.
    pub fn size_at(&self, side: Side, price: i64) -> Option<i64> {
        self.sides.of(side).ladder.get(key(side, price)).copied()
    }

    /// The levels of a side, best first.
    pub fn iter(&self, side: Side) -> impl Iterator<Item = Level> + '_ {
        self.sides.of(side).ladder.iter().map(move |rung| level(side, rung))
    }

    /// The best `count` levels, best first.
    pub fn top(&self, side: Side, count: usize) -> Vec<Level> {
        self.iter(side).take(count).collect()
    }

    /// Writes the best levels as `[bid price, bid size, ask price, ask size]` each, best first, as floats of the mantissas; a
    /// level that is not there has size 0 and a price beyond all others. What multi-level indicators take.
    pub fn write_flat(&self, into: &mut [f64]) {
        let mut bids = self.iter(Side::Bid);
        let mut asks = self.iter(Side::Ask);
        let pair = |level: Option<Level>, nowhere: f64| {
            level.map_or((nowhere, 0.0), |level| (level.price as f64, level.size as f64))
        };
        for row in into.chunks_exact_mut(4) {
            let (bid, ask) = (pair(bids.next(), f64::NEG_INFINITY), pair(asks.next(), f64::INFINITY));
            row.copy_from_slice(&[bid.0, bid.1, ask.0, ask.1]);
        }
    }

    /// How many levels a side has.
    pub fn count(&self, side: Side) -> usize {
        self.sides.of(side).ladder.count()
    }

    /// Sum of the sizes of a side.
    pub fn total(&self, side: Side) -> i128 {
        self.sides.of(side).total
    }

    /// How the best prices stand to each other.
    pub fn touch(&self) -> Touch {
        let price = |side| self.best(side).map(|level| level.price);
        Touch::of(price(Side::Bid), price(Side::Ask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(book: &Levels, side: Side) -> Vec<i64> {
        book.iter(side).map(|level| level.price).collect()
    }

    #[test]
    fn levels_come_best_first_and_zero_deletes() {
        let mut book = Levels::new();
        for price in [5, 1, 9, 3, 7] {
            book.set(Side::Bid, price, 10 * price);
            book.set(Side::Ask, price + 10, 1);
        }
        book.set(Side::Bid, 7, 0);
        book.set(Side::Bid, 100, 0);
        book.set(Side::Ask, 11, 4);
        assert_eq!(prices(&book, Side::Bid), [9, 5, 3, 1]);
        assert_eq!(prices(&book, Side::Ask), [11, 13, 15, 17, 19]);
        assert_eq!(book.best(Side::Ask), Some(Level { price: 11, size: 4 }));
        assert_eq!(
            book.top(Side::Bid, 2),
            [Level { price: 9, size: 90 }, Level { price: 5, size: 50 }]
        );
        assert_eq!((book.total(Side::Bid), book.total(Side::Ask)), (180, 8));
        assert_eq!(book.touch(), Touch::Open);
    }

    #[test]
    fn the_touch_tells_locked_from_crossed() {
        let mut book = Levels::new();
        book.set(Side::Bid, 10, 1);
        assert_eq!(book.touch(), Touch::OneSided);
        book.set(Side::Ask, 10, 1);
        assert_eq!(book.touch(), Touch::Locked);
        book.set(Side::Ask, 9, 1);
        assert_eq!(book.touch(), Touch::Crossed);
        book.clear();
        assert_eq!((book.touch(), book.total(Side::Bid)), (Touch::OneSided, 0));
    }

    #[test]
    fn beyond_the_snapshot_a_level_is_unknown_until_touched() {
        let mut book = Levels::new();
        for price in 100..110 {
            book.set(Side::Bid, price, 1);
            book.set(Side::Ask, price + 10, 1);
        }
        book.mark_known();
        book.set(Side::Bid, 50, 1);
        assert_eq!(
            (book.known_limit(Side::Bid), book.known_limit(Side::Ask)),
            (Some(100), Some(119))
        );
        book.clear();
        assert_eq!((book.known_limit(Side::Bid), book.count(Side::Bid)), (None, 0));
    }

    #[test]
    fn a_full_side_drops_its_worst_levels_and_says_so() {
        let mut book = Levels::new();
        for price in (0..2 * LEVELS_MAX as i64).rev() {
            book.set(Side::Ask, price, 1);
            assert!(book.count(Side::Ask) <= LEVELS_MAX);
        }
        assert_eq!(book.best(Side::Ask).map(|level| level.price), Some(0));
        let worst = book.iter(Side::Ask).last().map(|level| level.price);
        assert_eq!(book.known_limit(Side::Ask), worst);
        assert_eq!(book.iter(Side::Ask).count(), book.count(Side::Ask));
        assert_eq!(book.total(Side::Ask), book.count(Side::Ask) as i128);
    }
}
