//! What the tap and the writer thread of the raw log pass to each other: groups of records one way, watermarks the other.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::mpsc::{sync_channel, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tickd_core::histogram::Histogram;
use tickd_core::segment::{ChunkEntry, SegmentHeader};

use crate::error::{LogError, Result};
use crate::event_fd::EventFd;
use crate::manifest::{Entry, Missing};

/// When the writer writes and syncs.
#[derive(Debug, Clone)]
pub struct WriterConfig {
    /// A chunk is full at this many raw bytes.
    pub group_bytes: usize,
    /// A chunk is written at this age at the latest.
    pub group: Duration,
    /// A written chunk is synced at this age at the latest; None = only when a segment is sealed.
    pub fsync: Option<Duration>,
    /// Raw bytes not yet written at which the sockets are to pause.
    pub pending_bytes_max: u64,
    /// zstd level.
    pub zstd_level: i32,
    /// Fields of every segment header.
    pub header: SegmentHeader,
}

/// Records on their way to one chunk.
#[derive(Debug, Default)]
pub struct Group {
    /// The records.
    pub raw: Vec<u8>,
    /// What the index will say; offset, lengths and hash are still open.
    pub entry: ChunkEntry,
    /// Begins a new segment.
    pub opens_segment: bool,
    /// Frame ranges whose gap record is in here.
    pub announces: Vec<(u64, u64)>,
    /// Per burst: monotonic stamp of its first frame (0 = not stamped here) and number of records.
    pub bursts: Vec<(i64, u32)>,
    /// When the first burst came.
    pub began: Option<Instant>,
}

impl Group {
    /// Appends a stretch of a burst.
    pub fn add(&mut self, raw: &[u8], piece: ChunkEntry, mono_ns: i64) {
        let entry = &mut self.entry;
        if entry.records == 0 {
            (entry.frame_first, entry.recv_first) = (piece.frame_first, piece.recv_first);
        }
        entry.records += piece.records;
        entry.frame_last = piece.frame_last;
        entry.recv_last = piece.recv_last;
        entry.connection_max = entry.connection_max.max(piece.connection_max);
        self.raw.extend_from_slice(raw);
        self.bursts.push((mono_ns, piece.records));
    }
}

/// Lines that may wait for the writer.
const NOTES_MAX: usize = 64;

/// A line for the manifest from outside the raw log, and who waits for it.
#[derive(Debug)]
pub struct Note {
    /// The line.
    pub entry: Entry,
    /// Gets the outcome; dropped without one when the writer ends.
    pub done: SyncSender<Result<()>>,
}

/// What tap and writer pass to each other.
#[derive(Debug, Default)]
pub struct Queue {
    /// In order; the last one may still grow.
    pub groups: VecDeque<Group>,
    /// Emptied buffers.
    pub spare: Vec<Vec<u8>>,
    /// Write everything up to this frame without waiting.
    pub write_to: u64,
    /// Sync everything up to this frame without waiting.
    pub sync_to: u64,
    /// Lines for the manifest, in order.
    pub notes: VecDeque<Note>,
    /// The writer has ended and takes nothing more.
    pub ended: bool,
    /// Write all, seal, end; give up at this time.
    pub closing: Option<Instant>,
    /// What could not be done, once the thread has ended.
    pub failure: Option<LogError>,
    /// The same in words, for those who ask after `close` has taken it.
    failed: Option<String>,
}

/// Running totals; relaxed, for people.
#[derive(Debug, Default)]
pub struct Counters {
    /// Raw bytes written.
    pub raw_bytes: AtomicU64,
    /// Compressed bytes written.
    pub compressed_bytes: AtomicU64,
    /// Chunks written.
    pub chunks: AtomicU64,
    /// Records written.
    pub records: AtomicU64,
    /// Segments begun.
    pub segments: AtomicU64,
    /// Syncs done.
    pub fsyncs: AtomicU64,
    /// Failed operations.
    pub faults: AtomicU64,
    /// CPU time of the writer thread.
    pub cpu_ns: AtomicU64,
    /// Compressed bytes written and not yet synced: what a power cut would take.
    pub unsynced_bytes: AtomicU64,
}

