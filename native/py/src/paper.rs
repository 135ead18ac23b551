//! `PaperExchange`: the paper venue's face. Orders and batches in, reports out as tuples; it decides nothing.

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use tickd_core::book::l2::Side;
use tickd_core::event::{PRICE_UNDEF, SIZE_UNDEF};
use tickd_core::instrument::Instrument;
use tickd_core::paper::{Config, End, Exchange, New, OrderView, Refused, Report as Core, TimeInForce};

use crate::batch::EventBatch;

/// (kind, number, venue id or 0, fill or 0, price, size, traded so far, fee, reason, when at the venue)
type Report = (u8, u64, u64, u32, Option<i64>, Option<i64>, i64, i64, &'static str, i64);
/// (number, venue id or 0, instrument, side, price, size, traded so far, how it ended)
type Listed = (u64, u64, u32, &'static str, Option<i64>, i64, i64, &'static str);

/// A venue that holds our orders only, against the market it is given.
#[pyclass(module = "tickd._native")]
pub struct PaperExchange {
    exchange: Exchange,
}

fn report(of: &Core) -> Report {
    let told = |value: i64, undefined: i64| (value != undefined).then_some(value);
    (
        of.kind as u8,
        of.number,
        of.venue_id,
        of.fill,
        told(of.price, PRICE_UNDEF),
        told(of.size, SIZE_UNDEF),
        of.cum,
        of.fee,
        of.reason.name(),
        of.at,
    )
}

const fn letter(side: Side) -> &'static str {
    match side {
        Side::Bid => "B",
        Side::Ask => "A",
    }
}

fn listed(view: &OrderView) -> Listed {
    let end = match view.end {
        End::Open => "",
        End::Filled => "filled",
        End::Cancelled => "cancelled",
        End::Expired => "expired",
        End::Rejected => "rejected",
    };
    (
        view.number,
        view.venue_id,
        view.instrument,
        letter(view.side),
        view.price,
        view.size,
        view.cum,
        end,
    )
}

fn sent(result: Result<(), Refused>) -> PyResult<()> {
    result.map_err(|why| match why {
        Refused::Duplicate => PyValueError::new_err("an order with this number is there"),
        Refused::Instrument => PyValueError::new_err("no room for the instrument, or it has no terms"),
        Refused::Full => PyOverflowError::new_err("too many requests are under way"),
    })
}

impl PaperExchange {
    fn heard(&mut self) -> Option<Vec<Report>> {
        if self.exchange.next_due()? > self.exchange.now() {
            return None;
        }
        let heard = self.exchange.heard();
        (!heard.is_empty()).then(|| heard.iter().map(report).collect())
    }
}

#[pymethods]
impl PaperExchange {
    /// `config`: JSON, the fields of `tickd_core::paper::Config`. Raises ValueError.
    #[new]
    fn new(config: &[u8]) -> PyResult<Self> {
        let config = Config::parse(config).map_err(PyValueError::new_err)?;
        Ok(PaperExchange {
            exchange: Exchange::new(config),
        })
    }

    /// Gives an instrument its terms (JSON of its definition; more fields than needed are fine); `follow`: keep its book.
    fn define(&mut self, instrument: u32, definition: &[u8], follow: bool) -> PyResult<()> {
        let definition: Instrument =
            serde_json::from_slice(definition).map_err(|error| PyValueError::new_err(error.to_string()))?;
        sent(self.exchange.define(instrument, &definition, follow))
    }

    /// Takes over what an account holds from earlier lives: longs positive. Raises ValueError: no room.
    fn hold(&mut self, instrument: u32, size: i64) -> PyResult<()> {
        sent(self.exchange.hold(instrument, size))
    }

    /// Sends a new order at `now_ns`. Raises ValueError, OverflowError: nothing has left.
    #[allow(clippy::too_many_arguments)]
    fn submit(
        &mut self,
        now_ns: i64,
        number: u64,
        instrument: u32,
        side: &str,
        price: Option<i64>,
        size: i64,
        time_in_force: &str,
        reduce_only: bool,
    ) -> PyResult<()> {
        let side = match side {
            "B" => Side::Bid,
            "A" => Side::Ask,
            other => return Err(PyValueError::new_err(format!("side must be B or A, not {other:?}"))),
        };
        let time_in_force = match time_in_force {
            "gtc" => TimeInForce::Gtc,
            "ioc" => TimeInForce::Ioc,
            "fok" => TimeInForce::Fok,
            "post_only" => TimeInForce::PostOnly,
            other => return Err(PyValueError::new_err(format!("no time in force {other:?}"))),
        };
        let new = New {
            number,
            instrument,
            side,
            price,
            size,
            time_in_force,
            reduce_only,
        };
        sent(self.exchange.submit(&new, now_ns))
    }

    /// Sends a cancel. Raises OverflowError.
    fn cancel(&mut self, now_ns: i64, number: u64) -> PyResult<()> {
        sent(self.exchange.cancel(number, now_ns))
    }

    /// Sends another price and whole size. Raises OverflowError.
    fn replace(&mut self, now_ns: i64, number: u64, price: i64, size: i64) -> PyResult<()> {
        sent(self.exchange.replace(number, price, size, now_ns))
    }

    /// Takes a burst of the market; the reports heard by then, None without any.
    fn take(&mut self, batch: &Bound<'_, EventBatch>) -> Option<Vec<Report>> {
        let batch = batch.get();
        if batch.is_whole() {
            self.exchange.take(batch.shared());
        } else {
            self.exchange.take(&batch.to_whole());
        }
        self.heard()
    }

    /// Lets time pass; the reports heard by then, None without any.
    fn advance(&mut self, now_ns: i64) -> Option<Vec<Report>> {
        self.exchange.advance(now_ns);
        self.heard()
    }

    /// When a request arrives or a report is heard next.
    #[getter]
    fn next_due_ns(&self) -> Option<i64> {
        self.exchange.next_due()
    }

    /// The orders that rest, then those that are over, as far as they are still listed.
    fn orders(&self) -> Vec<Listed> {
        self.exchange.orders().iter().map(listed).collect()
    }

    /// Numbers of the orders that rest or are on their way.
    fn open_numbers(&self) -> Vec<u64> {
        self.exchange.open_numbers()
    }

    /// The executions from the `start`th on as (instrument, side, report), as far as they are still listed.
    fn executions(&self, start: u64) -> Vec<(u32, &'static str, Report)> {
        let executions = self.exchange.executions(start);
        executions
            .map(|each| (each.instrument, letter(each.side), report(&each.report)))
            .collect()
    }

    /// Executions ever made.
    #[getter]
    fn executed(&self) -> u64 {
        self.exchange.executed()
    }

    /// Best displayed (bid, ask); None: a side with nobody.
    fn touch(&self, instrument: u32) -> (Option<i64>, Option<i64>) {
        self.exchange.touch(instrument).unwrap_or_default()
    }

    /// Events and definitions that found no room.
    #[getter]
    fn refused(&self) -> u64 {
        self.exchange.refused()
    }

    /// Instruments with something of ours in them.
    #[getter]
    fn live_count(&self) -> usize {
        self.exchange.live_count()
    }
}
