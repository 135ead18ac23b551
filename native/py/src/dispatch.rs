//! `Dispatch`: the face of the dispatch loop, one call per batch.

use std::cell::Cell;
use std::collections::HashMap;

use pyo3::exceptions::{PyKeyError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::batch::EventBatch;
use crate::book::L2Book;
use crate::dispatch_loop::DispatchLoop;
use crate::histogram::Histogram;
use crate::hosted::{Handlers, Hosted};
use crate::last_values::LastValues;
use crate::ring::RingReader;
use crate::view_reuse::Scales;

/// The dispatch loop of a host.
#[pyclass(frozen, unsendable, module = "tickd._native")]
pub struct Dispatch {
    events: DispatchLoop,
    busy: Cell<bool>,
}

#[pymethods]
impl Dispatch {
    /// `owners`: the upper half of the client ids of each strategy.
    #[new]
    fn new(py: Python<'_>, owners: Vec<u32>, on_failure: Py<PyAny>) -> PyResult<Self> {
        Ok(Dispatch {
            events: DispatchLoop::new(py, owners, on_failure)?,
            busy: Cell::new(false),
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
        if wants.len() != self.events.strategies.len() {
            return Err(PyValueError::new_err("one entry of wants per strategy"));
        }
        let scales = Scales {
            price: price_scale,
            size: size_scale,
        };
        self.events.define(py, instrument, venue, scales, wants);
        Ok(())
    }

    /// The handlers of a strategy by name: `trade quote book signal order clock batch`; once, or behind `rest`. It gets events
    /// from now on.
    fn attach(&self, strategy: usize, handlers: HashMap<String, Py<PyAny>>) -> PyResult<()> {
        self.strategy(strategy)?.attach(Handlers::from_names(handlers)?)
    }

    /// Calls only this at clock records, until the strategy is attached again.
    fn rest(&self, strategy: usize, clock: Py<PyAny>) -> PyResult<()> {
        self.strategy(strategy)?.rest(clock);
        Ok(())
    }

    /// Says in the header of this ring since when each callback runs.
    fn tell(&self, ring: PyRef<'_, RingReader>) {
        self.events.watch.tell(ring.busy_stamp());
    }

    /// Calls a strategy no more.
    fn detach(&self, strategy: usize) -> PyResult<()> {
        self.strategy(strategy)?.end();
        Ok(())
    }

    /// Hands out a batch. Raises ValueError where numbers do not rise, and RuntimeError from inside a handler.
    fn feed(&self, batch: &Bound<'_, EventBatch>) -> PyResult<()> {
        self.alone(|events| events.batch(batch, true))
    }

    /// Brings last values and books up to a batch, calling nobody: what came before the start. Raises as `feed`.
    fn warm(&self, batch: &Bound<'_, EventBatch>) -> PyResult<()> {
        self.alone(|events| events.batch(batch, false))
    }

    /// Receive stamp of the record in hand, ns.
    #[getter]
    fn now_ns(&self) -> i64 {
        self.events.now_ns.get()
    }

    /// Number of the record in hand.
    #[getter]
    fn seq(&self) -> u64 {
        self.events.seq.get()
    }

    /// The cache that this loop fills.
    #[getter]
    fn last(&self) -> LastValues {
        LastValues::of(&self.events.shared)
    }

    /// The live book of an instrument; None before its first depth message.
    fn book(&self, py: Python<'_>, instrument: u32) -> Option<Py<L2Book>> {
        self.events.market(instrument)?.book(py)
    }

    /// How long a strategy's handlers took, per call.
    fn latency(&self, strategy: usize) -> PyResult<Histogram> {
        Ok(Histogram::of(&self.strategy(strategy)?.latency))
    }

    /// Events that a strategy was given.
    fn events(&self, strategy: usize) -> PyResult<u64> {
        Ok(self.strategy(strategy)?.events.get())
    }
}

impl Dispatch {
    fn strategy(&self, number: usize) -> PyResult<&Hosted> {
        let found = self.events.strategies.get(number);
        found.ok_or_else(|| PyKeyError::new_err(format!("no strategy {number}")))
    }

    fn alone(&self, work: impl FnOnce(&DispatchLoop) -> PyResult<()>) -> PyResult<()> {
        if self.busy.replace(true) {
            return Err(PyRuntimeError::new_err("a handler cannot feed its own host"));
        }
        let result = work(&self.events);
        self.busy.set(false);
        result
    }
}
