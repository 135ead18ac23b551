//! `SinkWorker`, `Cut`, `Block` and `BlockBuilder`: ClickHouse blocks as Python sees them.

use std::ffi::{c_int, c_void};

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use tickd_core::block::{
    columns, definition, Assembler, Block as CoreBlock, Compression, Table, ENCODER_VERSION, TABLES,
};
use tickd_core::record::read_record;
use tickd_io::sink_worker::{ReadyBlock, ReadyCut, SinkOptions, SinkWorker as Worker};

use crate::batch::EventBatch;
use crate::errors::to_py;

enum Body {
    Ready(ReadyBlock),
    Built(CoreBlock),
}

/// One finished block: what the plan says about it, and the bytes of the insert.
#[pyclass(frozen, module = "tickd._native")]
pub struct Block {
    body: Body,
}

impl Block {
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

    /// xxh3-64 of the uncompressed body, 16 hex digits.
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
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            return Err(PyBufferError::new_err("a Block is read-only"));
        }
        let body = &slf.get().core().body;
        // SAFETY: `view` is the caller's; the memory lives as long as `slf`, which the view owns, and a frozen class never
        // moves or changes it.
        let failed = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                body.as_ptr().cast::<c_void>().cast_mut(),
                body.len() as isize,
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

/// All blocks that were cut at one position of the stream.
#[pyclass(frozen, module = "tickd._native")]
pub struct Cut {
    #[pyo3(get)]
    seq_from: u64,
    #[pyo3(get)]
    seq_to: u64,
    #[pyo3(get)]
    frame_last: u64,
    #[pyo3(get)]
    reason: String,
    #[pyo3(get)]
    blocks: Py<PyTuple>,
}

fn ready_cut(py: Python<'_>, cut: ReadyCut) -> PyResult<Cut> {
    let blocks: Vec<Block> = cut
        .blocks
        .into_iter()
        .map(|block| Block {
            body: Body::Ready(block),
        })
        .collect();
    let ReadyCut {
        seq_from,
        seq_to,
        frame_last,
        reason,
        ..
    } = ReadyCut {
        blocks: Vec::new(),
        ..cut
    };
    Ok(Cut {
        seq_from,
        seq_to,
        frame_last,
        reason,
        blocks: PyTuple::new(py, blocks)?.unbind(),
    })
}

fn table_of(name: &str) -> PyResult<Table> {
    Table::from_name(name).ok_or_else(|| PyValueError::new_err(format!("no event table is named {name:?}")))
}

fn compression_of(name: Option<&str>) -> PyResult<Compression> {
    match name {
        None => Ok(Compression::None),
        Some("lz4") => Ok(Compression::Lz4),
        Some("zstd") => Ok(Compression::Zstd(1)),
        Some(other) => Err(PyValueError::new_err(format!("no compression is named {other:?}"))),
    }
}

/// The encoding thread: batches and cuts in, finished blocks out.
#[pyclass(frozen, module = "tickd._native")]
pub struct SinkWorker {
    worker: Worker,
    bytes_max: usize,
}

#[pymethods]
impl SinkWorker {
    #[new]
    #[pyo3(signature = (*, node, seq_from, bytes_max = 256 << 20, compression = None))]
    fn new(node: u16, seq_from: u64, bytes_max: usize, compression: Option<&str>) -> PyResult<Self> {
        let options = SinkOptions {
            node,
            seq_from,
            bytes_max,
            compression: compression_of(compression)?,
        };
        let worker = Worker::start(options).map_err(|error| PyOSError::new_err(error.to_string()))?;
        Ok(SinkWorker { worker, bytes_max })
    }

    /// Queues a batch; False when the limit would be exceeded. Raises RuntimeError when the thread is gone.
    fn push(&self, batch: &Bound<'_, EventBatch>) -> PyResult<bool> {
        if !self.worker.alive() {
            return Err(PyRuntimeError::new_err("the sink worker's thread is gone"));
        }
        let (shared, start, stop) = batch.get().parts();
        Ok(self.worker.push(shared, start, stop))
    }

    /// Makes an instrument known. Raises NativeError when `definition` is no instrument's JSON.
    fn define(&self, py: Python<'_>, json: PyBuffer<u8>) -> PyResult<()> {
        let instrument = definition(&json.to_vec(py)?).map_err(|error| to_py(error, "instrument definition"))?;
        self.worker.define(instrument);
        Ok(())
    }

    /// Leaves out rows of `table` below `seq`.
    fn want_from(&self, table: &str, seq: u64) -> PyResult<()> {
        self.worker.want_from(table_of(table)?, seq);
        Ok(())
    }

    fn cut(&self, reason: &str) {
        self.worker.cut(reason);
    }

    fn take(&self, py: Python<'_>) -> PyResult<Vec<Cut>> {
        self.worker.take().into_iter().map(|cut| ready_cut(py, cut)).collect()
    }

    #[getter]
    fn wake_fd(&self) -> i32 {
        self.worker.wake_fd()
    }

    #[getter]
    fn held_bytes(&self) -> usize {
        self.worker.held_bytes()
    }

