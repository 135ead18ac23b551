//! `HaltWord` and its one `Arming`: the kill switch's native half as Python sees it. It decides nothing.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tickd_io::halt::{Halt, Key, Source, Trip, GLOBAL, REDUCING};
use tickd_io::halt_signal;
use tickd_io::latch::{Latch, Settings};
use tickd_io::latch_file::Context;

use crate::errors::NativeError;

fn refused(error: std::io::Error) -> PyErr {
    NativeError::new_err(error.to_string())
}

fn json(text: &[u8]) -> PyResult<serde_json::Value> {
    serde_json::from_slice(text).map_err(|error| NativeError::new_err(error.to_string()))
}

type Slot = Arc<Mutex<Option<Arc<Latch>>>>;

fn locked(slot: &Slot) -> MutexGuard<'_, Option<Arc<Latch>>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The latch without the lock: who waits for its disk keeps nobody else from it.
fn latch_in(slot: &Slot) -> Option<Arc<Latch>> {
    locked(slot).clone()
}

/// One atomic: may orders leave?
#[pyclass(module = "tickd._native", frozen)]
pub struct HaltWord {
    halt: Arc<Halt>,
    latch: Slot,
}

impl HaltWord {
    /// For the gate.
    pub fn shared(&self) -> Arc<Halt> {
        Arc::clone(&self.halt)
    }

    fn with_latch<T>(&self, say: impl FnOnce(&Latch) -> T) -> PyResult<T> {
        let latch = latch_in(&self.latch);
        let latch = latch.ok_or_else(|| NativeError::new_err("no latch was started"))?;
        Ok(say(&latch))
    }
}

impl Drop for HaltWord {
    fn drop(&mut self) {
        halt_signal::unbind(&self.halt);
    }
}

#[pymethods]
impl HaltWord {
    /// A halted word. Raises NativeError: no descriptors left.
    #[new]
    fn new() -> PyResult<Self> {
        Ok(HaltWord {
            halt: Arc::new(Halt::new().map_err(refused)?),
            latch: Slot::default(),
        })
    }

    /// `epoch << 8 | flags`.
    #[getter]
    fn word(&self) -> u64 {
        self.halt.load()
    }

    #[getter]
    fn epoch(&self) -> u64 {
        Halt::epoch_of(self.halt.load())
    }

    #[getter]
    fn is_halted(&self) -> bool {
        self.halt.load() & GLOBAL != 0
    }

    /// Whether orders that reduce a position may leave though it is halted.
    #[getter]
    fn is_reducing(&self) -> bool {
        self.halt.load() & REDUCING != 0
    }

    /// Halts at once; returns the word. Latch file and bell follow.
    #[pyo3(signature = (reason, source="call"))]
    fn trip(&self, reason: &str, source: &str) -> u64 {
        self.halt.trip(reason, source)
    }

    /// The right to open this word. Raises NativeError: somebody has it.
    fn arming(&self) -> PyResult<Arming> {
        let key = self.halt.take_key();
        let key = key.ok_or_else(|| NativeError::new_err("somebody else may open this halt word"))?;
        Ok(Arming {
            halt: Arc::clone(&self.halt),
            latch: Arc::clone(&self.latch),
            key,
        })
    }

    /// Lets SIGUSR1 trip this word. Raises NativeError: another one is bound.
    fn bind(&self) -> PyResult<()> {
        halt_signal::bind(&self.halt).map_err(refused)
    }

    /// SIGUSR1 does nothing any more; False when this word was not bound.
    fn unbind(&self) -> bool {
        halt_signal::unbind(&self.halt)
    }

    /// Starts what follows a trip: `latch.json` in `directory`, which says `first` until then (empty: what it said); the bell; and `panic`, a
    /// command line, when `cancel_all_began` was not called in time. Raises NativeError: it was started, or cannot be.
    #[pyo3(signature = (directory, first=vec![], *, config="", boot_id="", halts=None, panic=vec![], panic_after_ms=500, disk_wait_ms=100))]
    #[allow(clippy::too_many_arguments)] // by keyword
    fn start(
        &self,
        directory: PathBuf,
        first: Vec<u8>,
        config: &str,
        boot_id: &str,
        halts: Option<&[u8]>,
        panic: Vec<String>,
        panic_after_ms: u32,
        disk_wait_ms: u32,
    ) -> PyResult<()> {
        let mut slot = locked(&self.latch);
        if slot.is_some() {
            return Err(NativeError::new_err("the latch of this halt word was started before"));
        }
        let settings = Settings {
            directory,
            panic,
            panic_after_ms,
            disk_wait_ms,
        };
        let context = Context {
            config: config.to_owned(),
            boot_id: boot_id.to_owned(),
            halts: json(halts.unwrap_or(b"[]"))?,
        };
        *slot = Some(Arc::new(
            Latch::start(&self.halt, settings, context, first).map_err(refused)?,
        ));
        Ok(())
    }

