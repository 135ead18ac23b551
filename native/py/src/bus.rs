//! The bus's data plane: one call per batch reaches every queue and handler. Loop thread only; using a class from another
//! thread raises.
//!
//! Which subscriber wants which topic is decided in `tickd/bus.py`, asked once per topic; the queues are
//! `tickd_core::queue`; here the two meet Python's callables.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tickd_core::batch::Batch;

use crate::batch::EventBatch;
use crate::burst_queue::BurstQueue;
use crate::bus_handler::BusHandler;
use crate::bus_queue::Names;
use crate::bus_routes::{Routes, Whole};
use crate::topic_queues::TopicQueues;

/// Batches that handlers may publish before the batch being dispatched is through.
const PENDING_MAX: usize = 4096;

/// Where batches are published.
#[pyclass(frozen, unsendable, module = "tickd._native")]
pub struct BusCore {
    /// (handler, exception) -> None
    on_failure: Py<PyAny>,
    /// Runs the control messages that wait.
    on_turn: Py<PyAny>,
    /// Called once when something was dropped, again only after `drops_reported`.
    on_drops: Py<PyAny>,
    routes: Routes,
    names: Rc<Names>,
    pending: RefCell<VecDeque<Py<EventBatch>>>,
    dispatching: Cell<bool>,
    turn_wanted: Cell<bool>,
    /// Set by a queue that dropped; cleared by the report.
    drops: Rc<Cell<bool>>,
    drops_noted: Cell<bool>,
    seq: Cell<u64>,
    /// Handlers given out.
    handlers: Cell<u64>,
    events: Cell<u64>,
    batches: Cell<u64>,
}

#[pymethods]
impl BusCore {
    #[new]
    #[pyo3(signature = (resolve, on_failure, on_turn, on_drops, seq=0))]
    fn new(resolve: Py<PyAny>, on_failure: Py<PyAny>, on_turn: Py<PyAny>, on_drops: Py<PyAny>, seq: u64) -> Self {
        let names: Rc<Names> = Rc::default();
        BusCore {
            on_failure,
            on_turn,
            on_drops,
            routes: Routes::new(resolve, Rc::clone(&names)),
            names,
            pending: RefCell::default(),
            dispatching: Cell::new(false),
            turn_wanted: Cell::new(false),
            drops: Rc::default(),
            drops_noted: Cell::new(false),
            seq: Cell::new(seq),
            handlers: Cell::new(0),
            events: Cell::new(0),
            batches: Cell::new(0),
        }
    }

    /// Highest sequence number published.
    #[getter]
    fn seq(&self) -> u64 {
        self.seq.get()
    }

    #[getter]
    fn events(&self) -> u64 {
        self.events.get()
    }

    #[getter]
    fn batches(&self) -> u64 {
        self.batches.get()
    }

    /// Whether a batch or a control message is being handled now.
    #[getter]
    fn dispatching(&self) -> bool {
        self.dispatching.get()
    }

    /// Queues that take what is published from now on; `wake()` is called once when something came after `arm()`.
    #[pyo3(signature = (wake, when_full, records_max, records_total_max, age_ns_max, quantum))]
    fn topic_queues(
        &self,
        wake: Py<PyAny>,
        when_full: &str,
        records_max: usize,
        records_total_max: usize,
        age_ns_max: i64,
        quantum: usize,
    ) -> PyResult<TopicQueues> {
        let limits = (records_max, records_total_max, age_ns_max);
        TopicQueues::new(
            wake,
            when_full,
            limits,
            quantum,
            self.seq.get(),
            Rc::clone(&self.names),
            Rc::clone(&self.drops),
        )
    }

    /// The same for a consumer of whole batches.
    fn burst_queue(
        &self,
        wake: Py<PyAny>,
        when_full: &str,
        records_max: usize,
        age_ns_max: i64,
    ) -> PyResult<BurstQueue> {
        let limits = (records_max, records_max, age_ns_max);
        BurstQueue::new(
            wake,
            when_full,
            limits,
            self.seq.get(),
            Rc::clone(&self.names),
            Rc::clone(&self.drops),
        )
    }

    /// A synchronous consumer of what is published from now on.
    fn handler(&self, call: Py<PyAny>, failures_max: u64) -> BusHandler {
        self.handlers.set(self.handlers.get() + 1);
        BusHandler::new(call, self.handlers.get(), self.seq.get(), failures_max)
    }

    /// After a change of subscribers: who gets batches whole, which queues are atomic, whether topics have handlers.
    /// Topics are asked about again.
    fn set_subscribers(
        &self,
        bursts: Vec<Bound<'_, BurstQueue>>,
        burst_handlers: Vec<Bound<'_, BusHandler>>,
        queues: Vec<Bound<'_, TopicQueues>>,
        topics_with_handlers: bool,
    ) {
        let whole = Whole {
            queues: bursts.iter().map(|queue| queue.borrow().inner()).collect(),
            handlers: burst_handlers.iter().map(|handler| handler.borrow().inner()).collect(),
        };
        let queues = queues.iter().map(|queue| queue.borrow().inner());
        self.routes.set(whole, queues, topics_with_handlers);
    }

