//! Indicators of trades: the faces.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};
use tickd_core::indicators::buckets::Volume;
use tickd_core::indicators::bulk::Bulk;
use tickd_core::indicators::columns::{self, Column};
use tickd_core::indicators::flow::{
    Amihud as AmihudCore, Cvd as CvdCore, KyleLambda as KyleCore, TradeFlowImbalance as FlowCore,
};
use tickd_core::indicators::vpin::{Bucketed, Vpin as VpinCore, VpinBvc as VpinBvcCore, VpinFixed as VpinFixedCore};
use tickd_core::indicators::window::Span;
use tickd_core::indicators::{Indicator, OnTrade, Trade};

use super::arrays::{run, Inputs, Output};
use super::face::{answer, bad_state, refused, strict_error, Side};
use super::quotes::SPANS;

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
                fn update(&mut self, price: f64, size: f64, side: Side, ts_ns: i64) -> PyResult<f64> {
                    let value = self.core.trade(Trade { price, size, side: side.0 }, ts_ns);
                    answer(&mut self.core, value)
                }

                #[pyo3(signature = (price, size, $($side)*, ts_ns=0))]
                fn peek(&self, price: f64, size: f64, side: Side, ts_ns: i64) -> f64 {
                    self.core.clone().trade(Trade { price, size, side: side.0 }, ts_ns)
                }

                #[pyo3(signature = (price, size, side, ts_ns=None, out=None))]
                fn update_many<'py>(
                    &mut self,
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
                    let core = &mut self.core;
                    match run(py, rows, || columns::trades(core, columns, times, values)) {
                        Some(row) => Err(strict_error(&mut self.core, Some(row))),
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
                fn cdf(&self) -> f64 {
                    self.core.buckets().history().cdf()
                }

                #[getter]
                fn zscore(&self) -> f64 {
                    self.core.buckets().history().z()
                }

                #[getter]
                fn is_toxic(&self) -> bool {
                    self.core.buckets().history().is_toxic()
                }

                #[getter]
                fn unclassified(&self) -> f64 {
                    self.core.buckets().unclassified()
                }

                #[getter]
                fn buckets(&self) -> u64 {
                    self.core.buckets().size()
                }

                #[getter]
                fn n_closed(&self) -> u64 {
                    self.core.buckets().closed()
                }

                #[getter]
                fn filled(&self) -> f64 {
                    self.core.buckets().filled().float()
                }

                fn drop_partial(&mut self) {
                    self.core.buckets_mut().drop_partial();
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
        fn parts_per_billion(&self) -> Option<i64> {
            self.core.parts_per_billion()
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
    m.add_class::<Vpin>()?;
    m.add_class::<VpinFixed>()?;
    m.add_class::<VpinBvc>()?;
    m.add_class::<TradeFlowImbalance>()?;
    m.add_class::<Cvd>()?;
    m.add_class::<KyleLambda>()?;
    m.add_class::<Amihud>()
}
