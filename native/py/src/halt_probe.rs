//! `HaltProbe`: how long a kill takes, for benchmarks and tests; it never touches the word that guards orders.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use tickd_io::halt::Halt;
use tickd_io::halt_probe::Probe;

use crate::errors::NativeError;

/// One series of kills, measured from the signal to the first load of a word that denies.
#[pyclass(module = "tickd._native", frozen)]
pub struct HaltProbe {
    halt: Arc<Halt>,
    probe: Mutex<Probe>,
}

impl HaltProbe {
    fn probe(&self) -> MutexGuard<'_, Probe> {
        self.probe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl HaltProbe {
    /// Begins on a thread of its own. `native`: the signal trips the word, else `trip` does. Raises NativeError.
    #[new]
    fn new(shots: usize, gap_us: u64, native: bool) -> PyResult<Self> {
        let probe = Probe::start(shots, gap_us, native).map_err(|error| NativeError::new_err(error.to_string()))?;
        Ok(HaltProbe {
            halt: probe.halt(),
            probe: Mutex::new(probe),
        })
    }

    /// What a handler of Python's does.
    #[pyo3(signature = (*_ignored))]
    fn trip(&self, _ignored: &Bound<'_, pyo3::types::PyTuple>) {
        self.halt.trip("probe", "probe");
    }

    #[getter]
    fn is_done(&self) -> bool {
        self.probe().is_done()
    }

    /// Nanoseconds of each kill; fewer than asked for when one was not seen in ten seconds.
    fn finish(&self, py: Python<'_>) -> Vec<i64> {
        py.detach(|| self.probe().finish())
    }
}
