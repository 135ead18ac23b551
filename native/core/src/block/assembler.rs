//! The assembler: keeps one open builder per (table, UTC day) and cuts all of them at one position of the stream.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_64;

use super::column::{text, varint, Column};
use super::rows::{Level, Row, Rows, Span};
use super::schema::{columns, Table, DERIVED};
use super::spare::Spare;
use super::DAY_NS;
use crate::error::{Error, Reason, Result};
use crate::event::{flag, Event, SEQ_INDEX_BITS};
use crate::instrument::{Instrument, Registry};

/// Scale of a row whose instrument nobody defined (255: no instrument may have it).
pub const UNKNOWN_SCALE: u8 = u8::MAX;

const HOUR_S: i64 = 3600;
const HOUR_NS: i64 = HOUR_S * 1_000_000_000;

/// More than the names and types of any table take.
const HEAD_BYTES_MAX: usize = 1024;

/// The content hash of a block's body.
pub fn hash(body: &[u8]) -> u64 {
    xxh3_64(body)
}

/// Reads a definition: the JSON of `Instrument`, other keys are ignored. Errors: `Malformed`.
pub fn definition(json: &[u8]) -> Result<Instrument> {
    serde_json::from_slice(json).map_err(|error| Error::new(Reason::Malformed, error.column()))
}

/// A finished block: the body of one insert, and what the plan says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Where it goes.
    pub table: Table,
    /// UTC day of `ts_recv`, days since the epoch.
    pub day: i32,
    /// Lowest sequence number of its rows.
    pub seq_first: u64,
    /// Highest sequence number of its rows.
    pub seq_last: u64,
    /// First sequence number that the cut covers.
    pub seq_from: u64,
    /// Last sequence number that the cut covers.
    pub seq_to: u64,
    /// Number of rows.
    pub rows: u32,
    /// xxh3-64 of `body`.
    pub hash: u64,
    /// The raw log must hold frames up to here before the block may be sent.
    pub frame_last: u64,
    /// Monotonic stamp of the oldest burst in it, ns.
    pub ts_mono: i64,
    /// Hours (Unix time of their starts, s) whose bars its fetched trades are in, in order.
    pub filled_hours: Vec<i64>,
    /// The block in Native format, uncompressed.
    pub body: Vec<u8>,
}

/// What one cut gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// First sequence number that the cut covers.
    pub seq_from: u64,
    /// Last sequence number that the cut covers.
    pub seq_to: u64,
    /// Highest frame in it.
    pub frame_last: u64,
    /// The blocks, ordered by table, then day; empty when the stretch had no rows.
    pub blocks: Vec<Block>,
}

#[derive(Debug)]
struct Builder {
    columns: Vec<Column>,
    rows: u32,
    seq_first: u64,
    seq_last: u64,
    ordered: bool,
    ts_mono: i64,
    filled_hours: BTreeSet<i64>,
}

/// Events in, blocks out. Give it every batch of the stream, in order.
#[derive(Debug)]
pub struct Assembler {
    node: u16,
    registry: Registry,
    /// Per table, the first sequence number that is wanted: what is below is in ClickHouse already.
    wanted: BTreeMap<Table, u64>,
    /// Nothing above is wanted.
    limit: u64,
    open: BTreeMap<(Table, i32), Builder>,
    seq_from: u64,
    seq_to: u64,
    frame_last: u64,
    burst: Rows,
    spare: Spare,
    /// Events that no table holds.
    pub unstored: u64,
    /// Rows whose instrument nobody defined.
    pub undefined: u64,
}

impl Assembler {
    /// An assembler of `node` whose next cut begins at `seq_from`.
    pub fn new(node: u16, seq_from: u64) -> Self {
        Assembler {
            node,
            registry: Registry::default(),
            // What is derived has a sink of its own, which says so.
            wanted: DERIVED.map(|table| (table, u64::MAX)).into(),
            limit: u64::MAX,
            open: BTreeMap::new(),
            seq_from,
            seq_to: seq_from.saturating_sub(1),
            frame_last: 0,
            burst: Rows::default(),
            spare: Spare::default(),
            unstored: 0,
            undefined: 0,
        }
    }

