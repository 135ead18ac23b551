//! Indicators of trades: the faces.

use std::ffi::CStr;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};
use tickd_core::indicators::buckets::Volume;
use tickd_core::indicators::bulk::Bulk;
use tickd_core::indicators::columns::{self, Column};
use tickd_core::indicators::flow::{
    Amihud as AmihudCore, Cvd as CvdCore, KyleLambda as KyleCore, TradeFlowImbalance as FlowCore,
};
use tickd_core::indicators::params::Described;
use tickd_core::indicators::vpin::{Bucketed, Vpin as VpinCore, VpinBvc as VpinBvcCore, VpinFixed as VpinFixedCore};
use tickd_core::indicators::window::Span;
use tickd_core::indicators::{Indicator, OnTrade, Trade};

use super::arrays::{run, Inputs, Output};
use super::face::{add, answer, bad_state, described, mapping, refused, strict_error, Side};
use super::quotes::SPANS;
use super::seen;
use crate::direct::{Direct, Numbers};
use crate::lent::Lent;
use crate::views;

const BUCKETS: &str = "a bucket volume above 0, 1 to 65,535 buckets, 1 to 65,536 ranked values";

/// The classifier of bulk volume.
pub fn bulk(sigma: Option<f64>, decay: f64, distribution: &str) -> PyResult<Bulk> {
    let is_student = match distribution {
        "normal" => false,
        "t025" => true,
        other => {
            return Err(PyValueError::new_err(format!(
                "distribution is {other:?}, not 'normal' or 't025'"
            )))
        }
    };
    Bulk::new(sigma, decay, is_student).map_err(refused("a sigma above 0, or None and a decay between 0 and 1"))
}

/// Takes trades; `$side` is the signature of the last argument.
macro_rules! trade_face {
    ($(#[$doc:meta])* $name:ident($core:ty, $kind:expr) side($($side:tt)*) [$($signature:tt)*] ($($args:tt)*) $make:block [$($extra:tt)*]) => {
        face! {
            $(#[$doc])* $name($core, $kind) [$($signature)*] ($($args)*) $make
            [
                #[pyo3(signature = (price, size, $($side)*, ts_ns=0))]
                fn update(&self, py: Python<'_>, price: f64, size: f64, side: Side, ts_ns: i64) -> PyResult<f64> {
                    self.step(py, (price, size, side.0, 0.0), ts_ns)
                }

                fn on_trade(&self, trade: &Bound<'_, views::Trade>) -> PyResult<f64> {
                    let (Trade { price, size, side }, ts_ns) = seen::trade(trade);
                    self.step(trade.py(), (price, size, side, 0.0), ts_ns)
                }

                #[pyo3(signature = (price, size, $($side)*, ts_ns=0))]
                fn peek(&self, py: Python<'_>, price: f64, size: f64, side: Side, ts_ns: i64) -> PyResult<f64> {
                    Ok(self.core.lend(py)?.clone().trade(Trade { price, size, side: side.0 }, ts_ns))
                }

                #[pyo3(signature = (price, size, side, ts_ns=None, out=None))]
                fn update_many<'py>(
                    &self,
                    py: Python<'py>,
                    price: &Bound<'py, PyAny>,
                    size: &Bound<'py, PyAny>,
                    side: &Bound<'py, PyAny>,
                    ts_ns: Option<&Bound<'py, PyAny>>,
                    out: Option<Bound<'py, PyAny>>,
                ) -> PyResult<Bound<'py, PyAny>> {
                    let inputs = Inputs::new([price, size, side], ts_ns)?;
                    let columns = inputs.columns()?;
                    let rows = columns.first().map_or(0, Column::len);
                    let times = inputs.times(rows)?;
                    let mut output = Output::new(py, out, rows, 0)?;
                    let values = output.values(&inputs.ranges())?;
                    let mut lent = self.core.lend(py)?;
                    let core = &mut *lent;
                    match run(py, rows, || columns::trades(core, columns, times, values)) {
                        Some(row) => Err(strict_error(&mut *lent, Some(row))),
                        None => Ok(output.array()),
                    }
                }

                #[classmethod]
                #[pyo3(signature = (price, size, side, ts_ns=None, **params))]
                fn batch<'py>(
                    cls: &Bound<'py, PyType>,
                    price: Bound<'py, PyAny>,
                    size: Bound<'py, PyAny>,
                    side: Bound<'py, PyAny>,
                    ts_ns: Option<Bound<'py, PyAny>>,
                    params: Option<&Bound<'py, PyDict>>,
                ) -> PyResult<Bound<'py, PyAny>> {
                    let made = cls.call((), params)?;
                    made.call_method1("update_many", (price, size, side, ts_ns))
                }
            ]
            [$($extra)*]
        }

        impl Direct for $name {
            const TEXT: &'static CStr = sided_text!($($side)*);
            const COUNT: usize = 4;
            const REQUIRED: usize = sided_count!($($side)*);
            const TIME_AT: usize = 3;
            type Answer = f64;

            #[inline(always)]
            fn step(&self, py: Python<'_>, (price, size, side, _): Numbers, ts_ns: i64) -> PyResult<f64> {
                let mut core = self.core.lend(py)?;
                let value = core.trade(Trade { price, size, side }, ts_ns);
                answer(&mut *core, value)
            }
        }
    };
}

/// The signature of `update`, where the side must be given and where it need not be.
macro_rules! sided_text {
    (side) => {
        c"update($self, price, size, side, ts_ns=0)\n--\n\n"
    };
    ($($side:tt)*) => {
        c"update($self, price, size, side=0.0, ts_ns=0)\n--\n\n"
    };
}

