//! Hawkes intensities, likelihoods, residuals and simulation: the faces. Times are integer nanoseconds, rates per second.

use std::ffi::CStr;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};
use tickd_core::indicators::columns;
use tickd_core::indicators::elementary::LN_2;
use tickd_core::indicators::hawkes::Hawkes as HawkesCore;
use tickd_core::indicators::hawkes_bivariate::{HawkesBivariate as BivariateCore, Pair};
use tickd_core::indicators::params::Described;
use tickd_core::indicators::{hawkes_likelihood, hawkes_simulation, Indicator};

use super::arrays::{lock_times, run, Inputs, Output};
use super::face::{add, answer, bad_state, described, mapping, refused, strict_error, Side};
use super::seen;
use crate::cpython::values;
use crate::direct::{Direct, Numbers};
use crate::lent::Lent;
use crate::views;

const RATES: &str = "finite rates, mu and alpha from 0, beta above 0";
const TIMES: &str = "ascending times from 0 to the horizon, mu and beta above 0, alpha from 0";

face! {
    /// Intensity of one stream of events.
    Hawkes(HawkesCore, 20) [mu, alpha, beta, *, strict=false] (mu: f64, alpha: f64, beta: f64, strict: bool)
    { HawkesCore::new(mu, alpha, beta, strict).map_err(refused(RATES))? }
    [
        #[pyo3(signature = (ts_ns, mark=1.0))]
        fn update(&self, py: Python<'_>, ts_ns: i64, mark: f64) -> PyResult<f64> {
            self.step(py, (mark, 0.0, 0.0, 0.0), ts_ns)
        }

        fn on_trade(&self, trade: &Bound<'_, views::Trade>) -> PyResult<f64> {
            self.step(trade.py(), (1.0, 0.0, 0.0, 0.0), seen::trade(trade).1)
        }

        #[pyo3(signature = (ts_ns, out=None))]
        fn update_many<'py>(
            &self,
            py: Python<'py>,
            ts_ns: &Bound<'py, PyAny>,
            out: Option<Bound<'py, PyAny>>,
        ) -> PyResult<Bound<'py, PyAny>> {
            let buffer = lock_times(ts_ns)?;
            let times = values(&buffer)?;
            let from = times.as_ptr() as usize;
            let mut output = Output::new(py, out, times.len(), 0)?;
            let slots = output.values(&[(from, from + buffer.len_bytes())])?;
            let mut lent = self.core.lend(py)?;
            let core = &mut *lent;
            match run(py, times.len(), || columns::events(core, times, slots)) {
                Some(row) => Err(strict_error(&mut *lent, Some(row))),
                None => Ok(output.array()),
            }
        }

        #[classmethod]
        #[pyo3(signature = (ts_ns, **params))]
        fn batch<'py>(
            cls: &Bound<'py, PyType>,
            ts_ns: Bound<'py, PyAny>,
            params: Option<&Bound<'py, PyDict>>,
        ) -> PyResult<Bound<'py, PyAny>> {
            cls.call((), params)?.call_method1("update_many", (ts_ns,))
        }
    ]
    [
        #[staticmethod]
        #[pyo3(signature = (mu, branching, half_life_ns, *, strict=false))]
        fn from_branching(mu: f64, branching: f64, half_life_ns: i64, strict: bool) -> PyResult<Self> {
            let beta = LN_2 / (half_life_ns as f64 * 1e-9);
            let core = HawkesCore::new(mu, branching * beta, beta, strict).map_err(refused(RATES))?;
            Ok(Hawkes { core: Lent::new(core) })
        }

        fn left(&self, py: Python<'_>, ts_ns: i64) -> PyResult<f64> {
            Ok(self.core.lend(py)?.left(ts_ns))
        }

        fn peek(&self, py: Python<'_>, ts_ns: i64) -> PyResult<f64> {
            Ok(self.core.lend(py)?.peek(ts_ns))
        }

        fn decay_to(&self, py: Python<'_>, ts_ns: i64) -> PyResult<f64> {
            Ok(self.core.lend(py)?.decay_to(ts_ns))
        }
    ]
}

