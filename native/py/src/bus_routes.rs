//! Who gets what: the subscribers of each topic, asked for once in `tickd/bus.py` and then remembered.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyString;
use tickd_core::batch::Batch;

use crate::bus_handler::{BusHandler, Handler};
use crate::bus_queue::{Bursts, Names, Queues};
use crate::topic_queues::TopicQueues;

/// The subscribers of one topic.
pub struct Route {
    /// The topic's name.
    pub name: Py<PyString>,
    /// Its queues.
    pub queues: Vec<Rc<Queues>>,
    /// Its handlers.
    pub handlers: Vec<Rc<Handler>>,
}

/// Who gets batches whole.
#[derive(Default)]
pub struct Whole {
    /// Their queues.
    pub queues: Vec<Rc<Bursts>>,
    /// Their handlers.
    pub handlers: Vec<Rc<Handler>>,
}

/// The routes that are known.
pub struct Routes {
    /// topic number -> (name, [TopicQueues], [BusHandler])
    resolve: Py<PyAny>,
    names: Rc<Names>,
    known: RefCell<Vec<Option<Rc<Route>>>>,
    whole: RefCell<Rc<Whole>>,
    /// Queues that take a batch whole or not at all.
    atomic: RefCell<Vec<Rc<Queues>>>,
    topics_have_handlers: Cell<bool>,
}

impl Routes {
    /// None yet; names that are learnt go to `names`.
    pub fn new(resolve: Py<PyAny>, names: Rc<Names>) -> Self {
        Routes {
            resolve,
            names,
            known: RefCell::default(),
            whole: RefCell::default(),
            atomic: RefCell::default(),
            topics_have_handlers: Cell::new(false),
        }
    }

    /// After a change of subscribers: who gets batches whole, all queues of topics, whether topics have handlers. Topics are
    /// asked about again.
    pub fn set(&self, whole: Whole, queues: Vec<Rc<Queues>>, topics_have_handlers: bool) {
        *self.whole.borrow_mut() = Rc::new(whole);
        *self.atomic.borrow_mut() = queues.into_iter().filter(|queue| queue.is_atomic()).collect();
        self.topics_have_handlers.set(topics_have_handlers);
        self.known.borrow_mut().clear();
    }

    /// Who gets batches whole.
    pub fn whole(&self) -> Rc<Whole> {
        Rc::clone(&self.whole.borrow())
    }

    /// Whether any topic has a handler.
    pub fn topics_have_handlers(&self) -> bool {
        self.topics_have_handlers.get()
    }

    /// Whether any queue takes a batch whole or not at all: then `plan` comes before a push.
    pub fn has_atomic(&self) -> bool {
        !self.atomic.borrow().is_empty()
    }

    /// Asks the atomic queues about a batch; returns whether one that blocks is full. `commit`: the others spill.
    pub fn plan(&self, py: Python<'_>, batch: &Arc<Batch>, commit: bool) -> PyResult<bool> {
        for range in &batch.topics {
            for queue in self
                .of(py, range.topic)?
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

    /// The route of a topic. Raises what `resolve` raises.
    pub fn of(&self, py: Python<'_>, topic: u32) -> PyResult<Rc<Route>> {
        if let Some(Some(route)) = self.known.borrow().get(topic as usize) {
            return Ok(Rc::clone(route));
        }
        let route = self.ask(py, topic)?;
        let mut known = self.known.borrow_mut();
        if known.len() <= topic as usize {
            known.resize_with(topic as usize + 1, || None);
        }
        if let Some(slot) = known.get_mut(topic as usize) {
            *slot = Some(Rc::clone(&route));
        }
        Ok(route)
    }

    #[cold]
    fn ask(&self, py: Python<'_>, topic: u32) -> PyResult<Rc<Route>> {
        type Resolved<'py> = (
            Bound<'py, PyString>,
            Vec<Bound<'py, TopicQueues>>,
            Vec<Bound<'py, BusHandler>>,
        );
        let (name, queues, handlers): Resolved<'_> = self.resolve.bind(py).call1((topic,))?.extract()?;
        self.names.set(topic, name.clone().unbind());
        let queues = queues
            .iter()
            .map(|queue| queue.get().inner(py))
            .collect::<PyResult<_>>()?;
        let handlers = handlers
            .iter()
            .map(|handler| handler.get().inner(py))
            .collect::<PyResult<_>>()?;
        Ok(Rc::new(Route {
            name: name.unbind(),
            queues,
            handlers,
        }))
    }
}
