//! `FeedWriter`: a strategy process's events on their way out of the daemon. One call per published batch; loop thread only.

use std::collections::{HashMap, VecDeque};
use std::io;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tickd_core::feed::replayed::Replayed;
use tickd_core::feed::{Ending, Feed, Limits, Outlet, Policy, Row};
use tickd_io::ring::{Head, Writer};

use crate::batch::EventBatch;
use crate::errors::NativeError;
use crate::ring::batch_of;

/// Bytes of definitions and texts that may wait for room.
const CONTROLS_BYTES_MAX: usize = 64 << 20;

/// The writing side of a ring behind the policies of its topics.
#[pyclass(module = "tickd._native")]
pub struct FeedWriter {
    feed: Feed,
    ring: Writer,
    /// (topic number) -> (name, policy or None where it is not wanted)
    resolve: Py<PyAny>,
    /// Definitions and texts that found no room; events stay behind them.
    controls: VecDeque<(Head, Vec<u8>)>,
    controls_bytes: usize,
    /// Nothing more is written.
    closed: Option<String>,
}

fn refused(error: io::Error) -> PyErr {
    NativeError::new_err(error.to_string())
}

#[pymethods]
impl FeedWriter {
    /// `capacity`: slots of 64 bytes, a power of two. Raises NativeError: the system refused.
    #[new]
    #[pyo3(signature = (resolve, *, capacity, records, records_total))]
    fn new(resolve: Py<PyAny>, capacity: usize, records: usize, records_total: usize) -> PyResult<Self> {
        Ok(FeedWriter {
            feed: Feed::new(Limits { records, records_total }),
            ring: Writer::create(capacity).map_err(refused)?,
            resolve,
            controls: VecDeque::new(),
            controls_bytes: 0,
            closed: None,
        })
    }

    /// Hands over the wanted events of a batch, or lets them wait; a handler of bursts. Raises what `resolve` raises.
    fn publish(&mut self, py: Python<'_>, batch: &Bound<'_, EventBatch>) -> PyResult<()> {
        if self.closed.is_some() {
            return Ok(());
        }
        let batch = batch.get().to_whole();
        let unasked: Vec<u32> = self.feed.unasked(&batch).collect();
        for topic in unasked {
            let (name, policy): (String, Option<String>) = self.resolve.call1(py, (topic,))?.extract(py)?;
            let policy = policy.map(|name| parse(&name)).transpose()?;
            self.feed.set_topic(topic, &name, policy);
        }
        if self.controls_first() {
            let done = self.feed.offer(&batch, &mut self.ring);
            self.note(done);
        } else {
            let done = self.feed.offer(&batch, &mut NoRoom(self.ring.room_max()));
            self.note(done);
        }
        Ok(())
    }

    /// Hands over what waits, as far as there is room.
    fn flush(&mut self) {
        if self.closed.is_none() && self.controls_first() {
            let done = self.feed.flush(&mut self.ring);
            self.note(done);
        }
    }

    /// Sends the definition of an instrument in front of all events that come later.
    fn define(&mut self, instrument: u32, definition: &[u8]) {
        self.control(Head::Definition(instrument), definition);
    }

    /// Sends bytes with a number that the two sides agree on, in front of all events that come later.
    fn text(&mut self, tag: u32, content: &[u8]) {
        self.control(Head::Text(tag), content);
    }

    /// Descriptors of memory and doorbell for the other side; valid as long as this object.
    fn descriptors(&self) -> (i32, i32) {
        self.ring.descriptors()
    }

    /// What was dropped or merged since the last call: (topic, policy, first number, last number, records, records that came).
    #[allow(clippy::type_complexity)]
    fn take_rows(&mut self) -> Vec<(u32, &'static str, u64, u64, u64, u64)> {
        let rows = self.feed.take_rows().into_iter();
        rows.map(|row| {
            let policy = row.policy.name();
            (row.topic, policy, row.seq_from, row.seq_to, row.records, row.delivered)
        })
        .collect()
    }

    /// (offered, delivered, dropped, merged) records since the beginning.
    #[getter]
    fn totals(&self) -> (u64, u64, u64, u64) {
        let totals = self.feed.totals();
        (totals.offered, totals.delivered, totals.dropped, totals.merged)
    }

    /// What the other side says: (monotonic ns since when it is at work on what it has in hand or 0, events done, portions
    /// done, number of the last event done). Not checked.
    fn progress(&self) -> (i64, u64, u64, u64) {
        let said = self.ring.progress();
        (said.busy_since, said.events, said.entries, said.seq)
    }

    /// Records that wait outside of the ring.
    #[getter]
    fn waiting(&self) -> usize {
        self.feed.depth()
    }

    /// Monotonic stamp of the oldest of them, ns; 0 = none.
    #[getter]
    fn oldest_ns(&self) -> i64 {
        self.feed.oldest_ns()
    }

    /// Slots of the ring that the other side has not taken.
    #[getter]
    fn ring_depth(&mut self) -> usize {
        self.ring.depth()
    }