    /// Rows of `table` below `seq` are left out.
    pub fn want_from(&mut self, table: Table, seq: u64) {
        self.wanted.insert(table, seq);
    }

    /// Rows above `seq` are left out, of every table: for the rebuild of one planned block.
    pub fn want_to(&mut self, seq: u64) {
        self.limit = seq;
    }

    /// Takes an instrument definition. Errors: `Collision` and `Overflow` as `Registry::define`.
    pub fn define(&mut self, instrument: Instrument) -> Result<u32> {
        self.registry.define(instrument)
    }

    /// Takes a stretch of a batch (whole venue messages, any grouping by topic).
    pub fn push(&mut self, events: &[Event], frame_last: u64, ts_mono: i64) {
        let mut burst = std::mem::take(&mut self.burst);
        burst.clear();
        let (registry, mut last, mut undefined) = (&self.registry, (0_u32, (0_u8, 0_u8)), 0_u64);
        burst.push(events, |instrument| {
            if instrument != last.0 {
                last = (instrument, scales_of(registry, instrument));
            }
            undefined += u64::from(last.1 .0 == UNKNOWN_SCALE);
            last.1
        });
        self.unstored += burst.unstored;
        self.undefined += undefined;
        let limit = self.limit;
        burst
            .rows
            .retain(|row| row.seq <= limit && self.wanted.get(&row.table).is_none_or(|first| row.seq >= *first));
        if !burst.rows.is_sorted_by_key(|row| (row.table, row.seq)) {
            burst.rows.sort_by_key(|row| (row.table, row.seq));
        }
        let place = |row: &Row| (row.table, row.ts_recv.div_euclid(DAY_NS) as i32);
        for run in burst.rows.chunk_by(|a, b| place(a) == place(b)) {
            if let Some(first) = run.first() {
                let spare = &mut self.spare;
                let builder = self
                    .open
                    .entry(place(first))
                    .or_insert_with(|| Builder::new(first, ts_mono, spare.columns(first.table)));
                builder.append(self.node, run, &burst.bids, &burst.asks);
            }
        }
        self.burst = burst;
        let highest = events.iter().map(|event| event.seq).max().unwrap_or(0);
        let frame_end = (frame_last << SEQ_INDEX_BITS) | ((1 << SEQ_INDEX_BITS) - 1);
        self.seq_to = self.seq_to.max(frame_end.max(highest).min(limit));
        self.frame_last = self.frame_last.max(frame_last);
    }

    /// Takes the body of a block back that nobody needs any more, for its memory.
    pub fn recycle(&mut self, body: Vec<u8>) {
        self.spare.keep_body(body);
    }

    /// Rows of the largest open block.
    pub fn rows_max(&self) -> usize {
        self.open
            .values()
            .map(|builder| builder.rows as usize)
            .max()
            .unwrap_or(0)
    }

    /// Bytes of all open blocks.
    pub fn open_bytes(&self) -> usize {
        self.open
            .values()
            .flat_map(|builder| &builder.columns)
            .map(Column::len_bytes)
            .sum()
    }

    /// The end of the stretch that a cut would cover now; below `seq_from` when nothing was pushed since the last one.
    pub fn position(&self) -> u64 {
        self.seq_to
    }

