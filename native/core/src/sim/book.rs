//! A zero-intelligence order book on a fixed window of ticks, and what changed in it since a depth stream last spoke.
//!
//! The price is pulled back to the middle of the window, so it never leaves it: no level is ever lost at an edge.

use super::random::{below, PowerLaw, Random};

/// Ticks in the window.
pub const WINDOW: usize = 4096;
const MIDDLE: i64 = WINDOW as i64 / 2;
/// Deviation from the middle, in ticks, at which the price can only come back.
const PULL_TICKS: i64 = 900;
/// Distance up to which the book is filled at the start.
const REACH: u32 = 1_800;
const WORDS: usize = WINDOW / 64;

/// One side of the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who wants to buy.
    Bid,
    /// Who wants to sell.
    Ask,
}

/// Levels by tick index: bids up to `bid`, asks from `ask`, nothing between.
#[derive(Debug, Clone)]
pub struct Book {
    sizes: Vec<u32>,
    /// Index of the best bid; its size is never 0.
    pub bid: usize,
    /// Index of the best ask; its size is never 0.
    pub ask: usize,
}

/// The distributions of an order flow, shared by all books.
#[derive(Debug, Clone)]
pub struct Flow {
    level: PowerLaw,
    trade: PowerLaw,
    distance: PowerLaw,
}

impl Default for Flow {
    fn default() -> Self {
        Flow {
            level: PowerLaw::new(0.9, 400),
            trade: PowerLaw::new(0.8, 3_000),
            distance: PowerLaw::new(0.45, REACH),
        }
    }
}

impl Flow {
    /// Size of a level, in lots: a power law with a uniform fine part.
    fn level_size(&self, bits: u64) -> u32 {
        self.level.pick(bits) * 50 + ((bits >> 10) % 50) as u32 + 1
    }

    /// Size of one fill, in lots.
    pub fn fill_size(&self, bits: u64) -> u32 {
        self.trade.pick(bits)
    }
}

impl Book {
    /// A full book around the middle of the window.
    pub fn new(flow: &Flow, random: &mut Random) -> Self {
        let mut book = Book {
            sizes: vec![0; WINDOW],
            bid: MIDDLE as usize - 1,
            ask: MIDDLE as usize,
        };
        for distance in 0..REACH as usize {
            for index in [book.bid - distance, book.ask + distance] {
                let bits = random.bits();
                if distance == 0 || (bits >> 40) % 10 < 7 {
                    book.set(index, flow.level_size(bits));
                }
            }
        }
        book
    }

    /// Size at `index`, lots.
    #[inline]
    pub fn size(&self, index: usize) -> u32 {
        self.sizes.get(index).copied().unwrap_or(0)
    }

    /// Size that `side` shows at `index`: 0 where the other side, or nobody, stands.
    #[inline]
    pub fn side_size(&self, side: Side, index: usize) -> u32 {
        match side {
            Side::Bid if index <= self.bid => self.size(index),
            Side::Ask if index >= self.ask => self.size(index),
            _ => 0,
        }
    }

    #[inline]
    fn set(&mut self, index: usize, size: u32) {
        if let Some(level) = self.sizes.get_mut(index) {
            *level = size;
        }
    }

    /// Whether the next move is more likely upwards: a coin that is pulled to the middle.
    #[inline]
    pub fn upwards(&self, bits: u32) -> bool {
        let deviation = (self.bid + self.ask) as i64 / 2 - MIDDLE;
        i64::from(below(bits, 2 * PULL_TICKS as u32)) >= PULL_TICKS + deviation
    }

    /// Takes `lots` from the best level of `side`; a level that is used up goes, unless it is the side's last.
    /// Returns the index that changed.
    pub fn consume(&mut self, side: Side, lots: u32) -> usize {
        let index = self.best(side);
        let left = self.size(index).saturating_sub(lots);
        if left > 0 {
            self.set(index, left);
        } else if !self.remove_best(side) {
            self.set(index, 1);
        }
        index
    }

    /// Index of the best level of `side`.
    #[inline]
    pub fn best(&self, side: Side) -> usize {
        match side {
            Side::Bid => self.bid,
            Side::Ask => self.ask,
        }
    }

    /// Removes the best level; false (and nothing happens) when no other is left.
    fn remove_best(&mut self, side: Side) -> bool {
        let next = match side {
            Side::Bid => self
                .sizes
                .get(..self.bid)
                .and_then(|levels| levels.iter().rposition(|size| *size > 0)),
            Side::Ask => self
                .sizes
                .get(self.ask + 1..)
                .and_then(|levels| levels.iter().position(|size| *size > 0))
                .map(|offset| self.ask + 1 + offset),
        };
        let Some(next) = next else { return false };
        self.set(self.best(side), 0);
        match side {
            Side::Bid => self.bid = next,
            Side::Ask => self.ask = next,
        }
        true
    }

    /// One limit order or cancellation that changes the best bid or ask: the side and index that changed.
    pub fn change_top(&mut self, flow: &Flow, random: &mut Random) -> (Side, usize) {
        let bits = random.bits();
        let up = self.upwards(bits as u32);
        let spread = self.ask - self.bid;
        let action = (bits >> 32) as u8;
        let size = flow.level_size(bits >> 40);
        if spread > 1 && (action < 100 || spread > 8) {
            let (side, index) = if up {
                (Side::Bid, self.bid + 1)
            } else {
                (Side::Ask, self.ask - 1)
            };
            match side {
                Side::Bid => self.bid = index,
                Side::Ask => self.ask = index,
            }
            self.set(index, size);
            return (side, index);
        }
        let side = if up { Side::Ask } else { Side::Bid };
        let index = self.best(side);
        if action >= 232 && self.remove_best(side) {
            return (side, index);
        }
        let side = if action & 1 == 0 { Side::Bid } else { Side::Ask };
        let index = self.best(side);
        let other = if size == self.size(index) { size + 1 } else { size };
        self.set(index, other);
        (side, index)
    }

