//! Control records: connections come and go, instruments are defined, frames are missing, the daemon starts.

use std::borrow::Cow;

use serde::Deserialize;

use crate::decode::connections::Connection;
use crate::decode::continuity::Hole;
use crate::decode::slot::{Slot, CHAINED};
use crate::decode::{venues, Conclusion, Decoder, NO_VENUE_TIME};
use crate::error::{Error, Reason, Result};
use crate::event::{flag, side, Event, GapCause, Kind, OrderState};
use crate::instrument::Instrument;
use crate::record::Record;
use crate::topic::Channel;

#[derive(Deserialize)]
struct Connect {
    connection: u32,
    venue: String,
    #[serde(default)]
    backfill: bool,
}

#[derive(Deserialize)]
struct Disconnect {
    connection: u32,
}

#[derive(Deserialize)]
struct Shed {
    connection: u32,
    channels: Vec<String>,
    /// Only these topics of the channels; all of them when absent.
    topics: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Loss {
    connection: u32,
    cause: String,
    from_ns: Option<i64>,
}

#[derive(Deserialize)]
struct Start {
    /// The daemon keeps the ledger of open gaps.
    #[serde(default)]
    ledger: bool,
}

/// The filler gives a gap up; why is for people.
#[derive(Deserialize)]
struct Fill {
    gap: u64,
}

/// Enough to know what the rest is.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
}

/// What became of an order of ours, of an instrument of `venue`.
#[derive(Deserialize)]
struct OrderNews<'a> {
    client_id: u64,
    #[serde(borrow)]
    state: Cow<'a, str>,
    #[serde(borrow)]
    venue: Cow<'a, str>,
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(default)]
    instrument: u32,
    #[serde(borrow)]
    side: Option<Cow<'a, str>>,
    price: Option<i64>,
    size: Option<i64>,
}

#[derive(Deserialize)]
struct Gap {
    cause: String,
    from_frame: Option<u64>,
    to_frame: Option<u64>,
    from_ns: Option<i64>,
    to_ns: Option<i64>,
}

/// How the router's records of orders begin, and nobody else's.
const ORDER_HEAD: &[u8] = br#"{"kind":"order","#;

impl Decoder {
    /// Takes a control record. Errors: `Malformed`, `MissingField`, `Collision`; unknown kinds are counted.
    #[cold]
    pub(super) fn control(&mut self, record: &Record<'_>) -> Result<()> {
        self.stage.begin(0, record.connection, record.frame_no, record.recv_ns);
        let payload = record.payload;
        if payload.starts_with(ORDER_HEAD) {
            // Most records of an order are these: read once. What is wrong with it, the way below says.
            if let Ok(news) = serde_json::from_slice(payload) {
                self.order(&news, record)?;
                let seq = self.stage.next_seq();
                self.conclude(record, seq);
                return Ok(());
            }
        }
        let head: Head<'_> = serde_json::from_slice(payload).map_err(|error| malformed(&error))?;
        let kind = head.kind.ok_or(Error::new(Reason::MissingField, 0))?;
        match kind.as_ref() {
            // Several of these per order, on its way: they are not taken apart twice.
            "risk" => self.stage.count("risk_decisions"),
            "execution" => self.stage.count("executions"),
            "account" => self.stage.count("account_snapshots"),
            "audit" => self.stage.count("audits"),
            "order" => {
                let news = serde_json::from_slice(payload).map_err(|_| Error::new(Reason::MissingField, 0))?;
                self.order(&news, record)?;
            }
            kind => {
                let value: serde_json::Value = serde_json::from_slice(payload).map_err(|error| malformed(&error))?;
                self.rarer(kind, &value, record)?;
            }
        }
        let seq = self.stage.next_seq();
        self.conclude(record, seq);
        Ok(())
    }

