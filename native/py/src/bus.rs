//! The bus's data plane: one call per batch reaches every queue and handler. Loop thread only; using a class from another
//! thread raises.
//!
//! Which subscriber wants which topic is decided in `tickd/bus.py`, asked once per topic; the queues are
//! `tickd_core::queue`; here the two meet Python's callables.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;
use tickd_core::batch::Batch;

use crate::batch::EventBatch;
use crate::bus_queue::{BurstQueue, Bursts, Names, Queues, TopicQueues};

/// Batches that handlers may publish before the batch being dispatched is through.
const PENDING_MAX: usize = 4096;

/// What the bus and the Python face of a handler share.
struct Handler {
    call: Py<PyAny>,
    number: u64,
    /// Only batches that end after this sequence number.
    after: u64,
    failures_max: u64,
    active: Cell<bool>,
    calls: Cell<u64>,
    failures: Cell<u64>,
    failures_in_row: Cell<u64>,
}

/// A synchronous consumer: called in the loop, isolated, switched off after too many failures in a row.
#[pyclass(frozen, unsendable, module = "tickd._native")]
pub struct BusHandler(Rc<Handler>);

#[pymethods]
impl BusHandler {
    /// Its name in `on_failure`.
    #[getter]
    fn number(&self) -> u64 {
        self.0.number
    }

    #[getter]
    fn active(&self) -> bool {
        self.0.active.get()
    }

    #[getter]
    fn calls(&self) -> u64 {
        self.0.calls.get()
    }

    #[getter]
    fn failures(&self) -> u64 {
        self.0.failures.get()
    }

    /// Calls it no more.
    fn close(&self) {
        self.0.active.set(false);
    }
}

struct Route {
    name: Py<PyString>,
    queues: Vec<Rc<Queues>>,
    handlers: Vec<Rc<Handler>>,
}

/// Who gets batches whole.
#[derive(Default)]
struct Whole {
    queues: Vec<Rc<Bursts>>,
    handlers: Vec<Rc<Handler>>,
}

/// Where batches are published.
#[pyclass(frozen, unsendable, module = "tickd._native")]
pub struct BusCore {
    /// topic number -> (name, [TopicQueues], [BusHandler])
    resolve: Py<PyAny>,
    /// (handler, exception) -> None
    on_failure: Py<PyAny>,
    /// Runs the control messages that wait.
    on_turn: Py<PyAny>,
    /// Called once when something was dropped, again only after `drops_reported`.
    on_drops: Py<PyAny>,
    routes: RefCell<Vec<Option<Rc<Route>>>>,
    whole: RefCell<Rc<Whole>>,
    /// Queues that take a batch whole or not at all.
    atomic: RefCell<Vec<Rc<Queues>>>,
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
    topics_with_handlers: Cell<bool>,
}

#[pymethods]
impl BusCore {
    #[new]
    #[pyo3(signature = (resolve, on_failure, on_turn, on_drops, seq=0))]
    fn new(resolve: Py<PyAny>, on_failure: Py<PyAny>, on_turn: Py<PyAny>, on_drops: Py<PyAny>, seq: u64) -> Self {
        BusCore {
            resolve,
            on_failure,
            on_turn,
            on_drops,
            routes: RefCell::default(),
            whole: RefCell::default(),
            atomic: RefCell::default(),
            names: Rc::default(),
            pending: RefCell::default(),
            dispatching: Cell::new(false),
            turn_wanted: Cell::new(false),
            drops: Rc::default(),
            drops_noted: Cell::new(false),
            seq: Cell::new(seq),
            handlers: Cell::new(0),
            events: Cell::new(0),
            batches: Cell::new(0),
            topics_with_handlers: Cell::new(false),
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
        BusHandler(Rc::new(Handler {
            call,
            number: self.handlers.get(),
            after: self.seq.get(),
            failures_max,
            active: Cell::new(true),
            calls: Cell::new(0),
            failures: Cell::new(0),
            failures_in_row: Cell::new(0),
        }))
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
            handlers: burst_handlers
                .iter()
                .map(|handler| Rc::clone(&handler.borrow().0))
                .collect(),
        };
        *self.whole.borrow_mut() = Rc::new(whole);
        let atomic = queues.iter().map(|queue| queue.borrow().inner());
        *self.atomic.borrow_mut() = atomic.filter(|queue| queue.is_atomic()).collect();
        self.topics_with_handlers.set(topics_with_handlers);
        self.routes.borrow_mut().clear();
    }

    /// Whether a queue with `block` has no room for the batch.
    fn blocked(&self, py: Python<'_>, batch: &Bound<'_, EventBatch>) -> PyResult<bool> {
        self.is_blocked(py, &batch.get().to_whole())
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
        if !self.atomic.borrow().is_empty() && self.plan(py, batch, true)? {
            return Err(PyRuntimeError::new_err(
                "a blocking queue is full: publish with publish_blocking",
            ));
        }
        self.seq.set(self.seq.get().max(batch.seq.1));
        self.events.set(self.events.get() + batch.events.len() as u64);
        self.batches.set(self.batches.get() + 1);
        let mut wakes: Vec<Py<PyAny>> = Vec::new();
        let whole = Rc::clone(&self.whole.borrow());
        for queue in &whole.queues {
            wakes.extend(queue.push(py, batch));
        }
        for range in &batch.topics {
            let route = self.route(py, range.topic)?;
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
            self.call(py, handler, batch.seq.1, &[face.as_any()])?;
        }
        if self.topics_with_handlers.get() {
            self.call_topics(face, batch, whole_face)?;
        }
        Ok(())
    }

