//! Unsafe code: what pyo3 has no safe word for, or a slower one. The other file with any is `direct.rs`.
//!
//! Buffers lent and borrowed, calls without a tuple, and what is touched under the interpreter's lock only.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::thread::{self, ThreadId};

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::PyBytes;
use pyo3::PyClass;

use crate::batch::EventBatch;
use crate::block::Block;

/// Calls `f` with the bytes of any object with the buffer protocol, without the allocation of a `PyBuffer`; the bytes stay
/// valid and locked for the call only.
///
/// Raises what the object raises: TypeError without the protocol, BufferError when it is not contiguous.
pub fn with_bytes<T>(object: &Bound<'_, PyAny>, f: impl FnOnce(&[u8]) -> T) -> PyResult<T> {
    if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        return Ok(f(bytes.as_bytes()));
    }
    let mut view = std::mem::MaybeUninit::<ffi::Py_buffer>::zeroed();
    // SAFETY: `view` is a zeroed Py_buffer that the call fills; `object` is alive.
    if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), ffi::PyBUF_SIMPLE) } != 0 {
        return Err(PyErr::fetch(object.py()));
    }
    // SAFETY: the call above succeeded, so the view is filled and must be released once, which `Release` does.
    let view = Release(unsafe { view.assume_init() });
    let (data, len) = (
        view.0.buf.cast::<u8>().cast_const(),
        usize::try_from(view.0.len).unwrap_or(0),
    );
    if len == 0 {
        return Ok(f(&[]));
    }
    // SAFETY: PyBUF_SIMPLE promises `len` contiguous bytes at `buf` until the release. The GIL is held throughout, and
    // Python code that changes the bytes meanwhile cannot run.
    Ok(f(unsafe { std::slice::from_raw_parts(data, len) }))
}

struct Release(ffi::Py_buffer);

impl Drop for Release {
    fn drop(&mut self) {
        let view: *mut ffi::Py_buffer = &mut self.0;
        // SAFETY: the view was filled by PyObject_GetBuffer and is released exactly here, with the GIL held.
        unsafe { ffi::PyBuffer_Release(view) };
    }
}

/// The bytes of a contiguous buffer, for work without the GIL.
pub fn contiguous(buffer: &PyBuffer<u8>) -> PyResult<&[u8]> {
    if !buffer.is_c_contiguous() {
        return Err(PyBufferError::new_err("the bytes must be contiguous"));
    }
    if buffer.len_bytes() == 0 {
        return Ok(&[]);
    }
    // SAFETY: the memory belongs to the exporter, which keeps it in place while `buffer` is held; it is contiguous and
    // `len_bytes` long. The caller promises not to write to it during the call (stated in the stub).
    Ok(unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes()) })
}

/// Memory that a frozen class shows to Python: it lives as long as the object and is never moved or changed.
///
/// # Safety
/// `bytes` must say the same memory for as long as the object lives, every byte of it initialised.
pub unsafe trait Exposed {
    /// What Python calls it.
    const TITLE: &'static str;

    /// The memory.
    fn bytes(&self) -> &[u8];
}

// SAFETY: the events belong to an `Arc<Batch>` that the frozen object holds, and nothing changes a shared batch. `Event` is
// repr(C), 64 bytes without padding, so every byte is initialised.
unsafe impl Exposed for EventBatch {
    const TITLE: &'static str = "an EventBatch";

    fn bytes(&self) -> &[u8] {
        let events = self.events();
        // SAFETY: the same memory, seen as bytes: any alignment will do, and there is no padding (see above).
        unsafe { std::slice::from_raw_parts(events.as_ptr().cast(), std::mem::size_of_val(events)) }
    }
}

// SAFETY: the body is a Vec that the frozen object owns and never touches.
unsafe impl Exposed for Block {
    const TITLE: &'static str = "a Block";

    fn bytes(&self) -> &[u8] {
        self.content()
    }
}

/// `__getbuffer__` of a frozen class.
///
/// # Safety
/// `view` is what CPython gave to `__getbuffer__`.
pub unsafe fn expose<T>(owner: &Bound<'_, T>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()>
where
    T: Exposed + PyClass<Frozen = True> + Sync,
{
    if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
        return Err(PyBufferError::new_err(format!("{} is read-only", T::TITLE)));
    }
    let bytes = owner.get().bytes();
    let data = bytes.as_ptr().cast::<c_void>().cast_mut();
    // SAFETY: `view` is CPython's; the view takes a reference to `owner`, whose memory `Exposed` promises to stay.
    let failed = unsafe { ffi::PyBuffer_FillInfo(view, owner.as_ptr(), data, bytes.len() as isize, 1, flags) };
    if failed != 0 {
        return Err(PyErr::fetch(owner.py()));
    }
    Ok(())
}

/// Calls with one or two positional arguments, without a tuple: the stable ABI of 3.11 has no vectorcall of its own, but
/// this function uses it inside. It is a third of the per-event path.
#[inline]
pub fn call_objects(py: Python<'_>, call: &Py<PyAny>, arguments: &[&Bound<'_, PyAny>]) -> PyResult<()> {
    let end = std::ptr::null_mut::<ffi::PyObject>();
    // SAFETY: we are attached to the interpreter (`py`); every pointer is to a live object that its owner keeps alive during
    // the call; the list of arguments ends with a null pointer of pointer type; the result is a new reference or null with
    // an exception set, which is what `from_owned_ptr_or_err` wants.
    let result = unsafe {
        let result = match arguments {
            [one] => ffi::PyObject_CallFunctionObjArgs(call.as_ptr(), one.as_ptr(), end),
            [one, two, ..] => ffi::PyObject_CallFunctionObjArgs(call.as_ptr(), one.as_ptr(), two.as_ptr(), end),
            [] => ffi::PyObject_CallFunctionObjArgs(call.as_ptr(), end),
        };
        Bound::from_owned_ptr_or_err(py, result)
    };
    result.map(drop)
}