    fn rarer(&mut self, kind: &str, value: &serde_json::Value, record: &Record<'_>) -> Result<()> {
        match kind {
            "connect" => self.connect(fields(value)?, record),
            "disconnect" => self.disconnect(&fields(value)?),
            "instrument" => self.define(fields(value)?)?,
            // Both: at this moment the connection does not carry the channels.
            "shed" | "restore" => self.shed(&fields(value)?),
            "loss" => self.loss(&fields(value)?, record),
            "alias" => self.stage.count("aliases"),
            "sdk_event" => self.stage.count("sdk_events"),
            "gap" => self.gap(&fields(value)?, record),
            "fill" => self.give_up(fields::<Fill>(value)?.gap),
            "start" => self.start(&fields(value)?),
            "stop" => self.stage.count("stops"),
            "clock" => self.conclusions.push(Conclusion::Clock),
            "intent" | "cancel" => self.stage.count("intents"),
            // What strategies did, for audits and replays; no market data.
            "strategy" | "state" | "warm" | "failure" | "restart" | "decisions" => self.stage.count("strategy_changes"),
            "conflated" => self.stage.count("conflations"),
            "disk" => self.stage.count("disk_levels"),
            "plan" | "throttle" => self.stage.count("plan_changes"),
            "universe" => self.stage.count("universe_changes"),
            "pause" | "resume" => self.stage.count("pauses_and_resumes"),
            _ => self.stage.count("unknown_control"),
        }
        Ok(())
    }

    /// Makes `instrument` the current definition of its symbol. Errors: `Collision`, `Overflow`.
    pub(super) fn define(&mut self, instrument: Instrument) -> Result<()> {
        let id = self.registry.define(instrument.clone())?;
        let Some(number) = venues::number(&instrument.venue) else {
            return Ok(());
        };
        let Some(decoder) = venues::decoder(number) else {
            return Ok(());
        };
        let (market, changed) = self.stage.symbols.define(number, id, &instrument);
        if market.slot as usize == self.slots.len() {
            self.slots.push(Slot::new(market.slot, decoder));
        }
        if changed {
            // Mantissas mean something else from here on: the book starts again.
            self.close_book(market.slot);
        }
        Ok(())
    }

    fn connect(&mut self, connect: Connect, record: &Record<'_>) {
        let number = venues::number(&connect.venue);
        if number.is_none() {
            self.stage.count("unknown_venue");
        }
        let (connection, venue, backfill) = (connect.connection, connect.venue, connect.backfill);
        self.connections.open(Connection {
            connection,
            venue,
            last_recv_ns: record.recv_ns,
            backfill,
            number,
        });
    }

    fn disconnect(&mut self, disconnect: &Disconnect) {
        let Some(since_ns) = self.connections.close(disconnect.connection) else {
            self.stage.count("unknown_connection");
            return;
        };
        self.lose(disconnect.connection, since_ns, GapCause::Disconnect);
    }

    /// Something that `loss.connection` delivered was let go before it was recorded; the connection lives on.
    fn loss(&mut self, loss: &Loss, record: &Record<'_>) {
        let since_ns = loss.from_ns.unwrap_or(record.recv_ns);
        self.lose(loss.connection, since_ns, cause(&loss.cause));
        self.stage.count("losses");
    }

    fn lose(&mut self, connection: u32, since_ns: i64, cause: GapCause) {
        for (slot, state) in self.slots.iter_mut().enumerate() {
            for channel in CHAINED {
                let Some(chain) = state.chain_mut(channel) else {
                    continue;
                };
                let down = chain.lose(connection, since_ns, cause);
                if down && channel == Channel::Depth {
                    conclude_closed(&mut self.conclusions, state, slot as u32);
                }
            }
        }
    }

    fn shed(&mut self, shed: &Shed) {
        match &shed.topics {
            None => {
                let is_shed = |channel: &Channel| shed.channels.iter().any(|name| name == channel.name());
                for channel in CHAINED.into_iter().filter(is_shed) {
                    for slot in 0..self.slots.len() {
                        self.shed_one(slot as u32, channel, shed.connection);
                    }
                }
            }
            Some(topics) => {
                for topic in topics {
                    // A symbol that is not defined has brought no event yet: nothing to mark.
                    if let Some((slot, channel)) = self.chained(topic) {
                        self.shed_one(slot, channel, shed.connection);
                    }
                }
            }
        }
        self.stage.count("sheds");
    }

    fn shed_one(&mut self, slot: u32, channel: Channel, connection: u32) {
        let Some(state) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let down = state.chain_mut(channel).is_some_and(|chain| chain.shed(connection));
        if down && channel == Channel::Depth {
            conclude_closed(&mut self.conclusions, state, slot);
        }
    }

    /// Slot and channel of a topic name, where its continuity is watched.
    fn chained(&self, topic: &str) -> Option<(u32, Channel)> {
        let mut parts = topic.splitn(3, '.');
        let (channel, venue, symbol) = (parts.next()?, parts.next()?, parts.next()?);
        let channel = CHAINED.into_iter().find(|each| each.name() == channel)?;
        let market = self.stage.symbols.find(venues::number(venue)?, symbol.as_bytes())?;
        Some((market.slot, channel))
    }

