//! The bus's queues as Python sees them: take, arm, lag, drops. Loop thread only.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};
use tickd_core::batch::{Batch, TopicRange};
use tickd_core::queue::{bursts, topics, Dropped, Limits, State, Taken, WhenFull};

use crate::batch::EventBatch;

/// Names of the topics seen, by number; shared by the bus and its queues.
#[derive(Default)]
pub struct Names(RefCell<Vec<Option<Py<PyString>>>>);

impl Names {
    /// Remembers a name.
    pub fn set(&self, topic: u32, name: Py<PyString>) {
        let mut names = self.0.borrow_mut();
        if names.len() <= topic as usize {
            names.resize_with(topic as usize + 1, || None);
        }
        if let Some(slot) = names.get_mut(topic as usize) {
            *slot = Some(name);
        }
    }

    fn get<'py>(&self, py: Python<'py>, topic: u32) -> Bound<'py, PyString> {
        let names = self.0.borrow();
        match names.get(topic as usize) {
            Some(Some(name)) => name.bind(py).clone(),
            _ => PyString::new(py, &format!("#{topic}")),
        }
    }
}

/// The consumer's call, made once after it was armed.
struct Waker {
    call: RefCell<Option<Py<PyAny>>>,
    armed: Cell<bool>,
}

impl Waker {
    fn ring(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        if !self.armed.replace(false) {
            return None;
        }
        self.call.borrow().as_ref().map(|call| call.clone_ref(py))
    }
}

/// What the bus and the Python face share.
pub struct Queues {
    /// The queues themselves.
    pub core: RefCell<topics::TopicQueues>,
    waker: Waker,
    when_full: WhenFull,
    drops: Rc<Cell<bool>>,
}

impl Queues {
    /// Queues a stretch; returns whom to wake.
    #[inline]
    pub fn push(&self, py: Python<'_>, batch: &Arc<Batch>, range: TopicRange) -> Option<Py<PyAny>> {
        let mut core = self.core.borrow_mut();
        if !core.push(batch, range) {
            return None;
        }
        if core.has_unreported() {
            self.drops.set(true);
        }
        self.waker.ring(py)
    }

    /// Whether it takes a batch whole or not at all.
    pub fn is_atomic(&self) -> bool {
        self.when_full.is_atomic()
    }

    /// Whether the publisher waits for it.
    pub fn is_blocking(&self) -> bool {
        self.when_full == WhenFull::Block
    }
}

/// What the bus and the Python face of a burst queue share.
pub struct Bursts {
    /// The queue itself.
    pub core: RefCell<bursts::BurstQueue>,
    waker: Waker,
    when_full: WhenFull,
    drops: Rc<Cell<bool>>,
}

impl Bursts {
    /// Queues a batch; returns whom to wake.
    pub fn push(&self, py: Python<'_>, batch: &Arc<Batch>) -> Option<Py<PyAny>> {
        let mut core = self.core.borrow_mut();
        if !core.push(batch) {
            return None;
        }
        if core.has_unreported() {
            self.drops.set(true);
        }
        self.waker.ring(py)
    }

    /// Whether the publisher waits for it.
    pub fn is_blocking(&self) -> bool {
        self.when_full == WhenFull::Block
    }
}

fn policy(name: &str) -> PyResult<WhenFull> {
    WhenFull::parse(name).ok_or_else(|| PyValueError::new_err(format!("no such policy: {name}")))
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Live => "live",
        State::Spilled(..) => "spilled",
        State::Disconnected => "disconnected",
    }
}

fn spilled(state: State) -> Option<(u64, u64)> {
    match state {
        State::Spilled(from, to) => Some((from, to)),
        _ => None,
    }
}

fn dropped_rows<'py>(py: Python<'py>, names: &Names, rows: Vec<Dropped>) -> PyResult<Bound<'py, PyList>> {
    PyList::new(
        py,
        rows.iter()
            .map(|row| (names.get(py, row.topic), row.records, row.seq_from, row.seq_to)),
    )
}

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
        let limits = Limits {
            records: limits.0,
            records_total: limits.1,
            age_ns: limits.2,
        };
        let core = RefCell::new(topics::TopicQueues::new(limits, when_full, quantum, after));
        let waker = Waker {
            call: RefCell::new(Some(wake)),
            armed: Cell::new(false),
        };
        Ok(TopicQueues {
            inner: Rc::new(Queues {
                core,
                waker,
                when_full,
                drops,
            }),
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
        let idle = core.depth() == 0 && core.state() == State::Live;
        self.inner.waker.armed.set(idle);
        idle
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
        self.inner.waker.call.borrow_mut().take();
    }
}

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
        let limits = Limits {
            records: limits.0,
            records_total: limits.1,
            age_ns: limits.2,
        };
        let core = RefCell::new(bursts::BurstQueue::new(limits, when_full, after));
        let waker = Waker {
            call: RefCell::new(Some(wake)),
            armed: Cell::new(false),
        };
        Ok(BurstQueue {
            inner: Rc::new(Bursts {
                core,
                waker,
                when_full,
                drops,
            }),
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
        let idle = core.depth() == 0 && core.state() == State::Live;
        self.inner.waker.armed.set(idle);
        idle
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
        self.inner.waker.call.borrow_mut().take();
    }
}
