//! The event tables: names, columns, ClickHouse types, and which kind of event goes where.
//!
//! `deploy/clickhouse/` has the same columns; a test of the embedded server inserts every block into the real tables.

use crate::event::Kind;

/// A table that holds events.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// One row per trade.
    Trades,
    /// One row per best bid and offer.
    Quotes,
    /// One row per depth message, its levels as arrays.
    Book,
    /// Mark and index prices, funding rates, open interest.
    Marks,
    /// Forced orders.
    Liquidations,
    /// Verdicts of the synchroniser and venue statuses.
    States,
    /// What is missing, and why.
    Gaps,
    /// Values of indicators: derived, so no table of the raw log's events.
    Signals,
}

/// Every table of the raw log's events, in the order in which blocks of one cut stand.
pub const TABLES: [Table; 7] = [
    Table::Trades,
    Table::Quotes,
    Table::Book,
    Table::Marks,
    Table::Liquidations,
    Table::States,
    Table::Gaps,
];

/// Tables of what tickd computes and can compute again; built only for whoever asks.
pub const DERIVED: [Table; 1] = [Table::Signals];

impl Table {
    /// The table's name in ClickHouse.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Trades => "trades",
            Table::Quotes => "quotes",
            Table::Book => "book",
            Table::Marks => "marks",
            Table::Liquidations => "liquidations",
            Table::States => "states",
            Table::Gaps => "gaps",
            Table::Signals => "signals",
        }
    }

    /// The table with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut all = TABLES.into_iter().chain(DERIVED);
        all.find(|table| table.name() == name)
    }

    /// The table that stores events of `kind`; none for kinds that no table holds yet (order by order).
    pub const fn of(kind: u8) -> Option<Self> {
        const TRADE: u8 = Kind::Trade as u8;
        const QUOTE: u8 = Kind::Quote as u8;
        const HEAD: u8 = Kind::DepthHead as u8;
        const DEPTH: u8 = Kind::Depth as u8;
        const CLEAR: u8 = Kind::Clear as u8;
        const MARK: u8 = Kind::Mark as u8;
        const INDEX: u8 = Kind::Index as u8;
        const FUNDING: u8 = Kind::Funding as u8;
        const INTEREST: u8 = Kind::OpenInterest as u8;
        const LIQUIDATION: u8 = Kind::Liquidation as u8;
        const BOOK_STATE: u8 = Kind::BookState as u8;
        const STATUS: u8 = Kind::Status as u8;
        const GAP: u8 = Kind::Gap as u8;
        const SIGNAL: u8 = Kind::Signal as u8;
        match kind {
            TRADE => Some(Table::Trades),
            QUOTE => Some(Table::Quotes),
            HEAD | DEPTH | CLEAR => Some(Table::Book),
            MARK | INDEX | FUNDING | INTEREST => Some(Table::Marks),
            LIQUIDATION => Some(Table::Liquidations),
            BOOK_STATE | STATUS => Some(Table::States),
            GAP => Some(Table::Gaps),
            SIGNAL => Some(Table::Signals),
            _ => None,
        }
    }
}

/// A column's name and its ClickHouse type, as the Native header spells it.
pub type ColumnType = (&'static str, &'static str);

const TIME: &str = "DateTime64(9, 'UTC')";
const SIDE: &str = "Enum8('N' = 0, 'B' = 1, 'A' = 2)";
const LEVELS: &str = "Array(Int64)";

/// The columns that every event table begins with.
const FIRST: [ColumnType; 8] = [
    ("node", "UInt16"),
    ("seq", "UInt64"),
    ("ts_recv", TIME),
    ("ts_event", TIME),
    ("instrument", "UInt32"),
    ("price_scale", "UInt8"),
    ("size_scale", "UInt8"),
    ("flags", "UInt16"),
];

const TRADES: [ColumnType; 5] = [
    ("id", "UInt64"),
    ("price", "Int64"),
    ("size", "Int64"),
    ("side", SIDE),
    ("fills", "UInt32"),
];

const QUOTES: [ColumnType; 5] = [
    ("id", "UInt64"),
    ("bid_price", "Int64"),
    ("bid_size", "Int64"),
    ("ask_price", "Int64"),
    ("ask_size", "Int64"),
];

const BOOK: [ColumnType; 7] = [
    ("first_id", "UInt64"),
    ("last_id", "UInt64"),
    ("previous_id", "UInt64"),
    ("bid_price", LEVELS),
    ("bid_size", LEVELS),
    ("ask_price", LEVELS),
    ("ask_size", LEVELS),
];

const MARKS: [ColumnType; 4] = [
    (
        "kind",
        "Enum8('mark' = 1, 'index' = 2, 'funding' = 3, 'open_interest' = 4)",
    ),
    ("value", "Int64"),
    ("value_scale", "UInt8"),
    ("next_ts", TIME),
];

const LIQUIDATIONS: [ColumnType; 5] = [
    ("id", "UInt64"),
    ("price", "Int64"),
    ("average_price", "Int64"),
    ("size", "Int64"),
    ("side", SIDE),
];

const STATES: [ColumnType; 5] = [
    ("kind", "Enum8('book' = 1, 'status' = 2)"),
    ("state", "Int32"),
    ("last_id", "UInt64"),
    ("expected_id", "UInt64"),
    ("received_id", "UInt64"),
];

const GAPS: [ColumnType; 5] = [
    (
        "cause",
        "Enum8('disconnect' = 1, 'restart' = 2, 'sequence' = 3, 'disk' = 4, 'overflow' = 5, 'quarantine' = 6, 'clock' = 7, 'shed' = 8)",
    ),
    ("channel", "UInt8"),
    ("from_id", "UInt64"),
    ("to_id", "UInt64"),
    ("missing", "UInt64"),
];

const SIGNALS: [ColumnType; 2] = [("indicator", "UInt32"), ("value", "Float64")];

/// The columns of `table`, in block order.
pub fn columns(table: Table) -> impl Iterator<Item = ColumnType> {
    let rest: &'static [ColumnType] = match table {
        Table::Trades => &TRADES,
        Table::Quotes => &QUOTES,
        Table::Book => &BOOK,
        Table::Marks => &MARKS,
        Table::Liquidations => &LIQUIDATIONS,
        Table::States => &STATES,
        Table::Gaps => &GAPS,
        Table::Signals => &SIGNALS,
    };
    FIRST.into_iter().chain(rest.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_every_kind_but_orders_has_a_table() {
        for table in TABLES.into_iter().chain(DERIVED) {
            assert_eq!(Table::from_name(table.name()), Some(table));
        }
        let homeless: Vec<u8> = (1..=17).filter(|kind| Table::of(*kind).is_none()).collect();
        assert_eq!(
            homeless,
            [
                Kind::Add as u8,
                Kind::Cancel as u8,
                Kind::Modify as u8,
                Kind::Execute as u8
            ]
        );
    }
}
