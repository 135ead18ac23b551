//! Sinopac's Shioaji (Taiwan): frames are versioned JSON of the SDK's objects, written by `gateway/venues/shioaji/wire.py`.
//!
//! `{"v":1,"class":"TickSTKv1","exchange":"TSE",…}`; keys as the SDK's `to_dict` has them, the SDK server's capitals are read
//! too. There is no sequence number: the running volume takes its place (`Numbering::Counted`), and a book is whole in every
//! message. Trial matches and odd lots are instruments of their own, so that no tape and no book mixes them with trades.

use crate::book::sync::Rule;
use crate::decode::continuity::{Numbering, COUNT_BITS};
use crate::decode::json::{Cursor, Shape, Value};
use crate::decode::report::NoticeKind;
use crate::decode::shioaji_ticks::ticks;
use crate::decode::stage::{Depth, Level, Quote, Stage, Trade};
use crate::decode::symbols::Market;
use crate::decode::taiwan::Moment;
use crate::decode::venue::{refused, Request, VenueDecoder};
use crate::error::{Error, Reason, Result};
use crate::event::{flag, side, Kind, ID_UNDEF, PRICE_UNDEF, SIZE_UNDEF};
use crate::topic::Channel;

/// Version of the frame this build reads.
const VERSION: u64 = 1;
/// tickd's names of what trades beside the round lots (`gateway/venues/shioaji/wire.py`).
const ODD_SUFFIX: &[u8] = b"-ODD";
const TRIAL_SUFFIX: &[u8] = b"-TRIAL";
/// Longest symbol with its suffixes; the longest known code has 16 characters.
const SYMBOL_BYTES_MAX: usize = 64;

/// The decoder; it remembers nothing.
#[derive(Debug)]
pub struct Shioaji;

/// What a class of objects says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    StockTick,
    StockBook,
    FuturesTick,
    FuturesBook,
    /// `Quote…v1`: book and last price; its volume may be 0 (the book changed), so it is no tape.
    StockSummary,
    FuturesSummary,
    Index,
    SessionEvent,
    /// The SDK server's own sign of life; proves no market data.
    Heartbeat,
}

fn form(class: &[u8]) -> Option<Form> {
    Some(match class {
        b"TickSTKv1" => Form::StockTick,
        b"BidAskSTKv1" => Form::StockBook,
        b"TickFOPv1" => Form::FuturesTick,
        b"BidAskFOPv1" => Form::FuturesBook,
        b"QuoteSTKv1" => Form::StockSummary,
        b"QuoteFOPv1" => Form::FuturesSummary,
        b"QuoteIdxV1" => Form::Index,
        b"SessionEvent" => Form::SessionEvent,
        b"Heartbeat" => Form::Heartbeat,
        _ => return None,
    })
}

impl Form {
    const fn is_stock(self) -> bool {
        matches!(self, Form::StockTick | Form::StockBook | Form::StockSummary)
    }
}

/// The fields of an object that become events, wherever they stand.
#[derive(Debug, Default)]
struct Fields<'a> {
    version: Option<Value<'a>>,
    class: Option<Value<'a>>,
    code: Option<Value<'a>>,
    date: Option<Value<'a>>,
    time: Option<Value<'a>>,
    close: Option<Value<'a>>,
    volume: Option<Value<'a>>,
    total_volume: Option<Value<'a>>,
    tick_type: Option<Value<'a>>,
    underlying_price: Option<Value<'a>>,
    bid_price: Option<Value<'a>>,
    bid_volume: Option<Value<'a>>,
    ask_price: Option<Value<'a>>,
    ask_volume: Option<Value<'a>>,
    simtrade: bool,
    odd: bool,
    suspend: bool,
    event_code: Option<Value<'a>>,
    info: Option<Value<'a>>,
    end: usize,
}

