//! `SinkWorker` and `Cut`: the encoding thread as Python sees it.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use tickd_core::block::{definition, Compression, Format};
use tickd_io::sink_worker::{ReadyCut, SinkOptions, SinkWorker as Worker};

use crate::batch::EventBatch;
use crate::block::{Block, Body};
use crate::block_builder::table_of;
use crate::errors::to_py;

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
        .map(|block| Block::new(Body::Ready(block)))
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
    #[pyo3(signature = (*, node, seq_from, bytes_max = 256 << 20, layout = "Native", compression = None))]
    fn new(node: u16, seq_from: u64, bytes_max: usize, layout: &str, compression: Option<&str>) -> PyResult<Self> {
        let options = SinkOptions {
            node,
            seq_from,
            bytes_max,
            format: Format::from_name(layout)
                .ok_or_else(|| PyValueError::new_err(format!("no block travels as {layout:?}")))?,
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
            ("cut_cpu_ns", stats.cut_cpu_ns),
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
