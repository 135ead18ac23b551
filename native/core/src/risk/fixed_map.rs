//! A hash map of fixed capacity that never allocates after it was made: linear probing, deletion by shifting back.
//!
//! It is never more than half full; whoever fills it checks `len` against the bound that it was made for.

/// What can be a key.
pub trait Key: Copy + Eq {
    /// Its place among `1 << bits`; at least four bits.
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

/// The map.
#[derive(Debug, Clone)]
pub struct FixedMap<K, V> {
    places: Vec<Option<(K, V)>>,
    bits: u32,
    len: usize,
}

impl<K: Key, V: Copy> FixedMap<K, V> {
    /// Room for `most` entries.
    pub fn new(most: usize) -> Self {
        let places = (most.max(1) * 2).next_power_of_two().max(16);
        FixedMap {
            places: vec![None; places],
            bits: places.trailing_zeros(),
            len: 0,
        }
    }

    /// Entries in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    fn mask(&self) -> usize {
        self.places.len() - 1
    }

    #[inline]
    fn find(&self, key: &K) -> Option<usize> {
        let mut at = key.home(self.bits);
        while let Some(Some((known, _))) = self.places.get(at) {
            if known == key {
                return Some(at);
            }
            at = (at + 1) & self.mask();
        }
        None
    }

    /// What is kept for a key.
    #[inline]
    pub fn get(&self, key: &K) -> Option<V> {
        let place = self.places.get(self.find(key)?)?;
        place.as_ref().map(|(_, value)| *value)
    }

    /// Keeps `value`, in place of what was there. False: no room.
    #[inline]
    pub fn insert(&mut self, key: K, value: V) -> bool {
        let mut at = key.home(self.bits);
        let has_room = self.len * 2 < self.places.len();
        let mask = self.mask();
        while let Some(place) = self.places.get_mut(at) {
            match place {
                Some((known, kept)) if *known == key => {
                    *kept = value;
                    return true;
                }
                Some(_) => at = (at + 1) & mask,
                None if has_room => {
                    *place = Some((key, value));
                    self.len += 1;
                    return true;
                }
                None => return false,
            }
        }
        false
    }

    /// Forgets a key; what it had.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let mut hole = self.find(key)?;
        let taken = self.places.get_mut(hole)?.take()?;
        self.len -= 1;
        let mut at = (hole + 1) & self.mask();
        while let Some(Some((next, _))) = self.places.get(at) {
            // One that is at or behind its home as seen from the hole may fill it.
            let home = next.home(self.bits);
            if (at.wrapping_sub(home) & self.mask()) >= (at.wrapping_sub(hole) & self.mask()) {
                self.places.swap(hole, at);
                hole = at;
            }
            at = (at + 1) & self.mask();
        }
        Some(taken.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// Every key has the same home: the worst that hashing can do.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    struct Crowded(u8);

    impl Key for Crowded {
        fn home(&self, bits: u32) -> usize {
            (1 << bits) - 1 - usize::from(self.0 % 3)
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((any::<bool>(), 0u8..24, any::<u32>()), 0..400)) {
            let (mut map, mut model) = (FixedMap::new(32), HashMap::new());
            for (inserts, key, value) in steps {
                let key = Crowded(key);
                if inserts {
                    prop_assert!(map.insert(key, value));
                    model.insert(key, value);
                } else {
                    prop_assert_eq!(map.remove(&key), model.remove(&key));
                }
                prop_assert_eq!(map.len(), model.len());
                for key in (0..24).map(Crowded) {
                    prop_assert_eq!(map.get(&key), model.get(&key).copied());
                }
            }
        }
    }

    proptest! {
        /// Numbers in rows, far apart, and at the ends: every home is a place.
        #[test]
        fn every_number_has_a_home(number in any::<u64>(), bits in 4u32..24, words in any::<[i64; 4]>()) {
            prop_assert!(number.home(bits) < 1 << bits && words.home(bits) < 1 << bits);
            prop_assert!((number | 7).home(bits) - (number & !7).home(bits) == 7);
        }
    }

    #[test]
    fn it_says_when_it_is_full() {
        let mut map = FixedMap::new(4);
        assert!((0u64..8).all(|key| map.insert(key << 40, ())));
        assert!(!map.insert(8 << 40, ()) && map.insert(3 << 40, ()));
        assert_eq!(map.len(), 8);
    }
}