    /// Whether a queue with `block` has no room for the batch.
    fn blocked(&self, py: Python<'_>, batch: &Bound<'_, EventBatch>) -> PyResult<bool> {
        self.routes.plan(py, &batch.get().to_whole(), false)
    }

    /// Delivers a batch; from inside a handler, after the one being dispatched.
    fn publish(&self, batch: &Bound<'_, EventBatch>) -> PyResult<()> {
        if self.dispatching.get() {
            return self.defer(batch);
        }
        self.dispatching.set(true);
        let result = self.dispatch(batch).and_then(|()| self.finish(batch.py()));
        self.dispatching.set(false);
        result
    }

    /// Delivers batches in their order; control messages that come up meanwhile go between them.
    fn publish_many(&self, batches: &Bound<'_, PyAny>) -> PyResult<()> {
        for batch in batches.try_iter()? {
            self.publish(batch?.cast::<EventBatch>()?)?;
        }
        Ok(())
    }

    /// The drops so far have been reported; the next one calls `on_drops` again.
    fn drops_reported(&self) {
        self.drops.set(false);
        self.drops_noted.set(false);
    }

    /// Has `on_turn` run as soon as nothing is being handled: at once, or before the next batch.
    fn want_turn(&self, py: Python<'_>) -> PyResult<()> {
        self.turn_wanted.set(true);
        if self.dispatching.get() {
            return Ok(());
        }
        self.dispatching.set(true);
        let result = self.finish(py);
        self.dispatching.set(false);
        result
    }
}

impl BusCore {
    fn defer(&self, batch: &Bound<'_, EventBatch>) -> PyResult<()> {
        let mut pending = self.pending.borrow_mut();
        if pending.len() >= PENDING_MAX {
            return Err(PyRuntimeError::new_err(format!(
                "handlers published {PENDING_MAX} batches that still wait"
            )));
        }
        pending.push_back(batch.clone().unbind());
        Ok(())
    }

    /// Control first, then what handlers published, until nothing is left.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            if self.turn_wanted.replace(false) {
                self.on_turn.call0(py)?;
                continue;
            }
            let next = self.pending.borrow_mut().pop_front();
            let Some(batch) = next else { return Ok(()) };
            self.dispatch(batch.bind(py))?;
        }
    }

    fn dispatch(&self, face: &Bound<'_, EventBatch>) -> PyResult<()> {
        let py = face.py();
        let copy;
        let (batch, whole_face): (&Arc<Batch>, bool) = if face.get().is_whole() {
            (face.get().shared(), true)
        } else {
            copy = face.get().to_whole();
            (&copy, false)
        };
        if batch.events.is_empty() {
            return Ok(());
        }
        if self.routes.has_atomic() && self.routes.plan(py, batch, true)? {
            return Err(PyRuntimeError::new_err(
                "a blocking queue is full: publish with publish_blocking",
            ));
        }
        self.seq.set(self.seq.get().max(batch.seq.1));
        self.events.set(self.events.get() + batch.events.len() as u64);
        self.batches.set(self.batches.get() + 1);
        let mut wakes: Vec<Py<PyAny>> = Vec::new();
        let whole = self.routes.whole();
        for queue in &whole.queues {
            wakes.extend(queue.push(py, batch));
        }
        for range in &batch.topics {
            let route = self.routes.of(py, range.topic)?;
            for queue in &route.queues {
                wakes.extend(queue.push(py, batch, *range));
            }
        }
        for wake in wakes {
            wake.call0(py)?;
        }
        if self.drops.get() && !self.drops_noted.replace(true) {
            self.on_drops.call0(py)?;
        }
        for handler in &whole.handlers {
            handler.call(py, batch.seq.1, &[face.as_any()], &self.on_failure)?;
        }
        if self.routes.topics_have_handlers() {
            self.call_topics(face, batch, whole_face)?;
        }
        Ok(())
    }

    fn call_topics(&self, face: &Bound<'_, EventBatch>, batch: &Arc<Batch>, whole_face: bool) -> PyResult<()> {
        let py = face.py();
        for range in &batch.topics {
            // Asked again for every stretch: a handler may have changed the subscribers.
            let route = self.routes.of(py, range.topic)?;
            if route.handlers.is_empty() {
                continue;
            }
            let (start, stop) = (range.start as usize, range.stop as usize);
            let slice = if whole_face && stop - start == batch.events.len() {
                face.clone()
            } else {
                Bound::new(py, EventBatch::part(Arc::clone(batch), start, stop))?
            };
            for handler in &route.handlers {
                handler.call(
                    py,
                    batch.seq.1,
                    &[route.name.bind(py).as_any(), slice.as_any()],
                    &self.on_failure,
                )?;
            }
        }
        Ok(())
    }
}
