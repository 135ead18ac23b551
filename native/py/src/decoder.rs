//! `Decoder`: records in, batches out; the thin face of `tickd_core::decode::Decoder`.

use std::collections::HashMap;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use tickd_core::decode::continuity::COUNT_BITS;
use tickd_core::decode::{venues, Decoder as Core};

use crate::batch::EventBatch;
use crate::cpython::contiguous;
use crate::errors::to_py;

/// See `Decoder::gaps`.
type Gap<'a> = (
    (u64, &'static str, &'a str, &'static str),
    (i64, i64, i64),
    (u64, u64, u64, Vec<(u64, u64)>),
);

/// The decoder of a node.
#[pyclass(module = "tickd._native")]
#[derive(Default)]
pub struct Decoder {
    core: Core,
}

impl Decoder {
    /// The core decoder, for native code that feeds it records itself.
    pub fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }
}

#[pymethods]
impl Decoder {
    #[new]
    fn new() -> Self {
        Decoder::default()
    }

    /// Decodes concatenated records; the GIL is free meanwhile, so nobody may change the buffer.
    ///
    /// Raises NativeError where the bytes are no records; the records before that were taken, `decode(b"")` hands out
    /// their events.
    fn decode(&mut self, py: Python<'_>, records: PyBuffer<u8>) -> PyResult<EventBatch> {
        let bytes = contiguous(&records)?;
        let core = &mut self.core;
        let batch = py.detach(|| core.push_all(bytes).map(|()| core.finish()));
        batch
            .map(EventBatch::new)
            .map_err(|error| to_py(error, "the buffer is not a run of records"))
    }

    /// The checkpoint: everything later events depend on, versioned JSON.
    fn state<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.core.state())
    }

    /// Takes a checkpoint back. Raises NativeError; the decoder is then unchanged.
    fn restore(&mut self, state: &[u8]) -> PyResult<()> {
        self.core
            .restore(state)
            .map_err(|error| to_py(error, "the checkpoint is refused"))
    }

    /// The name of a topic number. Raises IndexError.
    fn topic_name(&self, topic: u32) -> PyResult<&str> {
        self.core
            .topic_name(topic)
            .ok_or_else(|| PyIndexError::new_err(format!("topic {topic} is not known")))
    }

    /// The number of a topic that something else than a frame feeds, given out at first sight.
    fn intern_topic(&mut self, name: &str) -> u32 {
        self.core.intern_topic(name)
    }

    #[getter]
    fn topic_count(&self) -> usize {
        self.core.topic_count()
    }

    /// (topic, events since the start, mono_ns of the last one).
    fn topic_stats(&self) -> Vec<(u32, u64, i64)> {
        self.core.topic_stats().collect()
    }

    /// (channel, venue, events since the start, mono_ns of the last one): sums over their topics.
    fn stream_stats(&self) -> Vec<(&str, &str, u64, i64)> {
        let sums = self.core.stream_stats();
        sums.iter()
            .map(|each| (each.channel, each.venue, each.events, each.last_mono_ns))
            .collect()
    }

    /// (venue, state, books in it) of the books that have received something.
    fn book_counts(&self) -> Vec<(&'static str, &'static str, u64)> {
        let counts = self.core.book_counts();
        counts.iter().map(|each| (each.venue, each.state, each.count)).collect()
    }

    /// (id, JSON definition), ordered by id.
    fn instruments<'py>(&self, py: Python<'py>) -> Vec<(u32, Bound<'py, PyBytes>)> {
        let all = self.core.registry().all();
        let json = |instrument| serde_json::to_vec(instrument).unwrap_or_default();
        all.into_iter()
            .map(|instrument| (instrument.id(), PyBytes::new(py, &json(instrument))))
            .collect()
    }

    /// (connection, frame_no, kind, text) since the last call.
    fn take_notices(&mut self) -> Vec<(u32, u64, &'static str, String)> {
        let notices = self.core.report_mut().take_notices();
        notices
            .into_iter()
            .map(|n| (n.connection, n.frame_no, n.kind.name(), n.text))
            .collect()
    }

    /// (frame_no, connection, reason, position) since the last call, at most 1,024.
    fn take_refusals(&mut self) -> Vec<(u64, u32, &'static str, usize)> {
        let refusals = self.core.report_mut().take_refusals();
        refusals
            .into_iter()
            .map(|r| (r.frame_no, r.connection, r.error.reason.name(), r.error.position))
            .collect()
    }

    /// ((seq of the GAP event, venue, symbol, channel), (cause, since_ns, until_ns), (count, first id, last id, what is left))
    /// of every open gap whose ids are known.
    fn gaps(&self) -> Vec<Gap<'_>> {
        self.core
            .gaps()
            .map(|view| {
                let (first, last, left) = view.told();
                let gap = view.gap;
                (
                    (gap.seq, view.venue, view.symbol, view.channel.name()),
                    (gap.cause, gap.since_ns, gap.until_ns),
                    (view.count >> COUNT_BITS, first, last, left),
                )
            })
            .collect()
    }

    /// Grows with every change of what `gaps` returns.
    #[getter]
    fn ledger_changes(&self) -> u64 {
        self.core.ledger_changes()
    }

    /// Counters since the start, by name.
    fn counters(&self) -> HashMap<&'static str, u64> {
        self.core.counters().into_iter().collect()
    }
}

/// Adds the decoder and the venues that it knows to the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Decoder>()?;
    m.add(
        "VENUES",
        PyTuple::new(m.py(), venues::VENUES.iter().map(|decoder| decoder.venue()))?,
    )
}
