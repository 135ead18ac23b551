//! `TopicQueues`: a subscription's queues, one per topic, as Python sees them. Loop thread only.

use std::cell::Cell;
use std::rc::Rc;

use pyo3::prelude::*;
use pyo3::types::PyList;
use tickd_core::queue::{topics, State, Taken};

use crate::batch::EventBatch;
use crate::bus_queue::{dropped_rows, limits_of, policy, spilled, state_name, Names, Queue, Queues};

/// One subscription's bounded queues, one per topic.
#[pyclass(frozen, unsendable, module = "tickd._native")]
pub struct TopicQueues {
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
        Ok(TopicQueues {
            inner: Rc::new(Queue::new(core, wake, when_full, drops)),
            names,
        })
    }

    /// The part the bus holds.
    pub fn inner(&self) -> Rc<Queues> {
        Rc::clone(&self.inner)
    }
}

#[pymethods]
impl TopicQueues {
    /// [(topic, batch), ...]: up to `records_max` records, one quantum per topic and turn.
    fn take<'py>(&self, py: Python<'py>, records_max: usize, now_ns: i64) -> PyResult<Bound<'py, PyList>> {
        let mut taken: Vec<Taken> = Vec::new();
        self.inner.core.borrow_mut().take(records_max, now_ns, &mut taken);
        PyList::new(
            py,
            taken.into_iter().map(|run| {
                let Taken {
                    topic,
                    batch,
                    start,
                    stop,
                } = run;
                (self.names.get(py, topic), EventBatch::part(batch, start, stop))
            }),
        )
    }

    /// Asks to be woken once at the next record; False when something is there already.
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

    /// [(topic, depth, high_water, oldest_mono_ns, dropped, events), ...]; `reset` begins a new high-water period.
    #[pyo3(signature = (reset=false))]
    fn lag<'py>(&self, py: Python<'py>, reset: bool) -> PyResult<Bound<'py, PyList>> {
        let rows = self.inner.core.borrow_mut().lag(reset);
        PyList::new(
            py,
            rows.iter().map(|row| {
                (
                    self.names.get(py, row.topic),
                    row.depth,
                    row.high_water,
                    row.oldest_ns,
                    row.dropped,
                    row.events,
                )
            }),
        )
    }

    /// Forgets the waker, which knows the subscription.
    fn release(&self) {
        self.inner.release();
    }
}
