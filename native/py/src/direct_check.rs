//! `GateCore.check` without pyo3's frame around it. Unsafe code, as in `direct.rs`, whose way of taking numbers it uses.
//!
//! Nine numbers per order cost more in pyo3's way than the checks do. Whole numbers that fit come here; all else takes
//! pyo3's own method, which stays below as `_check`, has the words for it, and gives the same answers.

#![allow(unsafe_code)]

use std::panic::{catch_unwind, AssertUnwindSafe};

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use tickd_core::event::PRICE_UNDEF;
use tickd_core::risk::ask::Ask;

use crate::direct::{raised, whole, worded};
use crate::risk::GateCore;
use crate::risk_numbers::REDUCE_ONLY;

const COUNT: usize = 9;

/// Gives `GateCore` its direct `check`.
pub fn install(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<GateCore>();
    class.setattr("_check", class.getattr("check")?)?;
    // Once per process; the method refers to it for as long as the class lives.
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: c"check".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: call,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: c"check($self, route, number, client_id, side, price, size, flags, mono_ns, wall_ns)\n--\n\n".as_ptr(),
    }));
    // SAFETY: attached, by the token; the class is alive, the definition lives for ever and its flags fit `call`.
    let method = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyDescr_NewMethod(class.as_type_ptr(), definition)) };
    class.setattr("check", method?)
}

/// What CPython calls, so `slf` is a GateCore.
unsafe extern "C" fn call(
    slf: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let work = AssertUnwindSafe(|| {
        if !names.is_null() || count as usize != COUNT {
            return None;
        }
        // SAFETY: what CPython gave, with the GIL held; `count` was compared.
        unsafe { check(slf, arguments) }
    });
    match catch_unwind(work) {
        Ok(Some(answer)) => answer,
        // SAFETY: the same.
        Ok(None) => unsafe { worded(slf, arguments, count, names, "_check") },
        Err(_) => Python::attach(|py| raised(py, PyRuntimeError::new_err("a bug: the gate panicked"))),
    }
}

/// The answer, null with an exception set, or None when somebody else must look at the arguments.
///
/// # Safety
/// Attached; `slf` is a live GateCore, and `arguments` has `COUNT` live objects.
#[inline(always)]
unsafe fn check(slf: *mut ffi::PyObject, arguments: *const *mut ffi::PyObject) -> Option<*mut ffi::PyObject> {
    // SAFETY: `at` is below `COUNT`.
    let argument = |at: usize| unsafe { *arguments.add(at) };
    // SAFETY: live arguments, and attached.
    let natural = |at: usize| unsafe { natural(argument(at)) };
    // SAFETY: the same.
    let price = match unsafe { ffi::Py_IsNone(argument(4)) } {
        0 => Some(mantissa(natural(4)?)?),
        _ => None,
    };
    let ask = Ask {
        route: usize::try_from(natural(0)?).ok()?,
        number: u64::try_from(natural(1)?).ok()?,
        client_id: u64::try_from(natural(2)?).ok()?,
        side: (natural(3)? & 1) as u8,
        price,
        size: mantissa(natural(5)?)?,
        is_finite: true,
        is_reduce_only: natural(6)? & i64::from(REDUCE_ONLY) != 0,
        mono_ns: natural(7)?,
        wall_ns: natural(8)?,
    };
    // SAFETY: attached, and `slf` is alive during the call.
    let (py, core) = unsafe {
        let py = Python::assume_attached();
        (py, Borrowed::from_ptr(py, slf).cast_unchecked::<GateCore>())
    };
    Some(match core.get().ask(py, &ask) {
        // SAFETY: attached.
        Ok(answer) => unsafe { ffi::PyLong_FromLongLong(answer) },
        Err(error) => raised(py, error),
    })
}

/// An int, exactly that, of 64 bits.
///
/// # Safety
/// Attached; a live object.
#[inline(always)]
unsafe fn natural(object: *mut ffi::PyObject) -> Option<i64> {
    // SAFETY: the caller's.
    unsafe {
        if ffi::Py_TYPE(object) != &raw mut ffi::PyLong_Type {
            return None;
        }
        whole(object)
    }
}

fn mantissa(number: i64) -> Option<i64> {
    (-PRICE_UNDEF..PRICE_UNDEF).contains(&number).then_some(number)
}
