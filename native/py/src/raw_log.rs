//! `RawLog`: the face of the raw log. One thread calls it; the watermarks may be read from any.

use std::path::Path;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tickd_core::record::RecordType;
use tickd_io::manifest::Entry;
use tickd_io::queue::Shared;
use tickd_io::raw_log::{Config, RawLog as Core};
use tickd_io::sys::{mono_ns, wall_ns};

use crate::batch::EventBatch;
use crate::cpython::with_bytes;
use crate::decoder::Decoder;
use crate::errors::log_error;
use crate::histogram::Histogram;
use crate::raw_log_files::recovery_dict;

/// Above this a burst is decoded without the GIL; below, the hand-over would cost more than it frees (about 50 µs).
const DETACH_BYTES: usize = 64 << 10;
/// About 100 messages: 60 µs of frame callbacks and decoding, while ending a burst costs a few µs.
const BURST_BYTES: usize = 32 << 10;

/// An open raw log.
#[pyclass(frozen, module = "tickd._native")]
pub struct RawLog {
    core: Mutex<Core>,
    shared: Arc<Shared>,
}

impl RawLog {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(
        &self,
        connection: u32,
        kind: RecordType,
        payload: &Bound<'_, PyAny>,
        recv_ns: i64,
        mono: i64,
    ) -> PyResult<u64> {
        with_bytes(payload, |bytes| {
            self.core().append(connection, kind, bytes, recv_ns, mono)
        })?
        .map_err(|error| log_error(&error))
    }
}

