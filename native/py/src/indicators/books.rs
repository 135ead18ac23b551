//! Indicators of ranked levels: the faces. A book is one flat row: bid price, bid size, ask price, ask size per level.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};
use tickd_core::indicators::columns::{self, Column};
use tickd_core::indicators::levels::{BookReading, Shape};
use tickd_core::indicators::mlofi::Mlofi as MlofiCore;
use tickd_core::indicators::params::Described;
use tickd_core::indicators::window::Span;
use tickd_core::indicators::{Indicator, OnLevels};

use super::arrays::{run, Inputs, Output};
use super::face::{answer, bad_state, described, mapping, refused, strict_error};
use super::quotes::{policy, SPANS};
use crate::cpython::with_floats;
use crate::lent::Lent;

/// One book through the indicator: a buffer of float64 or int64, or a sequence of numbers.
#[inline]
fn book<I: OnLevels>(core: &mut I, flat: &Bound<'_, PyAny>, ts_ns: i64) -> PyResult<f64> {
    let expected = 4 * core.levels();
    let wrong = |found: usize| PyValueError::new_err(format!("a book of {found} numbers, not {expected}"));
    let mut step = |values: &[f64]| {
        if values.len() == expected {
            Ok(core.book(values, ts_ns))
        } else {
            Err(wrong(values.len()))
        }
    };
    let is_list = flat.is_instance_of::<pyo3::types::PyList>() || flat.is_instance_of::<pyo3::types::PyTuple>();
    let value = if is_list {
        step(&flat.extract::<Vec<f64>>()?)?
    } else {
        match with_floats(flat, step).map_err(|_| PyTypeError::new_err("a book is a C-contiguous buffer or a list"))? {
            Some(value) => value?,
            None => return Err(PyTypeError::new_err("a book is a flat buffer of float64 or int64")),
        }
    };
    answer(core, value)
}

/// Books through the indicator; with `matrix`, the rows are the levels' sums instead of the value.
fn books<'py, I: OnLevels + Send>(
    core: &mut I,
    flat: &Bound<'py, PyAny>,
    ts_ns: Option<&Bound<'py, PyAny>>,
    out: Option<Bound<'py, PyAny>>,
    matrix: Option<fn(&I) -> &[f64]>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = flat.py();
    let inputs = Inputs::new([flat], ts_ns)?;
    let [column] = inputs.columns()?;
    let Column::F64(values) = column else {
        return Err(PyTypeError::new_err("books must be float64"));
    };
    let (levels, width) = (core.levels(), 4 * core.levels());
    if values.len() % width != 0 {
        return Err(PyValueError::new_err(format!(
            "{} numbers are no whole books of {width}",
            values.len()
        )));
    }
    let rows = values.len() / width;
    let times = inputs.times(rows)?;
    let mut output = Output::new(py, out, rows, if matrix.is_some() { levels } else { 0 })?;
    let slots = output.values(&inputs.ranges())?;
    let mut work = || match matrix {
        None => columns::books(core, values, times, slots, |_, _| ()),
        Some(sums) => {
            let mut one = vec![0.0; rows];
            columns::books(core, values, times, &mut one, |core, row| {
                let value = core.value();
                if let Some(place) = slots.get_mut(row * levels..(row + 1) * levels) {
                    if value.is_nan() {
                        place.fill(f64::NAN);
                    } else {
                        place.copy_from_slice(sums(core));
                    }
                }
            })
        }
    };
    match run(py, rows, &mut work) {
        Some(row) => Err(strict_error(core, Some(row))),
        None => Ok(output.array()),
    }
}

/// Takes books.
macro_rules! book_face {
    ($(#[$doc:meta])* $name:ident($core:ty, $kind:expr) [$($signature:tt)*] ($($args:tt)*) $make:block [$($extra:tt)*]) => {
        face! {
            $(#[$doc])* $name($core, $kind) [$($signature)*] ($($args)*) $make
            [
                #[pyo3(signature = (flat_levels, ts_ns=0))]
                fn update(&self, flat_levels: &Bound<'_, PyAny>, ts_ns: i64) -> PyResult<f64> {
                    book(&mut *self.core.lend(flat_levels.py())?, flat_levels, ts_ns)
                }

                #[pyo3(signature = (flat_levels, ts_ns=0))]
                fn peek(&self, flat_levels: &Bound<'_, PyAny>, ts_ns: i64) -> PyResult<f64> {
                    let mut tried = self.core.lend(flat_levels.py())?.clone();
                    book(&mut tried, flat_levels, ts_ns)
                }

                #[pyo3(signature = (flat_levels, ts_ns=None, out=None))]
                fn update_many<'py>(
                    &self,
                    flat_levels: &Bound<'py, PyAny>,
                    ts_ns: Option<&Bound<'py, PyAny>>,
                    out: Option<Bound<'py, PyAny>>,
                ) -> PyResult<Bound<'py, PyAny>> {
                    books(&mut *self.core.lend(flat_levels.py())?, flat_levels, ts_ns, out, None)
                }

                #[classmethod]
                #[pyo3(signature = (flat_levels, ts_ns=None, **params))]
                fn batch<'py>(
                    cls: &Bound<'py, PyType>,
                    flat_levels: Bound<'py, PyAny>,
                    ts_ns: Option<Bound<'py, PyAny>>,
                    params: Option<&Bound<'py, PyDict>>,
                ) -> PyResult<Bound<'py, PyAny>> {
                    cls.call((), params)?.call_method1("update_many", (flat_levels, ts_ns))
                }

                #[getter]
                fn levels(&self, py: Python<'_>) -> PyResult<usize> {
                    Ok(OnLevels::levels(&*self.core.lend(py)?))
                }
            ]
            [$($extra)*]
        }
    };
}

