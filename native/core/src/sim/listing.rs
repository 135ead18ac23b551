//! What is traded: the symbols of a simulated market, their exact scales, and the venue's description of them.

use serde_json::{json, Value};

use super::book::WINDOW;
use crate::error::{Error, Reason, Result};

/// Which of Binance's markets is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarketKind {
    /// `binance-spot`
    Spot,
    /// `binance-usdm`
    Usdm,
    /// `binance-coinm`
    Coinm,
}

impl MarketKind {
    /// The market behind its name: `spot`, `usdm` or `coinm`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "spot" => Some(MarketKind::Spot),
            "usdm" => Some(MarketKind::Usdm),
            "coinm" => Some(MarketKind::Coinm),
            _ => None,
        }
    }
}

/// One symbol's definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The venue's symbol, e.g. `BTCUSDT`.
    pub symbol: String,
    /// Base asset.
    pub base: String,
    /// Quote asset.
    pub quote: String,
    /// Decimals of prices on the wire.
    pub price_scale: u32,
    /// Decimals of sizes on the wire.
    pub size_scale: u32,
    /// Price step, a mantissa in `price_scale`.
    pub tick: i64,
    /// Size step, a mantissa in `size_scale`.
    pub lot: i64,
    /// Price of the book window's first tick, in ticks.
    pub first_tick: i64,
    /// Contract size in quote currency (COIN-M only).
    pub contract_size: u32,
}

/// (base, decimals of the price, tick mantissa, starting price in ticks, decimals of the size)
const KNOWN: [(&str, u32, i64, i64, u32); 20] = [
    ("BTC", 2, 10, 618_000, 3),
    ("ETH", 2, 1, 268_500, 3),
    ("SOL", 4, 100, 15_620, 0),
    ("XRP", 4, 1, 6_105, 1),
    ("DOGE", 5, 1, 10_730, 0),
    ("BNB", 2, 1, 52_340, 2),
    ("ADA", 4, 1, 13_540, 0),
    ("AVAX", 3, 1, 22_170, 0),
    ("LINK", 3, 1, 10_480, 2),
    ("SUI", 4, 1, 9_120, 1),
    ("LTC", 2, 1, 6_240, 3),
    ("TRX", 5, 1, 12_760, 0),
    ("DOT", 3, 1, 4_630, 1),
    ("BCH", 2, 1, 34_570, 3),
    ("NEAR", 3, 1, 4_215, 0),
    ("APT", 4, 1, 61_700, 1),
    ("FIL", 3, 1, 3_712, 1),
    ("ARB", 4, 1, 5_680, 1),
    ("OP", 4, 1, 14_390, 1),
    ("ATOM", 3, 1, 5_260, 2),
];

impl Listing {
    /// The definition of `symbol`; unknown bases get four decimals around a price of 2.
    pub fn new(kind: MarketKind, symbol: &str) -> Result<Self> {
        let refused = Error::new(Reason::Malformed, 0);
        if symbol.is_empty()
            || !symbol
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        {
            return Err(refused);
        }
        let quote = if kind == MarketKind::Coinm { "USD" } else { "USDT" };
        let pair = symbol.split('_').next().unwrap_or(symbol);
        let base = match pair.strip_suffix(quote) {
            Some(base) if !base.is_empty() => base,
            _ => pair,
        };
        let (price_scale, tick, price, size_scale) = KNOWN
            .iter()
            .find(|known| known.0 == base)
            .map_or((4, 1, 20_000, 1), |known| (known.1, known.2, known.3, known.4));
        let mut listing = Listing {
            symbol: symbol.to_owned(),
            base: base.to_owned(),
            quote: quote.to_owned(),
            price_scale,
            size_scale,
            tick,
            lot: 1,
            first_tick: price - WINDOW as i64 / 2,
            contract_size: 0,
        };
        match kind {
            MarketKind::Usdm => {}
            MarketKind::Coinm => {
                (listing.size_scale, listing.contract_size) = (0, if base == "BTC" { 100 } else { 10 });
            }
            MarketKind::Spot => {
                // Spot writes eight decimals whatever the tick is.
                listing.tick *= 10i64.pow(8 - price_scale);
                listing.lot *= 10i64.pow(8 - size_scale);
                (listing.price_scale, listing.size_scale) = (8, 8);
            }
        }
        Ok(listing)
    }

    /// The first `count` symbols of a market, the busiest first: real names, then `SIM020USDT` and so on.
    pub fn names(kind: MarketKind, count: usize) -> Vec<String> {
        let suffix = if kind == MarketKind::Coinm { "USD_PERP" } else { "USDT" };
        let invented = (KNOWN.len()..).map(|number| format!("SIM{number:03}"));
        let known = KNOWN.iter().map(|known| known.0.to_owned());
        known.chain(invented).take(count).map(|base| base + suffix).collect()
    }

    /// The pair of a COIN-M contract, the symbol itself elsewhere.
    pub fn pair(&self) -> &str {
        self.symbol.split('_').next().unwrap_or(&self.symbol)
    }

    /// Price mantissa at a book index.
    #[inline]
    pub fn price(&self, index: usize) -> u64 {
        ((self.first_tick + index as i64) * self.tick) as u64
    }

