//! The REST replies that are market data: the book, open interest, which no stream carries, and past trades.

use super::{fields, read_levels};
use crate::decode::json::Cursor;
use crate::decode::json::Value;
use crate::decode::stage::{Depth, Level, Stage, Trade};
use crate::decode::symbols::Market;
use crate::decode::venue::Request;
use crate::error::{Error, Reason, Result};
use crate::event::{flag, side, Kind, ID_UNDEF, TS_UNDEF};

/// The REST book. Spot names neither symbol nor time, so the symbol is that of the request.
pub(super) fn depth_snapshot(request: &Request<'_>, body: &[u8], stage: &mut Stage) -> Result<()> {
    let symbol = request.parameter("symbol").ok_or(Error::new(Reason::MissingField, 0))?;
    let market = stage.market(symbol.as_bytes(), 0)?;
    let mut cursor = Cursor::new(body);
    cursor.expect(b'{')?;
    let (mut last, mut bids, mut asks) = (None, None, None);
    let (mut send_time, mut engine_time) = (None, None);
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        let value = cursor.value()?;
        match key {
            b"lastUpdateId" => last = Some(value),
            b"E" => send_time = Some(value),
            b"T" => engine_time = Some(value),
            b"bids" => bids = Some(value),
            b"asks" => asks = Some(value),
            _ => {}
        }
    }
    cursor.end()?;
    let missing = Error::new(Reason::MissingField, body.len());
    let last = last.ok_or(missing.clone())?.unsigned()?;
    let ts_event = engine_time.or(send_time).map_or(Ok(TS_UNDEF), fields::time)?;
    let depth = Depth {
        first: last,
        last,
        previous: None,
        ts_event,
        snapshot: true,
    };
    let start = stage.depth_begin(market, &depth);
    for (side, levels) in [(side::BID, bids), (side::ASK, asks)] {
        let levels = levels.ok_or(missing.clone())?;
        read_levels(&mut Cursor::at(body, levels.at), &start, side, stage)?;
    }
    stage.depth_end(start, &depth)
}

/// `{"symbol":…,"openInterest":…,"time":…}`, futures only.
pub(super) fn open_interest(body: &[u8], stage: &mut Stage) -> Result<()> {
    let mut cursor = Cursor::new(body);
    cursor.expect(b'{')?;
    let (mut symbol, mut interest, mut time) = (None, None, None);
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        let value = cursor.value()?;
        match key {
            b"symbol" => symbol = Some(value),
            b"openInterest" => interest = Some(value),
            b"time" => time = Some(value),
            _ => {}
        }
    }
    cursor.end()?;
    let missing = Error::new(Reason::MissingField, body.len());
    let symbol = symbol.ok_or(missing.clone())?;
    let market = stage.market(symbol.text()?, symbol.at)?;
    let mantissa = interest.ok_or(missing)?.decimal(market.size_scale)?;
    let ts_event = time.map_or(Ok(TS_UNDEF), fields::time)?;
    let decimals = market.size_scale;
    stage.level(
        market,
        Level {
            kind: Kind::OpenInterest,
            ts_event,
            mantissa,
            decimals,
            id: ID_UNDEF,
        },
    );
    Ok(())
}

/// The fields of a past trade, by their long names (`historicalTrades`) or those of the stream (`aggTrades`).
#[derive(Default)]
struct Past<'a> {
    id: Option<Value<'a>>,
    price: Option<Value<'a>>,
    size: Option<Value<'a>>,
    time: Option<Value<'a>>,
    buyer_is_maker: Option<Value<'a>>,
    from: Option<Value<'a>>,
    to: Option<Value<'a>>,
}

/// `[{"id":…,"price":…,"qty":…,"time":…,"isBuyerMaker":…}, …]`, or the same in the letters of the aggregate stream.
///
/// No reply names the symbol, so it is that of the request. Whether a trade is missing or known is not asked here.
pub(super) fn trades(request: &Request<'_>, body: &[u8], flags: u16, stage: &mut Stage) -> Result<()> {
    let symbol = request.parameter("symbol").ok_or(Error::new(Reason::MissingField, 0))?;
    let market = stage.market(symbol.as_bytes(), 0)?;
    let mut cursor = Cursor::new(body);
    cursor.expect(b'[')?;
    let mut first = true;
    while cursor.element(&mut first)? {
        let mut past = Past::default();
        cursor.expect(b'{')?;
        let mut first_key = true;
        while let Some(key) = cursor.key(&mut first_key)? {
            let value = cursor.value()?;
            match key {
                b"id" | b"a" => past.id = Some(value),
                b"price" | b"p" => past.price = Some(value),
                b"qty" | b"q" => past.size = Some(value),
                b"time" | b"T" => past.time = Some(value),
                b"isBuyerMaker" | b"m" => past.buyer_is_maker = Some(value),
                b"f" => past.from = Some(value),
                b"l" => past.to = Some(value),
                _ => {}
            }
        }
        past_trade(&past, market, flags, cursor.position(), stage)?;
    }
    cursor.end()?;
    stage.past_ends();
    Ok(())
}

fn past_trade(past: &Past<'_>, market: Market, flags: u16, at: usize, stage: &mut Stage) -> Result<()> {
    let missing = Error::new(Reason::MissingField, at);
    let (Some(id), Some(price), Some(size), Some(maker)) = (past.id, past.price, past.size, past.buyer_is_maker) else {
        return Err(missing);
    };
    let fills = if flags & flag::AGGREGATE == 0 {
        1
    } else {
        let (Some(from), Some(to)) = (past.from, past.to) else {
            return Err(missing);
        };
        let fills = to.unsigned()?.checked_sub(from.unsigned()?);
        let fills = fills.and_then(|more| i64::try_from(more).ok()?.checked_add(1));
        fills.ok_or(Error::new(Reason::Overflow, to.at))?
    };
    let id = id.unsigned()?;
    let trade = Trade {
        id,
        first_id: id,
        ts_event: past.time.map_or(Ok(TS_UNDEF), fields::time)?,
        price: price.decimal(market.price_scale)?,
        size: size.decimal(market.size_scale)?,
        side: if maker.boolean()? { side::ASK } else { side::BID },
        fills,
        flags,
    };
    stage.trade(market, trade);
    Ok(())
}
