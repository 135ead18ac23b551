//! One strategy as the dispatch loop sees it: its handlers, its batch in the making, what it cost.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use pyo3::exceptions::{PyKeyError, PyKeyboardInterrupt, PyRuntimeError};
use pyo3::prelude::*;
use tickd_core::batch::{Batch, TopicRange};
use tickd_core::event::Event;
use tickd_core::histogram::Histogram;

use crate::cpython::call_objects;
use crate::stopwatch::Stopwatch;

/// Which handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// Of trades.
    Trade,
    /// Of two-sided quotes.
    Quote,
    /// Of books, after each message that changed one.
    Book,
    /// Of indicators' values.
    Signal,
    /// Of what became of its orders.
    Order,
    /// Of the recorded clock.
    Clock,
    /// Of whole runs of events.
    Batch,
}

/// The handlers that a strategy has.
#[derive(Default)]
pub struct Handlers([Option<Py<PyAny>>; 7]);

impl Handlers {
    /// By their names in Python. Raises KeyError for another name.
    pub fn from_names(named: HashMap<String, Py<PyAny>>) -> PyResult<Self> {
        let mut handlers = Handlers::default();
        for (name, handler) in named {
            let receiver = match name.as_str() {
                "trade" => Receiver::Trade,
                "quote" => Receiver::Quote,
                "book" => Receiver::Book,
                "signal" => Receiver::Signal,
                "order" => Receiver::Order,
                "clock" => Receiver::Clock,
                "batch" => Receiver::Batch,
                _ => return Err(PyKeyError::new_err(format!("no handler {name:?}"))),
            };
            if let Some(slot) = handlers.0.get_mut(receiver as usize) {
                *slot = Some(handler);
            }
        }
        Ok(handlers)
    }

    fn of(&self, receiver: Receiver) -> Option<&Py<PyAny>> {
        self.0.get(receiver as usize)?.as_ref()
    }
}

/// A strategy of a host.
pub struct Hosted {
    /// The upper half of its client ids.
    pub owner: u32,
    /// How long its handlers took, per call.
    pub latency: Arc<Histogram>,
    /// Events it was given.
    pub events: Cell<u64>,
    /// Shared with the call in hand: a handler may have its strategy made again.
    handlers: RefCell<Rc<Handlers>>,
    active: Cell<bool>,
    /// It has failed, and waits for the clock to be made again.
    resting: Cell<bool>,
    takes_batches: Cell<bool>,
    /// For its next batch.
    gathered: RefCell<Vec<Event>>,
}

impl Hosted {
    /// Without handlers it gets nothing.
    pub fn new(owner: u32) -> Self {
        Hosted {
            owner,
            latency: Arc::default(),
            events: Cell::new(0),
            handlers: RefCell::default(),
            active: Cell::new(false),
            resting: Cell::new(false),
            takes_batches: Cell::new(false),
            gathered: RefCell::default(),
        }
    }

    /// It gets events from now on. Raises RuntimeError where it gets them already.
    pub fn attach(&self, handlers: Handlers) -> PyResult<()> {
        if self.active.get() && !self.resting.get() {
            return Err(PyRuntimeError::new_err("the strategy has its handlers already"));
        }
        self.takes_batches.set(handlers.of(Receiver::Batch).is_some());
        self.handlers.replace(Rc::new(handlers));
        self.resting.set(false);
        self.active.set(true);
        Ok(())
    }

    /// It gets the clock only, until it is attached again.
    pub fn rest(&self, clock: Py<PyAny>) {
        self.end();
        let mut handlers = Handlers::default();
        if let Some(slot) = handlers.0.get_mut(Receiver::Clock as usize) {
            *slot = Some(clock);
        }
        self.takes_batches.set(false);
        self.handlers.replace(Rc::new(handlers));
        self.resting.set(true);
        self.active.set(true);
    }

    /// It gets no more events; its handlers, which hold it, are let go.
    pub fn end(&self) {
        self.active.set(false);
        self.gathered.take();
        self.handlers.take();
    }

    /// Notes a message for the next batch, where the strategy takes batches.
    #[inline]
    pub fn gather(&self, message: &[Event]) {
        if self.active.get() && !self.resting.get() {
            self.events.set(self.events.get() + message.len() as u64);
            if self.takes_batches.get() {
                self.gathered.borrow_mut().extend_from_slice(message);
            }
        }
    }

    /// What was gathered since the last time, if anything.
    pub fn gathered(&self) -> Option<Batch> {
        if self.gathered.borrow().is_empty() {
            return None;
        }
        let events = self.gathered.take();
        let topics = vec![TopicRange {
            topic: 0,
            start: 0,
            stop: events.len() as u32,
        }];
        Some(Batch::from_parts(events, topics, 0))
    }

    /// Calls a handler, if there is one; what it raised, which ends the strategy. Only KeyboardInterrupt passes.
    ///
    /// `watch`: began where what was measured before ended; begins again where this call ends.
    #[inline]
    pub fn call(
        &self,
        py: Python<'_>,
        receiver: Receiver,
        arguments: &[&Bound<'_, PyAny>],
        watch: &Stopwatch,
    ) -> PyResult<Option<PyErr>> {
        if !self.active.get() {
            return Ok(None);
        }
        let handlers = Rc::clone(&self.handlers.borrow());
        let Some(handler) = handlers.of(receiver) else {
            return Ok(None);
        };
        let result = call_objects(py, handler, arguments);
        self.latency.record(watch.lap(), 1);
        match result {
            Ok(()) => Ok(None),
            Err(error) => self.failed(py, error),
        }
    }

    #[cold]
    fn failed(&self, py: Python<'_>, error: PyErr) -> PyResult<Option<PyErr>> {
        if error.is_instance_of::<PyKeyboardInterrupt>(py) {
            return Err(error);
        }
        self.end();
        Ok(Some(error))
    }
}
