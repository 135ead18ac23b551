//! What the dispatch loop knows of an instrument: its decimals, who wants what of it, its book.

use std::cell::RefCell;

use pyo3::prelude::*;
use tickd_core::book::l2::Side;
use tickd_core::event::{Event, PRICE_UNDEF};
use tickd_core::last_values::Top;

use crate::book::L2Book;
use crate::view_reuse::Scales;

/// An instrument of a host.
pub struct Market {
    /// Decimals of its mantissas.
    pub scales: Scales,
    /// Channels that any strategy wants, as bits.
    pub wanted: u32,
    /// Channels wanted by each strategy.
    wants: Vec<u32>,
    venue: String,
    book: RefCell<Option<Py<L2Book>>>,
}

impl Market {
    /// `book`: the one that it had under its former wants.
    pub fn new(venue: String, scales: Scales, wants: Vec<u32>, book: Option<Py<L2Book>>) -> Self {
        Market {
            scales,
            wanted: wants.iter().fold(0, |all, each| all | each),
            wants,
            venue,
            book: RefCell::new(book),
        }
    }

    /// Whether a strategy wants any of these channels.
    #[inline]
    pub fn wants(&self, strategy: usize, channels: u32) -> bool {
        self.wants.get(strategy).is_some_and(|bits| bits & channels != 0)
    }

    /// Its live book; `None` before its first depth message.
    pub fn book(&self, py: Python<'_>) -> Option<Py<L2Book>> {
        self.book.borrow().as_ref().map(|book| book.clone_ref(py))
    }

    /// The book of `instrument` and its top after a message, where the message changed it.
    ///
    /// `None` too where the venue has no rule for books.
    pub fn turn(&self, py: Python<'_>, instrument: u32, message: &[Event]) -> PyResult<Option<(Py<L2Book>, Top)>> {
        let book = match self.book(py) {
            Some(book) => book,
            None => {
                let Some(fresh) = L2Book::under(&self.venue, instrument) else {
                    return Ok(None);
                };
                let fresh = Py::new(py, fresh)?;
                *self.book.borrow_mut() = Some(fresh.clone_ref(py));
                fresh
            }
        };
        let mut turned = book.bind(py).try_borrow_mut()?;
        if turned.take(message) == 0 {
            return Ok(None);
        }
        let best = |side| {
            turned
                .best(side)
                .map_or((PRICE_UNDEF, 0), |level| (level.price, level.size))
        };
        let ((bid_price, bid_size), (ask_price, ask_size)) = (best(Side::Bid), best(Side::Ask));
        let top = Top {
            bid_price,
            bid_size,
            ask_price,
            ask_size,
            seq: message.last().map_or(0, |event| event.seq),
        };
        drop(turned);
        Ok(Some((book, top)))
    }
}
