//! `Dispatch`: the face of the dispatch loop, one call per batch.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyKeyError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::batch::EventBatch;
use crate::book::L2Book;
use crate::cpython::Attached;
use crate::dispatch_loop::DispatchLoop;
use crate::histogram::Histogram;
use crate::hosted::{Handlers, Hosted};
use crate::last_values::LastValues;
use crate::ring::RingReader;
use crate::view_reuse::Scales;

/// The dispatch loop of a host.
#[pyclass(frozen, module = "tickd._native")]
pub struct Dispatch {
    events: Attached<DispatchLoop>,
    busy: AtomicBool,
}

#[pymethods]
impl Dispatch {
    /// `owners`: the upper half of the client ids of each strategy.
    #[new]
    fn new(py: Python<'_>, owners: Vec<u32>, on_failure: Py<PyAny>) -> PyResult<Self> {
        Ok(Dispatch {
            events: Attached::new(DispatchLoop::new(py, owners, on_failure)?),
            busy: AtomicBool::new(false),
        })
    }

    /// What an instrument is, and the channels of it that each strategy wants, as bits in the order of `topic.rs`. A second
    /// call replaces the wants.
    fn define(
        &self,
        py: Python<'_>,
        instrument: u32,
        venue: String,
        price_scale: u8,
        size_scale: u8,
        wants: Vec<u32>,
    ) -> PyResult<()> {
        if wants.len() != self.events.get(py).strategies.len() {
            return Err(PyValueError::new_err("one entry of wants per strategy"));
        }
        let scales = Scales {
            price: price_scale,
            size: size_scale,
        };
        self.events.get(py).define(py, instrument, venue, scales, wants);
        Ok(())
    }

    /// The handlers of a strategy by name: `trade quote book signal order clock batch`; once, or behind `rest`. It gets events
    /// from now on.
    fn attach(&self, py: Python<'_>, strategy: usize, handlers: HashMap<String, Py<PyAny>>) -> PyResult<()> {
        self.strategy(py, strategy)?.attach(Handlers::from_names(handlers)?)
    }

    /// Calls only this at clock records, until the strategy is attached again.
    fn rest(&self, py: Python<'_>, strategy: usize, clock: Py<PyAny>) -> PyResult<()> {
        self.strategy(py, strategy)?.rest(clock);
        Ok(())
    }

    /// Says in the header of this ring since when each callback runs.
    fn tell(&self, ring: PyRef<'_, RingReader>) {
        self.events.get(ring.py()).watch.tell(ring.busy_stamp());
    }

    /// Calls a strategy no more.
    fn detach(&self, py: Python<'_>, strategy: usize) -> PyResult<()> {
        self.strategy(py, strategy)?.end();
        Ok(())
    }

    /// Hands out a batch. Raises ValueError where numbers do not rise, and RuntimeError from inside a handler.
    fn feed(&self, batch: &Bound<'_, EventBatch>) -> PyResult<()> {
        self.alone(batch.py(), |events| events.batch(batch, true))
    }

    /// Brings last values and books up to a batch, calling nobody: what came before the start. Raises as `feed`.
    fn warm(&self, batch: &Bound<'_, EventBatch>) -> PyResult<()> {
        self.alone(batch.py(), |events| events.batch(batch, false))
    }

    /// Receive stamp of the record in hand, ns.
    #[getter]
    fn now_ns(&self, py: Python<'_>) -> i64 {
        self.events.get(py).now_ns.get()
    }

    /// Number of the record in hand.
    #[getter]
    fn seq(&self, py: Python<'_>) -> u64 {
        self.events.get(py).seq.get()
    }

    /// The cache that this loop fills.
    #[getter]
    fn last(&self, py: Python<'_>) -> LastValues {
        LastValues::of(&self.events.get(py).shared)
    }

    /// The live book of an instrument; None before its first depth message.
    fn book(&self, py: Python<'_>, instrument: u32) -> Option<Py<L2Book>> {
        self.events.get(py).market(instrument)?.book(py)
    }

    /// How long a strategy's handlers took, per call.
    fn latency(&self, py: Python<'_>, strategy: usize) -> PyResult<Histogram> {
        Ok(Histogram::of(&self.strategy(py, strategy)?.latency))
    }

    /// Events that a strategy was given.
    fn events(&self, py: Python<'_>, strategy: usize) -> PyResult<u64> {
        Ok(self.strategy(py, strategy)?.events.get())
    }
}

impl Dispatch {
    fn strategy<'a>(&'a self, py: Python<'a>, number: usize) -> PyResult<&'a Hosted> {
        let found = self.events.get(py).strategies.get(number);
        found.ok_or_else(|| PyKeyError::new_err(format!("no strategy {number}")))
    }

    fn alone(&self, py: Python<'_>, work: impl FnOnce(&DispatchLoop) -> PyResult<()>) -> PyResult<()> {
        if self.busy.swap(true, Ordering::Relaxed) {
            return Err(PyRuntimeError::new_err("a handler cannot feed its own host"));
        }
        let result = work(self.events.get(py));
        self.busy.store(false, Ordering::Relaxed);
        result
    }
}
