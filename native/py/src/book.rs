//! `L2Book`: the book of one instrument, built out of the batches it is given.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tickd_core::book::builder::BookBuilder;
use tickd_core::book::l2::{Levels, Side};
use tickd_core::decode::venues;

use crate::batch::EventBatch;

type Rows = Vec<(i64, i64)>;

/// The book of one instrument under its venue's rule.
#[pyclass(module = "tickd._native")]
pub struct L2Book {
    builder: BookBuilder,
    instrument: u32,
}

fn rows(levels: &Levels, side: Side, count: usize) -> Rows {
    levels
        .iter(side)
        .take(count)
        .map(|level| (level.price, level.size))
        .collect()
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
        let decoder = venues::number(venue).and_then(venues::decoder);
        let rule = decoder.map(|decoder| decoder.rule());
        let rule = rule.ok_or_else(|| PyValueError::new_err(format!("no book rule for venue {venue:?}")))?;
        Ok(L2Book {
            builder: BookBuilder::new(rule),
            instrument,
        })
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
