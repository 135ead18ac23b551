//! Instruments: exact scales, a stable id from the definition, and the registry that refuses collisions.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Reason, Result};

/// Everything a mantissa's meaning depends on. A changed tick or scale is a new definition and a new id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instrument {
    /// tickd's venue name, e.g. `binance-usdm`.
    pub venue: String,
    /// The venue's own symbol, e.g. `BTCUSDT`.
    pub symbol: String,
    /// `spot`, `perpetual`, `future`, `option`, `stock`, `index`.
    pub asset_class: String,
    /// Decimals of a price mantissa.
    pub price_scale: u8,
    /// Decimals of a size mantissa.
    pub size_scale: u8,
    /// Smallest price step, a mantissa in `price_scale`.
    pub tick: i64,
    /// Smallest size step, a mantissa in `size_scale`.
    pub lot: i64,
    /// What one unit of size is worth, decimal text (contract size; `1` for spot).
    pub multiplier: String,
}

impl Instrument {
    /// The text that is hashed: every field, in order, separated by `|`.
    pub fn canonical(&self) -> String {
        format!(
            "{}|{}|{}|{}|{}|{}|{}|{}",
            self.venue,
            self.symbol,
            self.asset_class,
            self.price_scale,
            self.size_scale,
            self.tick,
            self.lot,
            self.multiplier
        )
    }

    /// Stable id: the low 32 bits of xxh3 over the canonical text, never 0.
    pub fn id(&self) -> u32 {
        ((xxh3_64(self.canonical().as_bytes()) as u32).max(1)) as u32
    }
}

/// The instruments of a node, by id and by (venue, symbol).
#[derive(Debug, Clone, Default)]
pub struct Registry {
    by_id: HashMap<u32, Instrument>,
    current: HashMap<String, HashMap<String, u32>>,
}

impl Registry {
    /// Adds a definition and makes it the current one of its (venue, symbol). Adding it again changes nothing.
    ///
    /// Errors: `Collision` when another definition already owns the id; `Overflow` when a scale exceeds 18.
    pub fn define(&mut self, instrument: Instrument) -> Result<u32> {
        if instrument.price_scale > 18 || instrument.size_scale > 18 {
            return Err(Error::new(Reason::Overflow, 0));
        }
        let id = instrument.id();
        match self.by_id.get(&id) {
            Some(known) if *known != instrument => return Err(Error::new(Reason::Collision, 0)),
            _ => {}
        }
        self.current
            .entry(instrument.venue.clone())
            .or_default()
            .insert(instrument.symbol.clone(), id);
        self.by_id.insert(id, instrument);
        Ok(id)
    }

    /// The definition of `id`.
    pub fn get(&self, id: u32) -> Option<&Instrument> {
        self.by_id.get(&id)
    }

    /// The current definition's id of a venue's symbol.
    pub fn find(&self, venue: &str, symbol: &str) -> Option<u32> {
        self.current.get(venue)?.get(symbol).copied()
    }

    /// All definitions, ordered by id.
    pub fn all(&self) -> Vec<&Instrument> {
        let mut ids: Vec<_> = self.by_id.iter().collect();
        ids.sort_unstable_by_key(|(id, _)| **id);
        ids.into_iter().map(|(_, instrument)| instrument).collect()
    }
}
