//! Price levels of one book: two sorted vectors, the best price at the end of each.
//!
//! Changes cluster at the best price, so a search and an insertion that begin at the end touch a few cache lines; on the
//! recorded streams this beats a `BTreeMap` (`benches/book.rs`). It knows nothing of ids or venues.

/// Levels kept per side. The deepest recorded book has a few thousand; beyond the bound the worst levels are dropped and
/// the known limit moves up with them.
pub const LEVELS_MAX: usize = 1 << 16;
/// How many levels go at once when a side is full, so that the move of the whole vector is rare.
const DROPPED_AT_ONCE: usize = LEVELS_MAX / 8;
/// Levels compared one by one from the best before the search turns binary.
const NEAR: usize = 8;

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

/// One side: levels from the worst to the best, ordered by `key` (the price, negated for asks).
#[derive(Debug, Clone, Default)]
struct Half {
    levels: Vec<Level>,
    /// Key of the worst level a snapshot told: beyond it, untouched levels are unknown, not empty.
    known: Option<i64>,
}

/// The levels of one instrument.
#[derive(Debug, Clone, Default)]
pub struct Levels {
    bids: Half,
    asks: Half,
}

/// `price` so that larger is better. Saturates: `i64::MIN` is no price.
const fn key(side: Side, price: i64) -> i64 {
    match side {
        Side::Bid => price,
        Side::Ask => price.saturating_neg(),
    }
}

impl Half {
    /// Position of `key` and whether it is taken.
    fn find(&self, side: Side, wanted: i64) -> (usize, bool) {
        let count = self.levels.len();
        for (back, level) in self.levels.iter().rev().take(NEAR).enumerate() {
            let here = key(side, level.price);
            if here <= wanted {
                let at = count - 1 - back;
                return if here == wanted { (at, true) } else { (at + 1, false) };
            }
        }
        let far = self.levels.get(..count.saturating_sub(NEAR)).unwrap_or_default();
        match far.binary_search_by(|level| key(side, level.price).cmp(&wanted)) {
            Ok(at) => (at, true),
            Err(at) => (at, false),
        }
    }

    fn set(&mut self, side: Side, price: i64, size: i64) {
        let (at, taken) = self.find(side, key(side, price));
        if size == 0 {
            if taken {
                self.levels.remove(at);
            }
        } else if !taken {
            self.levels.insert(at, Level { price, size });
            if self.levels.len() > LEVELS_MAX {
                self.drop_worst(side);
            }
        } else if let Some(level) = self.levels.get_mut(at) {
            level.size = size;
        }
    }

    fn drop_worst(&mut self, side: Side) {
        self.levels.drain(..DROPPED_AT_ONCE);
        let worst = self.levels.first().map(|level| key(side, level.price));
        self.known = self.known.max(worst);
    }
}

impl Levels {
    /// An empty book.
    pub fn new() -> Self {
        Levels::default()
    }

    fn half(&self, side: Side) -> &Half {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }

    fn half_mut(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        }
    }

    /// Sets the size at `price`; 0 deletes the level.
    pub fn set(&mut self, side: Side, price: i64, size: i64) {
        self.half_mut(side).set(side, price, size);
    }

    /// Empties both sides and forgets the known limits; memory stays reserved.
    pub fn clear(&mut self) {
        for half in [&mut self.bids, &mut self.asks] {
            half.levels.clear();
            half.known = None;
        }
    }

    /// Declares the present levels to be a snapshot: beyond its worst level of each side nothing is known.
    pub fn mark_known(&mut self) {
        for side in [Side::Bid, Side::Ask] {
            let half = self.half_mut(side);
            half.known = half.levels.first().map(|level| key(side, level.price));
        }
    }

    /// Worst price the last snapshot told; a level beyond it is unknown until a change touches it. `None`: no snapshot, or
    /// its side was empty.
    pub fn known_limit(&self, side: Side) -> Option<i64> {
        self.half(side).known.map(|known| key(side, known))
    }

    /// The best level.
    pub fn best(&self, side: Side) -> Option<Level> {
        self.half(side).levels.last().copied()
    }

    /// The levels of a side, best first.
    pub fn iter(&self, side: Side) -> impl ExactSizeIterator<Item = Level> + '_ {
        self.half(side).levels.iter().rev().copied()
    }

    /// The best `count` levels, best first.
    pub fn top(&self, side: Side, count: usize) -> Vec<Level> {
        self.iter(side).take(count).collect()
    }

    /// How many levels a side has.
    pub fn count(&self, side: Side) -> usize {
        self.half(side).levels.len()
    }

    /// Whether the best bid is at or above the best ask: the book is wrong or the venue is in an auction.
    pub fn is_crossed(&self) -> bool {
        match (self.best(Side::Bid), self.best(Side::Ask)) {
            (Some(bid), Some(ask)) => bid.price >= ask.price,
            _ => false,
        }
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
        assert!(!book.is_crossed());
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
        for price in 0..=LEVELS_MAX as i64 {
            book.set(Side::Ask, price, 1);
        }
        assert_eq!(book.count(Side::Ask), LEVELS_MAX + 1 - DROPPED_AT_ONCE);
        assert_eq!(book.best(Side::Ask).map(|level| level.price), Some(0));
        assert_eq!(book.known_limit(Side::Ask), Some((LEVELS_MAX - DROPPED_AT_ONCE) as i64));
    }
}
