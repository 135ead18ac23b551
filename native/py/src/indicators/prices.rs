//! Indicators of prices, and rules that sign trades: the faces.

use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};
use tickd_core::indicators::columns::{self, Column};
use tickd_core::indicators::params::Described;
use tickd_core::indicators::returns::{
    DecayedSum as DecayedCore, Estimator, EwmaVariance as EwmaCore, RealizedVariance as RealizedCore,
    RollSpread as RollCore,
};
use tickd_core::indicators::signing::{BulkShare as BulkCore, Rule, TradeSign};
use tickd_core::indicators::{Indicator, OnPrice, OnPrint};

use super::arrays::{run, Inputs, Output};
use super::face::{add, answer, bad_state, described, mapping, refused, strict_error};
use super::seen;
use super::trades::bulk;
use crate::direct::{Direct, Numbers};
use crate::lent::Lent;
use crate::views;

/// Takes prices.
macro_rules! price_face {
    ($(#[$doc:meta])* $name:ident($core:ty, $kind:expr) [$($signature:tt)*] ($($args:tt)*) $make:block) => {
        face! {
            $(#[$doc])* $name($core, $kind) [$($signature)*] ($($args)*) $make
            [
                #[pyo3(signature = (price, ts_ns=0))]
                fn update(&self, py: Python<'_>, price: f64, ts_ns: i64) -> PyResult<f64> {
                    self.step(py, (price, 0.0, 0.0, 0.0), ts_ns)
                }

                fn on_trade(&self, trade: &Bound<'_, views::Trade>) -> PyResult<f64> {
                    let (seen, ts_ns) = seen::trade(trade);
                    self.step(trade.py(), (seen.price, 0.0, 0.0, 0.0), ts_ns)
                }

                #[pyo3(signature = (price, ts_ns=0))]
                fn peek(&self, py: Python<'_>, price: f64, ts_ns: i64) -> PyResult<f64> {
                    Ok(self.core.lend(py)?.clone().price(price, ts_ns))
                }

                #[pyo3(signature = (price, ts_ns=None, out=None))]
                fn update_many<'py>(
                    &self,
                    py: Python<'py>,
                    price: &Bound<'py, PyAny>,
                    ts_ns: Option<&Bound<'py, PyAny>>,
                    out: Option<Bound<'py, PyAny>>,
                ) -> PyResult<Bound<'py, PyAny>> {
                    let inputs = Inputs::new([price], ts_ns)?;
                    let [column] = inputs.columns()?;
                    let rows = column.len();
                    let times = inputs.times(rows)?;
                    let mut output = Output::new(py, out, rows, 0)?;
                    let values = output.values(&inputs.ranges())?;
                    let mut lent = self.core.lend(py)?;
                    let core = &mut *lent;
                    match run(py, rows, || columns::prices(core, column, times, values)) {
                        Some(row) => Err(strict_error(&mut *lent, Some(row))),
                        None => Ok(output.array()),
                    }
                }

                #[classmethod]
                #[pyo3(signature = (price, ts_ns=None, **params))]
                fn batch<'py>(
                    cls: &Bound<'py, PyType>,
                    price: Bound<'py, PyAny>,
                    ts_ns: Option<Bound<'py, PyAny>>,
                    params: Option<&Bound<'py, PyDict>>,
                ) -> PyResult<Bound<'py, PyAny>> {
                    cls.call((), params)?.call_method1("update_many", (price, ts_ns))
                }
            ]
            []
        }

        impl Direct for $name {
            const TEXT: &'static CStr = c"update($self, price, ts_ns=0)\n--\n\n";
            const COUNT: usize = 2;
            const REQUIRED: usize = 1;
            const TIME_AT: usize = 1;
            type Answer = f64;

            #[inline(always)]
            fn step(&self, py: Python<'_>, (price, _, _, _): Numbers, ts_ns: i64) -> PyResult<f64> {
                let mut core = self.core.lend(py)?;
                let value = core.price(price, ts_ns);
                answer(&mut *core, value)
            }
        }
    };
}

