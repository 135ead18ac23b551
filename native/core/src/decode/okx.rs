//! OKX v5: public and business channels, all markets in one numbering of sequence ids.
//!
//! Messages are `{"arg":{channel, instId}, "action"?, "data":[..]}`; events of the connection are `{"event":..}`; the answer
//! to a ping is the text `pong`. `trades` merges fills (`count`) and is the aggregate channel, `trades-all` has one per fill.

use crate::book::sync::Rule;
use crate::decode::json::{Cursor, Value};
use crate::decode::okx_checksum::Checked;
use crate::decode::report::NoticeKind;
use crate::decode::stage::{Depth, DepthStart, Level, Quote, Stage, Trade};
use crate::decode::symbols::Market;
use crate::decode::venue::{refused, Request, VenueDecoder};
use crate::error::{Error, Reason, Result};
use crate::event::{flag, side, Kind, ID_UNDEF, PRICE_UNDEF, SIZE_UNDEF, TS_UNDEF};

const NS_PER_MS: i64 = 1_000_000;
/// An index has the name of a pair that is also a spot instrument; tickd's name of it ends so (`gateway/venues/okx/wire.py`).
const INDEX_SUFFIX: &[u8] = b"-INDEX";

/// The decoder; it remembers nothing.
#[derive(Debug)]
pub struct Okx;

/// The channels that give events, by the form of their data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `books` and its deeper, faster sisters: snapshot and updates.
    Book,
    /// `bbo-tbt`, `books5`: the best levels, whole each time. Only the best pair becomes events; the rest is in the raw log.
    Best,
    Trades,
    Value {
        kind: Kind,
        field: &'static [u8],
    },
}

fn form(channel: &[u8]) -> Option<Form> {
    let value = |kind, field| Some(Form::Value { kind, field });
    match channel {
        b"books" | b"books-l2-tbt" | b"books50-l2-tbt" => Some(Form::Book),
        b"bbo-tbt" | b"books5" => Some(Form::Best),
        b"trades" | b"trades-all" => Some(Form::Trades),
        b"funding-rate" => value(Kind::Funding, b"fundingRate"),
        b"mark-price" => value(Kind::Mark, b"markPx"),
        b"index-tickers" => value(Kind::Index, b"idxPx"),
        b"open-interest" => value(Kind::OpenInterest, b"oi"),
        _ => None,
    }
}

/// Channel and instrument of a message.
#[derive(Debug, Clone, Copy)]
struct Arg<'a> {
    channel: &'a [u8],
    symbol: &'a [u8],
    at: usize,
}

/// The top level of a message, as far as it was read.
#[derive(Debug, Default)]
struct Envelope<'a> {
    arg: Option<Arg<'a>>,
    /// `Some(true)` for `snapshot`.
    snapshot: Option<bool>,
    event: Option<Value<'a>>,
    /// Where `data` begins when it came before what is needed to read it.
    data: Option<Cursor<'a>>,
    read: bool,
}

impl VenueDecoder for Okx {
    fn venue(&self) -> &'static str {
        "okx"
    }

    fn rule(&self) -> Rule {
        Rule::Okx
    }

    fn text(&self, payload: &[u8], stage: &mut Stage) -> Result<()> {
        if payload == b"pong" {
            stage.notice(NoticeKind::Pong, "");
            stage.count("pongs");
            return Ok(());
        }
        let mut cursor = Cursor::new(payload);
        let mut envelope = Envelope::default();
        let mut first = true;
        cursor.expect(b'{')?;
        while let Some(key) = cursor.key(&mut first)? {
            match key {
                b"arg" => envelope.arg = Some(arg(&mut cursor)?),
                b"action" => envelope.snapshot = Some(cursor.value()?.text()? == b"snapshot"),
                b"event" => envelope.event = Some(cursor.value()?),
                b"data" => envelope.data(&mut cursor, stage)?,
                _ => {
                    cursor.value()?;
                }
            }
        }
        cursor.end()?;
        if let Some(event) = envelope.event {
            return connection_event(event.text()?, envelope.arg, payload, stage);
        }
        match envelope.data.take() {
            Some(mut deferred) => envelope.read(&mut deferred, stage),
            None if envelope.read => Ok(()),
            None => Err(Error::new(Reason::UnknownMessage, 0)),
        }
    }

    /// `trades` names the last fill that a message merges.
    fn merged_by_trade_id(&self) -> bool {
        true
    }

    /// Past trades; instrument lists become control records of the session, their replies say nothing else.
    fn rest(&self, request: &Request<'_>, body: &[u8], stage: &mut Stage) -> Result<()> {
        if request.path.rsplit('/').next() == Some("history-trades") {
            return past_trades(request, body, stage);
        }
        stage.count("rest_ignored");
        Ok(())
    }
}