#[pymethods]
impl RawLog {
    #[new]
    #[pyo3(signature = (directory, *, node, group_bytes=262_144, group_ms=250, fsync_ms=500,
        segment_bytes_max=536_870_912, segment_seconds=3600, pending_bytes_max=67_108_864, zstd_level=1, meta=None))]
    #[allow(clippy::too_many_arguments)] // keyword-only in Python, one per setting
    fn new(
        py: Python<'_>,
        directory: String,
        node: u16,
        group_bytes: usize,
        group_ms: u64,
        fsync_ms: i64,
        segment_bytes_max: u64,
        segment_seconds: u64,
        pending_bytes_max: u64,
        zstd_level: i32,
        meta: Option<Vec<u8>>,
    ) -> PyResult<Self> {
        let meta = serde_json::from_slice(meta.as_deref().unwrap_or(b"{}"));
        let config = Config {
            node,
            group_bytes,
            group: Duration::from_millis(group_ms),
            fsync: u64::try_from(fsync_ms).ok().map(Duration::from_millis),
            segment_bytes_max,
            segment: Duration::from_secs(segment_seconds),
            pending_bytes_max,
            zstd_level,
            meta: meta.map_err(|error| PyValueError::new_err(format!("meta is not JSON: {error}")))?,
        };
        let core = py
            .detach(|| Core::open(Path::new(&directory), config))
            .map_err(|error| log_error(&error))?;
        Ok(RawLog {
            shared: Arc::clone(core.shared()),
            core: Mutex::new(core),
        })
    }

    /// What the start-up found and did.
    #[getter]
    fn recovery<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        recovery_dict(py, self.core().report())
    }

    /// Brings `decoder` to the state of the log's end and begins the first segment with its checkpoint; returns the
    /// records replayed. Must be called once before the first record; `end_burst` next hands out what gaps conclude.
    fn restore_decoder(&self, py: Python<'_>, decoder: &Bound<'_, Decoder>) -> PyResult<u64> {
        let mut decoder = decoder.try_borrow_mut()?;
        let core = decoder.core_mut();
        py.detach(|| self.core().restore_decoder(core))
            .map_err(|error| log_error(&error))
    }

    /// A node-wide connection number, never given out before.
    fn next_connection(&self) -> u32 {
        self.core().next_connection()
    }

    /// Stamps a text message and appends it to the burst; the view may die with the call. True when the burst is long
    /// enough to be ended now: a backlog must not make its first frame wait for its last.
    fn frame(&self, connection: u32, payload: &Bound<'_, PyAny>) -> PyResult<bool> {
        let recv_ns = wall_ns();
        let mono = mono_ns();
        with_bytes(payload, |bytes| {
            let mut core = self.core();
            core.append(connection, RecordType::Text, bytes, recv_ns, mono)?;
            Ok(core.burst_bytes() >= BURST_BYTES)
        })?
        .map_err(|error| log_error(&error))
    }

    /// As `frame` with the caller's stamps: for replays and tests.
    fn frame_at(&self, connection: u32, payload: &Bound<'_, PyAny>, recv_ns: i64, mono_ns: i64) -> PyResult<()> {
        self.append(connection, RecordType::Text, payload, recv_ns, mono_ns)
            .map(|_| ())
    }

    /// Appends text messages with the stamps of whoever received them: (payload, recv_ns, mono_ns) each. True as `frame`.
    fn frames_at(&self, connection: u32, frames: Vec<(Bound<'_, PyAny>, i64, i64)>) -> PyResult<bool> {
        for (payload, recv_ns, mono) in &frames {
            self.append(connection, RecordType::Text, payload, *recv_ns, *mono)?;
        }
        Ok(self.core().burst_bytes() >= BURST_BYTES)
    }

    /// Appends a record of another type (one letter); returns its frame number.
    fn record(&self, connection: u32, record_type: &str, payload: &Bound<'_, PyAny>) -> PyResult<u64> {
        let (recv_ns, mono) = (wall_ns(), mono_ns());
        let kind = match record_type.as_bytes() {
            [letter] => RecordType::from_byte(*letter),
            _ => None,
        };
        let kind = kind.ok_or_else(|| PyValueError::new_err(format!("no record type: {record_type:?}")))?;
        self.append(connection, kind, payload, recv_ns, mono)
    }

    /// Receive stamp of the last record that was appended, ns.
    #[getter]
    fn last_recv_ns(&self) -> i64 {
        self.core().last_stamp().0
    }

    /// Decodes the records since the last call, hands their bytes to the writer, rotates when due; None without records.
    fn end_burst(&self, py: Python<'_>, decoder: &Bound<'_, Decoder>) -> PyResult<Option<EventBatch>> {
        let mut decoder = decoder.try_borrow_mut()?;
        let decoder = decoder.core_mut();
        let big = self.core().burst_bytes() >= DETACH_BYTES;
        let batch = if big {
            py.detach(|| self.core().end_burst(decoder))
        } else {
            self.core().end_burst(decoder)
        };
        Ok(batch.map_err(|error| log_error(&error))?.map(EventBatch::new))
    }

    /// Asks the writer to write (and sync) what was handed over, without waiting for it.
    #[pyo3(signature = (*, sync=false))]
    fn write_now(&self, sync: bool) {
        self.core().write_now(sync);
    }

    /// Appends a line (JSON of kind shipped, verified, removed or restored) to the manifest, durably and in its order; waits
    /// for the writer, so call it from a thread of its own. Raises NativeError: "refused", "io" and "misuse" (the line is
    /// not there), "unanswered" (the words say whether it may come).
    #[pyo3(signature = (line, *, timeout_ms=10_000))]
    fn note(&self, py: Python<'_>, line: Vec<u8>, timeout_ms: u64) -> PyResult<()> {
        let noted = py.detach(|| self.shared.note(Entry::note(&line)?, Duration::from_millis(timeout_ms)));
        noted.map_err(|error| log_error(&error))
    }

    /// Seals the live segment and begins the next behind the next burst.
    fn rotate(&self) {
        self.shared.rotate_wanted.store(true, Release);
    }

    /// Last frame number in the file: survives kill -9.
    #[getter]
    fn written(&self) -> u64 {
        self.shared.written.load(Acquire)
    }

    /// Last frame number on the disk: survives a power cut.
    #[getter]
    fn synced(&self) -> u64 {
        self.shared.synced.load(Acquire)
    }

    /// Raw bytes handed over and not yet written.
    #[getter]
    fn pending_bytes(&self) -> u64 {
        self.shared.pending_bytes.load(Relaxed)
    }

    /// The sockets are to pause: set at `pending_bytes_max`, cleared at half of it.
    #[getter]
    fn full(&self) -> bool {
        self.shared.full.load(Acquire)
    }

    /// The number that the next record gets.
    #[getter]
    fn next_frame_no(&self) -> u64 {
        self.core().next_frame_no()
    }

    /// What keeps the writer from writing or syncing at the moment.
    #[getter]
    fn fault(&self) -> Option<String> {
        self.shared.fault()
    }

    /// The system's number of the present fault; 0 without one, or when no system call failed.
    #[getter]
    fn fault_errno(&self) -> i32 {
        self.shared.fault_errno.load(Acquire)
    }

    /// Why the writer has given up for good; a `fault` it tries to overcome is none.
    #[getter]
    fn failure(&self) -> Option<String> {
        self.shared.failure()
    }

    /// Readable when a watermark moved, `full` was cleared, or `fault` changed; read 8 bytes to silence it.
    #[getter]
    fn wake_fd(&self) -> i32 {
        self.shared.bell.raw()
    }

    /// Frame received → in the file.
    #[getter]
    fn write_latency(&self) -> Histogram {
        Histogram::of(&self.shared.write_latency)
    }

    /// Duration of the syncs.
    #[getter]
    fn fsync_latency(&self) -> Histogram {
        Histogram::of(&self.shared.fsync_latency)
    }

    /// Totals since the start.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (frames, bursts) = self.core().totals();
        let counters = &self.shared.counters;
        let dict = PyDict::new(py);
        for (name, value) in [
            ("frames", frames),
            ("bursts", bursts),
            ("raw_bytes", counters.raw_bytes.load(Relaxed)),
            ("compressed_bytes", counters.compressed_bytes.load(Relaxed)),
            ("chunks", counters.chunks.load(Relaxed)),
            ("records", counters.records.load(Relaxed)),
            ("segments", counters.segments.load(Relaxed)),
            ("fsyncs", counters.fsyncs.load(Relaxed)),
            ("faults", counters.faults.load(Relaxed)),
            ("writer_cpu_ns", counters.cpu_ns.load(Relaxed)),
            ("unsynced_bytes", counters.unsynced_bytes.load(Relaxed)),
        ] {
            dict.set_item(name, value)?;
        }
        dict.set_item("segment", self.shared.segment())?;
        Ok(dict)
    }

    /// Writes everything, seals, ends the writer. Raises NativeError("unwritten", …) when the disk did not take it in time.
    #[pyo3(signature = (timeout_ms=10_000))]
    fn close(&self, py: Python<'_>, timeout_ms: u64) -> PyResult<()> {
        py.detach(|| self.core().close(Duration::from_millis(timeout_ms)))
            .map_err(|error| log_error(&error))
    }
}
