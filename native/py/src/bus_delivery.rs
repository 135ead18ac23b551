//! How a batch reaches every queue and handler, in one call.
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
use crate::bus_queue::Names;
use crate::bus_routes::Routes;

/// Batches that handlers may publish before the batch being dispatched is through.
const PENDING_MAX: usize = 4096;

/// A bus: its routes, and what waits.
pub struct Bus {
    /// (handler, exception) -> None
    on_failure: Py<PyAny>,
    /// Runs the control messages that wait.
    on_turn: Py<PyAny>,
    /// Called once when something was dropped, again only after `drops_reported`.
    on_drops: Py<PyAny>,
    /// Who gets what.
    pub routes: Routes,
    /// Of topics.
    pub names: Rc<Names>,
    /// What handlers published.
    pending: RefCell<VecDeque<Py<EventBatch>>>,
    /// Whether a batch or a control message is being handled now.
    pub dispatching: Cell<bool>,
    /// Whether `on_turn` is to run.
    pub turn_wanted: Cell<bool>,
    /// Set by a queue that dropped; cleared by the report.
    pub drops: Rc<Cell<bool>>,
    /// Whether `on_drops` was called since the last report.
    pub drops_noted: Cell<bool>,
    /// Highest sequence number published.
    pub seq: Cell<u64>,
    /// Handlers given out.
    pub handlers: Cell<u64>,
    /// Events published.
    pub events: Cell<u64>,
    /// Batches published.
    pub batches: Cell<u64>,
}

impl Bus {
    /// With no subscribers; `resolve` is asked for those of a topic.
    pub fn new(resolve: Py<PyAny>, on_failure: Py<PyAny>, on_turn: Py<PyAny>, on_drops: Py<PyAny>, seq: u64) -> Self {
        let names: Rc<Names> = Rc::default();
        Bus {
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

    /// Delivers a batch; from inside a handler, after the one being dispatched.
    pub fn publish(&self, batch: &Bound<'_, EventBatch>) -> PyResult<()> {
        if self.dispatching.get() {
            return self.defer(batch);
        }
        self.alone(|| self.dispatch(batch).and_then(|()| self.finish(batch.py())))
    }

    /// Does `work`; what is published meanwhile waits.
    pub fn alone(&self, work: impl FnOnce() -> PyResult<()>) -> PyResult<()> {
        self.dispatching.set(true);
        let result = work();
        self.dispatching.set(false);
        result
    }

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
    pub fn finish(&self, py: Python<'_>) -> PyResult<()> {
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
