//! The dispatch loop: events to strategies. The last values and the books are brought up to the event first, then the
//! handlers of whoever wants it are called, in the order of the strategies.
//!
//! What a handler raises ends its strategy and nothing else. Events are taken in the order of `seq`, so that what strategies
//! see does not depend on how the stream was cut into batches. One thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tickd_core::event::{flag, Event, Kind};
use tickd_core::own_orders::owner;
use tickd_core::topic::Channel;

use crate::batch::EventBatch;
use crate::hosted::{Hosted, Receiver};
use crate::last_values::Shared;
use crate::market::Market;
use crate::stopwatch::Stopwatch;
use crate::view_reuse::{Reused, Scales};
use crate::views::{Order, Quote, Signal, Trade};

const SIGNAL: u8 = Kind::Signal as u8;
const TRADE: u8 = Kind::Trade as u8;
const QUOTE: u8 = Kind::Quote as u8;
const CLEAR: u8 = Kind::Clear as u8;
const DEPTH_HEAD: u8 = Kind::DepthHead as u8;
const DEPTH: u8 = Kind::Depth as u8;
const GAP: u8 = Kind::Gap as u8;
const CLOCK: u8 = Kind::Clock as u8;
const ORDER: u8 = Kind::Order as u8;

/// The reused views.
struct Views {
    trade: Reused<Trade>,
    quote: Reused<Quote>,
    order: Reused<Order>,
    signal: Reused<Signal>,
}

/// Strategies, instruments, and what was last.
pub struct DispatchLoop {
    /// (number of the strategy, what it raised) -> None
    on_failure: Py<PyAny>,
    /// In the order in which they are called.
    pub strategies: Vec<Hosted>,
    /// Last values, orders, decimals.
    pub shared: Rc<Shared>,
    /// Receive stamp of the record in hand, ns.
    pub now_ns: Cell<i64>,
    /// Number of the record in hand.
    pub seq: Cell<u64>,
    markets: RefCell<HashMap<u32, Rc<Market>>>,
    views: Views,
    /// What callbacks take.
    pub watch: Stopwatch,
}

impl DispatchLoop {
    /// Strategies that have these upper halves of client ids, and no handlers yet.
    pub fn new(py: Python<'_>, owners: Vec<u32>, on_failure: Py<PyAny>) -> PyResult<Self> {
        Ok(DispatchLoop {
            on_failure,
            strategies: owners.into_iter().map(Hosted::new).collect(),
            shared: Rc::default(),
            now_ns: Cell::new(0),
            seq: Cell::new(0),
            markets: RefCell::default(),
            views: Views {
                trade: Reused::new(py)?,
                quote: Reused::new(py)?,
                order: Reused::new(py)?,
                signal: Reused::new(py)?,
            },
            watch: Stopwatch::default(),
        })
    }

    /// Adds an instrument, or replaces who wants what of it.
    pub fn define(&self, py: Python<'_>, instrument: u32, venue: String, scales: Scales, wants: Vec<u32>) {
        let book = self.market(instrument).and_then(|known| known.book(py));
        let market = Rc::new(Market::new(venue, scales, wants, book));
        self.markets.borrow_mut().insert(instrument, market);
        self.shared.scales.borrow_mut().insert(instrument, scales);
    }

    /// What is known of an instrument.
    pub fn market(&self, instrument: u32) -> Option<Rc<Market>> {
        self.markets.borrow().get(&instrument).map(Rc::clone)
    }

    /// Hands out a batch, or, unless `live`, only brings values and books up to it. Raises ValueError where numbers do not
    /// rise.
    pub fn batch(&self, face: &Bound<'_, EventBatch>, live: bool) -> PyResult<()> {
        let py = face.py();
        let batch = face.get().to_whole();
        self.watch.start();
        for stretch in batch.in_order(|_| true) {
            let events = batch.events.get(stretch.start as usize..stretch.stop as usize);
            self.run(py, events.unwrap_or_default(), live)?;
        }
        if live {
            self.flush(py)?;
        }
        Ok(())
    }

    /// Events in order; a message lies in one piece.
    fn run(&self, py: Python<'_>, events: &[Event], live: bool) -> PyResult<()> {
        let mut rest = events;
        // The market of the event before: most events come in runs.
        let mut recent: Option<(u32, Option<Rc<Market>>)> = None;
        while let Some(first) = rest.first() {
            let count = match first.kind {
                DEPTH_HEAD => 1 + rest.iter().skip(1).take_while(|event| event.kind == DEPTH).count(),
                QUOTE if first.flags & flag::LAST == 0 => rest.len().min(2),
                _ => 1,
            };
            let (message, behind) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = behind;
            self.step(message)?;
            if first.kind == CLOCK || first.kind == ORDER {
                self.control(py, first, live)?;
                continue;
            }
            if !matches!(recent, Some((instrument, _)) if instrument == first.instrument) {
                recent = Some((first.instrument, self.market(first.instrument)));
            }
            if let Some((_, Some(market))) = &recent {
                let channel = 1 << Channel::of_event(first) as u32;
                if market.wanted & channel != 0 {
                    self.message(py, message, market, channel, live)?;
                }
            }
        }
        Ok(())
    }

