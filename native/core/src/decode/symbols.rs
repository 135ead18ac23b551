//! From a venue's symbol bytes to the instrument's scales: one small hash table per venue, no allocation per lookup.

use crate::instrument::Instrument;

/// What a venue decoder needs to know of an instrument; cheap to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Market {
    /// Position of the (venue, symbol) in the decoder's tables.
    pub slot: u32,
    /// Id of the current definition.
    pub instrument: u32,
    /// Decimals of a price mantissa.
    pub price_scale: u8,
    /// Decimals of a size mantissa.
    pub size_scale: u8,
}

/// All known (venue, symbol) pairs of a node.
#[derive(Debug, Default)]
pub struct Symbols {
    tables: Vec<Table>,
    markets: Vec<Market>,
    names: Vec<(u16, String)>,
}

/// Open addressing over symbol bytes; `slot + 1`, 0 = free. Never more than half full.
#[derive(Debug, Default)]
struct Table {
    places: Vec<u32>,
    used: usize,
}

impl Symbols {
    /// The market of `symbol` at venue number `venue`.
    #[inline]
    pub fn find(&self, venue: u16, symbol: &[u8]) -> Option<Market> {
        let table = self.tables.get(usize::from(venue))?;
        let mask = table.places.len().checked_sub(1)?;
        let mut place = hash(symbol) as usize & mask;
        loop {
            let slot = table.places.get(place)?.checked_sub(1)? as usize;
            if self.names.get(slot).is_some_and(|(_, name)| name.as_bytes() == symbol) {
                return self.markets.get(slot).copied();
            }
            place = (place + 1) & mask;
        }
    }

    /// Makes `instrument` (its id is `id`) the current definition of its symbol; returns its market and whether the
    /// definition is another one than before.
    pub fn define(&mut self, venue: u16, id: u32, instrument: &Instrument) -> (Market, bool) {
        let known = self.find(venue, instrument.symbol.as_bytes());
        let market = Market {
            slot: known.map_or(self.markets.len() as u32, |market| market.slot),
            instrument: id,
            price_scale: instrument.price_scale,
            size_scale: instrument.size_scale,
        };
        if let Some(before) = known {
            if let Some(place) = self.markets.get_mut(before.slot as usize) {
                *place = market;
            }
            return (market, before.instrument != id);
        }
        self.markets.push(market);
        self.names.push((venue, instrument.symbol.clone()));
        self.insert(venue, market.slot);
        (market, false)
    }

    /// The market in `slot`.
    pub fn market(&self, slot: u32) -> Option<Market> {
        self.markets.get(slot as usize).copied()
    }

    /// Venue number and symbol of `slot`.
    pub fn name(&self, slot: u32) -> Option<(u16, &str)> {
        self.names
            .get(slot as usize)
            .map(|(venue, name)| (*venue, name.as_str()))
    }

    /// How many slots there are.
    pub fn len(&self) -> usize {
        self.markets.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.markets.is_empty()
    }

    fn insert(&mut self, venue: u16, slot: u32) {
        let venue_index = usize::from(venue);
        if self.tables.len() <= venue_index {
            self.tables.resize_with(venue_index + 1, Table::default);
        }
        let Some(table) = self.tables.get_mut(venue_index) else {
            return;
        };
        table.used += 1;
        if table.used * 2 > table.places.len() {
            let size = (table.used * 4).next_power_of_two().max(16);
            table.places = vec![0; size];
            for (slot, (of, name)) in self.names.iter().enumerate() {
                if *of == venue {
                    table.place(name.as_bytes(), slot as u32);
                }
            }
        } else if let Some((_, name)) = self.names.get(slot as usize) {
            table.place(name.as_bytes(), slot);
        }
    }
}

impl Table {
    fn place(&mut self, symbol: &[u8], slot: u32) {
        let mask = self.places.len() - 1;
        let mut place = hash(symbol) as usize & mask;
        while let Some(found) = self.places.get_mut(place) {
            if *found == 0 {
                *found = slot + 1;
                return;
            }
            place = (place + 1) & mask;
        }
    }
}

/// Multiply-and-fold over eight bytes at a time: symbols are short and not chosen by an attacker.
#[inline]
fn hash(bytes: &[u8]) -> u64 {
    let mut state = bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = 0u64;
        for byte in chunk {
            word = word << 8 | u64::from(*byte);
        }
        state = (state ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        state ^= state >> 32;
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instrument(symbol: &str, price_scale: u8) -> Instrument {
        Instrument {
            venue: "v".into(),
            symbol: symbol.into(),
            asset_class: "spot".into(),
            price_scale,
            size_scale: 3,
            tick: 1,
            lot: 1,
            multiplier: "1".into(),
        }
    }

    #[test]
    fn every_symbol_is_found_at_its_own_venue_only() {
        let mut symbols = Symbols::default();
        for number in 0..1000u32 {
            symbols.define((number % 3) as u16, number + 1, &instrument(&format!("S{number}"), 2));
        }
        for number in 0..1000u32 {
            let name = format!("S{number}");
            for venue in 0..4 {
                let found = symbols.find(venue, name.as_bytes()).map(|market| market.instrument);
                assert_eq!(found, (u32::from(venue) == number % 3).then_some(number + 1));
            }
        }
    }

    #[test]
    fn a_new_definition_keeps_the_slot_and_is_noticed() {
        let mut symbols = Symbols::default();
        let (first, changed) = symbols.define(0, 7, &instrument("A", 2));
        assert!(!changed);
        let (second, changed) = symbols.define(0, 8, &instrument("A", 4));
        assert!(changed && second.slot == first.slot && second.price_scale == 4);
        assert_eq!(symbols.find(0, b"A"), Some(second));
    }
}