impl<'a> Envelope<'a> {
    /// `data` is next: read it if everything that its meaning depends on was there already.
    fn data(&mut self, cursor: &mut Cursor<'a>, stage: &mut Stage) -> Result<()> {
        let is_book = self.arg.is_some_and(|arg| form(arg.channel) == Some(Form::Book));
        if self.arg.is_some() && (self.snapshot.is_some() || !is_book) {
            return self.read(cursor, stage);
        }
        self.data = Some(cursor.clone());
        cursor.value().map(|_| ())
    }

    fn read(&mut self, cursor: &mut Cursor<'a>, stage: &mut Stage) -> Result<()> {
        self.read = true;
        let arg = self.arg.ok_or(Error::new(Reason::MissingField, 0))?;
        let form = form(arg.channel).ok_or(Error::new(Reason::UnknownMessage, arg.at))?;
        let market = match form {
            Form::Value { kind: Kind::Index, .. } => stage.market(&[arg.symbol, INDEX_SUFFIX].concat(), arg.at)?,
            _ => stage.market(arg.symbol, arg.at)?,
        };
        let snapshot = self.snapshot;
        cursor.expect(b'[')?;
        let mut first = true;
        while cursor.element(&mut first)? {
            match form {
                Form::Book => {
                    let snapshot = snapshot.ok_or(Error::new(Reason::MissingField, cursor.position()))?;
                    book(cursor, market, snapshot, stage)?;
                }
                Form::Best => best(cursor, market, stage)?,
                Form::Trades => trade(cursor, market, stage)?,
                Form::Value { kind, field } => value(cursor, market, kind, field, stage)?,
            }
        }
        Ok(())
    }
}

fn arg<'a>(cursor: &mut Cursor<'a>) -> Result<Arg<'a>> {
    let at = cursor.position();
    let (mut channel, mut symbol) = (&b""[..], &b""[..]);
    cursor.expect(b'{')?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        let value = cursor.value()?;
        match key {
            b"channel" => channel = value.text()?,
            b"instId" => symbol = value.text()?,
            _ => {}
        }
    }
    Ok(Arg { channel, symbol, at })
}

/// `subscribe`, `error`, `notice` …: words about the connection.
fn connection_event(event: &[u8], arg: Option<Arg<'_>>, payload: &[u8], stage: &mut Stage) -> Result<()> {
    match event {
        b"subscribe" => {
            let arg = arg.ok_or(Error::new(Reason::MissingField, 0))?;
            let (channel, symbol) = (
                String::from_utf8_lossy(arg.channel),
                String::from_utf8_lossy(arg.symbol),
            );
            stage.count("acks");
            stage.notice(NoticeKind::Subscribed, &format!("{channel}:{symbol}"));
        }
        b"unsubscribe" => stage.count("acks"),
        b"error" => refused(stage, payload),
        // Code 64008: the connection will be closed for an upgrade; reconnect.
        b"notice" => stage.notice(NoticeKind::Shutdown, &String::from_utf8_lossy(payload)),
        _ => stage.count("events_ignored"),
    }
    Ok(())
}

