//! Arrays at the border of the indicators: columns in, one array of float64 out. Copies nothing, converts nothing here.

use pyo3::buffer::{Element, PyBuffer};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use tickd_core::indicators::columns::Column;

use crate::cpython::{values, values_mut};

/// Shorter batches are over before another thread could take the interpreter.
const DETACH_ROWS: usize = 10_000;

/// A locked input array.
pub enum Held {
    F64(PyBuffer<f64>),
    I64(PyBuffer<i64>),
    I8(PyBuffer<i8>),
}

impl Held {
    /// Locks an array of float64, int64 or int8.
    pub fn new(array: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(buffer) = lock(array) {
            return Ok(Held::F64(buffer));
        }
        if let Ok(buffer) = lock(array) {
            return Ok(Held::I64(buffer));
        }
        if let Ok(buffer) = lock(array) {
            return Ok(Held::I8(buffer));
        }
        let found = match array.getattr("dtype") {
            Ok(dtype) => dtype.str()?,
            Err(_) => array.get_type().name()?,
        };
        Err(PyTypeError::new_err(format!(
            "needs a C-contiguous array of float64, int64 or int8, not {found}"
        )))
    }

    /// Its values.
    pub fn column(&self) -> PyResult<Column<'_>> {
        let column = match self {
            Held::F64(buffer) => values(buffer).map(Column::F64),
            Held::I64(buffer) => values(buffer).map(Column::I64),
            Held::I8(buffer) => values(buffer).map(Column::I8),
        };
        column.map_err(|error| PyTypeError::new_err(error.to_string()))
    }

    fn range(&self) -> (usize, usize) {
        let (start, bytes) = match self {
            Held::F64(buffer) => (buffer.buf_ptr(), buffer.len_bytes()),
            Held::I64(buffer) => (buffer.buf_ptr(), buffer.len_bytes()),
            Held::I8(buffer) => (buffer.buf_ptr(), buffer.len_bytes()),
        };
        (start as usize, start as usize + bytes)
    }
}

/// Locked inputs of one call.
pub struct Inputs<const N: usize> {
    held: [Held; N],
    times: Option<PyBuffer<i64>>,
}

impl<const N: usize> Inputs<N> {
    /// Locks the columns and the times.
    pub fn new(arrays: [&Bound<'_, PyAny>; N], times: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let mut held = Vec::with_capacity(N);
        for array in arrays {
            held.push(Held::new(array)?);
        }
        let times = times.map(lock_times).transpose()?;
        let held = held
            .try_into()
            .map_err(|_| PyValueError::new_err("wrong number of columns"))?;
        Ok(Inputs { held, times })
    }

    /// The columns, all of the length of the first, or `width` times it.
    pub fn columns(&self) -> PyResult<[Column<'_>; N]> {
        let mut columns = [Column::F64(&[]); N];
        for (slot, held) in columns.iter_mut().zip(&self.held) {
            *slot = held.column()?;
        }
        let rows = columns.first().map_or(0, Column::len);
        if columns.iter().any(|column| column.len() != rows) {
            return Err(PyValueError::new_err("the columns differ in length"));
        }
        Ok(columns)
    }

    /// The times of `rows` rows.
    pub fn times(&self, rows: usize) -> PyResult<Option<&[i64]>> {
        let times = self.times.as_ref().map(values).transpose()?;
        if times.is_some_and(|times| times.len() != rows) {
            return Err(PyValueError::new_err(format!("ts_ns must have {rows} rows")));
        }
        Ok(times)
    }

    /// Where the inputs lie.
    pub fn ranges(&self) -> Vec<(usize, usize)> {
        self.held.iter().map(Held::range).collect()
    }
}

/// Locks an array of this machine's own values. pyo3 0.30 takes big-endian ones (`>`, `!`) for those.
fn lock<T: Element>(array: &Bound<'_, PyAny>) -> PyResult<PyBuffer<T>> {
    let buffer = PyBuffer::get(array)?;
    match buffer.format().to_bytes() {
        [b'>' | b'!', ..] => Err(PyTypeError::new_err("its values have the other byte order")),
        _ => Ok(buffer),
    }
}

/// Locks an array of int64 nanoseconds.
pub fn lock_times(array: &Bound<'_, PyAny>) -> PyResult<PyBuffer<i64>> {
    lock(array).map_err(|_| PyTypeError::new_err("times must be a C-contiguous array of int64 nanoseconds"))
}

/// The array that answers go to: `out`, or a new one of `rows` times `width`.
pub struct Output<'py> {
    array: Bound<'py, PyAny>,
    buffer: PyBuffer<f64>,
}

static EMPTY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

impl<'py> Output<'py> {
    /// Checks `out`, or makes one. `width` 0: one dimension.
    pub fn new(py: Python<'py>, out: Option<Bound<'py, PyAny>>, rows: usize, width: usize) -> PyResult<Self> {
        let array = match out {
            Some(array) => array,
            None => {
                let empty = EMPTY.get_or_try_init(py, || py.import("numpy")?.getattr("empty").map(Bound::unbind))?;
                if width == 0 {
                    empty.bind(py).call1((rows,))?
                } else {
                    empty.bind(py).call1(((rows, width),))?
                }
            }
        };
        let buffer = lock::<f64>(&array).map_err(|_| PyTypeError::new_err("out must be an array of float64"))?;
        let matches = match *buffer.shape() {
            [n] => width == 0 && n == rows,
            [n, m] => n == rows && m == width,
            _ => false,
        };
        if !matches {
            return Err(PyValueError::new_err(format!(
                "out has shape {:?}, not {rows} rows",
                buffer.shape()
            )));
        }
        Ok(Output { array, buffer })
    }

    /// Its values, and the array to return afterwards.
    pub fn values(&mut self, inputs: &[(usize, usize)]) -> PyResult<&mut [f64]> {
        values_mut(&mut self.buffer, inputs).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// The array.
    pub fn array(self) -> Bound<'py, PyAny> {
        self.array
    }
}

/// Runs long work without the interpreter.
pub fn run<T: Send>(py: Python<'_>, rows: usize, work: impl FnOnce() -> T + Send) -> T {
    if rows < DETACH_ROWS {
        work()
    } else {
        py.detach(work)
    }
}
