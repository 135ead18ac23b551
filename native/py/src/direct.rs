//! `update` without pyo3's frame around it. Unsafe code, as in `cpython.rs`.
//!
//! A strategy calls `update` per tick, and pyo3's way there costs more than the indicators do: a table of arguments, an
//! atomic borrow, references counted through functions of the stable ABI. Positional numbers come here; keywords, wrong
//! types and wrong counts take pyo3's own method, which has the words for them. It knows no indicator. What it takes
//! numbers with, `direct_check.rs` uses too.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::panic::{catch_unwind, AssertUnwindSafe};

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::{PyDict, PyTuple};
use pyo3::PyClass;

/// What an `update` takes besides a time; each one by itself, because an array would be written apart and read in pairs.
pub type Numbers = (f64, f64, f64, f64);

/// A class whose `update` takes numbers and perhaps a time.
pub trait Direct: PyClass<Frozen = True> + Sync {
    /// The signature that Python shows.
    const TEXT: &'static CStr;
    /// Arguments in all, and how many must be given.
    const COUNT: usize;
    /// See `COUNT`.
    const REQUIRED: usize;
    /// Which of them is the time in nanoseconds; `COUNT` when there is none.
    const TIME_AT: usize;
    /// What numbers are that are not given.
    const ABSENT: [f64; 4] = [0.0; 4];
    /// What `update` returns.
    type Answer: Answer;

    /// One update.
    fn step(&self, py: Python<'_>, numbers: Numbers, ts_ns: i64) -> PyResult<Self::Answer>;
}

/// What an `update` returns.
pub trait Answer {
    /// A new Python object; null with an exception set when there is no memory.
    fn object(self, py: Python<'_>) -> *mut ffi::PyObject;
}

impl Answer for f64 {
    #[inline(always)]
    fn object(self, _py: Python<'_>) -> *mut ffi::PyObject {
        // SAFETY: attached, by the token.
        unsafe { ffi::PyFloat_FromDouble(self) }
    }
}

impl Answer for (f64, f64) {
    #[inline(always)]
    fn object(self, py: Python<'_>) -> *mut ffi::PyObject {
        let (first, second) = (self.0.object(py), self.1.object(py));
        // SAFETY: attached, by the token; the tuple takes both references, also when it fails; both are checked before.
        unsafe {
            let pair = ffi::PyTuple_New(2);
            if first.is_null() || second.is_null() || pair.is_null() {
                ffi::Py_XDECREF(first);
                ffi::Py_XDECREF(second);
                ffi::Py_XDECREF(pair);
                return std::ptr::null_mut();
            }
            ffi::PyTuple_SetItem(pair, 0, first);
            ffi::PyTuple_SetItem(pair, 1, second);
            pair
        }
    }
}

/// Gives a class its direct `update`; pyo3's stays below it as `_update`.
pub fn install<T: Direct>(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<T>();
    class.setattr("_update", class.getattr("update")?)?;
    // Once per class and process; the method refers to it for as long as the class lives.
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: c"update".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: call::<T>,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: T::TEXT.as_ptr(),
    }));
    // SAFETY: attached, by the token; the class is alive, the definition lives for ever and its flags fit `call`.
    let method = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyDescr_NewMethod(class.as_type_ptr(), definition)) };
    class.setattr("update", method?)
}

/// What CPython calls: `METH_FASTCALL | METH_KEYWORDS` of a method of class T, so `slf` is a T.
unsafe extern "C" fn call<T: Direct>(
    slf: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // Nothing but pointers is captured: numbers would go through memory.
    let work = AssertUnwindSafe(|| {
        if !names.is_null() {
            return None;
        }
        // SAFETY: what CPython gave, with the GIL held.
        unsafe { update::<T>(slf, arguments, count as usize) }
    });
    match catch_unwind(work) {
        Ok(Some(answer)) => answer,
        // SAFETY: the same.
        Ok(None) => unsafe { worded(slf, arguments, count, names, "_update") },
        Err(_) => Python::attach(|py| raised(py, PyRuntimeError::new_err("a bug: the indicator panicked"))),
    }
}