/// `{"code":"0","msg":"","data":[{…}, …]}`, newest first; each element is a message of `trades-all`. What the venue refuses it
/// refuses with status 200 and another code.
fn past_trades(request: &Request<'_>, body: &[u8], stage: &mut Stage) -> Result<()> {
    let symbol = request.parameter("instId").ok_or(Error::new(Reason::MissingField, 0))?;
    let market = stage.market(symbol.as_bytes(), 0)?;
    let mut cursor = Cursor::new(body);
    let (mut code, mut data) = (None, None);
    cursor.expect(b'{')?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"data" => {
                data = Some(cursor.clone());
                cursor.value()?;
            }
            b"code" => code = Some(cursor.value()?),
            _ => {
                cursor.value()?;
            }
        }
    }
    cursor.end()?;
    let code = code.ok_or(missing(&cursor))?;
    if code.text()? != b"0" {
        refused(stage, body);
        return Ok(());
    }
    let mut data = data.ok_or(missing(&cursor))?;
    data.expect(b'[')?;
    let mut first = true;
    while data.element(&mut first)? {
        trade(&mut data, market, stage)?;
    }
    stage.past_ends();
    Ok(())
}

fn missing(cursor: &Cursor<'_>) -> Error {
    Error::new(Reason::MissingField, cursor.position())
}

/// Milliseconds as text, to ns.
fn time(value: &Value<'_>) -> Result<i64> {
    i64::try_from(value.unsigned()?)
        .ok()
        .and_then(|ms| ms.checked_mul(NS_PER_MS))
        .ok_or(Error::new(Reason::Overflow, value.at))
}

/// A sequence id; −1 is "none".
fn sequence(value: &Value<'_>) -> Result<Option<u64>> {
    if value.bytes == b"-1" {
        return Ok(None);
    }
    value.unsigned().map(Some)
}

/// `[price, size, "0", orders]`, the cursor in front of it.
#[inline]
fn level(cursor: &mut Cursor<'_>, market: Market) -> Result<(i64, i64)> {
    cursor.expect(b'[')?;
    let price = cursor.decimal(market.price_scale)?;
    cursor.expect(b',')?;
    let size = cursor.decimal(market.size_scale)?;
    let mut first = false;
    while cursor.element(&mut first)? {
        cursor.value()?;
    }
    Ok((price, size))
}

fn levels(cursor: &mut Cursor<'_>, start: &DepthStart, side: u8, market: Market, stage: &mut Stage) -> Result<()> {
    cursor.expect(b'[')?;
    let mut first = true;
    while cursor.element(&mut first)? {
        let (price, size) = level(cursor, market)?;
        stage.depth_level(start, side, price, size);
    }
    Ok(())
}

fn book<'a>(cursor: &mut Cursor<'a>, market: Market, snapshot: bool, stage: &mut Stage) -> Result<()> {
    let mut depth = Depth {
        first: ID_UNDEF,
        last: ID_UNDEF,
        previous: None,
        ts_event: TS_UNDEF,
        snapshot,
    };
    let start = stage.depth_begin(market, &depth);
    let (mut bids, mut asks): (Option<Cursor<'a>>, Option<Cursor<'a>>) = (None, None);
    let (mut id, mut chained, mut checksum) = (None, false, None);
    cursor.expect(b'{')?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"bids" => {
                bids = Some(cursor.clone());
                levels(cursor, &start, side::BID, market, stage)?;
            }
            b"asks" => {
                asks = Some(cursor.clone());
                levels(cursor, &start, side::ASK, market, stage)?;
            }
            b"ts" => depth.ts_event = time(&cursor.value()?)?,
            b"seqId" => id = sequence(&cursor.value()?)?,
            b"prevSeqId" => {
                depth.previous = sequence(&cursor.value()?)?;
                chained = true;
            }
            b"checksum" => checksum = Some(cursor.value()?),
            _ => {
                cursor.value()?;
            }
        }
    }
    match id {
        Some(_) if !chained => return Err(missing(cursor)),
        Some(id) => depth.last = id,
        // Recordings before sequence ids: the time orders the messages, the checksum proves them.
        None => {
            depth.last = u64::try_from(depth.ts_event)
                .ok()
                .filter(|_| depth.ts_event != TS_UNDEF)
                .ok_or(missing(cursor))?
        }
    }
    depth.first = depth.last;
    stage.depth_end(start, &depth)?;
    if let (None, Some(checksum)) = (id, checksum) {
        let checked = Checked {
            market,
            snapshot,
            bids,
            asks,
            checksum,
        };
        stage.okx_check(&checked)?;
    }
    Ok(())
}

