//! `L2Book` and `L3Book`: the book of one instrument, built out of the batches it is given.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tickd_core::book::builder::BookBuilder;
use tickd_core::book::l2::{Level, Levels, Side, Touch};
use tickd_core::book::l3::{Order, Orders, QueueLevel, Refused};
use tickd_core::decode::venues;
use tickd_core::event::Event;

use crate::batch::EventBatch;

type Rows = Vec<(i64, i64)>;

/// The book of one instrument under its venue's rule.
#[pyclass(module = "tickd._native")]
pub struct L2Book {
    builder: BookBuilder,
    instrument: u32,
}

impl L2Book {
    /// An empty book under its venue's rule; `None`: the venue has none.
    pub fn under(venue: &str, instrument: u32) -> Option<Self> {
        let decoder = venues::number(venue).and_then(venues::decoder)?;
        Some(L2Book {
            builder: BookBuilder::new(decoder.rule()),
            instrument,
        })
    }

    /// Takes events of its instrument; returns how many messages changed it.
    pub fn take(&mut self, events: &[Event]) -> usize {
        self.builder.apply(events, self.instrument)
    }

    /// The best level of a side.
    pub fn best(&self, side: Side) -> Option<Level> {
        self.builder.levels().best(side)
    }
}

fn rows(levels: &Levels, side: Side, count: usize) -> Rows {
    levels
        .iter(side)
        .take(count)
        .map(|level| (level.price, level.size))
        .collect()
}

/// Mantissas one after the other, little-endian: what `tickd.events.LEVEL` and `QUEUE_LEVEL` read.
fn packed<'py, const N: usize>(py: Python<'py>, rows: impl Iterator<Item = [i64; N]>) -> Bound<'py, PyBytes> {
    let bytes: Vec<u8> = rows.flatten().flat_map(i64::to_le_bytes).collect();
    PyBytes::new(py, &bytes)
}

fn side_of(side: &str) -> PyResult<Side> {
    match side {
        "B" => Ok(Side::Bid),
        "A" => Ok(Side::Ask),
        other => Err(PyValueError::new_err(format!("side must be B or A, not {other:?}"))),
    }
}

#[pymethods]
impl L2Book {
    #[new]
    fn new(venue: &str, instrument: u32) -> PyResult<Self> {
        let book = L2Book::under(venue, instrument);
        book.ok_or_else(|| PyValueError::new_err(format!("no book rule for venue {venue:?}")))
    }

    /// Whose book it is.
    #[getter]
    fn instrument(&self) -> u32 {
        self.instrument
    }

    /// Takes the depth events of the instrument; returns how many messages changed the book.
    fn apply(&mut self, py: Python<'_>, batch: &Bound<'_, EventBatch>) -> usize {
        let (events, instrument, builder) = (batch.get().events(), self.instrument, &mut self.builder);
        py.detach(|| builder.apply(events, instrument))
    }

    /// The best `count` levels of both sides as (price, size) mantissas, best first.
    fn top(&self, count: usize) -> (Rows, Rows) {
        let levels = self.builder.levels();
        (rows(levels, Side::Bid, count), rows(levels, Side::Ask, count))
    }

    /// Every level of side `B` or `A`, best first.
    fn levels(&self, side: &str) -> PyResult<Rows> {
        Ok(rows(self.builder.levels(), side_of(side)?, usize::MAX))
    }

    /// The best `count` levels of a side, best first, as bytes of `tickd.events.LEVEL`.
    fn rows<'py>(&self, py: Python<'py>, side: &str, count: usize) -> PyResult<Bound<'py, PyBytes>> {
        let levels = self.builder.levels().iter(side_of(side)?).take(count);
        Ok(packed(py, levels.map(|level| [level.price, level.size])))
    }

    /// Fills a float64 buffer with `[bid price, bid size, ask price, ask size]` of as many levels as it has room for.
    fn write_flat(&self, py: Python<'_>, into: PyBuffer<f64>) -> PyResult<()> {
        if into.item_count() % 4 != 0 {
            return Err(PyValueError::new_err("needs room for 4 numbers a level"));
        }
        let mut flat = vec![0.0; into.item_count()];
        self.builder.levels().write_flat(&mut flat);
        into.copy_from_slice(py, &flat)
    }

    /// Sum of the sizes of a side.
    fn total(&self, side: &str) -> PyResult<i128> {
        Ok(self.builder.levels().total(side_of(side)?))
    }

    /// Whether the best prices are equal.
    #[getter]
    fn is_locked(&self) -> bool {
        self.builder.levels().touch() == Touch::Locked
    }

    /// Whether the best bid is above the best ask.
    #[getter]
    fn is_crossed(&self) -> bool {
        self.builder.levels().touch() == Touch::Crossed
    }

    /// Worst price the last snapshot told; levels beyond it are unknown until a change touches them.
    fn known_limit(&self, side: &str) -> PyResult<Option<i64>> {
        Ok(self.builder.levels().known_limit(side_of(side)?))
    }

    #[getter]
    fn bid_count(&self) -> usize {
        self.builder.levels().count(Side::Bid)
    }

    #[getter]
    fn ask_count(&self) -> usize {
        self.builder.levels().count(Side::Ask)
    }

    /// `BookState` as an integer.
    #[getter]
    fn state(&self) -> i64 {
        self.builder.state() as i64
    }

    #[getter]
    fn last_id(&self) -> u64 {
        self.builder.last_id()
    }

    #[getter]
    fn kept_bytes(&self) -> usize {
        self.builder.kept_bytes()
    }
}

