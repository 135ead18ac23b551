//! `TopicQueues`: a subscription's queues, one per topic, as Python sees them. Loop thread only.

use std::cell::Cell;
use std::rc::Rc;

use pyo3::prelude::*;
use pyo3::types::PyList;
use tickd_core::queue::{topics, State, Taken};

use crate::batch::EventBatch;
use crate::bus_queue::{dropped_rows, lag_row, limits_of, policy, spilled, state_name, sums_of};
use crate::bus_queue::{LagRow, Names, Queue, Queues, Sums};
use crate::cpython::OneThread;

/// One subscription's bounded queues, one per topic.
#[pyclass(frozen, module = "tickd._native")]
pub struct TopicQueues(OneThread<Face>);

struct Face {
    inner: Rc<Queues>,
    names: Rc<Names>,
}

impl TopicQueues {
    /// Limits: records per topic, records together, age in ns (0 = none).
    pub fn new(
        wake: Py<PyAny>,
        when_full: &str,
        limits: (usize, usize, i64),
        quantum: usize,
        after: u64,
        names: Rc<Names>,
        drops: Rc<Cell<bool>>,
    ) -> PyResult<Self> {
        let when_full = policy(when_full)?;
        let limits = limits_of(limits);
        let core = topics::TopicQueues::new(limits, when_full, quantum, after);
        let inner = Rc::new(Queue::new(core, wake, when_full, drops));
        Ok(TopicQueues(OneThread::new(Face { inner, names })))
    }

    /// The part the bus holds.
    pub fn inner(&self, py: Python<'_>) -> PyResult<Rc<Queues>> {
        Ok(Rc::clone(&self.0.get(py)?.inner))
    }
}

#[pymethods]
impl TopicQueues {
    /// [(topic, batch), ...]: up to `records_max` records, one quantum per topic and turn.
    fn take<'py>(&self, py: Python<'py>, records_max: usize, now_ns: i64) -> PyResult<Bound<'py, PyList>> {
        let mut taken: Vec<Taken> = Vec::new();
        self.0
            .get(py)?
            .inner
            .core
            .borrow_mut()
            .take(records_max, now_ns, &mut taken);
        let names = &self.0.get(py)?.names;
        PyList::new(
            py,
            taken.into_iter().map(|run| {
                let Taken {
                    topic,
                    batch,
                    start,
                    stop,
                } = run;
                (names.get(py, topic), EventBatch::part(batch, start, stop))
            }),
        )
    }

    /// Asks to be woken once at the next record; False when something is there already.
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

    /// [(topic, depth, high_water, oldest_mono_ns, dropped, events), ...]; `reset` begins a new high-water period.
    #[pyo3(signature = (reset=false))]
    fn lag<'py>(&self, py: Python<'py>, reset: bool) -> PyResult<Bound<'py, PyList>> {
        let rows = self.0.get(py)?.inner.core.borrow_mut().lag(reset);
        let names = &self.0.get(py)?.names;
        PyList::new(
            py,
            rows.iter().map(|row| {
                (
                    names.get(py, row.topic),
                    row.depth,
                    row.high_water,
                    row.oldest_ns,
                    row.dropped,
                    row.events,
                )
            }),
        )
    }

    /// ((depth, high_water, oldest_mono_ns, dropped, events) of all topics together, the `worst` rows as `lag` has them).
    ///
    /// `reset` begins a new period of this high water, that of the fullest topic; `lag` has its own.
    fn sums(&self, py: Python<'_>, worst: usize, reset: bool) -> PyResult<(Sums, Vec<LagRow>)> {
        let face = self.0.get(py)?;
        let (sums, rows) = face.inner.core.borrow_mut().sums(worst, reset);
        let rows = rows.iter().map(|row| lag_row(face.names.get(py, row.topic), row));
        Ok((sums_of(&sums), rows.collect()))
    }

    /// Forgets the waker, which knows the subscription.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.0.get(py)?.inner.release();
        Ok(())
    }
}
