//! `BlockBuilder`: blocks made in the calling thread, and the small functions of who plans, rebuilds and tests them.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use tickd_core::block::{columns, definition, Assembler, Table, DERIVED, ENCODER_VERSION, TABLES};

use crate::batch::EventBatch;
use crate::block::{Block, Body};
use crate::cpython::contiguous;
use crate::errors::to_py;

/// Puts the builder and its functions into the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("BLOCK_ENCODER_VERSION", ENCODER_VERSION)?;
    m.add("EVENT_TABLES", PyTuple::new(m.py(), TABLES.map(Table::name))?)?;
    m.add("DERIVED_TABLES", PyTuple::new(m.py(), DERIVED.map(Table::name))?)?;
    m.add_class::<BlockBuilder>()?;
    m.add_function(wrap_pyfunction!(table_columns, m)?)?;
    m.add_function(wrap_pyfunction!(xxh3_hex, m)?)?;
    m.add_function(wrap_pyfunction!(records_until, m)?)
}

/// The table with a name. Raises ValueError.
pub fn table_of(name: &str) -> PyResult<Table> {
    Table::from_name(name).ok_or_else(|| PyValueError::new_err(format!("no event table is named {name:?}")))
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
        for table in TABLES.into_iter().chain(DERIVED) {
            let derived = wanted.is_none() && DERIVED.contains(&table);
            let unwanted = wanted.as_ref().is_some_and(|tables| !tables.contains(&table));
            assembler.want_from(table, if unwanted || derived { u64::MAX } else { seq_from });
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
            .map(|block| Block::new(Body::Built(block)))
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

/// xxh3-64 of some bytes, 16 hex digits. A spooled block has megabytes: no copy, no GIL.
#[pyfunction]
fn xxh3_hex(py: Python<'_>, data: PyBuffer<u8>) -> PyResult<String> {
    let bytes = contiguous(&data)?;
    let hash = py.detach(|| tickd_core::block::hash(bytes));
    Ok(format!("{hash:016x}"))
}

/// Bytes of concatenated records before the first one whose frame number is above `frame_no`.
#[pyfunction]
fn records_until(py: Python<'_>, records: PyBuffer<u8>, frame_no: u64) -> PyResult<usize> {
    tickd_core::record::records_until(&records.to_vec(py)?, frame_no).map_err(|error| to_py(error, "records"))
}
