//! `record_heads`: where the records of a chunk are and what their heads say, as one packed table for numpy.

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tickd_core::record::read_record;

use crate::errors::to_py;

/// Bytes of one entry: frame_no u64, recv_ns i64, payload offset u32, payload bytes u32, connection u32, type u8, 3 zeros.
const ENTRY_BYTES: usize = 32;
/// About the least that a record of a venue takes.
const RECORD_BYTES_GUESS: usize = 128;

/// The heads of concatenated records, 32 bytes each, in order. Raises NativeError at bytes that are no record.
#[pyfunction]
pub fn record_heads<'py>(py: Python<'py>, records: PyBuffer<u8>) -> PyResult<Bound<'py, PyBytes>> {
    let bytes = records.to_vec(py)?;
    let table = py.detach(|| heads(&bytes)).map_err(|error| to_py(error, "records"))?;
    Ok(PyBytes::new(py, &table))
}

fn heads(bytes: &[u8]) -> tickd_core::error::Result<Vec<u8>> {
    let mut table = Vec::with_capacity(bytes.len() / RECORD_BYTES_GUESS * ENTRY_BYTES);
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let (record, used) = read_record(rest)?;
        at += used;
        let payload_at = (at - 1 - record.payload.len()) as u32;
        table.extend_from_slice(&record.frame_no.to_le_bytes());
        table.extend_from_slice(&record.recv_ns.to_le_bytes());
        table.extend_from_slice(&payload_at.to_le_bytes());
        table.extend_from_slice(&(record.payload.len() as u32).to_le_bytes());
        table.extend_from_slice(&record.connection.to_le_bytes());
        table.extend_from_slice(&[record.kind as u8, 0, 0, 0]);
    }
    Ok(table)
}
