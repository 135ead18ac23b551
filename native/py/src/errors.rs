//! Core errors as the one Python exception `NativeError(reason, position, detail)`; `tickd/native.py` gives it an action.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::PyErr;
use tickd_core::error::Error;
use tickd_io::error::LogError;

create_exception!(
    _native,
    NativeError,
    PyException,
    "Refused input: args are (reason, position, detail)."
);

/// The Python exception for a core error.
pub fn to_py(error: Error, detail: &str) -> PyErr {
    NativeError::new_err((error.reason.name(), error.position, detail.to_owned()))
}

/// The Python exception for a failure of the raw log.
pub fn log_error(error: &LogError) -> PyErr {
    NativeError::new_err((error.name(), 0, error.to_string()))
}