    /// Ends what `start` began, once what waits for the disk was tried.
    fn stop(&self, py: Python<'_>) {
        let latch = locked(&self.latch).take();
        py.detach(|| drop(latch));
    }

    /// Readable after a trip, once the latch file is durable or the disk was given its time. Raises NativeError.
    fn fileno(&self) -> PyResult<i32> {
        self.with_latch(|latch| latch.bell().raw())
    }

    /// Trips since the last call; silences `fileno`. Raises NativeError.
    fn take_trips<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let trips = self.with_latch(Latch::take_seen)?;
        trips.iter().map(|trip| told(py, trip)).collect()
    }

    /// Somebody cancels now for all trips so far.
    fn cancel_all_began(&self) {
        self.halt.cancel_all_began();
    }

    /// Puts another record of the trip of `epoch` into the file; False when there was a newer one. Raises NativeError.
    fn keep(&self, epoch: u64, record: Vec<u8>) -> PyResult<bool> {
        self.with_latch(|latch| latch.keep(epoch, record))
    }

    /// Puts a record that does not halt into the file while the word is `seen`; False when it is not. Raises NativeError.
    fn note(&self, seen: u64, record: Vec<u8>) -> PyResult<bool> {
        self.with_latch(|latch| latch.note(seen, record))
    }

    /// The scopes, a JSON array, that later records say are halted. Raises NativeError.
    fn set_halts(&self, halts: &[u8]) -> PyResult<()> {
        let halts = json(halts)?;
        self.with_latch(|latch| latch.set_halts(halts))
    }

    /// How it stands with file and panic. Raises NativeError.
    fn latch_status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (fault, written, panic) = self.with_latch(|latch| (latch.fault(), latch.written(), latch.panic()))?;
        let status = PyDict::new(py);
        status.set_item("fault", fault)?;
        status.set_item("written", written)?;
        status.set_item("panic_runs", panic.runs)?;
        status.set_item("panic_pid", panic.pid)?;
        status.set_item("panic_exit_code", panic.exit_code)?;
        status.set_item("panic_fault", panic.fault)?;
        Ok(status)
    }
}

fn told<'py>(py: Python<'py>, trip: &Trip) -> PyResult<Bound<'py, PyDict>> {
    let (kind, name, uid, pid) = match &trip.source {
        Source::Signal { uid, pid, .. } => ("signal", "SIGUSR1", Some(*uid), Some(*pid)),
        Source::Call(name) => ("call", name.as_str(), None, None),
    };
    let told = PyDict::new(py);
    told.set_item("epoch", trip.epoch)?;
    told.set_item("reason", &trip.reason)?;
    told.set_item("kind", kind)?;
    told.set_item("name", name)?;
    told.set_item("uid", uid)?;
    told.set_item("pid", pid)?;
    told.set_item("wall_ns", trip.wall_ns)?;
    told.set_item("mono_ns", trip.mono_ns)?;
    Ok(told)
}

/// The right to open a halt word; the kill switch has it.
#[pyclass(module = "tickd._native", frozen)]
pub struct Arming {
    halt: Arc<Halt>,
    latch: Slot,
    key: Key,
}

#[pymethods]
impl Arming {
    /// Makes a record that arms durable, before `open`; False: the word is not `seen`, or the disk took too long.
    ///
    /// Waits without the GIL. Without a latch (a replay has none) there is no file.
    #[pyo3(signature = (seen, record, timeout_ms=1_000))]
    fn prepare(&self, py: Python<'_>, seen: u64, record: Vec<u8>, timeout_ms: u64) -> bool {
        py.detach(|| {
            latch_in(&self.latch)
                .is_none_or(|latch| latch.prepare(&self.key, seen, record, Duration::from_millis(timeout_ms)))
        })
    }

    /// Opens the word if it still is `seen`; False: it is not, and the file halts.
    fn open(&self, seen: u64) -> bool {
        match latch_in(&self.latch) {
            Some(latch) => latch.open(&self.key, seen),
            None => self.halt.open(&self.key, seen),
        }
    }

    /// Lets orders leave that reduce a position, if the word still is `seen`.
    fn reduce(&self, seen: u64) -> bool {
        self.halt.reduce(&self.key, seen)
    }
}

/// The classes of this file.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<HaltWord>()?;
    m.add_class::<Arming>()
}