    /// How often the other side was woken.
    #[getter]
    fn rings(&self) -> u64 {
        self.ring.rings()
    }

    /// Number of the last event handed over.
    #[getter]
    fn seq(&self) -> u64 {
        self.feed.seq()
    }

    /// Why nothing is written any more; None while it is. `{topic N}` stands for the name of a topic.
    #[getter]
    fn closed(&self) -> Option<&str> {
        self.closed.as_deref()
    }
}

impl FeedWriter {
    fn control(&mut self, head: Head, content: &[u8]) {
        if self.closed.is_some() {
            return;
        }
        self.controls_bytes += content.len();
        self.controls.push_back((head, content.to_vec()));
        if self.controls_bytes > CONTROLS_BYTES_MAX {
            self.closed = Some(format!("{CONTROLS_BYTES_MAX} bytes of definitions wait"));
            self.controls.clear();
            return;
        }
        self.controls_first();
    }

    /// Writes the definitions that wait; whether none is left.
    fn controls_first(&mut self) -> bool {
        while let Some((head, content)) = self.controls.front() {
            match self.ring.put_bytes(*head, content) {
                Ok(true) => {
                    self.controls_bytes -= content.len();
                    self.controls.pop_front();
                }
                Ok(false) => {
                    self.closed = self.ring.fault().map(|fault| fault.0.to_owned());
                    return false;
                }
                Err(error) => {
                    self.closed = Some(format!("a definition of {} bytes: {error}", content.len()));
                    return false;
                }
            }
        }
        true
    }

    fn note(&mut self, done: Result<(), Ending>) {
        let topic = |topic: u32| {
            // Named by the caller, who has the names.
            format!("{{topic {topic}}}")
        };
        self.closed = match (done, self.ring.fault()) {
            (_, Some(fault)) => Some(fault.0.to_owned()),
            (Err(Ending::TopicFull(full)), _) => Some(format!("more waits of {} than its limit", topic(full))),
            (Err(Ending::AllFull), _) => Some("more waits than all topics may have together".to_owned()),
            (Err(Ending::TooLarge(large)), _) => Some(format!("a message of {} is larger than the ring", topic(large))),
            (Ok(()), None) => None,
        };
    }
}

/// A recorded feed in a replay: what it merged and dropped, done again to the same events.
#[pyclass(module = "tickd._native")]
pub struct FeedReplay {
    replayed: Replayed,
    resolve: Py<PyAny>,
    /// By the name of the topic, until its number is known.
    rows: HashMap<String, Vec<NamedRow>>,
}

/// (topic, policy, first number, last number, records, records that came)
type NamedRow = (String, String, u64, u64, u64, u64);

#[pymethods]
impl FeedReplay {
    /// `resolve` as of `FeedWriter`; `rows`: those of the feed's `conflated` records, in their order.
    #[new]
    fn new(resolve: Py<PyAny>, rows: Vec<NamedRow>) -> Self {
        let mut by_name: HashMap<String, Vec<NamedRow>> = HashMap::new();
        for row in rows {
            by_name.entry(row.0.clone()).or_default().push(row);
        }
        FeedReplay {
            replayed: Replayed::new(),
            resolve,
            rows: by_name,
        }
    }

    /// The wanted events of a batch as the process got them, in the order of their numbers; None when there is none.
    fn offer(&mut self, py: Python<'_>, batch: &Bound<'_, EventBatch>) -> PyResult<Option<EventBatch>> {
        let batch = batch.get().to_whole();
        let unasked: Vec<u32> = self.replayed.unasked(&batch).collect();
        for topic in unasked {
            let (name, policy): (String, Option<String>) = self.resolve.call1(py, (topic,))?.extract(py)?;
            let policy = policy.map(|name| parse(&name)).transpose()?;
            for (_, policy, seq_from, seq_to, records, delivered) in self.rows.remove(&name).unwrap_or_default() {
                self.replayed.add_row(Row {
                    topic,
                    policy: parse(&policy)?,
                    seq_from,
                    seq_to,
                    records,
                    delivered,
                });
            }
            self.replayed.set_topic(topic, &name, policy);
        }
        let events = self.replayed.offer(&batch);
        Ok((!events.is_empty()).then(|| EventBatch::new(batch_of(events, batch.ts_mono))))
    }

    /// Rows that did not find the records they tell of: the events are not those that the feed had.
    #[getter]
    fn mismatches(&self) -> u64 {
        self.replayed.mismatches()
    }
}

/// While definitions wait, events do, too.
struct NoRoom(usize);

impl Outlet for NoRoom {
    fn room(&mut self) -> usize {
        0
    }

    fn room_max(&self) -> usize {
        self.0
    }

    fn put(&mut self, _: i64, _: &[&[tickd_core::event::Event]]) {}
}

/// The policy with this name.
pub fn parse(name: &str) -> PyResult<Policy> {
    Policy::parse(name).ok_or_else(|| PyValueError::new_err(format!("no policy {name:?}")))
}