impl Direct for Hawkes {
    const TEXT: &'static CStr = c"update($self, ts_ns, mark=1.0)\n--\n\n";
    const COUNT: usize = 2;
    const REQUIRED: usize = 1;
    const TIME_AT: usize = 0;
    const ABSENT: [f64; 4] = [1.0, 0.0, 0.0, 0.0];
    type Answer = f64;

    #[inline(always)]
    fn step(&self, py: Python<'_>, (mark, _, _, _): Numbers, ts_ns: i64) -> PyResult<f64> {
        let mut core = self.core.lend(py)?;
        let value = core.event(ts_ns, mark);
        answer(&mut *core, value)
    }
}

/// One decay for all, one per target, or one per pair.
#[derive(FromPyObject)]
enum Decays {
    Common(f64),
    PerTarget(Pair),
    PerPair([Pair; 2]),
}

impl Decays {
    fn matrix(&self) -> [Pair; 2] {
        match *self {
            Decays::Common(beta) => [[beta; 2]; 2],
            Decays::PerTarget([buy, sell]) => [[buy; 2], [sell; 2]],
            Decays::PerPair(matrix) => matrix,
        }
    }
}

face! {
    /// Intensities of buys and sells that excite each other.
    HawkesBivariate(BivariateCore, 21) [mu, alpha, beta, *, strict=false]
    (mu: Pair, alpha: [Pair; 2], beta: Decays, strict: bool)
    { BivariateCore::new(mu, alpha, beta.matrix(), strict).map_err(refused(RATES))? }
    [
        fn update(&self, py: Python<'_>, ts_ns: i64, side: Side) -> PyResult<(f64, f64)> {
            self.step(py, (side.0, 0.0, 0.0, 0.0), ts_ns)
        }

        fn on_trade(&self, trade: &Bound<'_, views::Trade>) -> PyResult<(f64, f64)> {
            let (seen, ts_ns) = seen::trade(trade);
            self.step(trade.py(), (seen.side, 0.0, 0.0, 0.0), ts_ns)
        }

        #[pyo3(signature = (ts_ns, side, out=None))]
        fn update_many<'py>(
            &self,
            py: Python<'py>,
            ts_ns: &Bound<'py, PyAny>,
            side: &Bound<'py, PyAny>,
            out: Option<Bound<'py, PyAny>>,
        ) -> PyResult<Bound<'py, PyAny>> {
            let inputs = Inputs::new([side], Some(ts_ns))?;
            let [sides] = inputs.columns()?;
            let times = inputs.times(sides.len())?.unwrap_or_default();
            let mut output = Output::new(py, out, times.len(), 2)?;
            let slots = output.values(&inputs.ranges())?;
            let mut lent = self.core.lend(py)?;
            let core = &mut *lent;
            match run(py, times.len(), || columns::sided_events(core, times, sides, slots)) {
                Some(row) => Err(strict_error(&mut *lent, Some(row))),
                None => Ok(output.array()),
            }
        }

        #[classmethod]
        #[pyo3(signature = (ts_ns, side, **params))]
        fn batch<'py>(
            cls: &Bound<'py, PyType>,
            ts_ns: Bound<'py, PyAny>,
            side: Bound<'py, PyAny>,
            params: Option<&Bound<'py, PyDict>>,
        ) -> PyResult<Bound<'py, PyAny>> {
            cls.call((), params)?.call_method1("update_many", (ts_ns, side))
        }
    ]
    [
        #[getter]
        fn values(&self, py: Python<'_>) -> PyResult<(f64, f64)> {
            Ok(self.core.lend(py)?.values().into())
        }

        fn left(&self, py: Python<'_>, ts_ns: i64) -> PyResult<(f64, f64)> {
            Ok(self.core.lend(py)?.left(ts_ns).into())
        }

        fn peek(&self, py: Python<'_>, ts_ns: i64) -> PyResult<(f64, f64)> {
            Ok(self.core.lend(py)?.peek(ts_ns).into())
        }

        fn decay_to(&self, py: Python<'_>, ts_ns: i64) -> PyResult<(f64, f64)> {
            Ok(self.core.lend(py)?.decay_to(ts_ns).into())
        }
    ]
}

