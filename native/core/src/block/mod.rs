//! ClickHouse blocks in *Native format*: events in, one insertable block per (table, UTC day of `ts_recv`) out.
//!
//! Pure and deterministic: the same rows give the same bytes and the same hash, however the rows were grouped into bursts.
//! That is what makes a block rebuilt from the raw log after a crash the *same* insert to ClickHouse. Nothing here sends,
//! waits or decides when to cut.

mod assembler;
mod column;
mod compress;
mod format;
mod row_binary;
mod rows;
mod schema;
mod spare;

pub use assembler::{definition, hash, Assembler, Block, Cut, UNKNOWN_SCALE};
pub use compress::{compress, Compression};
pub use format::Format;
pub use row_binary::row_binary;
pub use schema::{columns, Table, DERIVED, TABLES};

/// Version of the mapping from events to block bytes. It rises with every change that alters a byte of any block: a planned
/// block of another version cannot be rebuilt bit for bit and is resolved by counting its rows instead.
pub const ENCODER_VERSION: u32 = 1;

/// Nanoseconds of a UTC day.
pub const DAY_NS: i64 = 86_400 * 1_000_000_000;
