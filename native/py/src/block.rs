//! `Block`: a finished ClickHouse block as Python sees it.

use std::ffi::c_int;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;
use tickd_core::block::{Block as CoreBlock, Format};
use tickd_io::sink_worker::ReadyBlock;

use crate::cpython::expose;

/// Where a block comes from: the worker, with its charge on the worker's limit, or a builder.
pub enum Body {
    /// Of the worker: perhaps compressed.
    Ready(ReadyBlock),
    /// Of a builder.
    Built(CoreBlock),
}

/// One finished block: what the plan says about it, and the bytes of the insert.
#[pyclass(frozen, module = "tickd._native")]
pub struct Block {
    body: Body,
}

impl Block {
    /// Its face.
    pub fn new(body: Body) -> Self {
        Block { body }
    }

    /// The bytes of the insert, as they travel.
    pub fn content(&self) -> &[u8] {
        &self.core().body
    }

    fn core(&self) -> &CoreBlock {
        match &self.body {
            Body::Ready(ready) => &ready.block,
            Body::Built(block) => block,
        }
    }
}

#[pymethods]
impl Block {
    #[getter]
    fn table(&self) -> &'static str {
        self.core().table.name()
    }

    #[getter]
    fn day(&self) -> i32 {
        self.core().day
    }

    #[getter]
    fn seq_first(&self) -> u64 {
        self.core().seq_first
    }

    #[getter]
    fn seq_last(&self) -> u64 {
        self.core().seq_last
    }

    #[getter]
    fn seq_from(&self) -> u64 {
        self.core().seq_from
    }

    #[getter]
    fn seq_to(&self) -> u64 {
        self.core().seq_to
    }

    #[getter]
    fn rows(&self) -> u32 {
        self.core().rows
    }

    /// xxh3-64 of the rows in Native format, whatever they travel in; 16 hex digits.
    #[getter]
    fn hash(&self) -> String {
        format!("{:016x}", self.core().hash)
    }

    #[getter]
    fn frame_last(&self) -> u64 {
        self.core().frame_last
    }

    #[getter]
    fn ts_mono_ns(&self) -> i64 {
        self.core().ts_mono
    }

    /// Hours (Unix time of their starts) whose bars its fetched trades are in.
    #[getter]
    fn filled_hours(&self) -> Vec<i64> {
        self.core().filled_hours.clone()
    }

    /// The body as it travels, without a copy.
    #[getter]
    fn body<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyMemoryView>> {
        PyMemoryView::from(slf)
    }

    /// ClickHouse's name of the format in which the body travels.
    #[getter]
    fn format(&self) -> &'static str {
        match &self.body {
            Body::Ready(ready) => ready.format.name(),
            Body::Built(_) => Format::Native.name(),
        }
    }

    /// Bytes of the body as it travels.
    #[getter]
    fn nbytes(&self) -> usize {
        self.core().body.len()
    }

    /// Bytes of the body before compression.
    #[getter]
    fn plain_bytes(&self) -> usize {
        match &self.body {
            Body::Ready(ready) => ready.plain_bytes,
            Body::Built(block) => block.body.len(),
        }
    }

    /// `Content-Encoding` of the body; None when it is plain.
    #[getter]
    fn encoding(&self) -> Option<&'static str> {
        match &self.body {
            Body::Ready(ready) => ready.encoding,
            Body::Built(_) => None,
        }
    }

    #[allow(unsafe_code)]
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        // SAFETY: CPython's own view, handed on.
        unsafe { expose(&slf, view, flags) }
    }
}
