//! Price levels of one book: per side a sorted list of small sorted chunks, the best price at the end.
//!
//! Recorded changes do not cluster at the best price: in the USD-M capture the median change is about 200 levels away from
//! it, of 5,000. A single sorted vector then moves kilobytes per insertion, a `BTreeMap` chases pointers; chunks of 64 do
//! neither and are faster than both (`benches/book.rs`). This file knows nothing of ids or venues.

/// Levels kept per side. The deepest recorded book has about 5,000; beyond the bound the worst levels are dropped and the
/// known limit moves up with them.
pub const LEVELS_MAX: usize = 1 << 16;
/// Levels in a chunk before it is split: 1 KiB, so that an insertion moves half of that on average.
const CHUNK_MAX: usize = 64;

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

/// A level under its key, by which larger is better.
#[derive(Debug, Clone, Copy)]
struct Entry {
    key: i64,
    size: i64,
}

/// One side, from the worst level to the best.
#[derive(Debug, Clone, Default)]
struct Half {
    /// First key of each chunk: the directory.
    firsts: Vec<i64>,
    /// Never empty, each in key order, one after the other.
    chunks: Vec<Vec<Entry>>,
    count: usize,
    /// Key of the worst level a snapshot told: beyond it, untouched levels are unknown, not empty.
    known: Option<i64>,
}

/// The levels of one instrument.
#[derive(Debug, Clone, Default)]
pub struct Levels {
    bids: Half,
    asks: Half,
}

/// Key of a price and price of a key. Saturates: `i64::MIN` is no price.
const fn key(side: Side, price: i64) -> i64 {
    match side {
        Side::Bid => price,
        Side::Ask => price.saturating_neg(),
    }
}

impl Half {
    #[inline]
    fn set(&mut self, key: i64, size: i64) {
        let at = self.firsts.partition_point(|first| *first <= key).saturating_sub(1);
        let Some(chunk) = self.chunks.get_mut(at) else {
            if size != 0 {
                self.push_chunk(vec![Entry { key, size }], 0);
                self.count = 1;
            }
            return;
        };
        match chunk.binary_search_by(|entry| entry.key.cmp(&key)) {
            Ok(place) if size == 0 => {
                chunk.remove(place);
                self.count -= 1;
                self.settle(at);
            }
            Ok(place) => {
                if let Some(entry) = chunk.get_mut(place) {
                    entry.size = size;
                }
            }
            Err(_) if size == 0 => {}
            Err(place) => {
                chunk.insert(place, Entry { key, size });
                self.count += 1;
                self.settle(at);
            }
        }
    }

    /// After a change of chunk `at`: its directory entry, its split, its end.
    fn settle(&mut self, at: usize) {
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        let Some(worst) = chunk.first() else {
            self.chunks.remove(at);
            self.firsts.remove(at);
            return;
        };
        if let Some(first) = self.firsts.get_mut(at) {
            *first = worst.key;
        }
        if chunk.len() >= CHUNK_MAX {
            let better = chunk.split_off(CHUNK_MAX / 2);
            self.push_chunk(better, at + 1);
            if self.count > LEVELS_MAX {
                self.drop_worst();
            }
        }
    }

    fn push_chunk(&mut self, mut chunk: Vec<Entry>, at: usize) {
        let Some(first) = chunk.first().map(|entry| entry.key) else {
            return;
        };
        chunk.reserve_exact(CHUNK_MAX - chunk.len());
        self.firsts.insert(at, first);
        self.chunks.insert(at, chunk);
    }

    /// Drops the worst chunk; what is left is known only up to its new worst level.
    fn drop_worst(&mut self) {
        self.count -= self.chunks.remove(0).len();
        self.firsts.remove(0);
        self.known = self.known.max(self.firsts.first().copied());
    }

    fn clear(&mut self) {
        *self = Half::default();
    }

    /// From the best to the worst.
    fn entries(&self) -> impl Iterator<Item = &Entry> + '_ {
        self.chunks.iter().rev().flat_map(|chunk| chunk.iter().rev())
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
    #[inline]
    pub fn set(&mut self, side: Side, price: i64, size: i64) {
        self.half_mut(side).set(key(side, price), size);
    }

    /// Empties both sides and forgets the known limits.
    pub fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }

    /// Declares the present levels to be a snapshot: beyond its worst level of each side nothing is known.
    pub fn mark_known(&mut self) {
        for half in [&mut self.bids, &mut self.asks] {
            half.known = half.firsts.first().copied();
        }
    }

    /// Worst price the last snapshot told; a level beyond it is unknown until a change touches it. `None`: no snapshot, or
    /// its side was empty.
    pub fn known_limit(&self, side: Side) -> Option<i64> {
        self.half(side).known.map(|known| key(side, known))
    }

    /// The best level.
    pub fn best(&self, side: Side) -> Option<Level> {
        self.iter(side).next()
    }

    /// The levels of a side, best first.
    pub fn iter(&self, side: Side) -> impl Iterator<Item = Level> + '_ {
        self.half(side).entries().map(move |entry| Level {
            price: key(side, entry.key),
            size: entry.size,
        })
    }

    /// The best `count` levels, best first.
    pub fn top(&self, side: Side, count: usize) -> Vec<Level> {
        self.iter(side).take(count).collect()
    }

    /// How many levels a side has.
    pub fn count(&self, side: Side) -> usize {
        self.half(side).count
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
        for price in (0..2 * LEVELS_MAX as i64).rev() {
            book.set(Side::Ask, price, 1);
            assert!(book.count(Side::Ask) <= LEVELS_MAX + CHUNK_MAX);
        }
        assert_eq!(book.best(Side::Ask).map(|level| level.price), Some(0));
        let worst = book.iter(Side::Ask).last().map(|level| level.price);
        assert_eq!(book.known_limit(Side::Ask), worst);
        assert_eq!(book.iter(Side::Ask).count(), book.count(Side::Ask));
    }

    #[test]
    fn chunks_split_and_vanish_without_losing_a_level() {
        let mut book = Levels::new();
        for step in 0..1000 {
            book.set(Side::Bid, step * 389 % 1000, step + 1);
        }
        assert_eq!(prices(&book, Side::Bid), (0..1000).rev().collect::<Vec<_>>());
        for step in 0..1000 {
            book.set(Side::Bid, step * 617 % 1000, 0);
            assert_eq!(book.count(Side::Bid), 999 - step as usize);
        }
        assert_eq!(book.best(Side::Bid), None);
    }
}