/// Arguments that must be given.
macro_rules! sided_count {
    (side) => {
        3
    };
    ($($side:tt)*) => {
        2
    };
}

/// What every VPIN has beyond the others.
macro_rules! vpin_face {
    ($(#[$doc:meta])* $name:ident($core:ty, $kind:expr) $side:ident($($sides:tt)*) [$($signature:tt)*] ($($args:tt)*) $make:block [$($extra:tt)*]) => {
        trade_face! {
            $(#[$doc])* $name($core, $kind) $side($($sides)*) [$($signature)*] ($($args)*) $make
            [
                $($extra)*

                #[getter]
                fn cdf(&self, py: Python<'_>) -> PyResult<f64> {
                    Ok(self.core.lend(py)?.buckets().history().cdf())
                }

                #[getter]
                fn zscore(&self, py: Python<'_>) -> PyResult<f64> {
                    Ok(self.core.lend(py)?.buckets().history().z())
                }

                #[getter]
                fn is_toxic(&self, py: Python<'_>) -> PyResult<bool> {
                    Ok(self.core.lend(py)?.buckets().history().is_toxic())
                }

                #[getter]
                fn unclassified(&self, py: Python<'_>) -> PyResult<f64> {
                    Ok(self.core.lend(py)?.buckets().unclassified())
                }

                #[getter]
                fn buckets(&self, py: Python<'_>) -> PyResult<u64> {
                    Ok(self.core.lend(py)?.buckets().size())
                }

                #[getter]
                fn n_closed(&self, py: Python<'_>) -> PyResult<u64> {
                    Ok(self.core.lend(py)?.buckets().closed())
                }

                #[getter]
                fn filled(&self, py: Python<'_>) -> PyResult<f64> {
                    Ok(self.core.lend(py)?.buckets().filled().float())
                }

                fn drop_partial(&self, py: Python<'_>) -> PyResult<()> {
                    self.core.lend(py)?.buckets_mut().drop_partial();
                    Ok(())
                }
            ]
        }
    };
}

vpin_face! {
    /// VPIN of trades with an aggressor.
    Vpin(VpinCore, 10) side(side)
    [bucket_volume, buckets, split=true, *, ranked=1000, strict=false]
    (bucket_volume: f64, buckets: i64, split: bool, ranked: i64, strict: bool)
    { VpinCore::new(bucket_volume, buckets, split, ranked, strict).map_err(refused(BUCKETS))? }
    []
}

vpin_face! {
    /// VPIN in whole lots, without a rounding before the last division.
    VpinFixed(VpinFixedCore, 11) side(side)
    [bucket_volume, buckets, split=true, *, ranked=1000, strict=false]
    (bucket_volume: i64, buckets: i64, split: bool, ranked: i64, strict: bool)
    {
        VpinFixedCore::new(bucket_volume, buckets, split, ranked, strict)
            .map_err(refused("whole lots above 0; buckets times volume at most 2^53; 1 to 65,535 buckets"))?
    }
    [
        #[getter]
        fn parts_per_billion(&self, py: Python<'_>) -> PyResult<Option<i64>> {
            Ok(self.core.lend(py)?.parts_per_billion())
        }
    ]
}

vpin_face! {
    /// VPIN with bulk volume classification.
    VpinBvc(VpinBvcCore, 12) side(side=Side(0.0))
    [bucket_volume, buckets, sigma=None, distribution="normal", *, decay=0.99, split=true, ranked=1000, strict=false]
    (bucket_volume: f64, buckets: i64, sigma: Option<f64>, distribution: &str, decay: f64, split: bool, ranked: i64, strict: bool)
    {
        let bulk = bulk(sigma, decay, distribution)?;
        VpinBvcCore::new(bucket_volume, buckets, bulk, split, ranked, strict).map_err(refused(BUCKETS))?
    }
    []
}

trade_face! {
    /// Signed volume over volume with a side.
    TradeFlowImbalance(FlowCore, 50) side(side)
    [window=None, horizon_ns=None, half_life_ns=None, strict=false]
    (window: Option<i64>, horizon_ns: Option<i64>, half_life_ns: Option<i64>, strict: bool)
    { FlowCore::new(Span { window, horizon_ns, half_life_ns }, strict).map_err(refused(SPANS))? }
    []
}

trade_face! {
    /// Cumulative volume delta.
    Cvd(CvdCore, 51) side(side) [strict=false] (strict: bool) { CvdCore::new(strict) }
    []
}

trade_face! {
    /// Kyle's lambda: OLS slope, with intercept, of price changes on signed volume.
    KyleLambda(KyleCore, 52) side(side) [window=None, strict=false] (window: Option<i64>, strict: bool)
    { KyleCore::new(window, strict).map_err(refused("a window from 1"))? }
    []
}

trade_face! {
    /// Amihud's illiquidity.
    Amihud(AmihudCore, 53) side(side=Side(0.0)) [window=None, strict=false] (window: Option<i64>, strict: bool)
    { AmihudCore::new(window, strict).map_err(refused("a window from 1"))? }
    []
}

/// Exports them.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add::<Vpin>(m)?;
    add::<VpinFixed>(m)?;
    add::<VpinBvc>(m)?;
    add::<TradeFlowImbalance>(m)?;
    add::<Cvd>(m)?;
    add::<KyleLambda>(m)?;
    add::<Amihud>(m)
}
