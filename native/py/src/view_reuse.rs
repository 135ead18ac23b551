//! What makes a view cheap: one object of each class, filled again for the next event unless somebody kept it.

use std::cell::RefCell;

use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::PyClass;

use crate::cpython::references;

/// Decimals of an instrument's price and size mantissas.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scales {
    /// Of prices.
    pub price: u8,
    /// Of sizes.
    pub size: u8,
}

/// A view that the dispatch loop fills.
pub trait View: PyClass<Frozen = True> + Into<PyClassInitializer<Self>> {
    /// What it shows.
    type Content: Copy;

    /// An empty one.
    fn empty() -> Self;

    /// Shows this from now on.
    fn fill(&self, content: &Self::Content, scales: Scales);
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
        view.borrow().fill(content, scales);
        let result = f(view.as_any());
        // One reference is ours here, one the cell's.
        if references(&view) > 2 {
            *self.0.borrow_mut() = Py::new(py, T::empty())?;
        }
        result
    }
}