    /// Size mantissa of `lots`.
    #[inline]
    pub fn size(&self, lots: u32) -> u64 {
        u64::from(lots) * self.lot as u64
    }

    fn describe(&self, kind: MarketKind) -> Value {
        let filters = json!([
            {"filterType": "PRICE_FILTER", "tickSize": decimal(self.tick as u64, self.price_scale),
             "minPrice": decimal(self.tick as u64, self.price_scale), "maxPrice": "100000000"},
            {"filterType": "LOT_SIZE", "stepSize": decimal(self.lot as u64, self.size_scale),
             "minQty": decimal(self.lot as u64, self.size_scale), "maxQty": "100000000"},
        ]);
        let mut symbol = json!({
            "symbol": self.symbol, "pair": self.pair(), "baseAsset": self.base, "quoteAsset": self.quote,
            "filters": filters, "orderTypes": ["LIMIT", "MARKET"],
        });
        let extra = match kind {
            MarketKind::Spot => json!({"status": "TRADING", "baseAssetPrecision": 8, "quotePrecision": 8,
                "quoteAssetPrecision": 8, "isSpotTradingAllowed": true}),
            MarketKind::Usdm => json!({"status": "TRADING", "contractType": "PERPETUAL", "marginAsset": self.quote,
                "pricePrecision": self.price_scale, "quantityPrecision": self.size_scale,
                "deliveryDate": 4_133_404_800_000i64}),
            MarketKind::Coinm => json!({"contractStatus": "TRADING", "contractType": "PERPETUAL",
                "marginAsset": self.base, "contractSize": self.contract_size, "pricePrecision": self.price_scale,
                "quantityPrecision": 0, "deliveryDate": 4_133_404_800_000i64}),
        };
        if let (Some(target), Some(source)) = (symbol.as_object_mut(), extra.as_object()) {
            target.extend(source.clone());
            if kind == MarketKind::Spot {
                target.remove("pair");
            }
        }
        symbol
    }
}

/// The REST reply `exchangeInfo` for `listings`.
pub fn exchange_info<'a>(kind: MarketKind, listings: impl Iterator<Item = &'a Listing>, time_ms: i64) -> Vec<u8> {
    let weight = if kind == MarketKind::Spot { 6_000 } else { 2_400 };
    let symbols: Vec<Value> = listings.map(|listing| listing.describe(kind)).collect();
    json!({
        "timezone": "UTC",
        "serverTime": time_ms,
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight},
        ],
        "exchangeFilters": [],
        "symbols": symbols,
    })
    .to_string()
    .into_bytes()
}

/// `mantissa` with `scale` decimals, as the venue writes it.
pub fn decimal(mantissa: u64, scale: u32) -> String {
    let mut text = Vec::new();
    super::wire::push_decimal(&mut text, mantissa, scale);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_scales_follow_the_market() {
        let usdm = Listing::new(MarketKind::Usdm, "BTCUSDT").unwrap();
        assert_eq!((usdm.price_scale, usdm.size_scale, usdm.tick, usdm.lot), (2, 3, 10, 1));
        assert_eq!(decimal(usdm.price(WINDOW / 2), 2), "61800.00");
        let spot = Listing::new(MarketKind::Spot, "BTCUSDT").unwrap();
        assert_eq!(decimal(spot.price(WINDOW / 2), 8), "61800.00000000");
        assert_eq!(decimal(spot.size(2_509), 8), "2.50900000");
        let coinm = Listing::new(MarketKind::Coinm, "BTCUSD_PERP").unwrap();
        assert_eq!(
            (coinm.pair(), coinm.base.as_str(), coinm.size_scale, coinm.contract_size),
            ("BTCUSD", "BTC", 0, 100)
        );
        assert!(Listing::new(MarketKind::Usdm, "btcusdt").is_err() && Listing::new(MarketKind::Usdm, "").is_err());
    }

    #[test]
    fn test_every_known_price_is_positive_over_the_whole_window() {
        for kind in [MarketKind::Spot, MarketKind::Usdm, MarketKind::Coinm] {
            for name in Listing::names(kind, 25) {
                assert!(Listing::new(kind, &name).unwrap().first_tick > 0, "{name}");
            }
        }
    }

    #[test]
    fn test_names_are_distinct() {
        let names = Listing::names(MarketKind::Usdm, 300);
        assert_eq!(names.iter().collect::<std::collections::HashSet<_>>().len(), 300);
        assert_eq!((names[0].as_str(), names[20].as_str()), ("BTCUSDT", "SIM020USDT"));
    }

    #[test]
    fn test_exchange_info_names_tick_and_lot() {
        let listing = Listing::new(MarketKind::Coinm, "BTCUSD_PERP").unwrap();
        let info: Value = serde_json::from_slice(&exchange_info(MarketKind::Coinm, [&listing].into_iter(), 5)).unwrap();
        let symbol = &info["symbols"][0];
        assert_eq!(symbol["filters"][0]["tickSize"], "0.10");
        assert_eq!(symbol["filters"][1]["stepSize"], "1");
        assert_eq!(symbol["contractSize"], 100);
    }
}
