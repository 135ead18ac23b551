//! The Python face of an indicator, made by macro: what all have in common is written here once.
//!
//! `face!` makes the class; each family's file adds `update`, `update_many`, `batch` and `peek` for what it takes.

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt};
use tickd_core::error::Error;
use tickd_core::indicators::params::{Param, Params};
use tickd_core::indicators::Indicator;

use crate::direct::{install, Direct};

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

/// Parameters as Python has them.
pub fn mapping(py: Python<'_>, params: Params) -> PyResult<Bound<'_, PyDict>> {
    let made = PyDict::new(py);
    for (name, param) in params {
        match param {
            Param::Nothing => made.set_item(name, py.None()),
            Param::Switch(is) => made.set_item(name, is),
            Param::Whole(number) => made.set_item(name, number),
            Param::Float(number) => made.set_item(name, number),
            Param::Word(word) => made.set_item(name, word),
            Param::Floats(numbers) => made.set_item(name, numbers),
            Param::Table(rows) => made.set_item(name, rows),
        }?;
    }
    Ok(made)
}

/// `<Ofi(window=100, ...) count=3 value=1.0>`.
pub fn described(py: Python<'_>, name: &str, params: Params, count: u64, value: f64) -> PyResult<String> {
    let mut words = Vec::new();
    for (key, param) in mapping(py, params)? {
        words.push(format!("{key}={}", param.repr()?));
    }
    let value = PyFloat::new(py, value).repr()?;
    Ok(format!("<{name}({}) count={count} value={value}>", words.join(", ")))
}

/// Exports a class whose `update` is called directly.
pub fn add<T: Direct>(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<T>()?;
    install::<T>(m.py())
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
        #[pyclass(frozen, module = "tickd._native")]
        pub struct $name {
            core: Lent<$core>,
        }

        #[pymethods]
        impl $name {
            #[new]
            #[pyo3(signature = ($($signature)*))]
            fn new($($args)*) -> PyResult<Self> {
                let core: $core = $make;
                Ok($name { core: Lent::new(core) })
            }

            $($shape)*

            $($extra)*

            #[getter]
            fn value(&self, py: Python<'_>) -> PyResult<f64> {
                Ok(Indicator::value(&*self.core.lend(py)?))
            }

            #[getter]
            fn is_ready(&self, py: Python<'_>) -> PyResult<bool> {
                Ok(self.core.lend(py)?.is_ready())
            }

            #[getter]
            fn initialized(&self, py: Python<'_>) -> PyResult<bool> {
                Ok(self.core.lend(py)?.is_ready())
            }

            #[getter]
            fn count(&self, py: Python<'_>) -> PyResult<u64> {
                Ok(self.core.lend(py)?.tally().count)
            }

            #[getter]
            fn n_skipped(&self, py: Python<'_>) -> PyResult<u64> {
                Ok(self.core.lend(py)?.tally().skipped)
            }

            #[getter]
            fn n_crossed(&self, py: Python<'_>) -> PyResult<u64> {
                Ok(self.core.lend(py)?.tally().crossed)
            }

            #[getter]
            fn n_backward(&self, py: Python<'_>) -> PyResult<u64> {
                Ok(self.core.lend(py)?.tally().backward)
            }

            #[getter]
            fn warmup(&self, py: Python<'_>) -> PyResult<u64> {
                Ok(self.core.lend(py)?.warmup())
            }

            fn reset(&self, py: Python<'_>) -> PyResult<()> {
                self.core.lend(py)?.reset();
                Ok(())
            }

            fn copy(&self, py: Python<'_>) -> PyResult<Self> {
                let core = self.core.lend(py)?.clone();
                Ok($name { core: Lent::new(core) })
            }

            fn __copy__(&self, py: Python<'_>) -> PyResult<Self> {
                self.copy(py)
            }

            fn __deepcopy__(&self, memo: &Bound<'_, PyAny>) -> PyResult<Self> {
                self.copy(memo.py())
            }

            fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyBytes>> {
                let snapshot = self.core.lend(py)?.snapshot();
                Ok(pyo3::types::PyBytes::new(py, &snapshot))
            }

            #[staticmethod]
            fn from_state(state: &[u8]) -> PyResult<Self> {
                let core = <$core>::restore($kind, state).map_err(|error| bad_state(&error))?;
                Ok($name { core: Lent::new(core) })
            }

            fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, pyo3::types::PyBytes>,))> {
                let restore = slf.get_type().getattr("from_state")?;
                let state = slf.get().state(slf.py())?;
                Ok((restore, (state,)))
            }

            fn __eq__(&self, other: &Bound<'_, PyAny>) -> PyResult<bool> {
                let Ok(other) = other.cast::<Self>() else {
                    return Ok(false);
                };
                let own = self.core.lend(other.py())?.snapshot();
                let others = other.get().core.lend(other.py())?.snapshot();
                Ok(own == others)
            }

            #[getter]
            fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyDict>> {
                let params = self.core.lend(py)?.params();
                mapping(py, params)
            }

            fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
                let (params, count, value) = {
                    let core = self.core.lend(py)?;
                    (core.params(), core.tally().count, Indicator::value(&*core))
                };
                described(py, stringify!($name), params, count, value)
            }
        }
    };
}
