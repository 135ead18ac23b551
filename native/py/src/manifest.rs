//! The manifest from Python while no daemon runs: `manifest_note`; and `Xxh3`, the hash that its lines carry, over streams.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use tickd_core::segment::{hash_text, DataHash};
use tickd_io::manifest::{append_offline, Entry};
use tickd_io::sys::wall_ns;

use crate::cpython::with_bytes;
use crate::errors::log_error;

/// Puts them into the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<StreamHash>()?;
    m.add_function(wrap_pyfunction!(manifest_note, m)?)
}

/// Appends a line (JSON of kind shipped, verified, removed or restored) to the manifest of a raw log that no daemon owns.
/// Raises NativeError: "locked" (a daemon does), "refused", "io".
#[pyfunction]
fn manifest_note(py: Python<'_>, directory: PathBuf, line: Vec<u8>) -> PyResult<()> {
    py.detach(|| append_offline(&directory, &Entry::note(&line)?, wall_ns()))
        .map_err(|error| log_error(&error))
}

/// xxh3-64 of what it was given so far.
#[pyclass(frozen, name = "Xxh3", module = "tickd._native")]
pub struct StreamHash {
    hash: Mutex<DataHash>,
}

#[pymethods]
impl StreamHash {
    #[new]
    fn new() -> Self {
        StreamHash {
            hash: Mutex::new(DataHash::default()),
        }
    }

    /// Takes the next bytes.
    fn update(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        with_bytes(data, |bytes| {
            self.hash.lock().unwrap_or_else(PoisonError::into_inner).update(bytes);
        })
    }

    /// 16 hex digits.
    fn hexdigest(&self) -> String {
        hash_text(self.hash.lock().unwrap_or_else(PoisonError::into_inner).value())
    }
}
