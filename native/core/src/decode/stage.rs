//! What one frame says, while it is being read: the only thing a venue decoder writes to.
//!
//! Nothing here is final. When the venue decoder refuses the frame, the stage goes back to where the frame began; when it
//! accepts, `Decoder` judges each message (duplicate? gap?) and keeps or drops it whole. No rule of continuity lives here.

use crate::decode::continuity::COUNT_BITS;
use crate::decode::okx_checksum::{Checked, TextBooks};
use crate::decode::report::{NoticeKind, Report};
use crate::decode::symbols::{Market, Symbols};
use crate::error::{Error, Reason, Result};
use crate::event::{flag, side, Event, Kind, ID_UNDEF, PRICE_UNDEF, SEQ_INDEX_BITS, SIZE_UNDEF, TS_UNDEF};
use crate::topic::Channel;

/// A trade as the venue said it.
#[derive(Debug, Clone, Copy)]
pub struct Trade {
    /// Venue id.
    pub id: u64,
    /// First id this message accounts for in the channel's numbering; equal to `id` unless it merges several.
    pub first_id: u64,
    /// Venue time, ns, or `TS_UNDEF`.
    pub ts_event: i64,
    /// Mantissa.
    pub price: i64,
    /// Mantissa.
    pub size: i64,
    /// The aggressor's side.
    pub side: u8,
    /// Number of fills.
    pub fills: i64,
    /// `flag::AGGREGATE` and `flag::OFF_BOOK` where they apply; AGGREGATE also chooses the channel.
    pub flags: u16,
}

/// A best bid and offer; a missing side has undefined price and size.
#[derive(Debug, Clone, Copy)]
pub struct Quote {
    /// Update id, or `ID_UNDEF`.
    pub id: u64,
    /// Venue time, ns, or `TS_UNDEF`.
    pub ts_event: i64,
    /// Bid price and size.
    pub bid: (i64, i64),
    /// Ask price and size.
    pub ask: (i64, i64),
}

/// The identity of a depth message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// First update id in it.
    pub first: u64,
    /// Last update id in it.
    pub last: u64,
    /// Last id of the message before it, where the venue says so.
    pub previous: Option<u64>,
    /// Venue time, ns, or `TS_UNDEF`.
    pub ts_event: i64,
    /// A whole book, not a change.
    pub snapshot: bool,
}

/// A mark price, index price, funding rate or open interest.
#[derive(Debug, Clone, Copy)]
pub struct Level {
    /// `Mark`, `Index`, `Funding` or `OpenInterest`.
    pub kind: Kind,
    /// Venue time, ns, or `TS_UNDEF`.
    pub ts_event: i64,
    /// Mantissa in its own decimals (open interest: in the size scale).
    pub mantissa: i64,
    /// Decimals of the mantissa.
    pub decimals: u8,
    /// Next funding time in ns, or `ID_UNDEF`.
    pub id: u64,
}

/// A forced order.
#[derive(Debug, Clone, Copy)]
pub struct Liquidation {
    /// Venue time, ns.
    pub ts_event: i64,
    /// Order price.
    pub price: i64,
    /// Order size.
    pub size: i64,
    /// Average price at the price scale, or `PRICE_UNDEF` where the scale does not hold it exactly.
    pub average: i64,
    /// Side of the forced order, which is the aggressor.
    pub side: u8,
}

/// One venue message in the stage: a run of events that stays together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    pub slot: u32,
    pub channel: Channel,
    pub snapshot: bool,
    /// Events `[start, stop)` of the stage.
    pub start: usize,
    pub stop: usize,
    pub first: u64,
    pub last: u64,
    pub previous: Option<u64>,
    pub ts_event: i64,
    /// Something else than the ids proved the book wrong: what was said, what was reckoned.
    pub distrust: Option<(u64, u64)>,
}

/// The stage; see the module.
#[derive(Debug, Default)]
pub struct Stage {
    pub(crate) events: Vec<Event>,
    pub(crate) messages: Vec<Message>,
    pub(crate) symbols: Symbols,
    pub(crate) report: Report,
    pub(crate) okx_texts: TextBooks,
    /// First event of the frame being read.
    base: usize,
    venue: u16,
    connection: u32,
    frame_no: u64,
    recv_ns: i64,
}

impl Stage {
    /// Begins a frame.
    #[inline]
    pub(crate) fn begin(&mut self, venue: u16, connection: u32, frame_no: u64, recv_ns: i64) {
        self.base = self.events.len();
        self.messages.clear();
        self.venue = venue;
        self.connection = connection;
        self.frame_no = frame_no;
        self.recv_ns = recv_ns;
    }

    /// The first event of the frame being read.
    #[inline]
    pub(crate) const fn base(&self) -> usize {
        self.base
    }

