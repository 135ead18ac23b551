//! `EventBatch`: an immutable run of events, owned by Rust, seen by Python through the buffer protocol without a copy.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use pyo3::exceptions::{PyBufferError, PyIndexError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{ffi, PyClass};
use tickd_core::batch::{Batch, TopicRange};
use tickd_core::event::{Event, EVENT_BYTES};

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

    /// The shared batch behind it.
    pub fn shared(&self) -> &Arc<Batch> {
        &self.batch
    }
}

#[pymethods]
impl EventBatch {
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
        let (lo, hi) = (self.start as u32, self.stop as u32);
        let inside: Vec<(u32, u32, u32)> = self
            .batch
            .topics
            .iter()
            .filter(|TopicRange { start, stop, .. }| *start < hi && *stop > lo)
            .map(|range| (range.topic, range.start.max(lo) - lo, range.stop.min(hi) - lo))
            .collect();
        PyTuple::new(py, inside)
    }

    #[getter]
    fn seq_first(&self) -> u64 {
        self.batch.seq.0
    }

    #[getter]
    fn seq_last(&self) -> u64 {
        self.batch.seq.1
    }

    #[getter]
    fn frame_last(&self) -> u64 {
        self.batch.frame_last
    }

    #[getter]
    fn ts_mono_ns(&self) -> i64 {
        self.batch.ts_mono
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
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            return Err(PyBufferError::new_err("an EventBatch is read-only"));
        }
        let events = slf.get().events();
        // SAFETY: `view` is the caller's; the memory lives as long as `slf`, which the view owns, and a frozen class never
        // moves or changes it. `Event` is repr(C), 64 bytes without padding, so every byte is initialised.
        let failed = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                events.as_ptr().cast::<c_void>().cast_mut(),
                std::mem::size_of_val(events) as isize,
                1,
                flags,
            )
        };
        if failed != 0 {
            return Err(PyErr::fetch(slf.py()));
        }
        Ok(())
    }
}

const _: fn() = || {
    fn is_class<T: PyClass>() {}
    is_class::<EventBatch>();
};