/// Shared by tap and writer.
#[derive(Debug)]
pub struct Shared {
    queue: Mutex<Queue>,
    /// Something in the queue changed.
    pub changed: Condvar,
    /// Last frame number in the file.
    pub written: AtomicU64,
    /// Last frame number on the disk.
    pub synced: AtomicU64,
    /// Raw bytes handed over and not yet written.
    pub pending_bytes: AtomicU64,
    /// The sockets are to pause: pending bytes exceeded their limit and have not yet fallen to half of it.
    pub full: AtomicBool,
    /// Compressed bytes of the live segment.
    pub segment_bytes: AtomicU64,
    /// Segments begun by request of the tap.
    pub rotations: AtomicU64,
    /// The tap is to rotate: by request, or because the live segment was lost to a failed sync and a checkpoint is due.
    pub rotate_wanted: AtomicBool,
    /// There is something in `lost`.
    pub losing: AtomicBool,
    lost: Mutex<Vec<Missing>>,
    fault: Mutex<Option<String>>,
    /// The system's number of the present fault, 0 without.
    pub fault_errno: AtomicI32,
    segment: Mutex<Option<String>>,
    /// Frame received → in the file, ns.
    pub write_latency: Arc<Histogram>,
    /// Duration of a sync, ns.
    pub fsync_latency: Arc<Histogram>,
    /// Totals.
    pub counters: Counters,
    /// Rung whenever something above changed for the better or worse.
    pub bell: EventFd,
}

impl Shared {
    /// Shared state of a log whose last frame on the disk is `frame_last`.
    pub fn new(frame_last: u64, bell: EventFd) -> Self {
        Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
            written: AtomicU64::new(frame_last),
            synced: AtomicU64::new(frame_last),
            pending_bytes: AtomicU64::new(0),
            full: AtomicBool::new(false),
            segment_bytes: AtomicU64::new(0),
            rotations: AtomicU64::new(0),
            rotate_wanted: AtomicBool::new(false),
            losing: AtomicBool::new(false),
            lost: Mutex::default(),
            fault: Mutex::default(),
            fault_errno: AtomicI32::new(0),
            segment: Mutex::default(),
            write_latency: Arc::default(),
            fsync_latency: Arc::default(),
            counters: Counters::default(),
            bell,
        }
    }

    /// The queue; a panic elsewhere does not make its records worthless.
    pub fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the writer.
    pub fn notify(&self) {
        self.changed.notify_one();
    }

    /// Has the writer append a line to the manifest, durably and in its order; waits for it.
    ///
    /// Errors: what kept the line from the disk (it is not there then), `Misuse` once the writer has ended, `Unanswered`
    /// when it was too busy with the disk to take the line (it is not there), or to finish it (it may come).
    pub fn note(&self, entry: Entry, patience: Duration) -> Result<()> {
        const ENDED: LogError = LogError::Misuse("the raw log is closed: its manifest takes no line");
        let (done, outcome) = sync_channel(1);
        {
            let mut queue = self.queue();
            if queue.ended || queue.closing.is_some() {
                return Err(ENDED);
            }
            if queue.notes.len() >= NOTES_MAX {
                return Err(LogError::Unanswered("too many lines wait for the manifest"));
            }
            queue.notes.push_back(Note {
                entry: entry.clone(),
                done,
            });
        }
        self.notify();
        match outcome.recv_timeout(patience) {
            Ok(done) => return done,
            Err(RecvTimeoutError::Disconnected) => return Err(ENDED),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let mut queue = self.queue();
        if let Some(at) = queue.notes.iter().position(|note| note.entry == entry) {
            queue.notes.remove(at);
            return Err(LogError::Unanswered(
                "the writer is too busy to take a line for the manifest",
            ));
        }
        drop(queue);
        let late = "the writer does not finish a line of the manifest: it may come yet";
        outcome
            .recv_timeout(patience)
            .unwrap_or(Err(LogError::Unanswered(late)))
    }

    /// The writer has ended: those who wait for a line hear so.
    pub fn end(&self) {
        let mut queue = self.queue();
        queue.ended = true;
        queue.notes.clear();
    }

    /// Why the writer has ended for good although the log was not closed in order; none while it tries on.
    pub fn failure(&self) -> Option<String> {
        self.queue().failed.clone()
    }

    /// Publishes why the writer ends for good.
    pub fn fail(&self, error: LogError) {
        self.set_fault(Some(&error));
        let mut queue = self.queue();
        queue.failed = Some(error.to_string());
        queue.failure = Some(error);
    }

    /// Frames that had been written are gone: the tap is to say so in the log.
    pub fn lose(&self, missing: Missing) {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).push(missing);
        self.losing.store(true, Ordering::Release);
        self.bell.ring();
    }

    /// Takes what was lost since the last call.
    pub fn take_lost(&self) -> Vec<Missing> {
        self.losing.store(false, Ordering::Release);
        std::mem::take(&mut *self.lost.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What keeps the writer from its work at the moment; it tries on.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Name of the live segment.
    pub fn segment(&self) -> Option<String> {
        self.segment.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Publishes a fault, or its end.
    pub fn set_fault(&self, error: Option<&LogError>) {
        let errno = error.and_then(LogError::errno).unwrap_or(0);
        self.fault_errno.store(errno, Ordering::Release);
        let fault = error.map(ToString::to_string);
        let mut current = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *current != fault;
        *current = fault;
        drop(current);
        if changed {
            self.bell.ring();
        }
    }

    /// Publishes the live segment.
    pub fn set_segment(&self, name: Option<String>) {
        *self.segment.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }
}