    /// Forgets what the frame has said so far.
    pub(crate) fn roll_back(&mut self) {
        self.events.truncate(self.base);
        self.messages.clear();
    }

    /// Receive stamp of the frame, ns.
    pub const fn recv_ns(&self) -> i64 {
        self.recv_ns
    }

    /// Sequence number of the next event of the frame.
    #[inline]
    pub(crate) fn next_seq(&self) -> u64 {
        (self.frame_no << SEQ_INDEX_BITS).wrapping_add((self.events.len() - self.base) as u64)
    }

    /// The market of `symbol`, which stands at byte `at` of the frame. Errors: `UnknownInstrument`.
    #[inline]
    pub fn market(&self, symbol: &[u8], at: usize) -> Result<Market> {
        self.symbols
            .find(self.venue, symbol)
            .ok_or(Error::new(Reason::UnknownInstrument, at))
    }

    /// A trade.
    #[inline]
    pub fn trade(&mut self, market: Market, trade: Trade) {
        let start = self.events.len();
        let blank = self.blank(market, Kind::Trade, trade.ts_event);
        self.push(Event {
            id: trade.id,
            price: trade.price,
            size: trade.size,
            aux: trade.fills,
            side: trade.side,
            flags: blank.flags | trade.flags | flag::LAST,
            ..blank
        });
        let channel = if trade.flags & flag::AGGREGATE == 0 {
            Channel::Trade
        } else {
            Channel::AggTrade
        };
        self.message(market, channel, start, trade.first_id, trade.id, trade.ts_event);
    }

    /// A best bid and offer: two events.
    #[inline]
    pub fn quote(&mut self, market: Market, quote: Quote) {
        let start = self.events.len();
        let blank = Event {
            id: quote.id,
            ..self.blank(market, Kind::Quote, quote.ts_event)
        };
        let (price, size) = quote.bid;
        self.push(Event {
            price,
            size,
            side: side::BID,
            ..blank
        });
        let (price, size) = quote.ask;
        self.push(Event {
            price,
            size,
            side: side::ASK,
            seq: self.next_seq(),
            flags: blank.flags | flag::LAST,
            ..blank
        });
        let id = if quote.id == ID_UNDEF {
            time_id(quote.ts_event)
        } else {
            quote.id
        };
        self.message(market, Channel::Quote, start, id, id, quote.ts_event);
    }

    /// Begins a depth message: its head, which `depth_end` completes. Levels follow, bids before asks.
    ///
    /// `depth` may still hold undefined fields when the message has not named them yet.
    #[inline]
    pub fn depth_begin(&mut self, market: Market, depth: &Depth) -> DepthStart {
        let at = self.events.len();
        let head = Event {
            id: depth.last,
            ..self.blank(market, Kind::DepthHead, depth.ts_event)
        };
        self.push(head);
        DepthStart {
            at,
            level: Event {
                kind: Kind::Depth as u8,
                ..head
            },
            begun: *depth,
            market,
        }
    }

    /// One level; size 0 deletes.
    #[inline]
    pub fn depth_level(&mut self, start: &DepthStart, side: u8, price: i64, size: i64) {
        let index = self.events.len() - start.at;
        self.push(Event {
            price,
            size,
            side,
            seq: start.level.seq + index as u64,
            aux: index as i64 - 1,
            ..start.level
        });
    }

    /// Completes the depth message. Errors: `Overflow` when an id does not fit an i64.
    pub fn depth_end(&mut self, start: DepthStart, depth: &Depth) -> Result<()> {
        let over = |_| Error::new(Reason::Overflow, 0);
        let first = i64::try_from(depth.first).map_err(over)?;
        let previous = depth
            .previous
            .map_or(Ok(SIZE_UNDEF), |id| i64::try_from(id).map_err(over))?;
        let snapshot = if depth.snapshot { flag::SNAPSHOT } else { 0 };
        let said = |depth: &Depth| (depth.last, depth.ts_event);
        let recv_ns = self.recv_ns;
        let Some(events) = self.events.get_mut(start.at..) else {
            return Ok(());
        };
        if said(&start.begun) != said(depth) || depth.snapshot {
            for event in events.iter_mut() {
                event.id = depth.last;
                event.ts_event = depth.ts_event;
                event.flags = time_flags(depth.ts_event, recv_ns) | snapshot;
            }
        }
        let levels = events.len() as i64 - 1;
        if let Some(head) = events.first_mut() {
            head.price = first;
            head.size = previous;
            head.aux = levels;
        }
        if let Some(last) = events.last_mut() {
            last.flags |= flag::LAST;
        }
        self.message(
            start.market,
            Channel::Depth,
            start.at,
            depth.first,
            depth.last,
            depth.ts_event,
        );
        if let Some(message) = self.messages.last_mut() {
            message.previous = depth.previous;
            message.snapshot = depth.snapshot;
        }
        Ok(())
    }

