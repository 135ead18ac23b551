//! Reading and inspecting the raw log's files from Python: `RawLogReader`, `segment_info`, `verify_segment`, `manifest_read`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use tickd_core::segment::{hash_text, ChunkEntry};
use tickd_io::live::{first_frame_of, hash_file};
use tickd_io::manifest;
use tickd_io::reader::{Position, Reader};
use tickd_io::recover::Report;
use tickd_io::scrub::suspect;
use tickd_io::walk::{scan, Scan};

use crate::errors::log_error;

/// Puts the functions into the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<RawLogReader>()?;
    m.add_function(wrap_pyfunction!(manifest_read, m)?)?;
    m.add_function(wrap_pyfunction!(segment_info, m)?)?;
    m.add_function(wrap_pyfunction!(suspect_segment, m)?)?;
    m.add_function(wrap_pyfunction!(verify_segment, m)?)
}

/// (segment, offset, first frame, last frame) of a chunk.
type Place = (String, u64, u64, u64);

/// The chunks that hold the frames `from_frame..=to_frame`: (segment name, concatenated records).
#[pyclass(frozen, module = "tickd._native")]
pub struct RawLogReader {
    reader: Mutex<Reader>,
}

#[pymethods]
impl RawLogReader {
    #[new]
    #[pyo3(signature = (directory, from_frame=0, to_frame=None, *, live=true, position=None))]
    fn new(
        directory: PathBuf,
        from_frame: u64,
        to_frame: Option<u64>,
        live: bool,
        position: Option<Place>,
    ) -> PyResult<Self> {
        let reader = Reader::open(&directory, from_frame, to_frame.unwrap_or(u64::MAX), live);
        let mut reader = reader.map_err(|error| log_error(&error))?;
        if let Some((segment, offset, frame_first, frame_last)) = position {
            reader = reader.resumed(Position {
                segment,
                offset,
                frame_first,
                frame_last,
            });
        }
        Ok(RawLogReader {
            reader: Mutex::new(reader),
        })
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<(String, Bound<'py, PyBytes>)>> {
        let next = py.detach(|| self.reader.lock().unwrap_or_else(PoisonError::into_inner).next_chunk());
        Ok(next
            .map_err(|error| log_error(&error))?
            .map(|(name, raw)| (name, PyBytes::new(py, &raw))))
    }

    /// Where the last chunk stands; a reader that gets this goes on there, and checks it. None before the first chunk.
    #[getter]
    fn position(&self) -> Option<Place> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let at = reader.position()?;
        Some((at.segment.clone(), at.offset, at.frame_first, at.frame_last))
    }

    /// What could not be read so far: (segment, offset, bytes, reason).
    #[getter]
    fn damaged(&self) -> Vec<(String, u64, u64, &'static str)> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let unread = reader.unread().iter();
        unread
            .map(|unread| (unread.segment.clone(), unread.offset, unread.bytes, unread.reason))
            .collect()
    }
}

