//! The Python face of an indicator, made by macro: what all have in common is written here once.
//!
//! `face!` makes the class; each family's file adds `update`, `update_many`, `batch` and `peek` for what it takes.

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt};
use tickd_core::error::Error;
use tickd_core::indicators::Indicator;

/// Parameters that the core refuses; `what` says which are allowed.
pub fn refused(what: &'static str) -> impl Fn(Error) -> PyErr {
    move |error| PyValueError::new_err(format!("{} parameters: {what}", error.reason.name()))
}

/// A snapshot that the core refuses.
pub fn bad_state(error: &Error) -> PyErr {
    PyValueError::new_err(format!("state refused: {error}"))
}

/// The error of a strict indicator; clears its mark.
#[cold]
pub fn strict_error<I: Indicator>(core: &mut I, row: Option<usize>) -> PyErr {
    core.tally_mut().refused = false;
    match row {
        Some(row) => PyValueError::new_err(format!("row {row} refused: not finite, negative, crossed or backward")),
        None => PyValueError::new_err("input refused: not finite, negative, crossed or backward"),
    }
}

/// The value, or the error of a strict indicator.
#[inline(always)]
pub fn answer<I: Indicator, T>(core: &mut I, value: T) -> PyResult<T> {
    if core.tally().refused {
        return Err(strict_error(core, None));
    }
    Ok(value)
}

/// An aggressor: an int or a float; ints are read without a detour.
pub struct Side(pub f64);

impl<'py> FromPyObject<'_, 'py> for Side {
    type Error = PyErr;

    #[inline]
    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(number) = object.cast::<PyInt>() {
            return match number.extract::<i64>() {
                Ok(side) => Ok(Side(side as f64)),
                Err(error) if error.is_instance_of::<PyOverflowError>(object.py()) => Ok(Side(f64::NAN)),
                Err(error) => Err(error),
            };
        }
        if let Ok(number) = object.cast::<PyFloat>() {
            return Ok(Side(number.value()));
        }
        object.extract::<f64>().map(Side)
    }
}

/// One class: constructor, what it takes, what it has beyond the others, and what all have.
macro_rules! face {
    (
        $(#[$doc:meta])*
        $name:ident($core:ty, $kind:expr) [$($signature:tt)*] ($($args:tt)*) $make:block
        [$($shape:tt)*] [$($extra:tt)*]
    ) => {
        $(#[$doc])*
        #[pyclass(module = "tickd._native")]
        pub struct $name {
            core: $core,
        }

        #[pymethods]
        impl $name {
            #[new]
            #[pyo3(signature = ($($signature)*))]
            fn new($($args)*) -> PyResult<Self> {
                let core: $core = $make;
                Ok($name { core })
            }

            $($shape)*

            $($extra)*

            #[getter]
            fn value(&self) -> f64 {
                Indicator::value(&self.core)
            }

            #[getter]
            fn is_ready(&self) -> bool {
                self.core.is_ready()
            }

            #[getter]
            fn initialized(&self) -> bool {
                self.core.is_ready()
            }

            #[getter]
            fn count(&self) -> u64 {
                self.core.tally().count
            }

            #[getter]
            fn n_skipped(&self) -> u64 {
                self.core.tally().skipped
            }

            #[getter]
            fn n_crossed(&self) -> u64 {
                self.core.tally().crossed
            }

            #[getter]
            fn n_backward(&self) -> u64 {
                self.core.tally().backward
            }

            #[getter]
            fn warmup(&self) -> u64 {
                self.core.warmup()
            }

            fn reset(&mut self) {
                self.core.reset();
            }

            fn copy(&self) -> Self {
                $name { core: self.core.clone() }
            }

            fn __copy__(&self) -> Self {
                self.copy()
            }

            fn __deepcopy__(&self, memo: &Bound<'_, PyAny>) -> Self {
                let _ = memo;
                self.copy()
            }

            fn state<'py>(&self, py: Python<'py>) -> Bound<'py, pyo3::types::PyBytes> {
                pyo3::types::PyBytes::new(py, &self.core.snapshot())
            }

            #[staticmethod]
            fn from_state(state: &[u8]) -> PyResult<Self> {
                let core = <$core>::restore($kind, state).map_err(|error| bad_state(&error))?;
                Ok($name { core })
            }

            fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, pyo3::types::PyBytes>,))> {
                let restore = slf.get_type().getattr("from_state")?;
                let state = slf.borrow().state(slf.py());
                Ok((restore, (state,)))
            }

            fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
                match other.cast::<Self>() {
                    Ok(other) => other.borrow().core.snapshot() == self.core.snapshot(),
                    Err(_) => false,
                }
            }

            fn __repr__(&self) -> String {
                let (count, value) = (self.core.tally().count, Indicator::value(&self.core));
                format!(concat!(stringify!($name), "(count={}, value={:?})"), count, value)
            }
        }
    };
}