    #[getter]
    fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    #[getter]
    fn rows_open(&self) -> usize {
        self.worker.rows_open()
    }

    #[getter]
    fn bytes_open(&self) -> usize {
        self.worker.bytes_open()
    }

    #[getter]
    fn cuts_pending(&self) -> u64 {
        self.worker.cuts_pending()
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.worker.stats();
        let out = PyDict::new(py);
        for (name, value) in [
            ("batches", stats.batches),
            ("events", stats.events),
            ("rows", stats.rows),
            ("blocks", stats.blocks),
            ("plain_bytes", stats.plain_bytes),
            ("body_bytes", stats.body_bytes),
            ("cpu_ns", stats.cpu_ns),
            ("cut_cpu_ns_max", stats.cut_cpu_ns_max),
            ("unstored", stats.unstored),
            ("undefined", stats.undefined),
            ("refused_definitions", stats.refused_definitions),
        ] {
            out.set_item(name, value)?;
        }
        Ok(out)
    }

    /// Ends the thread after all earlier orders.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.worker.stop());
    }
}

/// Blocks of a bounded stretch, built in the calling thread: how recovery makes a planned block again.
#[pyclass(module = "tickd._native")]
pub struct BlockBuilder {
    assembler: Assembler,
}

#[pymethods]
impl BlockBuilder {
    #[new]
    #[pyo3(signature = (*, node, seq_from = 0, seq_to = None, tables = None))]
    fn new(node: u16, seq_from: u64, seq_to: Option<u64>, tables: Option<Vec<String>>) -> PyResult<Self> {
        let mut assembler = Assembler::new(node, seq_from);
        let wanted = tables
            .map(|names| names.iter().map(|name| table_of(name)).collect::<PyResult<Vec<_>>>())
            .transpose()?;
        for table in TABLES {
            let unwanted = wanted.as_ref().is_some_and(|tables| !tables.contains(&table));
            assembler.want_from(table, if unwanted { u64::MAX } else { seq_from });
        }
        if let Some(seq_to) = seq_to {
            assembler.want_to(seq_to);
        }
        Ok(BlockBuilder { assembler })
    }

    fn define(&mut self, py: Python<'_>, json: PyBuffer<u8>) -> PyResult<()> {
        let instrument = definition(&json.to_vec(py)?).map_err(|error| to_py(error, "instrument definition"))?;
        self.assembler
            .define(instrument)
            .map_err(|error| to_py(error, "instrument definition"))?;
        Ok(())
    }

    fn push(&mut self, py: Python<'_>, batch: &Bound<'_, EventBatch>) {
        let (shared, start, stop) = batch.get().parts();
        let assembler = &mut self.assembler;
        py.detach(|| {
            assembler.push(
                shared.events.get(start..stop).unwrap_or_default(),
                shared.frame_last,
                shared.ts_mono,
            );
        });
    }

    /// The blocks of everything pushed so far, ordered by table, then day.
    fn finish(&mut self, py: Python<'_>) -> Vec<Block> {
        let assembler = &mut self.assembler;
        let cut = py.detach(|| assembler.cut());
        cut.blocks
            .into_iter()
            .map(|block| Block {
                body: Body::Built(block),
            })
            .collect()
    }

    #[getter]
    fn unstored(&self) -> u64 {
        self.assembler.unstored
    }
}

/// The columns of an event table: ((name, ClickHouse type), ...) in block order.
#[pyfunction]
fn table_columns<'py>(py: Python<'py>, table: &str) -> PyResult<Bound<'py, PyTuple>> {
    PyTuple::new(py, columns(table_of(table)?).collect::<Vec<_>>())
}

/// xxh3-64 of some bytes, 16 hex digits.
#[pyfunction]
fn xxh3_hex(py: Python<'_>, data: PyBuffer<u8>) -> PyResult<String> {
    Ok(format!("{:016x}", tickd_core::block::hash(&data.to_vec(py)?)))
}

/// Bytes of concatenated records before the first one whose frame number is above `frame_no`.
#[pyfunction]
fn records_until(py: Python<'_>, records: PyBuffer<u8>, frame_no: u64) -> PyResult<usize> {
    let bytes = records.to_vec(py)?;
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let (record, used) = read_record(rest).map_err(|error| to_py(error, "records"))?;
        if record.frame_no > frame_no {
            break;
        }
        at += used;
    }
    Ok(at)
}

/// Adds this page's classes to the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("BLOCK_ENCODER_VERSION", ENCODER_VERSION)?;
    m.add("EVENT_TABLES", PyTuple::new(m.py(), TABLES.map(Table::name))?)?;
    m.add_class::<Block>()?;
    m.add_class::<Cut>()?;
    m.add_class::<SinkWorker>()?;
    m.add_class::<BlockBuilder>()?;
    m.add_function(wrap_pyfunction!(table_columns, m)?)?;
    m.add_function(wrap_pyfunction!(xxh3_hex, m)?)?;
    m.add_function(wrap_pyfunction!(records_until, m)?)?;
    Ok(())
}
