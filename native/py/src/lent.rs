//! The state of a frozen class, lent to one caller at a time. It knows no class.

use std::cell::{RefCell, RefMut};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::cpython::Attached;

/// What a frozen class changes: the GIL is the lock, so a plain flag is enough.
pub struct Lent<T>(Attached<RefCell<T>>);

impl<T> Lent<T> {
    /// Nobody has it yet.
    pub const fn new(content: T) -> Self {
        Lent(Attached::new(RefCell::new(content)))
    }

    /// The content, until the loan ends. RuntimeError while somebody else has it: another thread in a long batch.
    #[inline(always)]
    pub fn lend<'a>(&'a self, py: Python<'a>) -> PyResult<RefMut<'a, T>> {
        self.0.get(py).try_borrow_mut().map_err(|_| in_use())
    }
}

#[cold]
#[inline(never)]
fn in_use() -> PyErr {
    PyRuntimeError::new_err("in use: another thread is inside a batch of this indicator")
}
