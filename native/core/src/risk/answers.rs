//! What the gate is told to halt, and what it says when it refuses. Values only.

/// What a halt by scope is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything, one side of it.
    Global,
    /// A venue.
    Venue,
    /// An account.
    Account,
    /// A strategy.
    Strategy,
    /// An instrument.
    Instrument,
}

/// The last refusal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Denial {
    /// A bit for every check that failed.
    pub vector: u64,
    /// The lowest of them.
    pub first: u8,
    /// What the first one compared: limit, value, reference.
    pub figures: [Option<i128>; 3],
}
