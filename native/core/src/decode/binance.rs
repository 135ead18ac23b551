//! Binance spot, USD-M and COIN-M: one decoder, because their messages differ in fields only, never in their meaning.
//!
//! Fields are found by name: COIN-M orders them differently from USD-M. Numbers come as text and stay exact. Prices are in
//! the quote currency, sizes in the base currency (spot, USD-M) or in contracts (COIN-M).
//! Source: the venues' documentation and recorded frames; quirks stand where they are handled.

use crate::book::sync::Rule;
use crate::decode::json::{Cursor, Value};
use crate::decode::report::NoticeKind;
use crate::decode::stage::{Depth, DepthStart, Level, Liquidation, Quote, Stage, Trade};
use crate::decode::symbols::Market;
use crate::decode::venue::{refused, Request, VenueDecoder};
use crate::error::{Error, Reason, Result};
use crate::event::{flag, side, Kind, ID_UNDEF, PRICE_UNDEF, TS_UNDEF};

mod fields;
mod rest;

use fields::{Fields, AP, PU};

/// One of Binance's markets.
#[derive(Debug)]
pub struct Binance {
    venue: &'static str,
    rule: Rule,
}

/// Spot.
pub static SPOT: Binance = Binance {
    venue: "binance-spot",
    rule: Rule::BinanceSpot,
};
/// USD-margined futures.
pub static USD_M: Binance = Binance {
    venue: "binance-usdm",
    rule: Rule::BinanceFutures,
};
/// Coin-margined futures.
pub static COIN_M: Binance = Binance {
    venue: "binance-coinm",
    rule: Rule::BinanceFutures,
};

impl VenueDecoder for Binance {
    fn venue(&self) -> &'static str {
        self.venue
    }

    fn rule(&self) -> Rule {
        self.rule
    }

    fn text(&self, payload: &[u8], stage: &mut Stage) -> Result<()> {
        let mut cursor = Cursor::new(payload);
        cursor.expect(b'{')?;
        let mut first = true;
        match cursor.key(&mut first)? {
            None => return Err(Error::new(Reason::UnknownMessage, 0)),
            Some(key @ (b"stream" | b"data")) => wrapper(payload, &mut cursor, key, stage)?,
            Some(key) => message(payload, &mut cursor, Some(key), &mut first, stage)?,
        }
        cursor.end()
    }

    fn rest(&self, request: &Request<'_>, body: &[u8], stage: &mut Stage) -> Result<()> {
        let mut words = request.path.rsplit('/');
        match words.next() {
            Some("depth") => rest::depth_snapshot(request, body, stage),
            Some("openInterest") => rest::open_interest(body, stage),
            Some("historicalTrades") => rest::trades(request, body, 0, stage),
            Some("aggTrades") => rest::trades(request, body, flag::AGGREGATE, stage),
            // exchangeInfo, tickers, time …: the gateway reads them itself.
            _ => {
                stage.count("rest_ignored");
                Ok(())
            }
        }
    }
}

/// The combined stream's `{"stream":…,"data":…}`, its first key taken.
fn wrapper<'a>(payload: &'a [u8], cursor: &mut Cursor<'a>, key: &'a [u8], stage: &mut Stage) -> Result<()> {
    let mut first = false;
    let mut next = Some(key);
    let mut data = false;
    while let Some(key) = next {
        if key == b"data" {
            data_value(payload, cursor, stage)?;
            data = true;
        } else {
            cursor.value()?;
        }
        next = cursor.key(&mut first)?;
    }
    if data {
        Ok(())
    } else {
        Err(Error::new(Reason::MissingField, cursor.position()))
    }
}

/// What stands behind `"data":`, one message or (streams like `!markPrice@arr`) an array of them.
fn data_value<'a>(payload: &'a [u8], cursor: &mut Cursor<'a>, stage: &mut Stage) -> Result<()> {
    if cursor.peek()? != b'[' {
        cursor.expect(b'{')?;
        let mut first = true;
        let key = cursor.key(&mut first)?;
        return message(payload, cursor, key, &mut first, stage);
    }
    cursor.expect(b'[')?;
    let mut first_element = true;
    while cursor.element(&mut first_element)? {
        cursor.expect(b'{')?;
        let mut first = true;
        let key = cursor.key(&mut first)?;
        message(payload, cursor, key, &mut first, stage)?;
    }
    Ok(())
}

