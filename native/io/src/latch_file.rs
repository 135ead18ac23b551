//! `latch.json`: why orders may not leave, on disk; its one writer, a thread of its own so that no disk holds a kill up.
//!
//! docs/formats/latch.md is the format, `risk/latch.py` its reader. What cannot be written is tried again every second.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::Value;

use crate::halt::{Source, Trip};
use crate::halt_signal::{block, NUMBER};

/// The file.
pub const LATCH: &str = "latch.json";
const FRESH: &str = "latch.json.tmp";
const RETRY: Duration = Duration::from_secs(1);
/// Records that wait for the disk; the oldest gives way, for a newer one says more.
const RECORDS_MAX: usize = 16;

#[derive(Serialize)]
struct SourceLine<'a> {
    kind: &'static str,
    name: &'a str,
    uid: Option<u32>,
    pid: Option<i32>,
}

#[derive(Serialize)]
struct Record<'a> {
    version: u32,
    state: &'static str,
    epoch: u64,
    scope: &'static str,
    reason: &'a str,
    source: SourceLine<'a>,
    wall_ns: i64,
    mono_ns: i64,
    boot_id: &'a str,
    config: &'a str,
    open_orders: Option<u64>,
    halts: &'a Value,
}

/// What a record says beside the trip itself.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Hash of the configuration.
    pub config: String,
    /// The machine's life, so that the monotonic stamp means something.
    pub boot_id: String,
    /// Scopes that are halted beside the word, as the last record had them.
    pub halts: Value,
}

/// The record of a trip. How many orders are open is not known to who writes it.
pub fn record(trip: &Trip, context: &Context) -> Vec<u8> {
    let source = match &trip.source {
        Source::Signal { number, uid, pid } => SourceLine {
            kind: "signal",
            name: if *number == NUMBER { "SIGUSR1" } else { "" },
            uid: Some(*uid),
            pid: Some(*pid),
        },
        Source::Call(name) => SourceLine {
            kind: "call",
            name,
            uid: None,
            pid: None,
        },
    };
    let record = Record {
        version: 1,
        state: "halted",
        epoch: trip.epoch,
        scope: "global",
        reason: &trip.reason,
        source,
        wall_ns: trip.wall_ns,
        mono_ns: trip.mono_ns,
        boot_id: &context.boot_id,
        config: &context.config,
        open_orders: None,
        halts: &context.halts,
    };
    // Text and numbers only: it cannot fail; an empty record would be read as damaged, which is halted.
    sealed(serde_json::to_vec(&record).unwrap_or_default())
}

/// A JSON object with its hash as the last member, and a newline.
fn sealed(mut object: Vec<u8>) -> Vec<u8> {
    object.pop(); // the brace
    let hash = tickd_core::block::hash(&object);
    object.extend_from_slice(format!(",\"check\":\"{hash:016x}\"}}\n").as_bytes());
    object
}

/// Puts a record in the place of the one before: tmp, fsync, rename, fsync of the directory.
pub fn replace(directory: &Path, record: &[u8]) -> io::Result<()> {
    let fresh = directory.join(FRESH);
    let mut file = File::create(&fresh)?;
    file.write_all(record)?;
    file.sync_all()?;
    fs::rename(&fresh, directory.join(LATCH))?;
    File::open(directory)?.sync_all()
}

struct Waiting {
    record: Vec<u8>,
    /// A record that arms is written at once or not at all.
    once: bool,
    tell: SyncSender<bool>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// The last record that halts: what the file must say whenever the word does not open.
    halted: Vec<u8>,
    ended: bool,
    fault: Option<String>,
    written: u64,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer of one latch file.
pub struct LatchWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl LatchWriter {
    /// Writes into `directory` from now on. Errors: no threads left.
    pub fn start(directory: PathBuf) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("tickd-latch".to_owned());
        let thread = thread.spawn(move || {
            block();
            write_all(&theirs, &directory);
        })?;
        Ok(LatchWriter {
            shared,
            thread: Some(thread),
        })
    }

    fn put(&self, record: Vec<u8>, once: bool) -> Receiver<bool> {
        let (tell, told) = sync_channel(1);
        let mut queue = self.shared.lock();
        if queue.waiting.len() >= RECORDS_MAX {
            queue.waiting.pop_front();
        }
        queue.waiting.push_back(Waiting { record, once, tell });
        drop(queue);
        self.shared.wake.notify_all();
        told
    }

    /// Writes a record that halts, as often as it takes; the receiver hears of it when it is durable.
    pub fn halt(&self, record: Vec<u8>) -> Receiver<bool> {
        self.shared.lock().halted.clone_from(&record);
        self.put(record, false)
    }

    /// Writes a record that does not halt, unless a newer one comes first.
    pub fn note(&self, record: Vec<u8>) -> Receiver<bool> {
        self.put(record, false)
    }

    /// Writes a record that arms, once; true when it is durable in time.
    pub fn arm(&self, record: Vec<u8>, timeout: Duration) -> bool {
        matches!(self.put(record, true).recv_timeout(timeout), Ok(true))
    }

    /// Writes the last record that halts again.
    pub fn halt_again(&self) {
        let record = self.shared.lock().halted.clone();
        self.put(record, false);
    }

    /// Why the last write failed; none when it did not.
    pub fn fault(&self) -> Option<String> {
        self.shared.lock().fault.clone()
    }

    /// Records made durable.
    pub fn written(&self) -> u64 {
        self.shared.lock().written
    }
}

impl Drop for LatchWriter {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Until it is dropped; then what waits is tried once more.
fn write_all(shared: &Shared, directory: &Path) {
    loop {
        let mut queue = shared.lock();
        while queue.waiting.is_empty() && !queue.ended {
            queue = shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let Some(next) = queue.waiting.pop_front() else { return };
        drop(queue);
        let outcome = replace(directory, &next.record);
        let mut queue = shared.lock();
        queue.fault = outcome
            .as_ref()
            .err()
            .map(|error| format!("{}: {error}", directory.display()));
        queue.written += u64::from(outcome.is_ok());
        if outcome.is_ok() || next.once {
            let _ = next.tell.send(outcome.is_ok());
            continue;
        }
        if queue.ended {
            return;
        }
        // A newer record says more than one that could not be written.
        if queue.waiting.is_empty() {
            queue.waiting.push_front(next);
            drop(shared.wake.wait_timeout(queue, RETRY));
        }
    }
}