impl Direct for HawkesBivariate {
    const TEXT: &'static CStr = c"update($self, ts_ns, side)\n--\n\n";
    const COUNT: usize = 2;
    const REQUIRED: usize = 2;
    const TIME_AT: usize = 0;
    type Answer = (f64, f64);

    #[inline(always)]
    fn step(&self, py: Python<'_>, (side, _, _, _): Numbers, ts_ns: i64) -> PyResult<(f64, f64)> {
        let mut core = self.core.lend(py)?;
        let [buy, sell] = core.event(ts_ns, side);
        answer(&mut *core, (buy, sell))
    }
}

/// Log-likelihood on [0, horizon] and its derivatives by mu, alpha, beta.
#[pyfunction]
fn hawkes_log_likelihood(
    times: &Bound<'_, PyAny>,
    horizon: i64,
    mu: f64,
    alpha: f64,
    beta: f64,
) -> PyResult<(f64, (f64, f64, f64))> {
    let buffer = lock_times(times)?;
    let ns = values(&buffer)?;
    let (value, gradient) = run(times.py(), ns.len(), || {
        hawkes_likelihood::univariate(ns, horizon, mu, alpha, beta)
    })
    .map_err(refused(TIMES))?;
    Ok((value, gradient.into()))
}

/// The same for two streams; `sides` > 0 buys, < 0 sells.
#[pyfunction]
fn hawkes_bivariate_log_likelihood(
    times: &Bound<'_, PyAny>,
    sides: &Bound<'_, PyAny>,
    horizon: i64,
    mu: Pair,
    alpha: [Pair; 2],
    beta: Decays,
) -> PyResult<(f64, Vec<f64>)> {
    let buffer = lock_times(times)?;
    let ns = values(&buffer)?;
    let sides: Vec<f64> = sides
        .try_iter()?
        .map(|side| side?.extract::<f64>())
        .collect::<PyResult<_>>()?;
    if sides.contains(&0.0) || sides.iter().any(|side| side.is_nan()) {
        return Err(PyValueError::new_err("every event needs a side"));
    }
    let is_sell: Vec<bool> = sides.iter().map(|side| *side < 0.0).collect();
    let (value, gradient) =
        hawkes_likelihood::bivariate(ns, &is_sell, horizon, mu, alpha, beta.matrix()).map_err(refused(TIMES))?;
    Ok((value, gradient.to_vec()))
}

/// The compensator between events: Exp(1) under the true parameters.
#[pyfunction]
fn hawkes_residuals<'py>(times: &Bound<'py, PyAny>, mu: f64, alpha: f64, beta: f64) -> PyResult<Bound<'py, PyAny>> {
    let py = times.py();
    let buffer = lock_times(times)?;
    let ns = values(&buffer)?;
    let mut output = Output::new(py, None, ns.len(), 0)?;
    let slots = output.values(&[])?;
    run(py, ns.len(), || {
        hawkes_likelihood::residuals(ns, mu, alpha, beta, slots)
    })
    .map_err(refused(TIMES))?;
    Ok(output.array())
}

/// Event times of one path, as bytes of int64 nanoseconds.
#[pyfunction]
fn hawkes_path<'py>(
    py: Python<'py>,
    mu: f64,
    alpha: f64,
    beta: f64,
    horizon: i64,
    seed: u64,
) -> PyResult<Bound<'py, pyo3::types::PyBytes>> {
    let times = py
        .detach(|| hawkes_simulation::univariate(mu, alpha, beta, horizon, seed))
        .map_err(refused("mu and beta above 0, alpha below beta, a horizon from 0"))?;
    let bytes: Vec<u8> = times.iter().flat_map(|time| time.to_le_bytes()).collect();
    Ok(pyo3::types::PyBytes::new(py, &bytes))
}

/// Exports them.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add::<Hawkes>(m)?;
    add::<HawkesBivariate>(m)?;
    m.add_function(wrap_pyfunction!(hawkes_log_likelihood, m)?)?;
    m.add_function(wrap_pyfunction!(hawkes_bivariate_log_likelihood, m)?)?;
    m.add_function(wrap_pyfunction!(hawkes_residuals, m)?)?;
    m.add_function(wrap_pyfunction!(hawkes_path, m)?)
}
