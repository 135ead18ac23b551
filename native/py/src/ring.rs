//! `RingReader` and `RingWriter`: a strategy process's side of its feed, and the way back. One thread each.

use std::io;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tickd_core::batch::{Batch, TopicRange};
use tickd_core::event::{Event, SEQ_INDEX_BITS};
use tickd_io::progress::BusyStamp;
use tickd_io::ring::{Head, Reader, Writer};
use tickd_io::shared::duplicate_of;
use tickd_io::sys::mono_ns;

use crate::batch::EventBatch;
use crate::errors::NativeError;

fn refused(error: io::Error) -> PyErr {
    NativeError::new_err(error.to_string())
}

/// The side that takes.
#[pyclass(module = "tickd._native")]
pub struct RingReader {
    ring: Reader,
    bytes: Vec<u8>,
}

impl RingReader {
    /// For whoever works on what was taken.
    pub fn busy_stamp(&self) -> BusyStamp {
        self.ring.busy_stamp()
    }

    const fn of(ring: Reader) -> Self {
        RingReader {
            ring,
            bytes: Vec::new(),
        }
    }
}

#[pymethods]
impl RingReader {
    /// A new ring of `capacity` slots. Raises NativeError.
    #[new]
    fn new(capacity: usize) -> PyResult<Self> {
        Reader::create(capacity).map(RingReader::of).map_err(refused)
    }

    /// Joins a ring by its descriptors, which stay open and the caller's. Raises NativeError.
    #[staticmethod]
    fn open(memory: i32, doorbell: i32) -> PyResult<Self> {
        let ring = duplicate_of(memory).and_then(|memory| Reader::open(memory, duplicate_of(doorbell)?));
        ring.map(RingReader::of).map_err(refused)
    }

    /// The next entry: a batch of at most about `events_max` events that ends with a whole message, or
    /// (`definition` or `text`, number, bytes); None when there is nothing.
    ///
    /// The batch is a copy, the only one on the way: it may be kept, nobody can change it, and the ring has its room back
    /// before the first handler is called. Raises NativeError when what is there cannot be.
    fn take<'py>(&mut self, py: Python<'py>, events_max: usize) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut events = Vec::new();
        let head = self.ring.take(&mut events, &mut self.bytes, events_max);
        let head = head.map_err(|fault| NativeError::new_err(fault.0))?;
        let (kind, tag) = match head {
            None => return Ok(None),
            Some(Head::Events(_, ts_mono)) => {
                self.ring.begin(mono_ns(), &events);
                let batch = EventBatch::new(batch_of(events, ts_mono));
                return Ok(Some(Bound::new(py, batch)?.into_any()));
            }
            Some(Head::Definition(instrument)) => ("definition", instrument),
            Some(Head::Text(tag)) => ("text", tag),
        };
        let entry = (kind, tag, PyBytes::new(py, &self.bytes));
        entry.into_pyobject(py).map(|entry| Some(entry.into_any()))
    }

    /// Says that the batch in hand is done; the next `take` says so, too.
    fn finish(&mut self) {
        self.ring.finish();
    }

    /// Waits without the GIL: (something is there, `other` is readable); both False when the time is up.
    #[pyo3(signature = (timeout_ms, other=None))]
    fn wait(&mut self, py: Python<'_>, timeout_ms: i32, other: Option<i32>) -> (bool, bool) {
        self.ring.finish();
        let ring = &mut self.ring;
        py.detach(|| ring.wait(other, timeout_ms))
    }

    /// For those who watch `fileno()` themselves: silences it. Take everything then, and `arm`.
    fn hush(&self) {
        self.ring.hush();
    }

    /// Whether something is there; if not, `fileno()` becomes readable with the next entry.
    fn arm(&mut self) -> bool {
        self.ring.arm()
    }

    /// The doorbell.
    fn fileno(&self) -> i32 {
        self.ring.descriptors().1
    }

    /// Descriptors of memory and doorbell for the other side; valid as long as this object.
    fn descriptors(&self) -> (i32, i32) {
        self.ring.descriptors()
    }
}

/// Events in the order of their numbers as one batch; their topics do not matter any more.
pub fn batch_of(events: Vec<Event>, ts_mono: i64) -> Batch {
    let (first, last) = (events.first(), events.last());
    let seq = (first.map_or(0, |event| event.seq), last.map_or(0, |event| event.seq));
    let all = TopicRange {
        topic: 0,
        start: 0,
        stop: events.len() as u32,
    };
    Batch {
        topics: vec![all],
        seq,
        frame_last: seq.1 >> SEQ_INDEX_BITS,
        ts_mono,
        events,
    }
}

/// The side that writes bytes back.
#[pyclass(module = "tickd._native")]
pub struct RingWriter {
    ring: Writer,
}

#[pymethods]
impl RingWriter {
    /// Joins a ring by its descriptors, which stay open and the caller's. Raises NativeError.
    #[staticmethod]
    fn open(memory: i32, doorbell: i32) -> PyResult<Self> {
        let ring = duplicate_of(memory).and_then(|memory| Writer::open(memory, duplicate_of(doorbell)?));
        ring.map(|ring| RingWriter { ring }).map_err(refused)
    }

    /// Sends bytes with a number; False when there is no room now. Raises NativeError: longer than the ring, or the other
    /// side did what cannot be.
    fn text(&mut self, tag: u32, content: &[u8]) -> PyResult<bool> {
        let done = self.ring.put_bytes(Head::Text(tag), content).map_err(refused)?;
        match self.ring.fault() {
            Some(fault) if !done => Err(NativeError::new_err(fault.0)),
            _ => Ok(done),
        }
    }
}