/// One message, its `{` and first key taken; ends behind its `}`.
#[inline]
fn message<'a>(
    payload: &'a [u8],
    cursor: &mut Cursor<'a>,
    key: Option<&'a [u8]>,
    first: &mut bool,
    stage: &mut Stage,
) -> Result<()> {
    let mut fields = Fields::new(payload);
    let mut levels = Levels::default();
    let mut reply = Reply::default();
    let mut next = key;
    while let Some(key) = next {
        match key {
            [b'b' | b'a'] if cursor.peek()? == b'[' => levels.take(key, cursor, &mut fields, stage)?,
            [letter] => fields.set(*letter, cursor.value()?),
            b"pu" => fields.set(PU, cursor.value()?),
            b"ap" => fields.set(AP, cursor.value()?),
            _ => reply.take(key, cursor.value()?),
        }
        next = cursor.key(first)?;
    }
    fields.end = cursor.position();
    match fields.get(b'e') {
        Some(kind) => dispatch(kind, &fields, levels, stage),
        // The spot bookTicker is the only message that does not say what it is.
        None if fields.has(b"usbBaA") => quote(&fields, stage),
        None => reply.conclude(payload, stage),
    }
}

#[inline]
fn dispatch(kind: Value<'_>, fields: &Fields<'_>, levels: Levels, stage: &mut Stage) -> Result<()> {
    match kind.text()? {
        b"trade" => trade(fields, b't', 0, stage),
        b"aggTrade" => trade(fields, b'a', flag::AGGREGATE, stage),
        b"bookTicker" => quote(fields, stage),
        b"depthUpdate" => levels.finish(fields, stage),
        b"markPriceUpdate" => mark_price(fields, stage),
        b"indexPriceUpdate" => index_price(fields, stage),
        b"forceOrder" => forced_order(fields, stage),
        b"serverShutdown" => {
            stage.count("shutdowns");
            stage.notice(NoticeKind::Shutdown, "");
            Ok(())
        }
        _ => Err(Error::new(Reason::UnknownMessage, kind.at)),
    }
}

/// A time of the venue in ns: `T` (engine) where there is one, else `E` (send), else undefined.
#[inline]
fn engine_time(fields: &Fields<'_>) -> Result<i64> {
    match fields.get(b'T') {
        Some(_) => fields.time(b'T'),
        None => fields.time(b'E'),
    }
}

#[inline]
fn market(fields: &Fields<'_>, stage: &Stage) -> Result<Market> {
    let symbol = fields.need(b's')?;
    stage.market(symbol.text()?, symbol.at)
}

/// `m` = the buyer is the maker, so the aggressor sells.
#[inline]
fn trade(fields: &Fields<'_>, id: u8, flags: u16, stage: &mut Stage) -> Result<()> {
    let market = market(fields, stage)?;
    let id = fields.unsigned(id)?;
    let off_book = match fields.get(b'X') {
        Some(kind) => matches!(kind.bytes, b"INSURANCE_FUND" | b"ADL" | b"NA"),
        None => false,
    };
    let fills = if flags & flag::AGGREGATE == 0 {
        1
    } else {
        let (from, to) = (fields.unsigned(b'f')?, fields.unsigned(b'l')?);
        let fills = to
            .checked_sub(from)
            .and_then(|more| i64::try_from(more).ok()?.checked_add(1));
        fills.ok_or(Error::new(Reason::Overflow, fields.need(b'l')?.at))?
    };
    let trade = Trade {
        id,
        first_id: id,
        ts_event: engine_time(fields)?,
        price: fields.decimal(b'p', market.price_scale)?,
        size: fields.decimal(b'q', market.size_scale)?,
        side: if fields.need(b'm')?.boolean()? {
            side::ASK
        } else {
            side::BID
        },
        fills,
        flags: flags | if off_book { flag::OFF_BOOK } else { 0 },
    };
    stage.trade(market, trade);
    Ok(())
}

