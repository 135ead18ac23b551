//! Indicators of best quotes: the faces.

use std::ffi::CStr;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};
use tickd_core::indicators::columns::{self, Column};
use tickd_core::indicators::formula::{self, Reading};
use tickd_core::indicators::microprice::Microprice as MicropriceCore;
use tickd_core::indicators::ofi::{Ofi as OfiCore, Policy};
use tickd_core::indicators::params::Described;
use tickd_core::indicators::window::Span;
use tickd_core::indicators::{Indicator, OnQuote, Quote};

use super::arrays::{run, Inputs, Output};
use super::face::{add, answer, bad_state, described, mapping, refused, strict_error};
use super::seen;
use crate::direct::{Direct, Numbers};
use crate::lent::Lent;
use crate::views;

/// The three spans that most windowed indicators offer.
pub const SPANS: &str = "give at most one of window, horizon_ns and half_life_ns, from 1";

/// What `missing` and `skip_crossed` say.
pub fn policy(missing: &str, skip_crossed: bool) -> PyResult<Policy> {
    let missing_is_empty = match missing {
        "empty" => true,
        "unknown" => false,
        other => {
            return Err(PyValueError::new_err(format!(
                "missing is {other:?}, not 'empty' or 'unknown'"
            )))
        }
    };
    Ok(Policy {
        missing_is_empty,
        skip_crossed,
    })
}

/// Takes quotes.
macro_rules! quote_face {
    ($(#[$doc:meta])* $name:ident($core:ty, $kind:expr) [$($signature:tt)*] ($($args:tt)*) $make:block [$($extra:tt)*]) => {
        face! {
            $(#[$doc])* $name($core, $kind) [$($signature)*] ($($args)*) $make
            [
                #[pyo3(signature = (bid_price, bid_size, ask_price, ask_size, ts_ns=0))]
                fn update(&self, py: Python<'_>, bid_price: f64, bid_size: f64, ask_price: f64, ask_size: f64, ts_ns: i64) -> PyResult<f64> {
                    self.step(py, (bid_price, bid_size, ask_price, ask_size), ts_ns)
                }

                fn on_quote(&self, quote: &Bound<'_, views::Quote>) -> PyResult<f64> {
                    let (Quote { bid_price, bid_size, ask_price, ask_size }, ts_ns) = seen::quote(quote);
                    self.step(quote.py(), (bid_price, bid_size, ask_price, ask_size), ts_ns)
                }

                #[pyo3(signature = (bid_price, bid_size, ask_price, ask_size, ts_ns=0))]
                fn peek(&self, py: Python<'_>, bid_price: f64, bid_size: f64, ask_price: f64, ask_size: f64, ts_ns: i64) -> PyResult<f64> {
                    Ok(self.core.lend(py)?.clone().quote(Quote { bid_price, bid_size, ask_price, ask_size }, ts_ns))
                }

                #[pyo3(signature = (bid_price, bid_size, ask_price, ask_size, ts_ns=None, out=None))]
                fn update_many<'py>(
                    &self,
                    py: Python<'py>,
                    bid_price: &Bound<'py, PyAny>,
                    bid_size: &Bound<'py, PyAny>,
                    ask_price: &Bound<'py, PyAny>,
                    ask_size: &Bound<'py, PyAny>,
                    ts_ns: Option<&Bound<'py, PyAny>>,
                    out: Option<Bound<'py, PyAny>>,
                ) -> PyResult<Bound<'py, PyAny>> {
                    let inputs = Inputs::new([bid_price, bid_size, ask_price, ask_size], ts_ns)?;
                    let columns = inputs.columns()?;
                    let rows = columns.first().map_or(0, Column::len);
                    let times = inputs.times(rows)?;
                    let mut output = Output::new(py, out, rows, 0)?;
                    let values = output.values(&inputs.ranges())?;
                    let mut lent = self.core.lend(py)?;
                    let core = &mut *lent;
                    match run(py, rows, || columns::quotes(core, columns, times, values)) {
                        Some(row) => Err(strict_error(&mut *lent, Some(row))),
                        None => Ok(output.array()),
                    }
                }

                #[classmethod]
                #[pyo3(signature = (bid_price, bid_size, ask_price, ask_size, ts_ns=None, **params))]
                fn batch<'py>(
                    cls: &Bound<'py, PyType>,
                    bid_price: Bound<'py, PyAny>,
                    bid_size: Bound<'py, PyAny>,
                    ask_price: Bound<'py, PyAny>,
                    ask_size: Bound<'py, PyAny>,
                    ts_ns: Option<Bound<'py, PyAny>>,
                    params: Option<&Bound<'py, PyDict>>,
                ) -> PyResult<Bound<'py, PyAny>> {
                    let made = cls.call((), params)?;
                    made.call_method1("update_many", (bid_price, bid_size, ask_price, ask_size, ts_ns))
                }
            ]
            [$($extra)*]
        }

        impl Direct for $name {
            const TEXT: &'static CStr = c"update($self, bid_price, bid_size, ask_price, ask_size, ts_ns=0)\n--\n\n";
            const COUNT: usize = 5;
            const REQUIRED: usize = 4;
            const TIME_AT: usize = 4;
            type Answer = f64;

            #[inline(always)]
            fn step(&self, py: Python<'_>, (bid_price, bid_size, ask_price, ask_size): Numbers, ts_ns: i64) -> PyResult<f64> {
                let mut core = self.core.lend(py)?;
                let value = core.quote(Quote { bid_price, bid_size, ask_price, ask_size }, ts_ns);
                answer(&mut *core, value)
            }
        }
    };
}

