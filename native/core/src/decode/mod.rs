//! Records in, events out: the decoder of a whole node, a pure function of the records in order.

use crate::batch::Batch;
use crate::error::Result;
use crate::record::Record;

/// The decoder of a node: registry, connections, synchronisers, continuity.
#[derive(Debug, Default)]
pub struct Decoder {}

impl Decoder {
    /// A decoder that knows nothing yet.
    pub fn new() -> Self {
        Decoder::default()
    }

    /// Takes the next record of the node, in `frame_no` order. Bad input is counted and kept as a refusal, never an error.
    pub fn push(&mut self, _record: &Record<'_>) {}

    /// The events of all records pushed since the last call, grouped by topic.
    pub fn finish(&mut self) -> Batch {
        Batch::default()
    }

    /// Everything later events depend on, as the payload of a checkpoint record.
    pub fn state(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes a state back.
    pub fn restore(&mut self, _state: &[u8]) -> Result<()> {
        Ok(())
    }
}
