//! What makes a view cheap: one object of each class, filled again for the next event unless somebody kept it.

use std::cell::{Cell, RefCell};

use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::PyClass;

use crate::cpython::{references, Attached};

/// Decimals of an instrument's price and size mantissas.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scales {
    /// Of prices.
    pub price: u8,
    /// Of sizes.
    pub size: u8,
}

const POWERS: [f64; 19] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
];

/// The number that a mantissa stands for; NaN for an undefined one.
pub fn natural(mantissa: i64, scale: u8) -> f64 {
    if mantissa == i64::MAX {
        return f64::NAN;
    }
    mantissa as f64 / POWERS.get(usize::from(scale)).copied().unwrap_or(f64::NAN)
}

/// What a view shows, and the decimals that go with it.
pub struct Shown<C: Copy>(Attached<Cell<(C, Scales)>>);

impl<C: Copy> Shown<C> {
    /// Shows `content` first.
    pub fn new(content: C) -> Self {
        Shown(Attached::new(Cell::new((content, Scales::default()))))
    }

    /// Shows this from now on.
    #[inline]
    pub fn set(&self, py: Python<'_>, content: &C, scales: Scales) {
        self.0.get(py).set((*content, scales));
    }

    /// What it shows now.
    #[inline]
    pub fn get(&self, py: Python<'_>) -> C {
        self.0.get(py).get().0
    }

    /// The decimals of it.
    #[inline]
    pub fn scales(&self, py: Python<'_>) -> Scales {
        self.0.get(py).get().1
    }
}

/// A view that the dispatch loop fills.
pub trait View: PyClass<Frozen = True> + Sync + Into<PyClassInitializer<Self>> {
    /// What it shows.
    type Content: Copy;

    /// An empty one.
    fn empty() -> Self;

    /// Where it has what it shows.
    fn shown(&self) -> &Shown<Self::Content>;
}

/// The one view of its class that is used again and again, until somebody keeps it.
pub struct Reused<T: View>(RefCell<Py<T>>);

impl<T: View> Reused<T> {
    /// With a first view.
    pub fn new(py: Python<'_>) -> PyResult<Self> {
        Ok(Reused(RefCell::new(Py::new(py, T::empty())?)))
    }

    /// Shows `content` to `f`. Who keeps the view keeps it for good: the next content goes into another one.
    #[inline]
    pub fn show(
        &self,
        py: Python<'_>,
        content: &T::Content,
        scales: Scales,
        f: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<()>,
    ) -> PyResult<()> {
        let view = self.0.borrow().bind(py).clone();
        view.get().shown().set(py, content, scales);
        let result = f(view.as_any());
        // One reference is ours here, one the cell's.
        if references(&view) > 2 {
            *self.0.borrow_mut() = Py::new(py, T::empty())?;
        }
        result
    }
}
