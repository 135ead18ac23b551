//! `outbox_frame`: bytes in, bytes out; the format is `tickd_core::outbox`'s.

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tickd_core::outbox::{frame_bytes, write_frame};

/// A payload in its frame, padded with zeros to eight bytes.
#[pyfunction]
pub fn outbox_frame<'py>(py: Python<'py>, number: u64, payload: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, frame_bytes(payload.len()), |frame| {
        match write_frame(number, payload, frame) {
            true => Ok(()),
            false => Err(PyOverflowError::new_err("a payload of more than 4 GiB")),
        }
    })
}