macro_rules! variances {
    ($($(#[$doc:meta])* $name:ident = $kind:literal $estimator:ident;)*) => {$(
        price_face! {
            $(#[$doc])*
            $name(RealizedCore, $kind) [window=None, strict=false] (window: Option<i64>, strict: bool)
            {
                RealizedCore::new(Estimator::$estimator, window, strict)
                    .map_err(refused("a window of at least 2 returns, 3 for MedRv"))?
            }
        }
    )*};
}

variances! {
    /// Sum of squared log returns.
    RealizedVariance = 80 Realized;
    /// Bipower variation.
    BipowerVariation = 81 Bipower;
    /// MedRV.
    MedRv = 82 Median;
    /// MinRV.
    MinRv = 83 Minimum;
}

price_face! {
    /// EWMA of squared log returns.
    EwmaVariance(EwmaCore, 61) [decay=None, half_life_ns=None, strict=false]
    (decay: Option<f64>, half_life_ns: Option<i64>, strict: bool)
    {
        EwmaCore::new(decay, half_life_ns, strict)
            .map_err(refused("either a decay between 0 and 1 or a half_life_ns from 1"))?
    }
}

price_face! {
    /// Sum of values that halve with time.
    DecayedSum(DecayedCore, 62) [half_life_ns, strict=false] (half_life_ns: i64, strict: bool)
    { DecayedCore::new(half_life_ns, strict).map_err(refused("a half_life_ns from 1"))? }
}

price_face! {
    /// Roll's spread.
    RollSpread(RollCore, 63) [window=None, strict=false] (window: Option<i64>, strict: bool)
    { RollCore::new(window, strict).map_err(refused("a window of at least 2 pairs of changes"))? }
}

price_face! {
    /// The tick rule.
    TickRule(TradeSign, 70) [strict=false] (strict: bool) { TradeSign::new(Rule::Tick, strict) }
}

price_face! {
    /// The bought share of each bar.
    BvcShare(BulkCore, 79) [sigma=None, distribution="normal", *, decay=0.99, strict=false]
    (sigma: Option<f64>, distribution: &str, decay: f64, strict: bool)
    { BulkCore::new(bulk(sigma, decay, distribution)?, strict) }
}

/// Takes a trade's price and the quote it met.
macro_rules! print_face {
    ($($(#[$doc:meta])* $name:ident = $kind:literal $rule:ident;)*) => {$(
        face! {
            $(#[$doc])* $name(TradeSign, $kind) [strict=false] (strict: bool) { TradeSign::new(Rule::$rule, strict) }
            [
                fn update(&self, py: Python<'_>, price: f64, bid_price: f64, ask_price: f64) -> PyResult<f64> {
                    self.step(py, (price, bid_price, ask_price, 0.0), 0)
                }

                fn peek(&self, py: Python<'_>, price: f64, bid_price: f64, ask_price: f64) -> PyResult<f64> {
                    Ok(self.core.lend(py)?.clone().print(price, bid_price, ask_price))
                }

                #[pyo3(signature = (price, bid_price, ask_price, out=None))]
                fn update_many<'py>(
                    &self,
                    py: Python<'py>,
                    price: &Bound<'py, PyAny>,
                    bid_price: &Bound<'py, PyAny>,
                    ask_price: &Bound<'py, PyAny>,
                    out: Option<Bound<'py, PyAny>>,
                ) -> PyResult<Bound<'py, PyAny>> {
                    let inputs = Inputs::new([price, bid_price, ask_price], None)?;
                    let columns = inputs.columns()?;
                    let rows = columns.first().map_or(0, Column::len);
                    let mut output = Output::new(py, out, rows, 0)?;
                    let values = output.values(&inputs.ranges())?;
                    let mut lent = self.core.lend(py)?;
                    let core = &mut *lent;
                    match run(py, rows, || columns::prints(core, columns, values)) {
                        Some(row) => Err(strict_error(&mut *lent, Some(row))),
                        None => Ok(output.array()),
                    }
                }

                #[classmethod]
                #[pyo3(signature = (price, bid_price, ask_price, **params))]
                fn batch<'py>(
                    cls: &Bound<'py, PyType>,
                    price: Bound<'py, PyAny>,
                    bid_price: Bound<'py, PyAny>,
                    ask_price: Bound<'py, PyAny>,
                    params: Option<&Bound<'py, PyDict>>,
                ) -> PyResult<Bound<'py, PyAny>> {
                    cls.call((), params)?.call_method1("update_many", (price, bid_price, ask_price))
                }
            ]
            []
        }

        impl Direct for $name {
            const TEXT: &'static CStr = c"update($self, price, bid_price, ask_price)\n--\n\n";
            const COUNT: usize = 3;
            const REQUIRED: usize = 3;
            const TIME_AT: usize = 3;
            type Answer = f64;

            #[inline(always)]
            fn step(&self, py: Python<'_>, (price, bid_price, ask_price, _): Numbers, _ts_ns: i64) -> PyResult<f64> {
                let mut core = self.core.lend(py)?;
                let value = core.print(price, bid_price, ask_price);
                answer(&mut *core, value)
            }
        }
    )*};
}

print_face! {
    /// Against the mid.
    QuoteRule = 71 Quote;
    /// Lee and Ready.
    LeeReady = 72 LeeReady;
    /// Ellis, Michaely and O'Hara.
    Emo = 73 Emo;
    /// Chakrabarty, Li, Nguyen and Van Ness.
    Clnv = 74 Clnv;
}

/// Exports them.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add::<RealizedVariance>(m)?;
    add::<BipowerVariation>(m)?;
    add::<MedRv>(m)?;
    add::<MinRv>(m)?;
    add::<EwmaVariance>(m)?;
    add::<DecayedSum>(m)?;
    add::<RollSpread>(m)?;
    add::<TickRule>(m)?;
    add::<BvcShare>(m)?;
    add::<QuoteRule>(m)?;
    add::<LeeReady>(m)?;
    add::<Emo>(m)?;
    add::<Clnv>(m)
}
