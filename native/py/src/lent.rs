//! The state of a frozen class, lent under the GIL. Unsafe code, as in `cpython.rs` and `direct.rs`; it knows no class.

#![allow(unsafe_code)]

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// What a frozen class changes, lent to one caller at a time: the GIL is the lock, so a plain flag is enough.
pub struct Lent<T> {
    is_out: Cell<bool>,
    content: UnsafeCell<T>,
}

// SAFETY: `is_out` is touched only with a `Python` token in hand, that is under the GIL (the stable ABI that this crate is
// built for has no build without one); `content` is touched only by the one who holds the loan. T goes to that thread.
unsafe impl<T: Send> Sync for Lent<T> {}

impl<T> Lent<T> {
    /// Nobody has it yet.
    pub const fn new(content: T) -> Self {
        Lent {
            is_out: Cell::new(false),
            content: UnsafeCell::new(content),
        }
    }

    /// The content, until the loan ends. RuntimeError while somebody else has it: another thread in a long batch.
    #[inline(always)]
    pub fn lend<'a>(&'a self, _py: Python<'a>) -> PyResult<Loan<'a, T>> {
        if self.is_out.replace(true) {
            return Err(in_use());
        }
        Ok(Loan {
            of: self,
            attached: PhantomData,
        })
    }
}

#[cold]
#[inline(never)]
fn in_use() -> PyErr {
    PyRuntimeError::new_err("in use: another thread is inside a batch of this indicator")
}

/// The content of a `Lent`, given back when dropped. Not `Send` (like the token), so that happens under the GIL, too.
pub struct Loan<'a, T> {
    of: &'a Lent<T>,
    attached: PhantomData<Python<'a>>,
}

impl<T> Deref for Loan<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: `is_out` was false when this loan was made and stays true until it is dropped, so nobody else has it.
        unsafe { &*self.of.content.get() }
    }
}

impl<T> DerefMut for Loan<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { &mut *self.of.content.get() }
    }
}

impl<T> Drop for Loan<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.of.is_out.set(false);
    }
}