    fn gap(&mut self, gap: &Gap, record: &Record<'_>) {
        let cause = cause(&gap.cause);
        let until_ns = gap.to_ns.unwrap_or(record.recv_ns);
        let since_ns = gap.from_ns.unwrap_or(until_ns);
        let range = gap.from_frame.zip(gap.to_frame).filter(|(from, to)| from <= to);
        let missing = range.map(|(from, to)| (to - from).saturating_add(1));
        self.conclusions.push(Conclusion::Frames {
            hole: Hole {
                cause,
                since_ns,
                range,
                missing,
            },
            until_ns,
        });
        self.lose_all(since_ns, cause);
    }

    /// The daemon has started: whatever was connected before is not any more, whether or not it could say so.
    fn start(&mut self, start: &Start) {
        self.without_ledger &= !start.ledger;
        let since_ns = self
            .connections
            .open
            .iter()
            .map(|open| open.last_recv_ns)
            .max()
            .unwrap_or(0);
        self.lose_all(since_ns, GapCause::Restart);
        self.connections.open.clear();
        self.stage.count("starts");
    }

    fn lose_all(&mut self, since_ns: i64, cause: GapCause) {
        for (number, slot) in self.slots.iter_mut().enumerate() {
            for channel in CHAINED {
                let Some(chain) = slot.chain_mut(channel) else { continue };
                let went_down = chain.lose_all(since_ns, cause);
                if went_down && channel == Channel::Depth {
                    conclude_closed(&mut self.conclusions, slot, number as u32);
                }
            }
        }
    }

    /// Errors: `Malformed` for a state, a side or a topic that does not exist.
    fn order(&mut self, news: &OrderNews<'_>, record: &Record<'_>) -> Result<()> {
        let state = OrderState::parse(&news.state).ok_or(Error::new(Reason::Malformed, 0))?;
        let is_part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_part(&news.venue) || news.venue.contains('.') || !is_part(&news.symbol) {
            return Err(Error::new(Reason::Malformed, 0));
        }
        let seq = self.stage.next_seq();
        let mut event = Event::new(Kind::Order, seq, record.recv_ns, record.recv_ns, news.instrument);
        event.id = news.client_id;
        event.aux = state as i64;
        event.price = news.price.unwrap_or(event.price);
        event.size = news.size.unwrap_or(event.size);
        event.side = match news.side.as_deref() {
            None | Some("N") => side::NONE,
            Some("B") => side::BID,
            Some("A") => side::ASK,
            Some(_) => return Err(Error::new(Reason::Malformed, 0)),
        };
        event.flags = flag::SYNTHETIC | flag::LAST;
        let topic = format!("order.{}.{}", news.venue, news.symbol);
        let topic = self.burst.topics.intern(&topic);
        let at = self.stage.events.len();
        self.stage.events.push(event);
        self.burst.run(topic, at, at + 1, record.mono_ns);
        Ok(())
    }

    fn close_book(&mut self, slot: u32) {
        if let Some(state) = self.slots.get_mut(slot as usize) {
            conclude_closed(&mut self.conclusions, state, slot);
        }
    }
}

fn cause(name: &str) -> GapCause {
    match name {
        "restart" => GapCause::Restart,
        "disk" => GapCause::Disk,
        "overflow" => GapCause::Overflow,
        "quarantine" => GapCause::Quarantine,
        "clock" => GapCause::Clock,
        _ => GapCause::Disconnect,
    }
}

fn conclude_closed(conclusions: &mut Vec<Conclusion>, state: &mut Slot, slot: u32) {
    if let Some(verdict) = state.sync.disconnect() {
        conclusions.push(Conclusion::Book {
            slot,
            verdict,
            ts_event: NO_VENUE_TIME,
        });
    }
}

fn fields<T: serde::de::DeserializeOwned>(value: &serde_json::Value) -> Result<T> {
    T::deserialize(value).map_err(|_| Error::new(Reason::MissingField, 0))
}

fn malformed(error: &serde_json::Error) -> Error {
    let reason = if error.is_eof() {
        Reason::Truncated
    } else {
        Reason::Malformed
    };
    Error::new(reason, error.column().saturating_sub(1))
}