    /// A mark price, index price, funding rate or open interest.
    pub fn level(&mut self, market: Market, level: Level) {
        let start = self.events.len();
        let blank = self.blank(market, level.kind, level.ts_event);
        let (price, size, aux) = match level.kind {
            Kind::OpenInterest => (PRICE_UNDEF, level.mantissa, 0),
            _ => (level.mantissa, SIZE_UNDEF, i64::from(level.decimals)),
        };
        self.push(Event {
            id: level.id,
            price,
            size,
            aux,
            flags: blank.flags | flag::LAST,
            ..blank
        });
        let id = time_id(level.ts_event);
        self.message(market, Channel::of(level.kind, false), start, id, id, level.ts_event);
    }

    /// A forced order.
    pub fn liquidation(&mut self, market: Market, order: Liquidation) {
        let start = self.events.len();
        let blank = self.blank(market, Kind::Liquidation, order.ts_event);
        self.push(Event {
            price: order.price,
            size: order.size,
            aux: order.average,
            side: order.side,
            flags: blank.flags | flag::LAST,
            ..blank
        });
        let id = time_id(order.ts_event);
        self.message(market, Channel::Liquidation, start, id, id, order.ts_event);
    }

    /// Checks the depth message that was staged last against its checksum; a mismatch is noted on it: its book is wrong,
    /// whatever its ids say.
    #[cold]
    pub(super) fn okx_check(&mut self, checked: &Checked<'_>) -> Result<()> {
        let mismatch = self.okx_texts.check(checked)?;
        if let Some(message) = self.messages.last_mut() {
            message.distrust = mismatch.map(|(said, reckoned)| (u64::from(said), u64::from(reckoned)));
        }
        self.count("checksums");
        Ok(())
    }

    /// Sets `flags` on everything the frame has said so far.
    pub fn mark(&mut self, flags: u16) {
        for event in self.events.iter_mut().skip(self.base) {
            event.flags |= flags;
        }
    }

    /// The trade that was staged last belongs to count number `count`: its ids are totals of that count.
    pub fn in_count(&mut self, count: u64) {
        if let Some(message) = self.messages.last_mut() {
            message.first |= count << COUNT_BITS;
            message.last |= count << COUNT_BITS;
        }
    }

    /// The reply about the past is read to its end; one that brought no trade is counted as that.
    pub(crate) fn past_ends(&mut self) {
        if self.messages.is_empty() {
            self.count("past_empty");
        }
    }

    /// Tells the session that owns the connection.
    pub fn notice(&mut self, kind: NoticeKind, text: &str) {
        self.report.notice(self.connection, self.frame_no, kind, text);
    }

    /// Adds 1 to a counter of the frame kinds that give no event (`acks`, `rest_ignored` …).
    pub fn count(&mut self, name: &'static str) {
        self.report.count(name, 1);
    }

    #[inline(always)]
    fn push(&mut self, event: Event) {
        self.events.push(event);
    }

    #[inline(always)]
    fn blank(&self, market: Market, kind: Kind, ts_event: i64) -> Event {
        let mut event = Event::new(kind, self.next_seq(), ts_event, self.recv_ns, market.instrument);
        event.flags = time_flags(ts_event, self.recv_ns);
        event
    }

    #[inline(always)]
    fn message(&mut self, market: Market, channel: Channel, start: usize, first: u64, last: u64, ts_event: i64) {
        let (slot, stop) = (market.slot, self.events.len());
        self.messages.push(Message {
            slot,
            channel,
            snapshot: false,
            start,
            stop,
            first,
            last,
            previous: None,
            ts_event,
            distrust: None,
        });
    }
}

/// An open depth message.
#[derive(Debug)]
pub struct DepthStart {
    at: usize,
    level: Event,
    begun: Depth,
    market: Market,
}

impl DepthStart {
    /// The market of the message.
    #[inline]
    pub const fn market(&self) -> Market {
        self.market
    }
}

/// The flags that follow from the two times.
#[inline(always)]
pub(crate) fn time_flags(ts_event: i64, recv_ns: i64) -> u16 {
    if ts_event == TS_UNDEF {
        flag::NO_EVENT_TIME
    } else if ts_event > recv_ns {
        flag::SKEW
    } else {
        0
    }
}

/// The number that orders messages without an id: their time.
fn time_id(ts_event: i64) -> u64 {
    if ts_event == TS_UNDEF {
        ID_UNDEF
    } else {
        ts_event.max(0) as u64
    }
}
