//! `BusHandler`: a synchronous consumer of the bus, isolated from the others.

use std::cell::Cell;
use std::rc::Rc;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use crate::cpython::{call_objects, OneThread};

/// What the bus and the Python face of a handler share.
pub struct Handler {
    call: Py<PyAny>,
    number: u64,
    /// Only batches that end after this sequence number.
    after: u64,
    failures_max: u64,
    active: Cell<bool>,
    calls: Cell<u64>,
    failures: Cell<u64>,
    failures_in_row: Cell<u64>,
}

/// A synchronous consumer: called in the loop, isolated, switched off after too many failures in a row.
#[pyclass(frozen, module = "tickd._native")]
pub struct BusHandler(OneThread<Rc<Handler>>);

impl BusHandler {
    /// Gets batches that end after `after`; is switched off after `failures_max` failures in a row.
    pub fn new(call: Py<PyAny>, number: u64, after: u64, failures_max: u64) -> Self {
        BusHandler(OneThread::new(Rc::new(Handler {
            call,
            number,
            after,
            failures_max,
            active: Cell::new(true),
            calls: Cell::new(0),
            failures: Cell::new(0),
            failures_in_row: Cell::new(0),
        })))
    }

    /// The part the bus holds.
    pub fn inner(&self, py: Python<'_>) -> PyResult<Rc<Handler>> {
        self.0.get(py).map(Rc::clone)
    }
}

#[pymethods]
impl BusHandler {
    /// Its name in `on_failure`.
    #[getter]
    fn number(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.0.get(py)?.number)
    }

    #[getter]
    fn active(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.0.get(py)?.active.get())
    }

    #[getter]
    fn calls(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.0.get(py)?.calls.get())
    }

    #[getter]
    fn failures(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.0.get(py)?.failures.get())
    }

    /// Calls it no more.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.0.get(py)?.active.set(false);
        Ok(())
    }
}

impl Handler {
    /// Calls it; its `Exception` is counted and reported to `on_failure` and stays here, anything else passes.
    #[inline]
    pub fn call(
        &self,
        py: Python<'_>,
        seq: u64,
        arguments: &[&Bound<'_, PyAny>],
        on_failure: &Py<PyAny>,
    ) -> PyResult<()> {
        if !self.active.get() || seq <= self.after {
            return Ok(());
        }
        self.calls.set(self.calls.get() + 1);
        match call_objects(py, &self.call, arguments) {
            Ok(()) => {
                self.failures_in_row.set(0);
                Ok(())
            }
            Err(error) => self.failed(py, error, on_failure),
        }
    }

    #[cold]
    fn failed(&self, py: Python<'_>, error: PyErr, on_failure: &Py<PyAny>) -> PyResult<()> {
        if !error.is_instance_of::<PyException>(py) {
            return Err(error);
        }
        self.failures.set(self.failures.get() + 1);
        self.failures_in_row.set(self.failures_in_row.get() + 1);
        if self.failures_in_row.get() >= self.failures_max {
            self.active.set(false);
        }
        on_failure.call1(py, (self.number, error)).map(drop)
    }
}