impl<'a> Fields<'a> {
    fn read(payload: &'a [u8]) -> Result<Self> {
        let mut fields = Fields {
            end: payload.len(),
            ..Fields::default()
        };
        let mut cursor = Cursor::new(payload);
        let mut first = true;
        cursor.expect(b'{')?;
        while let Some(key) = cursor.key(&mut first)? {
            let value = cursor.value()?;
            fields.take(key, value)?;
        }
        cursor.end()?;
        Ok(fields)
    }

    #[inline]
    fn take(&mut self, key: &[u8], value: Value<'a>) -> Result<()> {
        let place = match key {
            b"v" => &mut self.version,
            b"class" => &mut self.class,
            b"code" => &mut self.code,
            b"date" | b"Date" => &mut self.date,
            b"time" | b"Time" => &mut self.time,
            b"close" | b"Close" => &mut self.close,
            b"volume" => &mut self.volume,
            b"total_volume" => &mut self.total_volume,
            b"tick_type" => &mut self.tick_type,
            b"underlying_price" => &mut self.underlying_price,
            b"bid_price" => &mut self.bid_price,
            b"bid_volume" => &mut self.bid_volume,
            b"ask_price" => &mut self.ask_price,
            b"ask_volume" => &mut self.ask_volume,
            b"event_code" => &mut self.event_code,
            b"info" => &mut self.info,
            b"simtrade" => return value.boolean().map(|said| self.simtrade = said),
            b"intraday_odd" => return value.boolean().map(|said| self.odd = said),
            b"suspend" => return value.boolean().map(|said| self.suspend = said),
            _ => return Ok(()),
        };
        *place = Some(value);
        Ok(())
    }

    fn need(&self, field: Option<Value<'a>>) -> Result<Value<'a>> {
        field.ok_or(Error::new(Reason::MissingField, self.end))
    }

    /// The instrument: the code, with what kind of trading it is.
    fn market(&self, stage: &Stage) -> Result<Market> {
        let code = self.need(self.code)?;
        let text = code.text()?;
        if !self.odd && !self.simtrade {
            return stage.market(text, code.at);
        }
        let odd = if self.odd { ODD_SUFFIX } else { b"" };
        let trial = if self.simtrade { TRIAL_SUFFIX } else { b"" };
        let mut symbol = [0_u8; SYMBOL_BYTES_MAX];
        let parts = text.iter().chain(odd).chain(trial);
        let mut len = 0;
        for byte in parts {
            let place = symbol.get_mut(len).ok_or(Error::new(Reason::TooLarge, code.at))?;
            *place = *byte;
            len += 1;
        }
        stage.market(symbol.get(..len).unwrap_or_default(), code.at)
    }

    fn flags(&self) -> u16 {
        (if self.odd { flag::ODD_LOT } else { 0 }) | (if self.simtrade { flag::TRIAL } else { 0 })
    }

    fn moment(&self) -> Result<Moment> {
        Moment::read(&self.need(self.date)?, &self.need(self.time)?)
    }
}

impl VenueDecoder for Shioaji {
    fn venue(&self) -> &'static str {
        "shioaji"
    }

    fn rule(&self) -> Rule {
        Rule::Whole
    }

    fn numbering(&self, channel: Channel) -> Numbering {
        match channel {
            Channel::Trade => Numbering::Counted,
            _ => Numbering::Rising,
        }
    }

    fn text(&self, payload: &[u8], stage: &mut Stage) -> Result<()> {
        let fields = Fields::read(payload)?;
        let version = fields.need(fields.version)?;
        if version.unsigned()? != VERSION {
            return Err(Error::new(Reason::Unsupported, version.at));
        }
        let class = fields.need(fields.class)?;
        let form = form(class.text()?).ok_or(Error::new(Reason::UnknownMessage, class.at))?;
        if fields.suspend {
            stage.count("suspended");
        }
        match form {
            Form::StockTick | Form::FuturesTick => tick(&fields, form, stage),
            Form::StockBook | Form::FuturesBook => book(&fields, form, stage),
            Form::StockSummary => book(&fields, form, stage),
            Form::FuturesSummary => book(&fields, form, stage).and_then(|()| underlying(&fields, stage)),
            Form::Index => index(&fields, stage),
            Form::SessionEvent => session_event(&fields, stage),
            Form::Heartbeat => {
                stage.count("heartbeats");
                Ok(())
            }
        }
    }