    /// The record in hand is this message's.
    fn step(&self, message: &[Event]) -> PyResult<()> {
        let Some(last) = message.last() else { return Ok(()) };
        // A signal has the number of its cause, which is the record in hand, or was: see `Batch::joined`.
        if last.kind == SIGNAL && last.seq <= self.seq.get() {
            return Ok(());
        }
        if last.seq <= self.seq.get() {
            return Err(PyValueError::new_err(format!(
                "event {} does not follow event {}",
                last.seq,
                self.seq.get()
            )));
        }
        self.seq.set(last.seq);
        // The stamps of a gap are its interval.
        if last.kind != GAP {
            self.now_ns.set(last.ts_recv);
        }
        Ok(())
    }

    fn control(&self, py: Python<'_>, event: &Event, live: bool) -> PyResult<()> {
        if event.kind == ORDER {
            self.shared.orders.borrow_mut().take(event);
        }
        if !live {
            return Ok(());
        }
        // What timers and orders decide on must not depend on where a batch ended.
        self.flush(py)?;
        if event.kind == CLOCK {
            return self.each(py, |_, _| true, Receiver::Clock, &[]);
        }
        let scales = self
            .market(event.instrument)
            .map_or(Scales::default(), |market| market.scales);
        self.views.order.show(py, event, scales, |view| {
            self.each(
                py,
                |_, hosted| hosted.owner == owner(event.id),
                Receiver::Order,
                &[view],
            )
        })
    }

    #[inline]
    fn message(&self, py: Python<'_>, message: &[Event], market: &Market, channel: u32, live: bool) -> PyResult<()> {
        let Some(first) = message.first() else { return Ok(()) };
        let slot = {
            let mut values = self.shared.values.borrow_mut();
            let slot = values.slot(first.instrument);
            if let Some(slot) = slot {
                for event in message.iter().filter(|event| event.kind != DEPTH) {
                    values.take_at(slot, event);
                }
            }
            slot
        };
        let changed = match first.kind {
            DEPTH_HEAD | CLEAR => market.turn(py, first.instrument, message)?,
            _ => None,
        };
        if let (Some((_, top)), Some(slot)) = (&changed, slot) {
            self.shared.values.borrow_mut().set_top(slot, *top);
        }
        if !live {
            return Ok(());
        }
        let wants = |number: usize, _: &Hosted| market.wants(number, channel);
        for (number, hosted) in self.strategies.iter().enumerate() {
            if wants(number, hosted) {
                hosted.gather(message);
            }
        }
        match (first.kind, message) {
            (TRADE, _) => self.views.trade.show(py, first, market.scales, |view| {
                self.each(py, wants, Receiver::Trade, &[view])
            }),
            (QUOTE, [bid, ask]) => self.views.quote.show(py, &(*bid, *ask), market.scales, |view| {
                self.each(py, wants, Receiver::Quote, &[view])
            }),
            (SIGNAL, _) => self.views.signal.show(py, first, market.scales, |view| {
                self.each(py, wants, Receiver::Signal, &[view])
            }),
            _ => match changed {
                Some((book, _)) => self.each(py, wants, Receiver::Book, &[book.bind(py).as_any()]),
                None => Ok(()),
            },
        }
    }

    /// Calls that handler of every strategy that `wants` says, and measures.
    #[inline]
    fn each(
        &self,
        py: Python<'_>,
        wants: impl Fn(usize, &Hosted) -> bool,
        receiver: Receiver,
        arguments: &[&Bound<'_, PyAny>],
    ) -> PyResult<()> {
        for (number, hosted) in self.strategies.iter().enumerate() {
            if wants(number, hosted) {
                if let Some(raised) = hosted.call(py, receiver, arguments, &self.watch)? {
                    self.on_failure.call1(py, (number, raised))?;
                }
            }
        }
        Ok(())
    }

    /// Hands the gathered events to those who take batches.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        for (number, hosted) in self.strategies.iter().enumerate() {
            if let Some(batch) = hosted.gathered() {
                let face = Bound::new(py, EventBatch::new(batch))?;
                if let Some(raised) = hosted.call(py, Receiver::Batch, &[face.as_any()], &self.watch)? {
                    self.on_failure.call1(py, (number, raised))?;
                }
            }
        }
        Ok(())
    }
}