    /// Finishes all open blocks at the current position. The next cut begins right behind it.
    pub fn cut(&mut self) -> Cut {
        let (seq_from, seq_to, frame_last) = (self.seq_from, self.seq_to, self.frame_last);
        let blocks = std::mem::take(&mut self.open)
            .into_iter()
            .map(|((table, day), mut builder)| {
                let filled_hours = std::mem::take(&mut builder.filled_hours);
                let (seq_first, seq_last, rows, ts_mono) =
                    (builder.seq_first, builder.seq_last, builder.rows, builder.ts_mono);
                let body = builder.finish(table, &mut self.spare);
                let hash = hash(&body);
                let seq_from = self.wanted.get(&table).map_or(seq_from, |first| seq_from.max(*first));
                Block {
                    table,
                    day,
                    seq_first,
                    seq_last,
                    seq_from,
                    seq_to,
                    rows,
                    hash,
                    frame_last,
                    ts_mono,
                    filled_hours: filled_hours.into_iter().collect(),
                    body,
                }
            })
            .collect();
        self.seq_from = self.seq_from.max(seq_to.saturating_add(1));
        Cut {
            seq_from,
            seq_to,
            frame_last,
            blocks,
        }
    }
}

impl Builder {
    fn new(first: &Row, ts_mono: i64, columns: Vec<Column>) -> Self {
        Builder {
            columns,
            rows: 0,
            seq_first: first.seq,
            seq_last: 0,
            ordered: true,
            ts_mono,
            filled_hours: BTreeSet::new(),
        }
    }

    /// Appends rows of one table and day, ordered by sequence number.
    fn append(&mut self, node: u16, rows: &[Row], bids: &[Level], asks: &[Level]) {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return;
        };
        self.ordered &= self.rows == 0 || first.seq > self.seq_last;
        self.seq_first = self.seq_first.min(first.seq);
        self.seq_last = self.seq_last.max(last.seq);
        self.rows += rows.len() as u32;
        if first.table == Table::Trades {
            let filled = rows.iter().filter(|row| row.flags & flag::BACKFILLED != 0);
            self.filled_hours.extend(filled.map(hour));
        }
        let [c_node, c_seq, c_recv, c_event, c_instrument, c_price_scale, c_size_scale, c_flags, own @ ..] =
            self.columns.as_mut_slice()
        else {
            return debug_assert!(false, "a table has the common columns");
        };
        c_node.put(rows, |_| node.to_le_bytes());
        c_seq.put(rows, |row| row.seq.to_le_bytes());
        c_recv.put(rows, |row| row.ts_recv.to_le_bytes());
        c_event.put(rows, |row| row.ts_event.to_le_bytes());
        c_instrument.put(rows, |row| row.instrument.to_le_bytes());
        c_price_scale.put(rows, |row| [row.price_scale]);
        c_size_scale.put(rows, |row| [row.size_scale]);
        c_flags.put(rows, |row| row.flags.to_le_bytes());
        own_columns(first.table, own, rows, bids, asks);
    }

    fn finish(mut self, table: Table, spare: &mut Spare) -> Vec<u8> {
        if !self.ordered {
            let mut order: Vec<u32> = (0..self.rows).collect();
            if let Some(seqs) = self.columns.get(1) {
                order.sort_by_key(|row| seqs.u64_at(*row as usize));
            }
            self.columns = self.columns.iter().map(|column| column.ordered(&order)).collect();
        }
        let bytes: usize = self.columns.iter().map(Column::len_bytes).sum();
        let mut out = spare.body(bytes + HEAD_BYTES_MAX);
        varint(&mut out, self.columns.len() as u64);
        varint(&mut out, u64::from(self.rows));
        for ((name, kind), column) in columns(table).zip(&self.columns) {
            text(&mut out, name);
            text(&mut out, kind);
            column.write(&mut out);
        }
        spare.keep_columns(table, self.columns);
        out
    }
}

/// The hour of the bar that a fetched trade is in, however late it came; `recorder/schema/bars.py` says the same in SQL.
fn hour(row: &Row) -> i64 {
    row.ts_event.div_euclid(HOUR_NS) * HOUR_S
}

/// Instrument 0 is "none" and has no decimals.
fn scales_of(registry: &Registry, instrument: u32) -> (u8, u8) {
    match registry.get(instrument) {
        Some(known) => (known.price_scale, known.size_scale),
        None if instrument == 0 => (0, 0),
        None => (UNKNOWN_SCALE, UNKNOWN_SCALE),
    }
}

