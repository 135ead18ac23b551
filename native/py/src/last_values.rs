//! `LastValues`: what was last, of every instrument, and what became of our orders; shared with the dispatch loop.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tickd_core::event::{Event, Kind};
use tickd_core::last_values::{BadImage, LastValues as Core, What};
use tickd_core::own_orders::OwnOrders;

use crate::batch::EventBatch;
use crate::cpython::Attached;
use crate::view_reuse::{Scales, View};
use crate::views::{Order, Quote, Trade, Value};

/// What the cache and the dispatch loop share.
#[derive(Default)]
pub struct Shared {
    /// Market values.
    pub values: RefCell<Core>,
    /// Orders and positions.
    pub orders: RefCell<OwnOrders>,
    /// Decimals by instrument, for views.
    pub scales: RefCell<HashMap<u32, Scales>>,
}

impl Shared {
    fn scales_of(&self, instrument: u32) -> Scales {
        self.scales.borrow().get(&instrument).copied().unwrap_or_default()
    }
}

/// The cache: every answer is a new object that is the caller's to keep.
#[pyclass(frozen, module = "tickd._native")]
pub struct LastValues(Attached<Rc<Shared>>);

impl LastValues {
    /// The face of what a dispatch loop fills.
    pub fn of(shared: &Rc<Shared>) -> Self {
        LastValues(Attached::new(Rc::clone(shared)))
    }

    fn view<T: View<Content = Event>>(&self, py: Python<'_>, instrument: u32, what: What) -> Option<T> {
        let event = *self.0.get(py).values.borrow().last(instrument, what)?;
        let view = T::empty();
        view.shown().set(py, &event, self.0.get(py).scales_of(instrument));
        Some(view)
    }
}

#[pymethods]
impl LastValues {
    #[new]
    fn new() -> Self {
        LastValues(Attached::new(Rc::default()))
    }

    /// Takes the events of a batch.
    fn update(&self, batch: &Bound<'_, EventBatch>) {
        let py = batch.py();
        let events = batch.get().events();
        self.0.get(py).values.borrow_mut().take(events);
        let mut orders = self.0.get(py).orders.borrow_mut();
        for event in events.iter().filter(|event| event.kind == Kind::Order as u8) {
            orders.take(event);
        }
    }

    /// The last trade that happened.
    fn trade(&self, py: Python<'_>, instrument: u32) -> Option<Trade> {
        self.view(py, instrument, What::Trade)
    }

    /// The last quote, once both sides were told.
    fn quote(&self, py: Python<'_>, instrument: u32) -> Option<Quote> {
        let values = self.0.get(py).values.borrow();
        let sides = (
            *values.last(instrument, What::Bid)?,
            *values.last(instrument, What::Ask)?,
        );
        let view = Quote::empty();
        view.shown().set(py, &sides, self.0.get(py).scales_of(instrument));
        Some(view)
    }

    fn mark(&self, py: Python<'_>, instrument: u32) -> Option<Value> {
        self.view(py, instrument, What::Mark)
    }

    fn index(&self, py: Python<'_>, instrument: u32) -> Option<Value> {
        self.view(py, instrument, What::Index)
    }

    fn funding(&self, py: Python<'_>, instrument: u32) -> Option<Value> {
        self.view(py, instrument, What::Funding)
    }

    fn open_interest(&self, py: Python<'_>, instrument: u32) -> Option<Value> {
        self.view(py, instrument, What::OpenInterest)
    }

    fn liquidation(&self, py: Python<'_>, instrument: u32) -> Option<Value> {
        self.view(py, instrument, What::Liquidation)
    }

    fn status(&self, py: Python<'_>, instrument: u32) -> Option<Value> {
        self.view(py, instrument, What::Status)
    }

    /// (bid price, bid size, ask price, ask size) of the book after its last message.
    fn top(&self, py: Python<'_>, instrument: u32) -> Option<(i64, i64, i64, i64)> {
        let top = self.0.get(py).values.borrow().top(instrument)?;
        Some((top.bid_price, top.bid_size, top.ask_price, top.ask_size))
    }

    /// The newest news of each order of a strategy that is not over; `owner` = upper half of its client ids.
    fn open_orders(&self, py: Python<'_>, owner: u32) -> Vec<Order> {
        let orders = self.0.get(py).orders.borrow();
        let open = orders.open_of(owner).map(|event| {
            let view = Order::empty();
            view.shown().set(py, event, self.0.get(py).scales_of(event.instrument));
            view
        });
        open.collect()
    }

    /// (size, cost) that the fills of a strategy add up to: mantissas, cost = price times size.
    fn position(&self, py: Python<'_>, owner: u32, instrument: u32) -> (i64, i128) {
        let position = self.0.get(py).orders.borrow().position(owner, instrument);
        (position.size, position.cost)
    }

    /// Highest sequence number among the events taken.
    #[getter]
    fn seq(&self, py: Python<'_>) -> u64 {
        self.0.get(py).values.borrow().seq()
    }

    /// Instruments that have values.
    #[getter]
    fn count(&self, py: Python<'_>) -> usize {
        self.0.get(py).values.borrow().count()
    }

    /// Events that found no room.
    #[getter]
    fn refused(&self, py: Python<'_>) -> u64 {
        self.0.get(py).values.borrow().refused() + self.0.get(py).orders.borrow().refused()
    }

    /// The market values with their number, versioned and with a checksum. Orders and positions are not among them.
    fn snapshot<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.get(py).values.borrow().snapshot())
    }

    /// Takes an image back; its number. Raises ValueError; nothing has changed then.
    fn restore(&self, py: Python<'_>, image: &[u8]) -> PyResult<u64> {
        self.0.get(py).values.borrow_mut().restore(image).map_err(|bad| {
            PyValueError::new_err(match bad {
                BadImage::Shape => "not an image of last values, or cut short".to_owned(),
                BadImage::Version(version) => format!("an image of version {version}, not known here"),
                BadImage::Checksum => "the image's checksum differs".to_owned(),
            })
        })
    }
}
