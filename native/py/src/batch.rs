//! `EventBatch`: an immutable run of events, owned by Rust, seen by Python through the buffer protocol without a copy.

use std::ffi::c_int;
use std::sync::Arc;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use tickd_core::batch::{Batch, TopicRange};
use tickd_core::event::{Event, EVENT_BYTES, SEQ_INDEX_BITS};

use crate::cpython::expose;

/// An immutable batch; slices share its memory.
#[pyclass(frozen, module = "tickd._native")]
pub struct EventBatch {
    batch: Arc<Batch>,
    start: usize,
    stop: usize,
}

impl EventBatch {
    /// The face of a whole batch.
    pub fn new(batch: Batch) -> Self {
        let stop = batch.events.len();
        EventBatch {
            batch: Arc::new(batch),
            start: 0,
            stop,
        }
    }

    /// The events this face shows.
    pub fn events(&self) -> &[Event] {
        self.batch.events.get(self.start..self.stop).unwrap_or_default()
    }

    /// The shared batch behind it, and which of its events this face shows.
    pub fn parts(&self) -> (Arc<Batch>, usize, usize) {
        (Arc::clone(&self.batch), self.start, self.stop)
    }

    /// A face of the events [start, stop) of a batch.
    pub fn part(batch: Arc<Batch>, start: usize, stop: usize) -> Self {
        EventBatch { batch, start, stop }
    }

    /// Lowest and highest sequence number it shows.
    fn seq(&self) -> (u64, u64) {
        if self.is_whole() {
            return self.batch.seq;
        }
        let numbers = || self.events().iter().map(|event| event.seq);
        (numbers().min().unwrap_or(0), numbers().max().unwrap_or(0))
    }

    /// Whether it shows its whole batch.
    pub fn is_whole(&self) -> bool {
        self.start == 0 && self.stop == self.batch.events.len()
    }

    /// The batch it shows: shared when whole, else a copy of its part.
    pub fn to_whole(&self) -> Arc<Batch> {
        if self.is_whole() {
            return Arc::clone(&self.batch);
        }
        Arc::new(self.batch.part(self.start, self.stop))
    }

    /// The shared batch behind it.
    pub fn shared(&self) -> &Arc<Batch> {
        &self.batch
    }
}

#[pymethods]
impl EventBatch {
    /// A batch of the given events (bytes of 64 each), for replays and tests. `topics` = ((topic, start, stop), ...) must
    /// cover them in order.
    #[staticmethod]
    #[pyo3(signature = (data, topics, ts_mono_ns=0))]
    fn from_events(data: &Bound<'_, PyAny>, topics: Vec<(u32, u32, u32)>, ts_mono_ns: i64) -> PyResult<Self> {
        let bytes = PyBuffer::<u8>::get(data)?.to_vec(data.py())?;
        if bytes.len() % EVENT_BYTES != 0 {
            return Err(PyValueError::new_err(format!(
                "{} bytes are no whole number of events",
                bytes.len()
            )));
        }
        let events: Vec<Event> = bytes
            .chunks_exact(EVENT_BYTES)
            .filter_map(<[u8]>::first_chunk)
            .map(Event::from_bytes)
            .collect();
        let mut end = 0;
        for (_, start, stop) in &topics {
            if *start != end || stop <= start {
                return Err(PyValueError::new_err(format!(
                    "topic range {start}..{stop} does not follow {end}"
                )));
            }
            end = *stop;
        }
        if end as usize != events.len() {
            return Err(PyValueError::new_err(format!(
                "topics cover {end} of {} events",
                events.len()
            )));
        }
        let ranges = topics
            .into_iter()
            .map(|(topic, start, stop)| TopicRange { topic, start, stop });
        Ok(EventBatch::new(Batch::from_parts(events, ranges.collect(), ts_mono_ns)))
    }

    fn __len__(&self) -> usize {
        self.stop - self.start
    }

    #[getter]
    fn nbytes(&self) -> usize {
        (self.stop - self.start) * EVENT_BYTES
    }

    /// ((topic, start, stop), ...) relative to this batch.
    #[getter]
    fn topics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let ranges = self.batch.ranges_within(self.start, self.stop);
        let inside: Vec<_> = ranges.map(|range| (range.topic, range.start, range.stop)).collect();
        PyTuple::new(py, inside)
    }

    #[getter]
    fn seq_first(&self) -> u64 {
        self.seq().0
    }

    #[getter]
    fn seq_last(&self) -> u64 {
        self.seq().1
    }

    #[getter]
    fn frame_last(&self) -> u64 {
        if self.is_whole() {
            self.batch.frame_last
        } else {
            self.seq().1 >> SEQ_INDEX_BITS
        }
    }

    #[getter]
    fn ts_mono_ns(&self) -> i64 {
        self.batch.ts_mono
    }

    /// This batch with the events that a consumer made of it behind them: one batch whose order by number is that of causes
    /// and effects.
    fn joined(&self, made: &Bound<'_, EventBatch>) -> Self {
        EventBatch::new(self.to_whole().joined(&made.get().to_whole()))
    }

    /// The events [start, stop) of this batch, sharing its memory.
    fn slice(&self, start: usize, stop: usize) -> PyResult<Self> {
        if start > stop || stop > self.stop - self.start {
            return Err(PyIndexError::new_err(format!(
                "slice {start}..{stop} of a batch of {}",
                self.stop - self.start
            )));
        }
        Ok(EventBatch {
            batch: Arc::clone(&self.batch),
            start: self.start + start,
            stop: self.start + stop,
        })
    }

    #[allow(unsafe_code)]
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        // SAFETY: CPython's own view, handed on.
        unsafe { expose(&slf, view, flags) }
    }
}
