//! One side of a book: price levels in small sorted chunks, the best at the end, the best `TOP` in one piece of memory.
//!
//! Recorded changes do not cluster at the best price: in the USD-M capture the median change is about 200 levels away from
//! it, of 5,000. A single sorted vector then moves kilobytes per insertion, a `BTreeMap` chases pointers; chunks of 64 do
//! neither and are faster than both (`benches/book.rs`). It knows keys, of which larger is better, and nothing of what a
//! level holds.

/// Levels that lie contiguous at the best price: what indicators and screens read.
pub const TOP: usize = 20;
/// Levels in a chunk before it is split: an insertion moves half of that on average.
const CHUNK_MAX: usize = 64;

/// A level under its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rung<T> {
    /// By which larger is better.
    pub key: i64,
    /// What the level holds.
    pub value: T,
}

/// One side, from the worst level to the best.
#[derive(Debug, Clone)]
pub struct Ladder<T> {
    /// First key of each chunk: the directory.
    firsts: Vec<i64>,
    /// Never empty, each in key order, one after the other; the last has `TOP` levels if the ladder has.
    chunks: Vec<Vec<Rung<T>>>,
    count: usize,
}

impl<T> Default for Ladder<T> {
    fn default() -> Self {
        Ladder {
            firsts: Vec::new(),
            chunks: Vec::new(),
            count: 0,
        }
    }
}

impl<T: Copy> Ladder<T> {
    /// How many levels there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Key of the worst level.
    pub fn worst(&self) -> Option<i64> {
        self.firsts.first().copied()
    }

    /// The best level.
    #[inline]
    pub fn best(&self) -> Option<&Rung<T>> {
        self.chunks.last()?.last()
    }

    /// The best levels in one piece, **worst of them first**: `TOP` at least, or all there are.
    pub fn top(&self) -> &[Rung<T>] {
        self.chunks.last().map(Vec::as_slice).unwrap_or_default()
    }

    /// From the best to the worst.
    pub fn iter(&self) -> impl Iterator<Item = &Rung<T>> + '_ {
        self.chunks.iter().rev().flat_map(|chunk| chunk.iter().rev())
    }

    /// The chunk in which `key` is or would be.
    #[inline]
    fn chunk_of(&self, key: i64) -> usize {
        match self.firsts.last() {
            Some(first) if *first <= key => self.firsts.len() - 1,
            _ => self.firsts.partition_point(|first| *first <= key).saturating_sub(1),
        }
    }

    /// What is at `key`.
    #[inline]
    pub fn get(&self, key: i64) -> Option<&T> {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let place = chunk.binary_search_by(|rung| rung.key.cmp(&key)).ok()?;
        chunk.get(place).map(|rung| &rung.value)
    }

    /// What is at `key`, to be changed.
    #[inline]
    pub fn get_mut(&mut self, key: i64) -> Option<&mut T> {
        let at = self.chunk_of(key);
        let chunk = self.chunks.get_mut(at)?;
        let place = chunk.binary_search_by(|rung| rung.key.cmp(&key)).ok()?;
        chunk.get_mut(place).map(|rung| &mut rung.value)
    }

    /// Puts `value` at `key`; what was there.
    #[inline]
    pub fn insert(&mut self, key: i64, value: T) -> Option<T> {
        let at = self.chunk_of(key);
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.push_chunk(vec![Rung { key, value }], 0);
            self.count = 1;
            return None;
        };
        match chunk.binary_search_by(|rung| rung.key.cmp(&key)) {
            Ok(place) => chunk
                .get_mut(place)
                .map(|rung| std::mem::replace(&mut rung.value, value)),
            Err(place) => {
                chunk.insert(place, Rung { key, value });
                self.count += 1;
                self.settle(at);
                None
            }
        }
    }

    /// Takes the level at `key` away; what was there.
    #[inline]
    pub fn remove(&mut self, key: i64) -> Option<T> {
        let at = self.chunk_of(key);
        let chunk = self.chunks.get_mut(at)?;
        let place = chunk.binary_search_by(|rung| rung.key.cmp(&key)).ok()?;
        let rung = chunk.remove(place);
        self.count -= 1;
        self.settle(at);
        self.keep_top();
        Some(rung.value)
    }

    /// Drops the worst chunk; its levels.
    pub fn drop_worst(&mut self) -> Vec<Rung<T>> {
        if self.chunks.is_empty() {
            return Vec::new();
        }
        self.firsts.remove(0);
        let dropped = self.chunks.remove(0);
        self.count -= dropped.len();
        dropped
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
        }
    }

    /// Fills a last chunk that became short from the one behind it.
    fn keep_top(&mut self) {
        while self.chunks.len() > 1 && self.top().len() < TOP {
            let (Some(best), Some(_)) = (self.chunks.pop(), self.firsts.pop()) else {
                return;
            };
            let at = self.chunks.len() - 1;
            if let Some(chunk) = self.chunks.get_mut(at) {
                chunk.extend(best);
            }
            self.settle(at);
        }
    }

    fn push_chunk(&mut self, mut chunk: Vec<Rung<T>>, at: usize) {
        let Some(first) = chunk.first().map(|rung| rung.key) else {
            return;
        };
        chunk.reserve_exact(CHUNK_MAX.saturating_sub(chunk.len()));
        self.firsts.insert(at, first);
        self.chunks.insert(at, chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(ladder: &Ladder<i64>) -> Vec<i64> {
        ladder.iter().map(|rung| rung.key).collect()
    }

    #[test]
    fn chunks_split_and_vanish_without_losing_a_level() {
        let mut ladder = Ladder::default();
        for step in 0..1000 {
            assert_eq!(ladder.insert(step * 389 % 1000, step), None);
        }
        assert_eq!(keys(&ladder), (0..1000).rev().collect::<Vec<_>>());
        for step in 0..1000 {
            let key = step * 617 % 1000;
            assert!(ladder.get(key).is_some());
            assert!(ladder.remove(key).is_some());
            assert_eq!(ladder.get(key), None);
            assert_eq!(ladder.remove(key), None);
            assert_eq!(ladder.count(), 999 - step as usize);
        }
        assert_eq!(ladder.best(), None);
    }

    #[test]
    fn the_best_levels_lie_in_one_piece_while_the_touch_is_eaten() {
        let mut ladder = Ladder::default();
        for key in 0..1000 {
            ladder.insert(key * 7 % 1000, key);
        }
        for best in (0..1000).rev() {
            let top: Vec<i64> = ladder.top().iter().rev().map(|rung| rung.key).collect();
            assert!(top.len() >= TOP.min(ladder.count()));
            assert_eq!(top, keys(&ladder)[..top.len()]);
            assert!(ladder.remove(best).is_some());
        }
        assert!(ladder.top().is_empty());
    }

    #[test]
    fn the_worst_chunk_can_be_dropped_until_nothing_is_left() {
        let mut ladder = Ladder::default();
        for key in 0..200 {
            ladder.insert(key, key);
        }
        let mut dropped = 0;
        while ladder.count() > 0 {
            dropped += ladder.drop_worst().len();
            assert_eq!(
                (ladder.worst(), ladder.count()),
                ((dropped < 200).then_some(dropped as i64), 200 - dropped)
            );
        }
        assert!(ladder.drop_worst().is_empty());
    }
}