/// What both forms of OFI per level have beyond the others.
macro_rules! mlofi_face {
    ($(#[$doc:meta])* $name:ident($kind:expr) [$($signature:tt)*] ($($args:tt)*) $make:block) => {
        book_face! {
            $(#[$doc])* $name(MlofiCore, $kind) [$($signature)*] ($($args)*) $make
            [
                #[getter]
                fn events(&self, py: Python<'_>) -> PyResult<Vec<f64>> {
                    Ok(self.core.lend(py)?.events().to_vec())
                }

                #[getter]
                fn sums(&self, py: Python<'_>) -> PyResult<Vec<f64>> {
                    Ok(self.core.lend(py)?.sums().to_vec())
                }

                #[getter]
                fn weights(&self, py: Python<'_>) -> PyResult<Vec<f64>> {
                    Ok(self.core.lend(py)?.weights().to_vec())
                }

                #[getter]
                fn n_early(&self, py: Python<'_>) -> PyResult<u64> {
                    Ok(self.core.lend(py)?.window().early())
                }

                fn take(&self, py: Python<'_>) -> PyResult<Vec<f64>> {
                    Ok(self.core.lend(py)?.take())
                }

                #[pyo3(signature = (flat_levels, ts_ns=None, out=None))]
                fn update_matrix<'py>(
                    &self,
                    flat_levels: &Bound<'py, PyAny>,
                    ts_ns: Option<&Bound<'py, PyAny>>,
                    out: Option<Bound<'py, PyAny>>,
                ) -> PyResult<Bound<'py, PyAny>> {
                    books(&mut *self.core.lend(flat_levels.py())?, flat_levels, ts_ns, out, Some(MlofiCore::sums))
                }
            ]
        }
    };
}

mlofi_face! {
    /// OFI per ranked level; the value is the mean, or the sum with given weights.
    Mlofi(2)
    [levels, window=None, horizon_ns=None, half_life_ns=None, missing="empty", strict=false, *, weights=None, skip_crossed=false]
    (levels: i64, window: Option<i64>, horizon_ns: Option<i64>, half_life_ns: Option<i64>, missing: &str, strict: bool, weights: Option<Vec<f64>>, skip_crossed: bool)
    {
        let span = Span { window, horizon_ns, half_life_ns };
        MlofiCore::new(levels, weights, span, policy(missing, skip_crossed)?, strict).map_err(refused(SPANS))?
    }
}

mlofi_face! {
    /// OFI per level over the mean size shown, projected on fitted, frozen weights.
    IntegratedOfi(3)
    [weights, window=None, horizon_ns=None, half_life_ns=None, missing="empty", strict=false, *, skip_crossed=false]
    (weights: Vec<f64>, window: Option<i64>, horizon_ns: Option<i64>, half_life_ns: Option<i64>, missing: &str, strict: bool, skip_crossed: bool)
    {
        let span = Span { window, horizon_ns, half_life_ns };
        MlofiCore::integrated(&weights, span, policy(missing, skip_crossed)?, strict).map_err(refused(SPANS))?
    }
}

const LEVELS: &str = "1 to 1,000 levels";

macro_rules! readings {
    ($($(#[$doc:meta])* $name:ident = $kind:literal $shape:ident;)*) => {$(
        book_face! {
            $(#[$doc])*
            $name(BookReading, $kind) [levels, strict=false] (levels: i64, strict: bool)
            { BookReading::new(Shape::$shape, levels, strict).map_err(refused(LEVELS))? }
            []
        }
    )*};
}

readings! {
    /// (bids - asks) / (bids + asks) over the levels.
    DepthImbalance = 40 Imbalance;
    /// Each price weighted by the other side's size.
    Vamp = 41 CrossPrice;
    /// Each price weighted by its own size.
    WeightedDepthPrice = 42 DepthPrice;
}

book_face! {
    /// Depth over the distance of the last level from the mid.
    BookSlope(BookReading, 43) [levels, side="both", strict=false] (levels: i64, side: &str, strict: bool)
    {
        let shape = match side {
            "both" => Shape::Slope,
            "bid" => Shape::BidSlope,
            "ask" => Shape::AskSlope,
            other => return Err(PyValueError::new_err(format!("side is {other:?}, not 'both', 'bid' or 'ask'"))),
        };
        BookReading::new(shape, levels, strict).map_err(refused(LEVELS))?
    }
    []
}

/// Exports them.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Mlofi>()?;
    m.add_class::<IntegratedOfi>()?;
    m.add_class::<DepthImbalance>()?;
    m.add_class::<Vamp>()?;
    m.add_class::<WeightedDepthPrice>()?;
    m.add_class::<BookSlope>()
}
