//! The bytes of any object with the buffer protocol, without the allocation that `PyBuffer` makes per call.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Calls `f` with the bytes of `object`, which stay valid and locked for the call only.
///
/// Raises what the object raises: TypeError without the protocol, BufferError when it is not contiguous.
#[allow(unsafe_code)]
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
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        let view: *mut ffi::Py_buffer = &mut self.0;
        // SAFETY: the view was filled by PyObject_GetBuffer and is released exactly here, with the GIL held.
        unsafe { ffi::PyBuffer_Release(view) };
    }
}
