//! Binance's messages, byte by byte: the fixed parts are prepared per symbol, the numbers are written between them.

use super::book::{Book, Pending, Side};
use super::listing::{Listing, MarketKind};

/// A stream of one symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// `@trade`
    Trade,
    /// `@bookTicker`
    Quote,
    /// `@depth@0ms`: at the market's own pace.
    DepthNow,
    /// `@depth@100ms`
    Depth100,
    /// `@depth` of futures: 250 ms.
    Depth250,
    /// `@depth@500ms`
    Depth500,
    /// `@depth` of spot: 1000 ms.
    Depth1000,
    /// `@aggTrade`
    AggTrade,
    /// `@markPrice@1s`
    Mark1,
    /// `@markPrice`: 3 s.
    Mark3,
    /// `@indexPrice@1s` of a COIN-M pair.
    Index1,
    /// `@forceOrder`
    Liquidation,
}

/// Streams per symbol.
pub const STREAMS: usize = 12;
/// The depth streams, fastest first.
pub const DEPTHS: [Stream; 5] = [
    Stream::DepthNow,
    Stream::Depth100,
    Stream::Depth250,
    Stream::Depth500,
    Stream::Depth1000,
];

impl Stream {
    /// All streams, in the order of their numbers.
    pub const ALL: [Stream; STREAMS] = [
        Stream::Trade,
        Stream::Quote,
        Stream::DepthNow,
        Stream::Depth100,
        Stream::Depth250,
        Stream::Depth500,
        Stream::Depth1000,
        Stream::AggTrade,
        Stream::Mark1,
        Stream::Mark3,
        Stream::Index1,
        Stream::Liquidation,
    ];

    /// What stands behind the symbol in a stream's name; none where the market has no such stream.
    pub fn suffix(self, kind: MarketKind) -> Option<&'static str> {
        let futures = kind != MarketKind::Spot;
        match self {
            Stream::Trade => Some("@trade"),
            Stream::Quote => Some("@bookTicker"),
            Stream::Depth100 => Some("@depth@100ms"),
            Stream::AggTrade => Some("@aggTrade"),
            Stream::DepthNow if futures => Some("@depth@0ms"),
            Stream::Depth250 if futures => Some("@depth"),
            Stream::Depth500 if futures => Some("@depth@500ms"),
            Stream::Depth1000 if !futures => Some("@depth"),
            Stream::Mark1 if futures => Some("@markPrice@1s"),
            Stream::Mark3 if futures => Some("@markPrice"),
            Stream::Index1 if kind == MarketKind::Coinm => Some("@indexPrice@1s"),
            Stream::Liquidation if futures => Some("@forceOrder"),
            _ => None,
        }
    }

    /// The name of the stream of `listing`.
    pub fn name(self, kind: MarketKind, listing: &Listing) -> Option<String> {
        let owner = if self == Stream::Index1 {
            listing.pair()
        } else {
            &listing.symbol
        };
        Some(owner.to_lowercase() + self.suffix(kind)?)
    }
}

/// Bytes before the payload's `data` value in the combined form.
pub fn wrapper_bytes(name: &str) -> usize {
    br#"{"stream":"","data":"#.len() + name.len()
}

/// Appends a number.
#[inline]
pub fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends `mantissa` with exactly `scale` decimals.
#[inline]
pub fn push_decimal(out: &mut Vec<u8>, mantissa: u64, scale: u32) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(mantissa).as_bytes();
    let scale = scale as usize;
    if scale == 0 {
        return out.extend_from_slice(digits);
    }
    match digits
        .len()
        .checked_sub(scale)
        .and_then(|whole| digits.split_at_checked(whole))
    {
        Some((whole, fraction)) if !whole.is_empty() => {
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
        _ => {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + scale - digits.len(), b'0');
            out.extend_from_slice(digits);
        }
    }
}

/// A fill as the wire shows it.
#[derive(Debug, Clone, Copy)]
pub struct Fill {
    /// Trade id, or aggregate id.
    pub id: u64,
    /// First and last trade id of an aggregate.
    pub trades: (u64, u64),
    /// Book index of the price.
    pub index: usize,
    /// Size in lots.
    pub lots: u32,
    /// Whether the aggressor sold.
    pub seller: bool,
    /// Venue time, ms.
    pub time_ms: i64,
}

