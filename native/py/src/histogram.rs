//! `Histogram`: durations in nanoseconds; shares its memory with the native owner that records into it.

use std::sync::Arc;

use pyo3::prelude::*;
use tickd_core::histogram::Histogram as Core;

/// A log-linear histogram.
#[pyclass(frozen, module = "tickd._native")]
pub struct Histogram {
    core: Arc<Core>,
}

impl Histogram {
    /// The face of a histogram that native code records into.
    pub fn of(core: &Arc<Core>) -> Self {
        Histogram { core: Arc::clone(core) }
    }
}

#[pymethods]
impl Histogram {
    #[new]
    fn new() -> Self {
        Histogram { core: Arc::default() }
    }

    /// Counts `count` durations of `ns`.
    #[pyo3(signature = (ns, count=1))]
    fn record(&self, ns: u64, count: u64) {
        self.core.record(ns, count);
    }

    /// Counts per interval (bound before, bound], and one more for what exceeds the last bound. Bounds ascend.
    fn counts(&self, bounds: Vec<u64>) -> Vec<u64> {
        self.core.fold(&bounds)
    }

    /// Upper edge of the bucket that holds the quantile 0..=1, ns; 0 when empty.
    fn quantile(&self, q: f64) -> u64 {
        self.core.quantile(q)
    }

    /// A window on it that begins now.
    fn window(&self) -> HistogramWindow {
        HistogramWindow {
            core: Arc::clone(&self.core),
            young: self.core.snapshot(),
            old: self.core.snapshot(),
        }
    }

    #[getter]
    fn count(&self) -> u64 {
        self.core.count()
    }

    #[getter]
    fn sum(&self) -> u64 {
        self.core.sum()
    }

    #[getter]
    fn max(&self) -> u64 {
        self.core.max()
    }
}

/// What a histogram counted lately: since the turn before the last one.
#[pyclass(module = "tickd._native")]
pub struct HistogramWindow {
    core: Arc<Core>,
    young: Vec<u64>,
    old: Vec<u64>,
}

#[pymethods]
impl HistogramWindow {
    /// Begins a new half of the window and forgets the older one.
    fn turn(&mut self) {
        self.old = std::mem::replace(&mut self.young, self.core.snapshot());
    }

    /// Quantiles 0..=1 of what was counted in both halves, ns; None when that is nothing.
    fn quantiles(&self, quantiles: Vec<f64>) -> Option<Vec<u64>> {
        self.core.quantiles_since(&self.old, &quantiles)
    }
}