/// The whole lines of a raw log's manifest, as dicts.
#[pyfunction]
fn manifest_read(py: Python<'_>, directory: PathBuf) -> PyResult<Bound<'_, PyAny>> {
    let loaded = manifest::load(&directory).map_err(|error| log_error(&error))?;
    from_json(
        py,
        &serde_json::Value::Array(loaded.lines.into_iter().map(serde_json::Value::Object).collect()),
    )
}

/// Has the next start of the daemon look at all of a sealed segment, because a reader found it damaged.
#[pyfunction]
fn suspect_segment(directory: PathBuf, segment: &str) -> PyResult<()> {
    suspect(&directory, segment).map_err(|error| log_error(&error))
}

/// What a segment file holds, sealed or not: header, totals, chunks. Reads and checks every chunk.
#[pyfunction]
fn segment_info(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let (name, scan) = py.detach(|| scanned(&path))?;
    let hash = py
        .detach(|| hash_file(&path, scan.data_end))
        .map_err(|error| log_error(&error))?;
    let flags = scan.footer.map_or(0, |footer| footer.flags);
    let (first, last) = (scan.entries.first(), scan.entries.last());
    let chunks = PyList::empty(py);
    for entry in &scan.entries {
        chunks.append(chunk_dict(py, entry)?)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("name", name)?;
    dict.set_item("bytes", scan.file_bytes)?;
    dict.set_item("data_bytes", scan.data_end)?;
    match &scan.header {
        Some(header) => {
            let json = serde_json::to_value(header).unwrap_or_default();
            dict.set_item("header", from_json(py, &json)?)?;
        }
        None => dict.set_item("header", py.None())?,
    }
    dict.set_item("sealed", scan.sealed())?;
    dict.set_item("clean", flags & tickd_core::segment::FLAG_CLEAN != 0)?;
    dict.set_item("suspect", flags & tickd_core::segment::FLAG_SUSPECT != 0)?;
    dict.set_item(
        "records",
        scan.entries.iter().map(|entry| u64::from(entry.records)).sum::<u64>(),
    )?;
    dict.set_item("frame_first", first.map_or(0, |entry| entry.frame_first))?;
    dict.set_item("frame_last", last.map_or(0, |entry| entry.frame_last))?;
    dict.set_item("recv_first_ns", first.map_or(0, |entry| entry.recv_first))?;
    dict.set_item("recv_last_ns", last.map_or(0, |entry| entry.recv_last))?;
    dict.set_item("hash", hash_text(hash))?;
    dict.set_item("chunks", chunks)?;
    Ok(dict)
}

/// Checks every byte of a segment file; changes nothing.
#[pyfunction]
fn verify_segment(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let (name, scan) = py.detach(|| scanned(&path))?;
    let sealed_name = !name.ends_with(tickd_io::live::OPEN_SUFFIX);
    let hash = py
        .detach(|| hash_file(&path, scan.data_end))
        .map_err(|error| log_error(&error))?;
    let hash_ok = scan.footer.is_some_and(|footer| footer.data_hash == hash);
    let damaged = PyList::empty(py);
    let stretches = scan.holes.iter().map(|hole| &hole.stretch).chain(scan.tail.as_ref());
    for stretch in stretches {
        let dict = PyDict::new(py);
        dict.set_item("offset", stretch.offset)?;
        dict.set_item("bytes", stretch.bytes)?;
        dict.set_item("reason", stretch.reason)?;
        damaged.append(dict)?;
    }
    let whole = damaged.is_empty() && scan.header.is_some();
    let dict = PyDict::new(py);
    dict.set_item("ok", whole && (!sealed_name || scan.sealed() && hash_ok))?;
    dict.set_item("name", name)?;
    dict.set_item("chunks", scan.entries.len())?;
    dict.set_item(
        "records",
        scan.entries.iter().map(|entry| u64::from(entry.records)).sum::<u64>(),
    )?;
    dict.set_item("damaged", damaged)?;
    dict.set_item("index_ok", scan.index_agrees())?;
    dict.set_item("hash_ok", hash_ok)?;
    dict.set_item("hash", hash_text(hash))?;
    dict.set_item("sealed", scan.sealed())?;
    Ok(dict)
}

/// The recovery report as a dict.
pub fn recovery_dict<'py>(py: Python<'py>, report: &Report) -> PyResult<Bound<'py, PyDict>> {
    let quarantined = PyList::empty(py);
    for entry in &report.quarantined {
        quarantined.append(from_json(py, &serde_json::to_value(entry).unwrap_or_default())?)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("segments", report.segments)?;
    dict.set_item("records", report.records)?;
    dict.set_item("frame_last", report.frame_last)?;
    dict.set_item("connection_last", report.connection_last)?;
    dict.set_item("segments_sealed", report.segments_sealed)?;
    dict.set_item("segments_healed", report.segments_healed)?;
    dict.set_item("truncated_bytes", report.truncated_bytes)?;
    dict.set_item("quarantined", quarantined)?;
    dict.set_item("gap", report.gap)?;
    dict.set_item("clean", report.clean)?;
    dict.set_item("manifest_torn_bytes", report.manifest_torn_bytes)?;
    dict.set_item("manifest_damaged_lines", report.manifest_damaged_lines)?;
    dict.set_item("checkpoint_refused", report.checkpoint_refused.clone())?;
    Ok(dict)
}

fn scanned(path: &Path) -> PyResult<(String, Scan)> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
        .to_owned();
    let scan = scan(path, first_frame_of(&name).unwrap_or(0)).map_err(|error| log_error(&error))?;
    Ok((name, scan))
}

fn chunk_dict<'py>(py: Python<'py>, entry: &ChunkEntry) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("offset", entry.offset)?;
    dict.set_item("compressed_bytes", entry.compressed)?;
    dict.set_item("raw_bytes", entry.raw)?;
    dict.set_item("records", entry.records)?;
    dict.set_item("frame_first", entry.frame_first)?;
    dict.set_item("frame_last", entry.frame_last)?;
    dict.set_item("recv_first_ns", entry.recv_first)?;
    dict.set_item("recv_last_ns", entry.recv_last)?;
    dict.set_item("hash", hash_text(entry.hash))?;
    Ok(dict)
}

/// A JSON value as Python's own objects, through Python's json.
fn from_json<'py>(py: Python<'py>, value: &serde_json::Value) -> PyResult<Bound<'py, PyAny>> {
    py.import("json")?.call_method1("loads", (value.to_string(),))
}