#[inline]
fn quote(fields: &Fields<'_>, stage: &mut Stage) -> Result<()> {
    let market = market(fields, stage)?;
    let (price_scale, size_scale) = (market.price_scale, market.size_scale);
    let quote = Quote {
        id: fields.unsigned(b'u')?,
        ts_event: engine_time(fields)?,
        bid: (fields.decimal(b'b', price_scale)?, fields.decimal(b'B', size_scale)?),
        ask: (fields.decimal(b'a', price_scale)?, fields.decimal(b'A', size_scale)?),
    };
    stage.quote(market, quote);
    Ok(())
}

/// `p` mark, `i` index (old and COIN-M messages have none), `r` funding rate (empty for dated futures), `T` next funding.
fn mark_price(fields: &Fields<'_>, stage: &mut Stage) -> Result<()> {
    let market = market(fields, stage)?;
    let ts_event = fields.time(b'E')?;
    let mut level = |kind, key, id| -> Result<()> {
        let Some(value) = fields.get(key).filter(|value| !value.bytes.is_empty()) else {
            return Ok(());
        };
        let (mantissa, decimals) = value.decimal_own()?;
        stage.level(
            market,
            Level {
                kind,
                ts_event,
                mantissa,
                decimals,
                id,
            },
        );
        Ok(())
    };
    fields.need(b'p')?;
    level(Kind::Mark, b'p', ID_UNDEF)?;
    level(Kind::Index, b'i', ID_UNDEF)?;
    let next = match fields.time(b'T')? {
        0 | TS_UNDEF => ID_UNDEF, // dated futures say 0
        next => next as u64,
    };
    level(Kind::Funding, b'r', next)
}

/// COIN-M: `i` is the pair, which is defined as an instrument of its own where it is wanted.
fn index_price(fields: &Fields<'_>, stage: &mut Stage) -> Result<()> {
    let pair = fields.need(b'i')?;
    let market = stage.market(pair.text()?, pair.at)?;
    let (mantissa, decimals) = fields.need(b'p')?.decimal_own()?;
    let ts_event = fields.time(b'E')?;
    stage.level(
        market,
        Level {
            kind: Kind::Index,
            ts_event,
            mantissa,
            decimals,
            id: ID_UNDEF,
        },
    );
    Ok(())
}

/// The order stands in `o`. Its average price often has more decimals than the tick: it is kept only where it is exact.
fn forced_order(fields: &Fields<'_>, stage: &mut Stage) -> Result<()> {
    let nested = fields.need(b'o')?;
    let order = Fields::read(fields.payload, nested)?;
    let market = market(&order, stage)?;
    let side = order.need(b'S')?;
    let side = match side.bytes {
        b"BUY" => side::BID,
        b"SELL" => side::ASK,
        _ => return Err(Error::new(Reason::Malformed, side.at)),
    };
    let average = match order.decimal(AP, market.price_scale) {
        Err(Error {
            reason: Reason::ScaleExceeded | Reason::MissingField,
            ..
        }) => PRICE_UNDEF,
        average => average?,
    };
    let ts_event = match order.get(b'T') {
        Some(_) => order.time(b'T')?,
        None => fields.time(b'E')?,
    };
    let price = order.decimal(b'p', market.price_scale)?;
    let size = order.decimal(b'q', market.size_scale)?;
    stage.liquidation(
        market,
        Liquidation {
            ts_event,
            price,
            size,
            average,
            side,
        },
    );
    Ok(())
}

/// The levels of a diff: read where they stand when the fields in front allow it, otherwise at the end. Bids come first.
#[derive(Default)]
struct Levels {
    start: Option<DepthStart>,
    bids: bool,
    asks: bool,
}