quote_face! {
    /// Order-flow imbalance of the best quotes.
    Ofi(OfiCore, 1)
    [window=None, horizon_ns=None, half_life_ns=None, missing="empty", strict=false, *, skip_crossed=false]
    (window: Option<i64>, horizon_ns: Option<i64>, half_life_ns: Option<i64>, missing: &str, strict: bool, skip_crossed: bool)
    {
        let span = Span { window, horizon_ns, half_life_ns };
        OfiCore::new(span, policy(missing, skip_crossed)?, strict).map_err(refused(SPANS))?
    }
    [
        #[getter]
        fn event(&self, py: Python<'_>) -> PyResult<f64> {
            Ok(self.core.lend(py)?.event())
        }

        #[getter]
        fn n_early(&self, py: Python<'_>) -> PyResult<u64> {
            Ok(self.core.lend(py)?.window().early())
        }

        fn take(&self, py: Python<'_>) -> PyResult<f64> {
            Ok(self.core.lend(py)?.take())
        }
    ]
}

macro_rules! readings {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)*) => {$(
        quote_face! {
            $(#[$doc])*
            $name(Reading<formula::$name>, $kind) [strict=false, *, skip_crossed=false] (strict: bool, skip_crossed: bool)
            { Reading::new(skip_crossed, strict) }
            []
        }
    )*};
}

readings! {
    /// (bid + ask) / 2.
    Mid = 30;
    /// ask - bid.
    Spread = 31;
    /// Spread over mid in basis points.
    SpreadBps = 32;
    /// Mid weighted by the other side's size.
    WeightedMid = 33;
    /// (bid size - ask size) / (bid size + ask size).
    QueueImbalance = 34;
    /// Log quote slope of Hasbrouck and Seppi.
    QuoteSlope = 35;
}

quote_face! {
    /// Stoikov's microprice from a fitted table.
    Microprice(MicropriceCore, 36) [table, tick, strict=false] (table: Vec<Vec<f64>>, tick: f64, strict: bool)
    {
        let buckets = table.first().map_or(0, Vec::len);
        if table.iter().any(|row| row.len() != buckets) {
            return Err(PyValueError::new_err("the rows of the table differ in length"));
        }
        MicropriceCore::new(table.concat(), buckets as i64, tick, strict)
            .map_err(refused("a table of finite numbers, a row per spread in ticks, and a tick above 0"))?
    }
    []
}

/// Exports them.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add::<Ofi>(m)?;
    add::<Mid>(m)?;
    add::<Spread>(m)?;
    add::<SpreadBps>(m)?;
    add::<WeightedMid>(m)?;
    add::<QueueImbalance>(m)?;
    add::<QuoteSlope>(m)?;
    add::<Microprice>(m)
}