    /// One limit order or cancellation behind the best levels, its distance a power law; none beyond the window.
    pub fn change_depth(&mut self, flow: &Flow, random: &mut Random) -> Option<(Side, usize)> {
        let bits = random.bits();
        let distance = flow.distance.pick(bits >> 8) as usize;
        let (side, index) = if bits & 1 == 0 {
            (Side::Bid, self.bid.checked_sub(distance)?)
        } else {
            (Side::Ask, self.ask + distance)
        };
        let known = *self.sizes.get(index)?;
        let size = flow.level_size(bits >> 20);
        let new = match (known, bits >> 1 & 7) {
            (0, _) => size,
            (_, 0..=2) => 0,
            _ if size == known => size + 1,
            _ => size,
        };
        self.set(index, new);
        Some((side, index))
    }

    /// Up to `limit` levels of `side`, best first: (index, size).
    pub fn levels(&self, side: Side, limit: usize) -> Vec<(usize, u32)> {
        let filled = |index: usize| (index, self.size(index));
        let some = |level: &(usize, u32)| level.1 > 0;
        match side {
            Side::Bid => (0..=self.bid).rev().map(filled).filter(some).take(limit).collect(),
            Side::Ask => (self.ask..WINDOW).map(filled).filter(some).take(limit).collect(),
        }
    }
}

/// The changes of one depth stream since its last message.
#[derive(Debug, Clone)]
pub struct Pending {
    bids: [u64; WORDS],
    asks: [u64; WORDS],
    /// Id of the first change, 0 when there is none.
    pub first_id: u64,
    /// Last id of the previous message.
    pub previous_id: u64,
}

impl Pending {
    /// Nothing changed since `previous_id`.
    pub fn new(previous_id: u64) -> Self {
        Pending {
            bids: [0; WORDS],
            asks: [0; WORDS],
            first_id: 0,
            previous_id,
        }
    }

    /// Notes a change of `side` at `index` with update id `id`.
    #[inline]
    pub fn mark(&mut self, side: Side, index: usize, id: u64) {
        let words = match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        };
        if let Some(word) = words.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
        if self.first_id == 0 {
            self.first_id = id;
        }
    }

    /// The changed indexes of `side`, rising.
    pub fn indexes(&self, side: Side) -> impl Iterator<Item = usize> + '_ {
        let words = match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        };
        words
            .iter()
            .enumerate()
            .filter(|(_, word)| **word != 0)
            .flat_map(|(position, word)| {
                let mut rest = *word;
                std::iter::from_fn(move || {
                    if rest == 0 {
                        return None;
                    }
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    Some(position * 64 + bit)
                })
            })
    }

    /// Forgets the changes: the message that ends with `last_id` is out.
    pub fn clear(&mut self, last_id: u64) {
        *self = Pending::new(last_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_the_book_never_crosses_nor_empties_and_stays_in_its_window() {
        let (flow, mut random) = (Flow::default(), Random::new(11));
        let mut book = Book::new(&flow, &mut random);
        for step in 0..300_000u32 {
            match step % 8 {
                0 => {
                    book.change_depth(&flow, &mut random);
                }
                1 | 2 => {
                    let side = if random.bits() & 1 == 0 { Side::Bid } else { Side::Ask };
                    let lots = flow.fill_size(random.bits());
                    book.consume(side, lots);
                }
                _ => {
                    let before = (book.bid, book.ask, book.size(book.bid), book.size(book.ask));
                    book.change_top(&flow, &mut random);
                    assert_ne!(before, (book.bid, book.ask, book.size(book.bid), book.size(book.ask)));
                }
            }
            assert!(book.bid < book.ask && book.ask < WINDOW);
            assert!(book.size(book.bid) > 0 && book.size(book.ask) > 0);
            assert!((book.bid + 1..book.ask).all(|index| book.size(index) == 0));
        }
        let middle = (book.bid + book.ask) / 2;
        assert!(middle.abs_diff(WINDOW / 2) < 1_200, "{middle}");
    }

    #[test]
    fn test_depth_changes_crowd_near_the_top() {
        let (flow, mut random) = (Flow::default(), Random::new(2));
        let mut book = Book::new(&flow, &mut random);
        let mut near = 0;
        for _ in 0..10_000 {
            let change = book.change_depth(&flow, &mut random);
            near += usize::from(change.is_some_and(|(side, index)| book.best(side).abs_diff(index) <= 20));
        }
        assert!((6_000..9_500).contains(&near), "{near}");
    }

    #[test]
    fn test_pending_lists_each_index_once_in_order() {
        let mut pending = Pending::new(10);
        for index in [64, 3, 64, 4095, 63] {
            pending.mark(Side::Bid, index, 11);
        }
        assert_eq!(pending.indexes(Side::Bid).collect::<Vec<_>>(), [3, 63, 64, 4095]);
        assert_eq!(pending.indexes(Side::Ask).count(), 0);
        assert_eq!((pending.first_id, pending.previous_id), (11, 10));
        pending.clear(12);
        assert_eq!(
            (
                pending.indexes(Side::Bid).count(),
                pending.first_id,
                pending.previous_id
            ),
            (0, 0, 12)
        );
    }
}