    fn call_topics(&self, face: &Bound<'_, EventBatch>, batch: &Arc<Batch>, whole_face: bool) -> PyResult<()> {
        let py = face.py();
        for range in &batch.topics {
            // Asked again for every stretch: a handler may have changed the subscribers.
            let route = self.route(py, range.topic)?;
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
                self.call(
                    py,
                    handler,
                    batch.seq.1,
                    &[route.name.bind(py).as_any(), slice.as_any()],
                )?;
            }
        }
        Ok(())
    }

    /// Calls a handler; its `Exception` is counted and reported and stays here, anything else passes.
    #[inline]
    fn call(&self, py: Python<'_>, handler: &Handler, seq: u64, arguments: &[&Bound<'_, PyAny>]) -> PyResult<()> {
        if !handler.active.get() || seq <= handler.after {
            return Ok(());
        }
        handler.calls.set(handler.calls.get() + 1);
        match call_objects(py, &handler.call, arguments) {
            Ok(()) => {
                handler.failures_in_row.set(0);
                Ok(())
            }
            Err(error) => self.failed(py, handler, error),
        }
    }

    #[cold]
    fn failed(&self, py: Python<'_>, handler: &Handler, error: PyErr) -> PyResult<()> {
        if !error.is_instance_of::<PyException>(py) {
            return Err(error);
        }
        handler.failures.set(handler.failures.get() + 1);
        handler.failures_in_row.set(handler.failures_in_row.get() + 1);
        if handler.failures_in_row.get() >= handler.failures_max {
            handler.active.set(false);
        }
        self.on_failure.call1(py, (handler.number, error)).map(drop)
    }

    fn route(&self, py: Python<'_>, topic: u32) -> PyResult<Rc<Route>> {
        if let Some(Some(route)) = self.routes.borrow().get(topic as usize) {
            return Ok(Rc::clone(route));
        }
        type Resolved<'py> = (
            Bound<'py, PyString>,
            Vec<Bound<'py, TopicQueues>>,
            Vec<Bound<'py, BusHandler>>,
        );
        let (name, queues, handlers): Resolved<'_> = self.resolve.bind(py).call1((topic,))?.extract()?;
        self.names.set(topic, name.clone().unbind());
        let queues = queues.iter().map(|queue| queue.borrow().inner()).collect();
        let handlers = handlers.iter().map(|handler| Rc::clone(&handler.borrow().0)).collect();
        let route = Rc::new(Route {
            name: name.unbind(),
            queues,
            handlers,
        });
        let mut routes = self.routes.borrow_mut();
        if routes.len() <= topic as usize {
            routes.resize_with(topic as usize + 1, || None);
        }
        if let Some(slot) = routes.get_mut(topic as usize) {
            *slot = Some(Rc::clone(&route));
        }
        Ok(route)
    }

    /// Asks the atomic queues about a batch; returns whether one that blocks is full. `commit`: the others spill.
    fn plan(&self, py: Python<'_>, batch: &Arc<Batch>, commit: bool) -> PyResult<bool> {
        for range in &batch.topics {
            for queue in self
                .route(py, range.topic)?
                .queues
                .iter()
                .filter(|queue| queue.is_atomic())
            {
                queue.core.borrow_mut().plan(batch, *range);
            }
        }
        let atomic = self.atomic.borrow();
        let mut blocked = false;
        for queue in atomic.iter().filter(|queue| queue.is_blocking()) {
            blocked |= !queue.core.borrow_mut().settle(batch, false);
        }
        for queue in atomic.iter().filter(|queue| !queue.is_blocking()) {
            queue.core.borrow_mut().settle(batch, commit && !blocked);
        }
        for queue in self.whole.borrow().queues.iter().filter(|queue| queue.is_blocking()) {
            blocked |= !queue.core.borrow().fits(batch);
        }
        Ok(blocked)
    }

    fn is_blocked(&self, py: Python<'_>, batch: &Arc<Batch>) -> PyResult<bool> {
        self.plan(py, batch, false)
    }
}

/// Calls with one or two positional arguments, without a tuple: the stable ABI of 3.11 has no vectorcall of its own, but
/// this function uses it inside. It is a third of the per-event path.
#[allow(unsafe_code)]
#[inline]
fn call_objects(py: Python<'_>, call: &Py<PyAny>, arguments: &[&Bound<'_, PyAny>]) -> PyResult<()> {
    let end = std::ptr::null_mut::<ffi::PyObject>();
    // SAFETY: we are attached to the interpreter (`py`); every pointer is to a live object that its owner keeps alive during
    // the call; the list of arguments ends with a null pointer of pointer type; the result is a new reference or null with
    // an exception set, which is what `from_owned_ptr_or_err` wants.
    let result = unsafe {
        let result = match arguments {
            [one] => ffi::PyObject_CallFunctionObjArgs(call.as_ptr(), one.as_ptr(), end),
            [one, two, ..] => ffi::PyObject_CallFunctionObjArgs(call.as_ptr(), one.as_ptr(), two.as_ptr(), end),
            [] => ffi::PyObject_CallFunctionObjArgs(call.as_ptr(), end),
        };
        Bound::from_owned_ptr_or_err(py, result)
    };
    result.map(drop)
}