impl Levels {
    #[inline]
    fn take<'a>(
        &mut self,
        key: &[u8],
        cursor: &mut Cursor<'a>,
        fields: &mut Fields<'a>,
        stage: &mut Stage,
    ) -> Result<()> {
        let is_bid = key == b"b";
        let (done, before) = if is_bid {
            (self.bids, true)
        } else {
            (self.asks, self.bids)
        };
        let letter = if is_bid { b'b' } else { b'a' };
        if done || fields.get(letter).is_some() {
            return Err(Error::new(Reason::Malformed, cursor.position())); // the key twice
        }
        let is_depth = fields.get(b'e').is_some_and(|kind| kind.bytes == b"depthUpdate");
        if !(is_depth && before && fields.get(b's').is_some()) {
            fields.set(letter, cursor.value()?);
            return Ok(());
        }
        self.read(is_bid, cursor, fields, stage)
    }

    #[inline]
    fn read(&mut self, is_bid: bool, cursor: &mut Cursor<'_>, fields: &Fields<'_>, stage: &mut Stage) -> Result<()> {
        if self.start.is_none() {
            let market = market(fields, stage)?;
            let depth = known_so_far(fields);
            self.start = Some(stage.depth_begin(market, &depth));
        }
        let Some(start) = &self.start else { return Ok(()) };
        if is_bid {
            self.bids = true;
            read_levels(cursor, start, side::BID, stage)
        } else {
            self.asks = true;
            read_levels(cursor, start, side::ASK, stage)
        }
    }

    #[inline]
    fn finish(mut self, fields: &Fields<'_>, stage: &mut Stage) -> Result<()> {
        if !self.bids {
            let bids = fields.need(b'b')?;
            self.read(true, &mut Cursor::at(fields.payload, bids.at), fields, stage)?;
        }
        if !self.asks {
            let asks = fields.need(b'a')?;
            self.read(false, &mut Cursor::at(fields.payload, asks.at), fields, stage)?;
        }
        let Some(start) = self.start else { return Ok(()) };
        let previous = fields.get(PU).map(|_| fields.unsigned(PU)).transpose()?;
        let depth = Depth {
            first: fields.unsigned(b'U')?,
            last: fields.unsigned(b'u')?,
            previous,
            ts_event: engine_time(fields)?,
            snapshot: false,
        };
        stage.depth_end(start, &depth)
    }
}

/// What the fields in front of the levels say of the message: usually everything, so that nothing is written twice.
/// A field that cannot be read is left undefined here: whether it matters is decided when all fields are known.
#[inline]
fn known_so_far(fields: &Fields<'_>) -> Depth {
    let last = fields.unsigned(b'u').unwrap_or(ID_UNDEF);
    let ts_event = engine_time(fields).unwrap_or(TS_UNDEF);
    Depth {
        first: ID_UNDEF,
        last,
        previous: None,
        ts_event,
        snapshot: false,
    }
}

/// `[["price","size"],…]`; more elements in a level are skipped (old spot messages had an empty array there).
#[inline]
fn read_levels(cursor: &mut Cursor<'_>, start: &DepthStart, side: u8, stage: &mut Stage) -> Result<()> {
    let Market {
        price_scale,
        size_scale,
        ..
    } = start.market();
    cursor.expect(b'[')?;
    let mut first = true;
    while cursor.element(&mut first)? {
        cursor.expect(b'[')?;
        let price = cursor.decimal(price_scale)?;
        cursor.expect(b',')?;
        let size = cursor.decimal(size_scale)?;
        let mut more = false;
        while cursor.element(&mut more)? {
            cursor.value()?;
        }
        stage.depth_level(start, side, price, size);
    }
    Ok(())
}

/// Answers to requests: `{"result":null,"id":1}`, `{"error":{…},"id":1}`, `{"code":…,"msg":…}`.
#[derive(Default)]
struct Reply<'a> {
    id: Option<Value<'a>>,
    result: bool,
    error: bool,
}

impl<'a> Reply<'a> {
    #[inline]
    fn take(&mut self, key: &[u8], value: Value<'a>) {
        match key {
            b"id" => self.id = Some(value),
            b"result" => self.result = true,
            b"error" | b"code" => self.error = true,
            _ => {}
        }
    }

    #[cold]
    fn conclude(&self, payload: &[u8], stage: &mut Stage) -> Result<()> {
        if self.error {
            refused(stage, payload);
        } else if let (true, Some(id)) = (self.result, self.id) {
            stage.count("acks");
            stage.notice(NoticeKind::Subscribed, &String::from_utf8_lossy(id.bytes));
        } else {
            return Err(Error::new(Reason::UnknownMessage, 0));
        }
        Ok(())
    }
}