/// The best level of each side.
fn best(cursor: &mut Cursor<'_>, market: Market, stage: &mut Stage) -> Result<()> {
    let none = (PRICE_UNDEF, SIZE_UNDEF);
    let mut quote = Quote {
        id: ID_UNDEF,
        ts_event: TS_UNDEF,
        bid: none,
        ask: none,
    };
    cursor.expect(b'{')?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"bids" => quote.bid = first_level(cursor, market)?.unwrap_or(none),
            b"asks" => quote.ask = first_level(cursor, market)?.unwrap_or(none),
            b"ts" => quote.ts_event = time(&cursor.value()?)?,
            b"seqId" => quote.id = sequence(&cursor.value()?)?.unwrap_or(ID_UNDEF),
            _ => {
                cursor.value()?;
            }
        }
    }
    stage.quote(market, quote);
    Ok(())
}

fn first_level(cursor: &mut Cursor<'_>, market: Market) -> Result<Option<(i64, i64)>> {
    let mut found = None;
    cursor.expect(b'[')?;
    let mut first = true;
    while cursor.element(&mut first)? {
        if found.is_none() {
            found = Some(level(cursor, market)?);
        } else {
            cursor.value()?;
        }
    }
    Ok(found)
}

fn trade(cursor: &mut Cursor<'_>, market: Market, stage: &mut Stage) -> Result<()> {
    let (mut id, mut price, mut size, mut ts_event, mut side, mut count) = (None, None, None, None, None, None);
    cursor.expect(b'{')?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match key {
            b"tradeId" => id = Some(cursor.value()?.unsigned()?),
            b"px" => price = Some(cursor.decimal(market.price_scale)?),
            b"sz" => size = Some(cursor.decimal(market.size_scale)?),
            b"ts" => ts_event = Some(time(&cursor.value()?)?),
            b"side" => side = Some(aggressor(&cursor.value()?)?),
            b"count" => count = Some(cursor.value()?.unsigned()?.max(1)),
            _ => {
                cursor.value()?;
            }
        }
    }
    let (Some(id), Some(price), Some(size), Some(ts_event), Some(side)) = (id, price, size, ts_event, side) else {
        return Err(missing(cursor));
    };
    // `count` marks the merging channel also when it merged nothing: one channel, one topic, one numbering.
    let fills = count.unwrap_or(1);
    let trade = Trade {
        id,
        first_id: id.saturating_sub(fills - 1),
        ts_event,
        price,
        size,
        side,
        fills: i64::try_from(fills).map_err(|_| Error::new(Reason::Overflow, cursor.position()))?,
        flags: if count.is_some() { flag::AGGREGATE } else { 0 },
    };
    stage.trade(market, trade);
    Ok(())
}

/// `side` is the taker's.
fn aggressor(value: &Value<'_>) -> Result<u8> {
    match value.text()? {
        b"buy" => Ok(side::BID),
        b"sell" => Ok(side::ASK),
        _ => Err(Error::new(Reason::Malformed, value.at)),
    }
}

fn value(cursor: &mut Cursor<'_>, market: Market, kind: Kind, field: &[u8], stage: &mut Stage) -> Result<()> {
    let (mut said, mut ts_event, mut id) = (None, TS_UNDEF, ID_UNDEF);
    cursor.expect(b'{')?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        let value = cursor.value()?;
        match key {
            b"ts" => ts_event = time(&value)?,
            b"fundingTime" => id = time(&value)? as u64,
            _ if key == field => said = Some(value).filter(|value| !value.bytes.is_empty()),
            _ => {}
        }
    }
    let Some(said) = said else {
        // Recorded: a funding message before the first rate of a new contract.
        stage.count("values_empty");
        return Ok(());
    };
    let (mantissa, decimals) = match kind {
        Kind::OpenInterest => (said.decimal(market.size_scale)?, market.size_scale),
        _ => said.decimal_own()?,
    };
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
}