    /// Past trades; what other queries bring of instruments becomes control records of the session.
    fn rest(&self, request: &Request<'_>, body: &[u8], stage: &mut Stage) -> Result<()> {
        if request.path == "/ticks" {
            return ticks(body, stage);
        }
        stage.count("rest_ignored");
        Ok(())
    }
}

fn tick(fields: &Fields<'_>, form: Form, stage: &mut Stage) -> Result<()> {
    let market = fields.market(stage)?;
    let moment = fields.moment()?;
    let close = fields.need(fields.close)?.decimal(market.price_scale)?;
    let volume = fields.need(fields.volume)?;
    let said = fields.need(fields.total_volume)?;
    let (added, total) = (volume.unsigned()?, said.unsigned()?);
    if added == 0 {
        // After the close ticks come with the results of odd lots and fixed prices: nothing was traded in them.
        stage.count("ticks_without_volume");
        return Ok(());
    }
    let mut trade = Trade {
        id: total,
        first_id: total.saturating_sub(added).saturating_add(1),
        ts_event: moment.utc_ns(),
        price: close,
        size: volume.decimal(market.size_scale)?,
        side: aggressor(fields.tick_type, stage)?,
        fills: 1,
        flags: fields.flags(),
    };
    if fields.simtrade {
        (trade.id, trade.first_id) = (ID_UNDEF, ID_UNDEF); // nothing was traded: the total stands still
        stage.trade(market, trade);
        stage.count("trial_ticks");
        return Ok(());
    }
    if total >> COUNT_BITS != 0 {
        return Err(Error::new(Reason::Overflow, said.at));
    }
    stage.trade(market, trade);
    stage.in_count(moment.count(form.is_stock()));
    if form == Form::FuturesTick {
        underlying(fields, stage)?;
    }
    Ok(())
}

/// 1: traded at the ask, so a buyer came; 2: at the bid; 0: undetermined.
fn aggressor(tick_type: Option<Value<'_>>, stage: &mut Stage) -> Result<u8> {
    let Some(said) = tick_type else {
        return Ok(side::NONE);
    };
    Ok(match said.unsigned()? {
        1 => side::BID,
        2 => side::ASK,
        0 => side::NONE,
        _ => {
            stage.count("unknown_tick_types");
            side::NONE
        }
    })
}

/// The price of what a contract is on, as the contract's index. 0 where there is none.
fn underlying(fields: &Fields<'_>, stage: &mut Stage) -> Result<()> {
    let Some(said) = fields.underlying_price else {
        return Ok(());
    };
    if fields.simtrade || said.shape == Shape::Word {
        return Ok(());
    }
    let (mantissa, decimals) = said.decimal_own()?;
    if mantissa == 0 {
        return Ok(());
    }
    let level = Level {
        kind: Kind::Index,
        ts_event: fields.moment()?.utc_ns(),
        mantissa,
        decimals,
        id: ID_UNDEF,
    };
    let market = fields.market(stage)?;
    stage.level(market, level);
    Ok(())
}

fn index(fields: &Fields<'_>, stage: &mut Stage) -> Result<()> {
    let market = fields.market(stage)?;
    let (mantissa, decimals) = fields.need(fields.close)?.decimal_own()?;
    let level = Level {
        kind: Kind::Index,
        ts_event: fields.moment()?.utc_ns(),
        mantissa,
        decimals,
        id: ID_UNDEF,
    };
    stage.level(market, level);
    Ok(())
}