/// How many references an object has.
#[inline]
pub fn references<T>(object: &Bound<'_, T>) -> isize {
    // SAFETY: the object is alive, and we are attached to the interpreter (`Bound`).
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

/// The values of a C-contiguous buffer, for work without the GIL.
pub fn values<T: pyo3::buffer::Element>(buffer: &PyBuffer<T>) -> PyResult<&[T]> {
    if !buffer.is_c_contiguous() {
        return Err(PyBufferError::new_err("the values must be C-contiguous"));
    }
    if buffer.item_count() == 0 {
        return Ok(&[]);
    }
    // SAFETY: as in `contiguous`; PyBuffer<T> has checked the format, the size and the alignment of the items.
    Ok(unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<T>(), buffer.item_count()) })
}

/// The values of a writable C-contiguous buffer that shares no memory with `inputs`.
pub fn values_mut<'a>(buffer: &'a mut PyBuffer<f64>, inputs: &[(usize, usize)]) -> PyResult<&'a mut [f64]> {
    if buffer.readonly() || !buffer.is_c_contiguous() {
        return Err(PyBufferError::new_err("out must be writable and C-contiguous"));
    }
    if buffer.item_count() == 0 {
        return Ok(&mut []);
    }
    let start = buffer.buf_ptr() as usize;
    let end = start + buffer.len_bytes();
    if inputs.iter().any(|(from, to)| start < *to && *from < end) {
        return Err(PyBufferError::new_err("out shares memory with an input"));
    }
    // SAFETY: as in `values`, and writable; no input of this call overlaps it, and the caller promises that nobody else
    // touches it during the call (stated in the stub).
    Ok(unsafe { std::slice::from_raw_parts_mut(buffer.buf_ptr().cast::<f64>(), buffer.item_count()) })
}

/// Calls `f` with the float64 or int64 values of a C-contiguous buffer, without the allocation of a `PyBuffer`; None when the
/// object has another format. Integers are converted.
pub fn with_floats<T>(object: &Bound<'_, PyAny>, f: impl FnOnce(&[f64]) -> T) -> PyResult<Option<T>> {
    let mut view = std::mem::MaybeUninit::<ffi::Py_buffer>::zeroed();
    let flags = ffi::PyBUF_FORMAT | ffi::PyBUF_C_CONTIGUOUS;
    // SAFETY: as in `with_bytes`.
    if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), flags) } != 0 {
        return Err(PyErr::fetch(object.py()));
    }
    // SAFETY: as in `with_bytes`.
    let view = Release(unsafe { view.assume_init() });
    let count = usize::try_from(view.0.len).unwrap_or(0) / 8;
    if view.0.itemsize != 8 || view.0.format.is_null() || view.0.buf.align_offset(8) != 0 || count == 0 {
        return Ok(None);
    }
    // SAFETY: PyBUF_FORMAT fills `format` with a string that ends with 0 and lives as long as the view.
    let format = unsafe { std::ffi::CStr::from_ptr(view.0.format) }.to_bytes();
    match format {
        // SAFETY: `count` aligned items of eight bytes at `buf`, of the type that the format names; the GIL is held.
        b"d" => Ok(Some(f(unsafe { std::slice::from_raw_parts(view.0.buf.cast(), count) }))),
        b"q" | b"l" => {
            // SAFETY: the same.
            let whole: &[i64] = unsafe { std::slice::from_raw_parts(view.0.buf.cast(), count) };
            let floats: Vec<f64> = whole.iter().map(|x| *x as f64).collect();
            Ok(Some(f(&floats)))
        }
        _ => Ok(None),
    }
}

/// What is touched by threads attached to the interpreter only, and so by one at a time: the stable ABI of 3.11 exists with
/// a global lock alone. A class may hold a `Cell` or an `Rc` in it and yet be dropped on any thread, which is where the
/// garbage collector happens to run.
pub struct Attached<T>(T);

// SAFETY: `get` wants a token of attachment, and the reference it returns cannot be carried into `detach` unless `T` is
// `Sync` anyway; CPython deallocates objects with its lock held. So no two threads touch the value at the same time.
unsafe impl<T> Send for Attached<T> {}
// SAFETY: the same.
unsafe impl<T> Sync for Attached<T> {}

impl<T> Attached<T> {
    /// Keeps `value`.
    pub const fn new(value: T) -> Self {
        Attached(value)
    }

    /// The value, as long as the thread is attached.
    #[inline]
    pub fn get<'a>(&'a self, _: Python<'a>) -> &'a T {
        &self.0
    }
}

/// What belongs to the thread that made it, which every use is checked for; it may be dropped on any.
pub struct OneThread<T> {
    value: Attached<T>,
    home: ThreadId,
}

impl<T> OneThread<T> {
    /// Belongs to the current thread.
    pub fn new(value: T) -> Self {
        OneThread {
            value: Attached::new(value),
            home: thread::current().id(),
        }
    }

    /// The value. Raises RuntimeError on another thread.
    #[inline]
    pub fn get<'a>(&'a self, py: Python<'a>) -> PyResult<&'a T> {
        if thread::current().id() == self.home {
            return Ok(self.value.get(py));
        }
        Err(PyRuntimeError::new_err(
            "the bus belongs to the thread of its loop: use loop.call_soon_threadsafe from another one",
        ))
    }
}
