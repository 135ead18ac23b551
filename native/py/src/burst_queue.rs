//! `BurstQueue`: a subscription's queue of whole batches, as Python sees it. Loop thread only.

use std::cell::Cell;
use std::rc::Rc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;
use tickd_core::queue::{bursts, State, WhenFull};

use crate::batch::EventBatch;
use crate::bus_queue::{dropped_rows, limits_of, policy, spilled, state_name, Bursts, Names, Queue};

/// One subscription's bounded queue of whole batches.
#[pyclass(frozen, unsendable, module = "tickd._native")]
pub struct BurstQueue {
    inner: Rc<Bursts>,
    names: Rc<Names>,
}

impl BurstQueue {
    /// Limits as in `TopicQueues::new`.
    pub fn new(
        wake: Py<PyAny>,
        when_full: &str,
        limits: (usize, usize, i64),
        after: u64,
        names: Rc<Names>,
        drops: Rc<Cell<bool>>,
    ) -> PyResult<Self> {
        let when_full = policy(when_full)?;
        if when_full == WhenFull::Conflate {
            return Err(PyValueError::new_err("a queue of whole batches cannot conflate"));
        }
        let limits = limits_of(limits);
        let core = bursts::BurstQueue::new(limits, when_full, after);
        Ok(BurstQueue {
            inner: Rc::new(Queue::new(core, wake, when_full, drops)),
            names,
        })
    }

    /// The part the bus holds.
    pub fn inner(&self) -> Rc<Bursts> {
        Rc::clone(&self.inner)
    }
}

#[pymethods]
impl BurstQueue {
    /// [batch, ...]: up to `records_max` records together, at least one batch.
    fn take<'py>(&self, py: Python<'py>, records_max: usize) -> PyResult<Bound<'py, PyList>> {
        let taken = self.inner.core.borrow_mut().take(records_max);
        let faces = taken.into_iter().map(|batch| {
            let stop = batch.events.len();
            Py::new(py, EventBatch::part(batch, 0, stop))
        });
        PyList::new(py, faces.collect::<PyResult<Vec<_>>>()?)
    }

    /// Asks to be woken once at the next batch; False when something is there already.
    fn arm(&self) -> bool {
        let core = self.inner.core.borrow();
        self.inner.arm(core.depth() == 0 && core.state() == State::Live)
    }

    #[getter]
    fn depth(&self) -> usize {
        self.inner.core.borrow().depth()
    }

    #[getter]
    fn state(&self) -> &'static str {
        state_name(self.inner.core.borrow().state())
    }

    #[getter]
    fn spilled(&self) -> Option<(u64, u64)> {
        spilled(self.inner.core.borrow().state())
    }

    #[getter]
    fn has_dropped(&self) -> bool {
        self.inner.core.borrow().has_unreported()
    }

    fn resume(&self) -> Option<(u64, u64)> {
        self.inner.core.borrow_mut().resume()
    }

    /// [(topic, records, seq_from, seq_to), ...] since the last call.
    fn take_dropped<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let rows = self.inner.core.borrow_mut().take_dropped();
        dropped_rows(py, &self.names, rows)
    }

    /// [("*", depth, high_water, oldest_mono_ns, dropped, events)].
    #[pyo3(signature = (reset=false))]
    fn lag(&self, reset: bool) -> Vec<(&'static str, usize, usize, i64, u64, u64)> {
        let mut core = self.inner.core.borrow_mut();
        let (events, dropped, high_water) = core.totals(reset);
        vec![("*", core.depth(), high_water, core.oldest_ns(), dropped, events)]
    }

    /// Forgets the waker, which knows the subscription.
    fn release(&self) {
        self.inner.release();
    }
}
