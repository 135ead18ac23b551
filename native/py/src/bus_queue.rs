//! What the bus and the Python faces of its queues share: the queue, whom to wake, the names of topics. Loop thread only.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};
use tickd_core::batch::{Batch, TopicRange};
use tickd_core::queue::{bursts, topics, Dropped, Lag, Limits, State, WhenFull};

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

    /// The name of a topic; `#number` before it was ever asked about.
    pub fn get<'py>(&self, py: Python<'py>, topic: u32) -> Bound<'py, PyString> {
        let names = self.0.borrow();
        match names.get(topic as usize) {
            Some(Some(name)) => name.bind(py).clone(),
            _ => PyString::new(py, &format!("#{topic}")),
        }
    }
}

/// A queue of the core, and the consumer's call, which is made once after it was armed.
pub struct Queue<Q> {
    /// The queue itself.
    pub core: RefCell<Q>,
    call: RefCell<Option<Py<PyAny>>>,
    armed: Cell<bool>,
    when_full: WhenFull,
    drops: Rc<Cell<bool>>,
}

/// One queue per topic.
pub type Queues = Queue<topics::TopicQueues>;
/// One queue of whole batches.
pub type Bursts = Queue<bursts::BurstQueue>;

impl<Q> Queue<Q> {
    /// `drops` is set when something was dropped.
    pub fn new(core: Q, wake: Py<PyAny>, when_full: WhenFull, drops: Rc<Cell<bool>>) -> Self {
        Queue {
            core: RefCell::new(core),
            call: RefCell::new(Some(wake)),
            armed: Cell::new(false),
            when_full,
            drops,
        }
    }

    /// Whether it takes a batch whole or not at all.
    pub fn is_atomic(&self) -> bool {
        self.when_full.is_atomic()
    }

    /// Whether the publisher waits for it.
    pub fn is_blocking(&self) -> bool {
        self.when_full == WhenFull::Block
    }

    /// Arms the call when the queue is idle; hands `idle` back.
    pub fn arm(&self, idle: bool) -> bool {
        self.armed.set(idle);
        idle
    }

    /// Forgets the call, which knows the subscription.
    pub fn release(&self) {
        self.call.borrow_mut().take();
    }

    /// Something came: notes drops, returns whom to wake.
    #[inline]
    fn came(&self, py: Python<'_>, dropped: bool) -> Option<Py<PyAny>> {
        if dropped {
            self.drops.set(true);
        }
        if !self.armed.replace(false) {
            return None;
        }
        self.call.borrow().as_ref().map(|call| call.clone_ref(py))
    }
}

impl Queues {
    /// Queues a stretch; returns whom to wake.
    #[inline]
    pub fn push(&self, py: Python<'_>, batch: &Arc<Batch>, range: TopicRange) -> Option<Py<PyAny>> {
        let mut core = self.core.borrow_mut();
        if !core.push(batch, range) {
            return None;
        }
        self.came(py, core.has_unreported())
    }
}

impl Bursts {
    /// Queues a batch; returns whom to wake.
    pub fn push(&self, py: Python<'_>, batch: &Arc<Batch>) -> Option<Py<PyAny>> {
        let mut core = self.core.borrow_mut();
        if !core.push(batch) {
            return None;
        }
        self.came(py, core.has_unreported())
    }
}

/// Limits as Python gives them: records per topic, records together, age in ns (0 = none).
pub fn limits_of((records, records_total, age_ns): (usize, usize, i64)) -> Limits {
    Limits {
        records,
        records_total,
        age_ns,
    }
}

/// The policy with a name. Raises ValueError.
pub fn policy(name: &str) -> PyResult<WhenFull> {
    WhenFull::parse(name).ok_or_else(|| PyValueError::new_err(format!("no such policy: {name}")))
}

/// What Python calls a state.
pub fn state_name(state: State) -> &'static str {
    match state {
        State::Live => "live",
        State::Spilled(..) => "spilled",
        State::Disconnected => "disconnected",
    }
}

/// The range that was missed, when one was.
pub fn spilled(state: State) -> Option<(u64, u64)> {
    match state {
        State::Spilled(from, to) => Some((from, to)),
        _ => None,
    }
}

/// (depth, high_water, oldest_mono_ns, dropped, events) of a whole subscription.
pub type Sums = (usize, usize, i64, u64, u64);

/// (topic, depth, high_water, oldest_mono_ns, dropped, events) of a topic.
pub type LagRow = (Py<PyString>, usize, usize, i64, u64, u64);

/// What Python gets of all topics together.
pub fn sums_of(sums: &Lag) -> Sums {
    (sums.depth, sums.high_water, sums.oldest_ns, sums.dropped, sums.events)
}

/// What Python gets of one topic.
pub fn lag_row(name: Bound<'_, PyString>, row: &Lag) -> LagRow {
    (
        name.unbind(),
        row.depth,
        row.high_water,
        row.oldest_ns,
        row.dropped,
        row.events,
    )
}

/// [(topic, records, seq_from, seq_to), ...]
pub fn dropped_rows<'py>(py: Python<'py>, names: &Names, rows: Vec<Dropped>) -> PyResult<Bound<'py, PyList>> {
    PyList::new(
        py,
        rows.iter()
            .map(|row| (names.get(py, row.topic), row.records, row.seq_from, row.seq_to)),
    )
}