/// The orders of one instrument, in price-time priority.
#[pyclass(module = "tickd._native")]
pub struct L3Book {
    orders: Orders,
    instrument: u32,
}

fn allowed<T>(result: Result<T, Refused>, id: u64) -> PyResult<T> {
    result.map_err(|why| {
        PyValueError::new_err(match why {
            Refused::Duplicate => format!("an order {id} rests already"),
            Refused::Unknown => format!("no order {id} rests here"),
            Refused::BadSize => format!("order {id}: size must be above 0"),
            Refused::Overdrawn => format!("order {id}: more than was left; it is gone"),
            Refused::Overflow => format!("order {id}: its level has no room for the size"),
            Refused::Full => format!("order {id}: the book is full"),
        })
    })
}

#[pymethods]
impl L3Book {
    #[new]
    #[pyo3(signature = (instrument=0))]
    fn new(instrument: u32) -> Self {
        L3Book {
            orders: Orders::new(),
            instrument,
        }
    }

    /// Takes the order events of the instrument; returns how many changed the book. What cannot be is counted.
    fn apply(&mut self, py: Python<'_>, batch: &Bound<'_, EventBatch>) -> usize {
        let (events, instrument, orders) = (batch.get().events(), self.instrument, &mut self.orders);
        py.detach(|| orders.apply(events, instrument))
    }

    /// Puts an order at the back of its level. Raises ValueError, as all changes do, and then nothing has changed.
    fn add(&mut self, order: u64, side: &str, price: i64, size: i64) -> PyResult<()> {
        let side = side_of(side)?;
        let added = Order {
            id: order,
            price,
            size,
            side,
        };
        allowed(self.orders.add(added), order)
    }

    /// Takes `size` from an order, which keeps its place; with nothing left it is gone.
    fn reduce(&mut self, order: u64, size: i64) -> PyResult<()> {
        allowed(self.orders.reduce(order, size), order)
    }

    /// Takes an order away; the size that was left of it.
    fn take(&mut self, order: u64) -> PyResult<i64> {
        allowed(self.orders.take(order), order).map(|taken| taken.size)
    }

    /// Another price and size; the place is kept if the price stays and the size does not grow.
    fn modify(&mut self, order: u64, price: i64, size: i64) -> PyResult<()> {
        allowed(self.orders.modify(order, price, size), order)
    }

    /// The best `count` levels of a side, best first, as bytes of `tickd.events.QUEUE_LEVEL`.
    fn rows<'py>(&self, py: Python<'py>, side: &str, count: usize) -> PyResult<Bound<'py, PyBytes>> {
        let levels = self.orders.levels(side_of(side)?).take(count);
        let row = |level: QueueLevel| [level.price, level.size, i64::from(level.orders)];
        Ok(packed(py, levels.map(row)))
    }

    /// (id, size) of a level's orders, the first to trade first.
    fn queue(&self, side: &str, price: i64) -> PyResult<Vec<(u64, i64)>> {
        let orders = self.orders.queue(side_of(side)?, price);
        Ok(orders.map(|order| (order.id, order.size)).collect())
    }

    /// (orders, size) in front of an order in its queue; None: no such order.
    fn ahead_of(&self, order: u64) -> Option<(usize, i128)> {
        self.orders.ahead_of(order)
    }

    /// Sum of the sizes of a side.
    fn total(&self, side: &str) -> PyResult<i128> {
        Ok(self.orders.total(side_of(side)?))
    }

    /// How many orders rest on a side.
    fn order_count(&self, side: &str) -> PyResult<usize> {
        Ok(self.orders.count(side_of(side)?))
    }

    /// How many price levels a side has.
    fn level_count(&self, side: &str) -> PyResult<usize> {
        Ok(self.orders.level_count(side_of(side)?))
    }

    #[getter]
    fn is_locked(&self) -> bool {
        self.orders.touch() == Touch::Locked
    }

    #[getter]
    fn is_crossed(&self) -> bool {
        self.orders.touch() == Touch::Crossed
    }

    /// Messages of batches behind which the book was crossed.
    #[getter]
    fn crossed_count(&self) -> u64 {
        self.orders.crossed
    }

    /// Events that were refused, by reason.
    #[getter]
    fn refusals(&self) -> Vec<(&'static str, u64)> {
        let counts = self.orders.refusals;
        vec![
            ("duplicate", counts.duplicate),
            ("unknown", counts.unknown),
            ("bad_size", counts.bad_size),
            ("overdrawn", counts.overdrawn),
            ("no_room", counts.no_room),
        ]
    }
}
