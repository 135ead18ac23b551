//! The REST replies that are market data: the book, and open interest, which no stream carries.

use super::{fields, read_levels};
use crate::decode::json::Cursor;
use crate::decode::stage::{Depth, Level, Stage};
use crate::decode::venue::Request;
use crate::error::{Error, Reason, Result};
use crate::event::{side, Kind, ID_UNDEF, TS_UNDEF};

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