/// Best bid and offer, and the five levels as a whole book.
fn book(fields: &Fields<'_>, form: Form, stage: &mut Stage) -> Result<()> {
    let market = fields.market(stage)?;
    let ts_event = fields.moment()?.utc_ns();
    let none = (PRICE_UNDEF, SIZE_UNDEF);
    let ladders = [
        Ladder::new(fields, fields.bid_price, fields.bid_volume)?,
        Ladder::new(fields, fields.ask_price, fields.ask_volume)?,
    ];
    let [bids, asks] = &ladders;
    let quote = Quote {
        id: ID_UNDEF,
        ts_event,
        bid: bids.clone().next(market, form)?.unwrap_or(none),
        ask: asks.clone().next(market, form)?.unwrap_or(none),
    };
    stage.quote(market, quote);
    let id = ts_event.unsigned_abs(); // the only order these messages have
    let depth = Depth {
        first: id,
        last: id,
        previous: None,
        ts_event,
        snapshot: true,
    };
    let start = stage.depth_begin(market, &depth);
    for (mut ladder, side) in ladders.into_iter().zip([side::BID, side::ASK]) {
        while let Some((price, size)) = ladder.next(market, form)? {
            stage.depth_level(&start, side, price, size);
        }
    }
    stage.depth_end(start, &depth)?;
    stage.mark(fields.flags());
    if fields.simtrade {
        stage.count("trial_books");
    }
    Ok(())
}

/// One side of a book: prices and volumes in two arrays.
#[derive(Debug, Clone)]
struct Ladder<'a> {
    prices: Cursor<'a>,
    volumes: Cursor<'a>,
    first: (bool, bool),
    at: usize,
}

impl<'a> Ladder<'a> {
    fn new(fields: &Fields<'a>, prices: Option<Value<'a>>, volumes: Option<Value<'a>>) -> Result<Self> {
        let (prices, volumes) = (fields.need(prices)?, fields.need(volumes)?);
        let inside = |value: Value<'a>| -> Result<Cursor<'a>> {
            let mut cursor = value.cursor();
            cursor.expect(b'[').map_err(|error| value.shifted(error))?;
            Ok(cursor)
        };
        Ok(Ladder {
            prices: inside(prices)?,
            volumes: inside(volumes)?,
            first: (true, true),
            at: prices.at,
        })
    }

    /// The next level that holds something. Levels without volume are padding; a stock's level without a price is the
    /// volume of market orders before an auction.
    fn next(&mut self, market: Market, form: Form) -> Result<Option<(i64, i64)>> {
        let here = |error: Error, at: usize| Error::new(error.reason, error.position + at);
        loop {
            let more = self.prices.element(&mut self.first.0).map_err(|e| here(e, self.at))?;
            if more != self.volumes.element(&mut self.first.1).map_err(|e| here(e, self.at))? {
                return Err(Error::new(Reason::Malformed, self.at));
            }
            if !more {
                return Ok(None);
            }
            let price = self.prices.decimal(market.price_scale).map_err(|e| here(e, self.at))?;
            let size = self.volumes.decimal(market.size_scale).map_err(|e| here(e, self.at))?;
            if size < 0 {
                return Err(Error::new(Reason::Malformed, self.at));
            }
            if size == 0 {
                continue;
            }
            if price == 0 && form.is_stock() {
                continue;
            }
            return Ok(Some((price, size)));
        }
    }
}

/// Solace's session events, as the SDK passes them on. Losses and new beginnings are control records of the session.
fn session_event(fields: &Fields<'_>, stage: &mut Stage) -> Result<()> {
    let info = match fields.info {
        Some(info) => info.text()?,
        None => b"",
    };
    match fields.need(fields.event_code)?.unsigned()? {
        0 | 13 => stage.count("sessions_up"),
        1 => stage.count("sessions_down"),
        2 => stage.count("connects_failed"),
        4 => refused(stage, info),
        5 => stage.count("messages_discarded"),
        12 => stage.count("reconnecting"),
        16 => {
            stage.count("acks");
            stage.notice(NoticeKind::Subscribed, &String::from_utf8_lossy(info));
        }
        _ => stage.count("events_ignored"),
    }
    Ok(())
}
