//! What a simulated market remembers of its trades: the REST reply `historicalTrades`.
//!
//! Faults damage streams, never this: it is what really happened.

use std::collections::VecDeque;

use crate::sim::listing::{Listing, MarketKind};
use crate::sim::wire::{push_decimal, push_number, Fill};
use crate::sim::Market;

/// The last fills of one symbol; nothing unless told how many.
#[derive(Debug, Clone, Default)]
pub struct Past {
    fills_max: usize,
    fills: VecDeque<Fill>,
}

impl Past {
    /// Takes the next fill.
    #[inline]
    pub fn note(&mut self, fill: Fill) {
        if self.fills_max == 0 {
            return;
        }
        if self.fills.len() == self.fills_max {
            self.fills.pop_front();
        }
        self.fills.push_back(fill);
    }

    /// Ascending from `from_id`, or the newest; what is older than the memory begins with its oldest.
    fn reply(&self, kind: MarketKind, listing: &Listing, from_id: Option<u64>, limit: usize) -> Vec<u8> {
        let oldest = self.fills.front().map_or(0, |fill| fill.id);
        let newest = self.fills.len().saturating_sub(limit);
        let skipped = from_id.map_or(newest, |id| id.saturating_sub(oldest) as usize);
        let mut out = Vec::from(&b"["[..]);
        for fill in self.fills.iter().skip(skipped).take(limit) {
            if out.len() > 1 {
                out.push(b',');
            }
            trade(&mut out, kind, listing, fill);
        }
        out.push(b']');
        out
    }
}

fn trade(out: &mut Vec<u8>, kind: MarketKind, listing: &Listing, fill: &Fill) {
    let (price, size) = (listing.price(fill.index), listing.size(fill.lots));
    out.extend_from_slice(br#"{"id":"#);
    push_number(out, fill.id);
    out.extend_from_slice(br#","price":""#);
    push_decimal(out, price, listing.price_scale);
    out.extend_from_slice(br#"","qty":""#);
    push_decimal(out, size, listing.size_scale);
    out.extend_from_slice(br#"","time":"#);
    push_number(out, fill.time_ms as u64);
    out.extend_from_slice(if fill.seller {
        br#","isBuyerMaker":true"#
    } else {
        br#","isBuyerMaker":false"#
    });
    if kind == MarketKind::Spot {
        out.extend_from_slice(br#","isBestMatch":true"#);
    }
    out.push(b'}');
}

impl Market {
    /// Remembers the last `fills_max` trades of each symbol from here on: about 56 bytes each.
    pub fn remember(&mut self, fills_max: usize) {
        for symbol in &mut self.symbols {
            symbol.past.fills_max = fills_max;
        }
    }

    /// The REST reply `historicalTrades`; none for an unknown symbol.
    pub fn past_trades(&self, symbol: &str, from_id: Option<u64>, limit: usize) -> Option<Vec<u8>> {
        let symbol = self.symbols.iter().find(|known| known.listing.symbol == symbol)?;
        Some(symbol.past.reply(self.kind, &symbol.listing, from_id, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(ids: impl IntoIterator<Item = u64>) -> Past {
        let mut past = Past {
            fills_max: 3,
            fills: VecDeque::new(),
        };
        for id in ids {
            past.note(Fill {
                id,
                trades: (id, id),
                index: 0,
                lots: 1,
                seller: true,
                time_ms: 7,
            });
        }
        past
    }

    fn ids(past: &Past, from_id: Option<u64>, limit: usize) -> Vec<u64> {
        let Ok(listing) = Listing::new(MarketKind::Usdm, "BTCUSDT") else {
            return Vec::new();
        };
        let reply = past.reply(MarketKind::Usdm, &listing, from_id, limit);
        let trades: Vec<serde_json::Value> = serde_json::from_slice(&reply).unwrap_or_default();
        trades.iter().filter_map(|trade| trade.get("id")?.as_u64()).collect()
    }

    #[test]
    fn test_the_reply_goes_up_from_the_id_as_far_as_the_memory_has_it() {
        let past = past(11..=15);
        assert_eq!(ids(&past, Some(13), 2), [13, 14]);
        assert_eq!(ids(&past, Some(14), 9), [14, 15]);
        assert_eq!(ids(&past, Some(16), 9), [0_u64; 0]);
        assert_eq!(ids(&past, Some(1), 2), [13, 14]);
        assert_eq!(ids(&past, None, 2), [14, 15]);
    }
}