/// The answer, null with an exception set, or None when somebody else must look at the arguments.
///
/// # Safety
/// Attached; `slf` is a live T, and `arguments` has `count` live objects.
#[inline(always)]
unsafe fn update<T: Direct>(
    slf: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: usize,
) -> Option<*mut ffi::PyObject> {
    if count < T::REQUIRED || count > T::COUNT {
        return None;
    }
    // SAFETY: `at` is below `count`.
    let argument = |at: usize| unsafe { *arguments.add(at) };
    let given = |place: usize, absent: f64| {
        let at = place + usize::from(place >= T::TIME_AT);
        if at >= T::COUNT || at >= count {
            return Some(absent);
        }
        // SAFETY: a live argument, and attached.
        unsafe { number(argument(at)) }
    };
    let [a, b, c, d] = T::ABSENT;
    let (a, b, c, d) = (given(0, a)?, given(1, b)?, given(2, c)?, given(3, d)?);
    let mut ts_ns = 0;
    if T::TIME_AT < T::COUNT && T::TIME_AT < count {
        // SAFETY: the same.
        ts_ns = unsafe { whole(argument(T::TIME_AT)) }?;
    }
    // SAFETY: attached, and `slf` is alive during the call.
    let (py, face) = unsafe {
        let py = Python::assume_attached();
        (py, Borrowed::from_ptr(py, slf).cast_unchecked::<T>())
    };
    Some(match face.get().step(py, (a, b, c, d), ts_ns) {
        Ok(answer) => answer.object(py),
        Err(error) => raised(py, error),
    })
}

/// A float, an int that fits 64 bits, or whatever becomes a float.
#[inline(always)]
unsafe fn number(object: *mut ffi::PyObject) -> Option<f64> {
    // SAFETY: the caller's object lives, and we are attached.
    unsafe {
        let class = ffi::Py_TYPE(object);
        if class == &raw mut ffi::PyFloat_Type {
            return Some(ffi::PyFloat_AsDouble(object));
        }
        if class == &raw mut ffi::PyLong_Type {
            return whole(object).map(|whole| whole as f64);
        }
    }
    // SAFETY: the same.
    unsafe { other_number(object) }
}

#[cold]
#[inline(never)]
unsafe fn other_number(object: *mut ffi::PyObject) -> Option<f64> {
    // SAFETY: as in `number`.
    let number = unsafe { ffi::PyFloat_AsDouble(object) };
    // SAFETY: the same.
    (number != -1.0 || unsafe { is_fine() }).then_some(number)
}

/// An int that fits 64 bits, or what has an index.
///
/// # Safety
/// Attached; a live object.
#[inline(always)]
pub unsafe fn whole(object: *mut ffi::PyObject) -> Option<i64> {
    // SAFETY: as in `number`.
    let whole = unsafe {
        if ffi::Py_TYPE(object) == &raw mut ffi::PyLong_Type {
            // CPython 3.11 takes several digits from it at once; from PyLong_AsLongLong byte by byte, twice as long.
            ffi::PyLong_AsSsize_t(object) as i64
        } else {
            ffi::PyLong_AsLongLong(object)
        }
    };
    // SAFETY: the same.
    (whole != -1 || unsafe { is_fine() }).then_some(whole)
}

/// Whether the last -1 was a number. If not, the exception goes: pyo3's method raises it again, with the argument's name.
#[cold]
#[inline(never)]
unsafe fn is_fine() -> bool {
    // SAFETY: attached, as the caller is.
    unsafe {
        let is_fine = ffi::PyErr_Occurred().is_null();
        if !is_fine {
            ffi::PyErr_Clear();
        }
        is_fine
    }
}

/// Null, with an exception set.
#[cold]
#[inline(never)]
pub fn raised(py: Python<'_>, error: PyErr) -> *mut ffi::PyObject {
    error.restore(py);
    std::ptr::null_mut()
}

/// pyo3's own method, which stays below under `name`, with the same arguments.
///
/// # Safety
/// What CPython gave, with the GIL held.
#[cold]
#[inline(never)]
pub unsafe fn worded(
    slf: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
    name: &str,
) -> *mut ffi::PyObject {
    Python::attach(|py| {
        let work = || -> PyResult<Py<PyAny>> {
            // SAFETY: live objects of the caller: `count` arguments, then one per name.
            let given = |at: usize| unsafe { Bound::from_borrowed_ptr(py, *arguments.add(at)) };
            let count = count as usize;
            let positional = PyTuple::new(py, (0..count).map(given))?;
            let named = PyDict::new(py);
            // SAFETY: null, or a live tuple of names.
            if let Some(names) = unsafe { Bound::from_borrowed_ptr_or_opt(py, names) } {
                for (i, name) in names.try_iter()?.enumerate() {
                    named.set_item(name?, given(count + i))?;
                }
            }
            // SAFETY: alive during the call.
            let slf = unsafe { Bound::from_borrowed_ptr(py, slf) };
            Ok(slf.getattr(name)?.call(positional, Some(&named))?.unbind())
        };
        match work() {
            Ok(answer) => answer.into_ptr(),
            Err(error) => raised(py, error),
        }
    })
}
