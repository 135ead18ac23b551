//! Book synchronisation as a sans-I/O state machine per symbol: INIT → BUFFERING → SYNCED → GAP.

use crate::event::BookState;

/// The venue's rule of continuity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// `U == previous u + 1`; the snapshot overlaps when `U <= lastUpdateId + 1 <= u`.
    BinanceSpot,
    /// `pu == previous u`; the snapshot overlaps when `U <= lastUpdateId <= u` or `pu == lastUpdateId`.
    BinanceFutures,
    /// `prevSeqId == last seqId`; snapshots come in the stream.
    Okx,
}

/// A conclusion of the synchroniser; becomes a BOOK_STATE event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The state entered.
    pub state: BookState,
    /// Last id of the book.
    pub last: u64,
    /// The id that was expected.
    pub expected: u64,
    /// The id that came.
    pub received: u64,
}

/// One symbol's synchroniser.
#[derive(Debug, Clone)]
pub struct Synchroniser {
    rule: Rule,
}

impl Synchroniser {
    /// A synchroniser in INIT.
    pub fn new(rule: Rule) -> Self {
        Synchroniser { rule }
    }

    /// A change message arrived; `previous` is `pu`/`prevSeqId` where the venue gives one.
    pub fn change(&mut self, _first: u64, _last: u64, _previous: Option<u64>) -> Option<Verdict> {
        let _ = self.rule;
        None
    }

    /// A snapshot arrived.
    pub fn snapshot(&mut self, _last: u64) -> Option<Verdict> {
        None
    }

    /// The connection that carried the changes is gone.
    pub fn disconnect(&mut self) -> Option<Verdict> {
        None
    }
}
