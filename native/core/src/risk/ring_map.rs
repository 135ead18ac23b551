//! The last so many keys, each with a value, found by hash: a ring whose places are chained by bucket.
//!
//! What leaves the ring needs no removal: a chain ends where its next place has been given away. Nothing is allocated
//! after it was made.

/// What can be a key.
pub trait Key: Copy + Eq {
    /// Its bucket among `1 << bits`; at least four bits.
    fn home(&self, bits: u32) -> usize;
}

const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Numbers are given one after the other: eight of them in a row share their cache lines, and rows are spread. Spread
/// one by one, each costs two reads of memory that is in no cache, which was half of a check.
impl Key for u64 {
    #[inline]
    fn home(&self, bits: u32) -> usize {
        let row = (self >> 3).wrapping_mul(ODD) >> (67 - bits);
        (row << 3 | (self & 7)) as usize
    }
}

impl Key for [i64; 4] {
    #[inline]
    fn home(&self, bits: u32) -> usize {
        let hash = self.iter().fold(0, |hash: u64, word| {
            (hash.rotate_left(26) ^ *word as u64).wrapping_mul(ODD)
        });
        (hash >> (64 - bits)) as usize
    }
}

#[derive(Debug, Clone, Copy)]
struct Place<K, V> {
    key: K,
    value: V,
    /// The one before it in its bucket; it counts while it is not older than the oldest.
    before: u64,
}

/// The ring. Its entries are counted; 0 is none.
#[derive(Debug, Clone)]
pub struct RingMap<K, V> {
    /// Filled up as entries come, so that a new ring costs nothing; its capacity is the ring's.
    places: Vec<Place<K, V>>,
    most: usize,
    /// The newest entry of each bucket, whether or not it is still there.
    newest: Vec<u64>,
    bits: u32,
    oldest: u64,
    next: u64,
}

impl<K: Key, V: Copy> RingMap<K, V> {
    /// Room for `most` entries, a power of two.
    pub fn new(most: usize) -> Self {
        let most = most.next_power_of_two().max(8);
        RingMap {
            places: Vec::with_capacity(most),
            most,
            newest: vec![0; 2 * most],
            bits: (2 * most).trailing_zeros(),
            // The first has the first place.
            oldest: most as u64,
            next: most as u64,
        }
    }

    /// Whether the next entry takes the place of the oldest.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.next - self.oldest >= self.most as u64
    }

    #[inline]
    fn at(&self, entry: u64) -> Option<&Place<K, V>> {
        self.places.get(entry as usize & (self.most - 1))
    }

    /// The value that came last with a key.
    #[inline]
    pub fn last(&self, key: &K) -> Option<V> {
        let mut entry = self.newest.get(key.home(self.bits)).copied().unwrap_or(0);
        while entry >= self.oldest {
            let place = self.at(entry)?;
            if place.key == *key {
                return Some(place.value);
            }
            entry = place.before;
        }
        None
    }

    /// Adds an entry; the oldest goes when there is no room.
    #[inline]
    pub fn push(&mut self, key: K, value: V) {
        if self.is_full() {
            self.oldest += 1;
        }
        let entry = self.next;
        self.next += 1;
        let Some(newest) = self.newest.get_mut(key.home(self.bits)) else {
            return;
        };
        let before = std::mem::replace(newest, entry);
        let place = Place { key, value, before };
        match self.places.get_mut(entry as usize & (self.most - 1)) {
            Some(older) => *older = place,
            None => self.places.push(place),
        }
    }

    /// The value of the oldest entry.
    #[inline]
    pub fn oldest(&self) -> Option<V> {
        (self.oldest < self.next).then(|| self.at(self.oldest).map(|place| place.value))?
    }

    /// Lets the oldest entry go.
    #[inline]
    pub fn forget(&mut self) {
        self.oldest += u64::from(self.oldest < self.next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    /// Three buckets for all keys: the worst that hashing can do.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Crowded(u8);

    impl Key for Crowded {
        fn home(&self, bits: u32) -> usize {
            (1 << bits) - 1 - usize::from(self.0 % 3)
        }
    }

    proptest! {
        #[test]
        fn it_is_a_queue_that_is_searched_from_its_end(
            steps in prop::collection::vec((0u8..4, 0u8..24, any::<u32>()), 0..400)
        ) {
            let (mut map, mut model) = (RingMap::new(32), VecDeque::new());
            for (forgets, key, value) in steps {
                if forgets == 0 {
                    map.forget();
                    model.pop_front();
                } else {
                    if model.len() == 32 {
                        model.pop_front();
                    }
                    map.push(Crowded(key), value);
                    model.push_back((key, value));
                }
                prop_assert_eq!(map.is_full(), model.len() == 32);
                prop_assert_eq!(map.oldest(), model.front().map(|entry| entry.1));
                for key in 0..24 {
                    let last = model.iter().rev().find(|entry| entry.0 == key).map(|entry| entry.1);
                    prop_assert_eq!(map.last(&Crowded(key)), last);
                }
            }
        }

        /// Numbers in rows, far apart, and at the ends: every home is a bucket.
        #[test]
        fn every_number_has_a_home(number in any::<u64>(), bits in 4u32..24, words in any::<[i64; 4]>()) {
            prop_assert!(number.home(bits) < 1 << bits && words.home(bits) < 1 << bits);
            prop_assert!((number | 7).home(bits) - (number & !7).home(bits) == 7);
        }
    }
}
