//! `BurstQueue`: a subscription's queue of whole batches, as Python sees it. Loop thread only.

use std::cell::Cell;
use std::rc::Rc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;
use tickd_core::queue::{bursts, State, WhenFull};

use crate::batch::EventBatch;
use crate::bus_queue::{dropped_rows, limits_of, policy, spilled, state_name, sums_of, Bursts, Names, Queue, Sums};
use crate::cpython::OneThread;

/// (topic, depth, high_water, oldest_mono_ns, dropped, events)
type Lag = (&'static str, usize, usize, i64, u64, u64);

/// One subscription's bounded queue of whole batches.
#[pyclass(frozen, module = "tickd._native")]
pub struct BurstQueue(OneThread<Face>);

struct Face {
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
        let inner = Rc::new(Queue::new(core, wake, when_full, drops));
        Ok(BurstQueue(OneThread::new(Face { inner, names })))
    }

    /// The part the bus holds.
    pub fn inner(&self, py: Python<'_>) -> PyResult<Rc<Bursts>> {
        Ok(Rc::clone(&self.0.get(py)?.inner))
    }
}

#[pymethods]
impl BurstQueue {
    /// [batch, ...]: up to `records_max` records together, at least one batch.
    fn take<'py>(&self, py: Python<'py>, records_max: usize) -> PyResult<Bound<'py, PyList>> {
        let taken = self.0.get(py)?.inner.core.borrow_mut().take(records_max);
        let faces = taken.into_iter().map(|batch| {
            let stop = batch.events.len();
            Py::new(py, EventBatch::part(batch, 0, stop))
        });
        PyList::new(py, faces.collect::<PyResult<Vec<_>>>()?)
    }

    /// Asks to be woken once at the next batch; False when something is there already.
    fn arm(&self, py: Python<'_>) -> PyResult<bool> {
        let queue = &self.0.get(py)?.inner;
        let core = queue.core.borrow();
        Ok(queue.arm(core.depth() == 0 && core.state() == State::Live))
    }

    #[getter]
    fn depth(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.0.get(py)?.inner.core.borrow().depth())
    }

    #[getter]
    fn state(&self, py: Python<'_>) -> PyResult<&'static str> {
        Ok(state_name(self.0.get(py)?.inner.core.borrow().state()))
    }

    #[getter]
    fn spilled(&self, py: Python<'_>) -> PyResult<Option<(u64, u64)>> {
        Ok(spilled(self.0.get(py)?.inner.core.borrow().state()))
    }

    #[getter]
    fn has_dropped(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.0.get(py)?.inner.core.borrow().has_unreported())
    }

    fn resume(&self, py: Python<'_>) -> PyResult<Option<(u64, u64)>> {
        Ok(self.0.get(py)?.inner.core.borrow_mut().resume())
    }

    /// [(topic, records, seq_from, seq_to), ...] since the last call.
    fn take_dropped<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let rows = self.0.get(py)?.inner.core.borrow_mut().take_dropped();
        dropped_rows(py, &self.0.get(py)?.names, rows)
    }

    /// [("*", depth, high_water, oldest_mono_ns, dropped, events)].
    #[pyo3(signature = (reset=false))]
    fn lag(&self, py: Python<'_>, reset: bool) -> PyResult<[Lag; 1]> {
        let mut core = self.0.get(py)?.inner.core.borrow_mut();
        let (events, dropped, high_water) = core.totals(reset);
        Ok([("*", core.depth(), high_water, core.oldest_ns(), dropped, events)])
    }

    /// As `TopicQueues.sums`; there is one row at most.
    fn sums(&self, py: Python<'_>, worst: usize, reset: bool) -> PyResult<(Sums, Vec<Lag>)> {
        let sums = self.0.get(py)?.inner.core.borrow_mut().sums(reset);
        let wanted = worst > 0 && (sums.depth > 0 || sums.dropped > 0);
        let row = (
            "*",
            sums.depth,
            sums.high_water,
            sums.oldest_ns,
            sums.dropped,
            sums.events,
        );
        Ok((sums_of(&sums), wanted.then_some(row).into_iter().collect()))
    }

    /// Forgets the waker, which knows the subscription.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.0.get(py)?.inner.release();
        Ok(())
    }
}
