//! Events to rows: joins quote pairs and depth messages, so that one row is one venue message (or one trade).

use super::schema::Table;
use crate::event::{flag, side, Event, GapCause, Kind, ID_UNDEF, PRICE_UNDEF, SIZE_UNDEF, TS_UNDEF};
use crate::reuse;

/// Price and size mantissa of a level.
pub(super) type Level = (i64, i64);

/// A stretch of a level list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    /// First level.
    pub start: u32,
    /// One past the last level.
    pub stop: u32,
}

/// One row before it is laid out in columns. `a` to `d` and `id` are the table's own columns, see `Rows::push`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub seq: u64,
    pub ts_recv: i64,
    pub ts_event: i64,
    pub id: u64,
    pub a: i64,
    pub b: i64,
    pub c: i64,
    pub d: i64,
    pub instrument: u32,
    pub flags: u16,
    pub price_scale: u8,
    pub size_scale: u8,
    pub table: Table,
    /// The enum column of the table: side, kind or cause.
    pub tag: i8,
    pub bids: Span,
    pub asks: Span,
}

/// The rows of one burst, with the levels that its book rows point into.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub rows: Vec<Row>,
    pub bids: Vec<Level>,
    pub asks: Vec<Level>,
    /// Events that no table holds.
    pub unstored: u64,
}

impl Rows {
    pub fn clear(&mut self) {
        reuse::empty(&mut self.rows);
        reuse::empty(&mut self.bids);
        reuse::empty(&mut self.asks);
        self.unstored = 0;
    }

    /// Takes whole venue messages; `scales` gives (price, size) decimals of an instrument.
    pub fn push(&mut self, events: &[Event], mut scales: impl FnMut(u32) -> (u8, u8)) {
        let mut rest = events;
        while let Some((event, after)) = rest.split_first() {
            let Some(table) = Table::of(event.kind) else {
                self.unstored += 1;
                rest = after;
                continue;
            };
            let mut row = start(event, table, scales(event.instrument));
            rest = match table {
                Table::Quotes => quote(&mut row, event, after),
                Table::Book => self.book(&mut row, event, after),
                _ => {
                    if !single(&mut row, event) {
                        self.unstored += 1;
                        rest = after;
                        continue;
                    }
                    after
                }
            };
            self.rows.push(row);
        }
    }

    /// a = first id, b = previous id; the levels that follow belong to it.
    fn book<'a>(&mut self, row: &mut Row, head: &Event, after: &'a [Event]) -> &'a [Event] {
        row.bids = Span {
            start: self.bids.len() as u32,
            stop: self.bids.len() as u32,
        };
        row.asks = Span {
            start: self.asks.len() as u32,
            stop: self.asks.len() as u32,
        };
        (row.a, row.b) = (undefined_id(ID_UNDEF), undefined_id(ID_UNDEF));
        let mut levels = 0;
        if head.kind == Kind::DepthHead as u8 {
            row.a = undefined_or(head.price, PRICE_UNDEF);
            row.b = undefined_or(head.size, SIZE_UNDEF);
            levels = usize::try_from(head.aux).unwrap_or(0);
        } else if head.kind == Kind::Clear as u8 {
            // "The book is empty now" is what a snapshot without levels says.
            row.flags |= flag::SNAPSHOT;
        } else {
            // A level without its head: kept as a message of one level, so that nothing is dropped.
            self.level(head);
        }
        let belongs = |event: &&Event| event.kind == Kind::Depth as u8 && event.instrument == head.instrument;
        let taken = after
            .iter()
            .take(levels)
            .take_while(belongs)
            .map(|event| self.level(event))
            .count();
        row.bids.stop = self.bids.len() as u32;
        row.asks.stop = self.asks.len() as u32;
        after.get(taken..).unwrap_or_default()
    }

    fn level(&mut self, event: &Event) {
        let to = if event.side == side::ASK {
            &mut self.asks
        } else {
            &mut self.bids
        };
        to.push((event.price, event.size));
    }
}

fn start(event: &Event, table: Table, (price_scale, size_scale): (u8, u8)) -> Row {
    Row {
        seq: event.seq,
        ts_recv: event.ts_recv,
        ts_event: if event.ts_event == TS_UNDEF {
            event.ts_recv
        } else {
            event.ts_event
        },
        id: event.id,
        a: event.price,
        b: event.size,
        c: event.aux,
        d: 0,
        instrument: event.instrument,
        flags: event.flags,
        price_scale,
        size_scale,
        table,
        tag: 0,
        bids: Span::default(),
        asks: Span::default(),
    }
}

/// a, b = bid price and size; c, d = ask price and size; a side that was not said is undefined.
fn quote<'a>(row: &mut Row, event: &Event, after: &'a [Event]) -> &'a [Event] {
    if event.side == side::ASK {
        (row.a, row.b, row.c, row.d) = (PRICE_UNDEF, SIZE_UNDEF, event.price, event.size);
        return after;
    }
    (row.c, row.d) = (PRICE_UNDEF, SIZE_UNDEF);
    match after.split_first() {
        Some((ask, behind))
            if event.flags & flag::LAST == 0
                && ask.kind == event.kind
                && ask.side == side::ASK
                && ask.instrument == event.instrument =>
        {
            (row.c, row.d) = (ask.price, ask.size);
            row.flags |= ask.flags;
            behind
        }
        _ => after,
    }
}

/// Rows of one event; false when the event says something that the table's enum cannot hold.
fn single(row: &mut Row, event: &Event) -> bool {
    row.tag = match event.side {
        side::BID => 1,
        side::ASK => 2,
        _ => 0,
    };
    match row.table {
        Table::Marks => mark(row, event),
        Table::States => {
            row.tag = if event.kind == Kind::BookState as u8 { 1 } else { 2 };
            (row.a, row.b) = (
                undefined_or(event.price, PRICE_UNDEF),
                undefined_or(event.size, SIZE_UNDEF),
            );
        }
        Table::Gaps => {
            // aux = cause | channel << 8; a = last missing id, b = how many, c = channel.
            let cause = event.aux & 0xff;
            if !(GapCause::Disconnect as i64..=GapCause::Shed as i64).contains(&cause) {
                return false;
            }
            row.tag = cause as i8;
            (row.a, row.b) = (
                undefined_or(event.price, PRICE_UNDEF),
                undefined_or(event.size, SIZE_UNDEF),
            );
            row.c = (event.aux >> 8) & 0xff;
        }
        _ => {}
    }
    true
}

/// a = value, b = its decimals, c = next time (0 = none).
fn mark(row: &mut Row, event: &Event) {
    const FUNDING: u8 = Kind::Funding as u8;
    const INTEREST: u8 = Kind::OpenInterest as u8;
    const INDEX: u8 = Kind::Index as u8;
    (row.b, row.c) = (event.aux, 0);
    match event.kind {
        FUNDING => {
            row.tag = 3;
            row.c = if event.id == ID_UNDEF { 0 } else { event.id as i64 };
        }
        INTEREST => {
            row.tag = 4;
            (row.a, row.b) = (event.size, i64::from(row.size_scale));
        }
        INDEX => row.tag = 2,
        _ => row.tag = 1,
    }
}

/// An id that travelled in a price or size field, as the bits of its u64: undefined is u64::MAX in every id column.
fn undefined_or(value: i64, undefined: i64) -> i64 {
    if value == undefined {
        undefined_id(ID_UNDEF)
    } else {
        value
    }
}

fn undefined_id(id: u64) -> i64 {
    id as i64
}
