//! The manifest from Python while no daemon runs: `OfflineManifest`; and `Xxh3`, the hash that its lines carry, over streams.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use tickd_core::segment::{hash_text, DataHash};
use tickd_io::error::LogError;
use tickd_io::manifest::{Entry, OfflineManifest as Core};
use tickd_io::sys::wall_ns;

use crate::cpython::with_bytes;
use crate::errors::log_error;

/// Puts them into the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<StreamHash>()?;
    m.add_class::<OfflineManifest>()
}

/// The manifest of a raw log that no daemon owns; holds the directory's lock until it is closed. Raises
/// NativeError("locked", …) when a daemon does own it.
#[pyclass(frozen, module = "tickd._native")]
pub struct OfflineManifest {
    core: Mutex<Option<Core>>,
}

#[pymethods]
impl OfflineManifest {
    #[new]
    fn new(py: Python<'_>, directory: PathBuf) -> PyResult<Self> {
        let core = py
            .detach(|| Core::open(&directory))
            .map_err(|error| log_error(&error))?;
        Ok(OfflineManifest {
            core: Mutex::new(Some(core)),
        })
    }

    /// As `RawLog.note`: appends a line, durably.
    fn note(&self, py: Python<'_>, line: Vec<u8>) -> PyResult<()> {
        let noted = py.detach(|| {
            let entry = Entry::note(&line)?;
            let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
            core.as_mut()
                .ok_or(LogError::Misuse("the manifest was closed"))?
                .append(&entry, wall_ns())
        });
        noted.map_err(|error| log_error(&error))
    }

    /// Gives the lock back.
    fn close(&self) {
        *self.core.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, _error: &Bound<'_, PyTuple>) {
        self.close();
    }
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