/// The columns behind the common ones; `schema` has their names and types, `rows` says what `a` to `d` hold.
fn own_columns(table: Table, own: &mut [Column], rows: &[Row], bids: &[Level], asks: &[Level]) {
    match (table, own) {
        (Table::Trades, [id, price, size, side, fills]) => {
            id.put(rows, |row| row.id.to_le_bytes());
            price.put(rows, |row| row.a.to_le_bytes());
            size.put(rows, |row| row.b.to_le_bytes());
            side.put(rows, |row| row.tag.to_le_bytes());
            fills.put(rows, |row| (row.c as u32).to_le_bytes());
        }
        (Table::Quotes, [id, bid_price, bid_size, ask_price, ask_size]) => {
            id.put(rows, |row| row.id.to_le_bytes());
            bid_price.put(rows, |row| row.a.to_le_bytes());
            bid_size.put(rows, |row| row.b.to_le_bytes());
            ask_price.put(rows, |row| row.c.to_le_bytes());
            ask_size.put(rows, |row| row.d.to_le_bytes());
        }
        (Table::Book, [first_id, last_id, previous_id, bid_price, bid_size, ask_price, ask_size]) => {
            first_id.put(rows, |row| row.a.to_le_bytes());
            last_id.put(rows, |row| row.id.to_le_bytes());
            previous_id.put(rows, |row| row.b.to_le_bytes());
            bid_price.put_arrays(rows, |row| stretch(bids, row.bids).iter().map(|level| level.0));
            bid_size.put_arrays(rows, |row| stretch(bids, row.bids).iter().map(|level| level.1));
            ask_price.put_arrays(rows, |row| stretch(asks, row.asks).iter().map(|level| level.0));
            ask_size.put_arrays(rows, |row| stretch(asks, row.asks).iter().map(|level| level.1));
        }
        (Table::Marks, [kind, value, value_scale, next_ts]) => {
            kind.put(rows, |row| row.tag.to_le_bytes());
            value.put(rows, |row| row.a.to_le_bytes());
            value_scale.put(rows, |row| [row.b as u8]);
            next_ts.put(rows, |row| row.c.to_le_bytes());
        }
        (Table::Liquidations, [id, price, average_price, size, side]) => {
            id.put(rows, |row| row.id.to_le_bytes());
            price.put(rows, |row| row.a.to_le_bytes());
            average_price.put(rows, |row| row.c.to_le_bytes());
            size.put(rows, |row| row.b.to_le_bytes());
            side.put(rows, |row| row.tag.to_le_bytes());
        }
        (Table::States, [kind, state, last_id, expected_id, received_id]) => {
            kind.put(rows, |row| row.tag.to_le_bytes());
            state.put(rows, |row| (row.c as i32).to_le_bytes());
            last_id.put(rows, |row| row.id.to_le_bytes());
            expected_id.put(rows, |row| row.a.to_le_bytes());
            received_id.put(rows, |row| row.b.to_le_bytes());
        }
        (Table::Gaps, [cause, channel, from_id, to_id, missing]) => {
            cause.put(rows, |row| row.tag.to_le_bytes());
            channel.put(rows, |row| [row.c as u8]);
            from_id.put(rows, |row| row.id.to_le_bytes());
            to_id.put(rows, |row| row.a.to_le_bytes());
            missing.put(rows, |row| row.b.to_le_bytes());
        }
        (Table::Signals, [indicator, value]) => {
            indicator.put(rows, |row| (row.c as u32).to_le_bytes());
            value.put(rows, |row| row.id.to_le_bytes()); // the bits of the float
        }
        _ => debug_assert!(false, "schema and columns disagree"),
    }
}

fn stretch(levels: &[Level], span: Span) -> &[Level] {
    levels.get(span.start as usize..span.stop as usize).unwrap_or_default()
}