/// The writer of one symbol's messages, always in the combined form.
#[derive(Debug, Clone)]
pub struct Wire {
    kind: MarketKind,
    heads: Vec<Vec<u8>>, // by Stream: everything before the first number
    name: Vec<u8>,       // `,"s":"BTCUSDT"`
    pair: Vec<u8>,       // `,"ps":"BTCUSD"` of COIN-M
}

impl Wire {
    /// The prepared parts of `listing`.
    pub fn new(kind: MarketKind, listing: &Listing) -> Self {
        let heads = Stream::ALL.iter().map(|stream| {
            let name = stream.name(kind, listing).unwrap_or_default();
            let first = match (stream, kind) {
                (Stream::Quote, MarketKind::Usdm) => r#""e":"bookTicker","u":"#,
                (Stream::Quote, _) => r#""u":"#,
                (Stream::Trade, _) => r#""e":"trade","E":"#,
                (Stream::AggTrade, _) => r#""e":"aggTrade","E":"#,
                (Stream::Mark1 | Stream::Mark3, _) => r#""e":"markPriceUpdate","E":"#,
                (Stream::Index1, _) => r#""e":"indexPriceUpdate","E":"#,
                (Stream::Liquidation, _) => r#""e":"forceOrder","E":"#,
                _ => r#""e":"depthUpdate","E":"#,
            };
            format!(r#"{{"stream":"{name}","data":{{{first}"#).into_bytes()
        });
        let pair = if kind == MarketKind::Coinm {
            format!(r#","ps":"{}""#, listing.pair())
        } else {
            String::new()
        };
        Wire {
            kind,
            heads: heads.collect(),
            name: format!(r#","s":"{}""#, listing.symbol).into_bytes(),
            pair: pair.into_bytes(),
        }
    }

    #[inline]
    fn start(&self, out: &mut Vec<u8>, stream: Stream) {
        out.clear();
        out.extend_from_slice(self.heads.get(stream as usize).map_or(&[], Vec::as_slice));
    }

    /// `bookTicker` after update `id`.
    pub fn quote(&self, out: &mut Vec<u8>, listing: &Listing, book: &Book, id: u64, time_ms: i64) {
        self.start(out, Stream::Quote);
        push_number(out, id);
        if self.kind == MarketKind::Coinm {
            out.extend_from_slice(br#","e":"bookTicker""#);
        }
        out.extend_from_slice(&self.name);
        out.extend_from_slice(&self.pair);
        out.extend_from_slice(br#","b":""#);
        push_decimal(out, listing.price(book.bid), listing.price_scale);
        out.extend_from_slice(br#"","B":""#);
        push_decimal(out, listing.size(book.size(book.bid)), listing.size_scale);
        out.extend_from_slice(br#"","a":""#);
        push_decimal(out, listing.price(book.ask), listing.price_scale);
        out.extend_from_slice(br#"","A":""#);
        push_decimal(out, listing.size(book.size(book.ask)), listing.size_scale);
        if self.kind == MarketKind::Spot {
            return out.extend_from_slice(br#""}}"#);
        }
        out.extend_from_slice(br#"","T":"#);
        push_number(out, time_ms as u64);
        out.extend_from_slice(br#","E":"#);
        push_number(out, time_ms as u64);
        out.extend_from_slice(b"}}");
    }

    /// `trade`.
    pub fn trade(&self, out: &mut Vec<u8>, listing: &Listing, fill: &Fill) {
        self.start(out, Stream::Trade);
        push_number(out, fill.time_ms as u64);
        if self.kind != MarketKind::Spot {
            out.extend_from_slice(br#","T":"#);
            push_number(out, fill.time_ms as u64);
        }
        out.extend_from_slice(&self.name);
        out.extend_from_slice(br#","t":"#);
        push_number(out, fill.id);
        push_fill(out, listing, fill);
        if self.kind == MarketKind::Spot {
            out.extend_from_slice(br#"","T":"#);
            push_number(out, fill.time_ms as u64);
            out.extend_from_slice(if fill.seller {
                br#","m":true,"M":true}}"#
            } else {
                br#","m":false,"M":true}}"#
            });
        } else {
            out.extend_from_slice(br#"","X":"MARKET","m":"#);
            out.extend_from_slice(if fill.seller { b"true}}" } else { b"false}}" });
        }
    }

    /// `aggTrade`: fills of one order at one price.
    pub fn agg_trade(&self, out: &mut Vec<u8>, listing: &Listing, fill: &Fill) {
        self.start(out, Stream::AggTrade);
        push_number(out, fill.time_ms as u64);
        if self.kind == MarketKind::Spot {
            out.extend_from_slice(&self.name);
        }
        out.extend_from_slice(br#","a":"#);
        push_number(out, fill.id);
        if self.kind != MarketKind::Spot {
            out.extend_from_slice(&self.name);
        }
        push_fill(out, listing, fill);
        out.extend_from_slice(br#"","f":"#);
        push_number(out, fill.trades.0);
        out.extend_from_slice(br#","l":"#);
        push_number(out, fill.trades.1);
        out.extend_from_slice(br#","T":"#);
        push_number(out, fill.time_ms as u64);
        out.extend_from_slice(if fill.seller { br#","m":true"# } else { br#","m":false"# });
        out.extend_from_slice(if self.kind == MarketKind::Spot {
            br#","M":true}}"#
        } else {
            b"}}"
        });
    }

    /// `depthUpdate` with the changes of `pending`, up to update `last_id`.
    pub fn depth(
        &self,
        out: &mut Vec<u8>,
        stream: Stream,
        at: (&Listing, &Book),
        pending: &Pending,
        last_id: u64,
        time_ms: i64,
    ) {
        let (listing, book) = at;
        self.start(out, stream);
        push_number(out, time_ms as u64);
        if self.kind != MarketKind::Spot {
            out.extend_from_slice(br#","T":"#);
            push_number(out, time_ms as u64);
        }
        out.extend_from_slice(&self.name);
        out.extend_from_slice(&self.pair);
        out.extend_from_slice(br#","U":"#);
        push_number(out, pending.first_id);
        out.extend_from_slice(br#","u":"#);
        push_number(out, last_id);
        if self.kind != MarketKind::Spot {
            out.extend_from_slice(br#","pu":"#);
            push_number(out, pending.previous_id);
        }
        out.extend_from_slice(br#","b":["#);
        let level = |side: Side| move |index: usize| (index, book.side_size(side, index));
        push_levels(out, listing, pending.indexes(Side::Bid).map(level(Side::Bid)));
        out.extend_from_slice(br#"],"a":["#);
        push_levels(out, listing, pending.indexes(Side::Ask).map(level(Side::Ask)));
        out.extend_from_slice(b"]}}");
    }

    /// `markPriceUpdate`.
    pub fn mark(&self, out: &mut Vec<u8>, stream: Stream, listing: &Listing, book: &Book, time_ms: i64) {
        const FUNDING_MS: i64 = 8 * 3_600_000;
        let scale = listing.price_scale + 2;
        let middle = (listing.price(book.bid) + listing.price(book.ask)) * 50;
        self.start(out, stream);
        push_number(out, time_ms as u64);
        if stream == Stream::Index1 {
            out.extend_from_slice(br#","i":""#);
            out.extend_from_slice(listing.pair().as_bytes());
            out.extend_from_slice(br#"","p":""#);
            push_decimal(out, middle - middle / 10_000, scale);
            return out.extend_from_slice(br#""}}"#);
        }
        out.extend_from_slice(&self.name);
        out.extend_from_slice(br#","p":""#);
        push_decimal(out, middle, scale);
        out.extend_from_slice(if self.kind == MarketKind::Coinm {
            br#"","P":""#
        } else {
            br#"","i":""#
        });
        push_decimal(out, middle - middle / 10_000, scale);
        out.extend_from_slice(br#"","r":"0.00010000","T":"#);
        push_number(out, ((time_ms / FUNDING_MS + 1) * FUNDING_MS) as u64);
        out.extend_from_slice(b"}}");
    }

    /// `forceOrder`: the fill as a liquidation.
    pub fn liquidation(&self, out: &mut Vec<u8>, listing: &Listing, fill: &Fill) {
        self.start(out, Stream::Liquidation);
        push_number(out, fill.time_ms as u64);
        let size = super::listing::decimal(listing.size(fill.lots), listing.size_scale);
        let price = super::listing::decimal(listing.price(fill.index), listing.price_scale);
        let side = if fill.seller { "SELL" } else { "BUY" };
        let pair = String::from_utf8_lossy(&self.pair);
        out.extend_from_slice(
            format!(
                r#","o":{{"s":"{}"{pair},"S":"{side}","o":"LIMIT","f":"IOC","q":"{size}","p":"{price}","ap":"{price}","X":"FILLED","l":"{size}","z":"{size}","T":{}}}}}}}"#,
                listing.symbol, fill.time_ms
            )
            .as_bytes(),
        );
    }

    /// The REST reply `depth`: up to `limit` levels a side as of update `last_id`.
    pub fn snapshot(&self, listing: &Listing, book: &Book, limit: usize, last_id: u64, time_ms: i64) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + limit * 48);
        out.extend_from_slice(br#"{"lastUpdateId":"#);
        push_number(&mut out, last_id);
        if self.kind != MarketKind::Spot {
            out.extend_from_slice(format!(r#","E":{time_ms},"T":{time_ms}"#).as_bytes());
        }
        if self.kind == MarketKind::Coinm {
            out.extend_from_slice(format!(r#","symbol":"{}","pair":"{}""#, listing.symbol, listing.pair()).as_bytes());
        }
        out.extend_from_slice(br#","bids":["#);
        push_levels(&mut out, listing, book.levels(Side::Bid, limit).into_iter());
        out.extend_from_slice(br#"],"asks":["#);
        push_levels(&mut out, listing, book.levels(Side::Ask, limit).into_iter());
        out.extend_from_slice(b"]}");
        out
    }
}

#[inline]
fn push_fill(out: &mut Vec<u8>, listing: &Listing, fill: &Fill) {
    out.extend_from_slice(br#","p":""#);
    push_decimal(out, listing.price(fill.index), listing.price_scale);
    out.extend_from_slice(br#"","q":""#);
    push_decimal(out, listing.size(fill.lots), listing.size_scale);
}

#[inline]
fn push_levels(out: &mut Vec<u8>, listing: &Listing, levels: impl Iterator<Item = (usize, u32)>) {
    let mut first = true;
    for (index, lots) in levels {
        out.extend_from_slice(if first { br#"[""# } else { br#",[""# });
        first = false;
        push_decimal(out, listing.price(index), listing.price_scale);
        out.extend_from_slice(br#"",""#);
        push_decimal(out, listing.size(lots), listing.size_scale);
        out.extend_from_slice(br#""]"#);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(mantissa: u64, scale: u32) -> String {
        let mut out = Vec::new();
        push_decimal(&mut out, mantissa, scale);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn test_decimals_are_exact_and_padded() {
        assert_eq!(decimal(6180030, 2), "61800.30");
        assert_eq!(decimal(6, 3), "0.006");
        assert_eq!(decimal(0, 3), "0.000");
        assert_eq!(decimal(35, 0), "35");
        assert_eq!(decimal(100_000_000, 8), "1.00000000");
        assert_eq!(decimal(99_999_999, 8), "0.99999999");
    }

    #[test]
    fn test_trade_is_byte_for_byte_the_recorded_form() {
        // Form of the USD-M, COIN-M and spot recordings of 2024-08-08.
        let fill = Fill {
            id: 7,
            trades: (7, 7),
            index: 2048,
            lots: 6,
            seller: false,
            time_ms: 1_723_161_256_322,
        };
        let text = |kind, symbol| {
            let listing = Listing::new(kind, symbol).unwrap();
            let mut out = Vec::new();
            Wire::new(kind, &listing).trade(&mut out, &listing, &fill);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            text(MarketKind::Usdm, "BTCUSDT"),
            r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161256322,"T":1723161256322,"s":"BTCUSDT","t":7,"p":"61800.00","q":"0.006","X":"MARKET","m":false}}"#
        );
        assert_eq!(
            text(MarketKind::Coinm, "BTCUSD_PERP"),
            r#"{"stream":"btcusd_perp@trade","data":{"e":"trade","E":1723161256322,"T":1723161256322,"s":"BTCUSD_PERP","t":7,"p":"61800.00","q":"6","X":"MARKET","m":false}}"#
        );
        assert_eq!(
            text(MarketKind::Spot, "BTCUSDT"),
            r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161256322,"s":"BTCUSDT","t":7,"p":"61800.00000000","q":"0.00600000","T":1723161256322,"m":false,"M":true}}"#
        );
    }

    #[test]
    fn test_wrapper_bytes_point_at_the_data() {
        let listing = Listing::new(MarketKind::Coinm, "BTCUSD_PERP").unwrap();
        let wire = Wire::new(MarketKind::Coinm, &listing);
        for stream in Stream::ALL {
            let Some(name) = stream.name(MarketKind::Coinm, &listing) else {
                continue;
            };
            let mut out = Vec::new();
            wire.start(&mut out, stream);
            assert!(out[wrapper_bytes(&name)..].starts_with(br#"{""#), "{name}");
        }
    }
}
