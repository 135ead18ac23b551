//! The raw log's writer thread: groups of records in, chunks on the disk out, in order, whatever the disk does.
//!
//! It owns the live segment and the manifest. A failed write is undone, published as `fault` and tried again with the data
//! kept; a failed sync retires the file, because the kernel may report success next time although the pages are gone, and
//! what was not yet on the disk is written again to a new one.

mod faults;

use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tickd_core::segment::{hash_of, ChunkEncoder, ChunkEntry, SegmentHeader};

use crate::error::{LogError, Result};
use crate::live::{Layout, LiveSegment};
use crate::manifest::{Entry, Manifest, Sealed};
use crate::queue::{Group, Note, Shared, WriterConfig};
use crate::sys::{mono_ns, thread_cpu_ns, wall_ns};

/// Emptied buffers kept for the tap: enough for the chunks in flight at full speed.
const SPARE_BUFFERS: usize = 4;
/// Compressed bytes kept for a second writing after a failed sync; ten seconds at full speed.
const KEPT_BYTES_MAX: u64 = 64 << 20;

enum Job {
    Write(Group),
    Note(Note),
    Sync,
    Stop,
}

/// A chunk that is in the file and perhaps not on the disk.
struct Kept {
    frame: Vec<u8>,
    entry: ChunkEntry,
}

/// The thread's state.
pub struct Writer {
    config: WriterConfig,
    layout: Layout,
    shared: Arc<Shared>,
    manifest: Manifest,
    encoder: ChunkEncoder,
    /// The chunk being written; kept for its memory.
    frame: Vec<u8>,
    live: Option<LiveSegment>,
    previous: Option<String>,
    /// Written since the last good sync (nothing without periodic syncs).
    unsynced: Vec<Kept>,
    unsynced_since: Option<Instant>,
    /// Gap records written and not yet announced in the manifest.
    announces: Vec<(u64, u64)>,
    /// Segments given up and not yet sealed, because the disk does not let us.
    given_up: Vec<LiveSegment>,
    /// Segments given up and sealed, not yet in the manifest.
    retired: Vec<Sealed>,
    sync_backoff: Option<Duration>,
    /// The directory's lock, shared with the log's owner.
    lock: File,
    wrote_anything: bool,
    /// The last end was clean, so an end without a record is clean too.
    clean_start: bool,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer {}", self.layout.root.display())
    }
}

impl Writer {
    /// A writer that goes on behind what recovery found.
    pub fn new(
        config: WriterConfig,
        layout: Layout,
        shared: Arc<Shared>,
        manifest: Manifest,
        lock: File,
        clean_start: bool,
    ) -> Result<Self> {
        let encoder = ChunkEncoder::new(config.zstd_level).map_err(LogError::format(&layout.root))?;
        let previous = config.header.previous.clone();
        Ok(Writer {
            config,
            layout,
            shared,
            manifest,
            encoder,
            frame: Vec::new(),
            live: None,
            previous,
            unsynced: Vec::new(),
            unsynced_since: None,
            announces: Vec::new(),
            given_up: Vec::new(),
            retired: Vec::new(),
            sync_backoff: None,
            lock,
            wrote_anything: false,
            clean_start,
        })
    }

    /// The thread's body: returns when the log is closed.
    pub fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let failure = loop {
            let done = match self.next_job() {
                Job::Write(group) => self.write(group),
                Job::Sync => self.sync(),
                Job::Note(note) => {
                    self.note(note);
                    Ok(())
                }
                Job::Stop => break self.stop().err(),
            };
            shared.counters.cpu_ns.store(thread_cpu_ns() as u64, Relaxed);
            if let Err(error) = done {
                break Some(error);
            }
        };
        if let Some(error) = failure {
            shared.fail(error);
        }
        shared.end();
        shared.bell.ring();
    }

    /// Waits for the next thing to do. A due sync goes before a write, so that load cannot put it off.
    fn next_job(&self) -> Job {
        let mut queue = self.shared.queue();
        loop {
            let now = Instant::now();
            let sync_due = self
                .unsynced_since
                .zip(self.config.fsync)
                .map(|(since, fsync)| since + fsync);
            let written = self.shared.written.load(Relaxed);
            let sync_asked = queue.sync_to > self.shared.synced.load(Relaxed) && queue.sync_to <= written;
            if self.unsynced_since.is_some() && (sync_asked || sync_due.is_some_and(|due| due <= now)) {
                return Job::Sync;
            }
            // Rare, and cheaper than a group: it goes before the writes, so that load cannot put it off.
            if let Some(note) = queue.notes.pop_front() {
                return Job::Note(note);
            }
            let write_due = queue.groups.front().map(|front| {
                let full = queue.groups.len() > 1 || front.raw.len() >= self.config.group_bytes;
                let asked = front.entry.frame_first <= queue.write_to || queue.closing.is_some();
                if full || asked {
                    now
                } else {
                    front.began.unwrap_or(now) + self.config.group
                }
            });
            if write_due.is_some_and(|due| due <= now) {
                if let Some(group) = queue.groups.pop_front() {
                    return Job::Write(group);
                }
            } else if write_due.is_none() && queue.closing.is_some() {
                return Job::Stop;
            }
            queue = match [write_due, sync_due].into_iter().flatten().min() {
                Some(due) => {
                    let waited = self
                        .shared
                        .changed
                        .wait_timeout(queue, due.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn write(&mut self, group: Group) -> Result<()> {
        let mut frame = std::mem::take(&mut self.frame);
        self.encoder
            .encode(&group.raw, &mut frame)
            .map_err(LogError::format(&self.layout.root))?;
        let too_large = |_| LogError::TooLarge(group.raw.len());
        let entry = ChunkEntry {
            compressed: u32::try_from(frame.len()).map_err(too_large)?,
            raw: u32::try_from(group.raw.len()).map_err(too_large)?,
            hash: hash_of(&group.raw),
            ..group.entry
        };
        failpoint!("raw.append.encoded");
        self.until_done(|writer| writer.place(&group, &frame, entry))?;
        failpoint!("raw.append.before_publish");
        self.wrote(group, &frame, entry);
        failpoint!("raw.append.published");
        self.frame = frame;
        Ok(())
    }

    /// One try: who asked for the line hears of a failure and decides.
    fn note(&mut self, note: Note) {
        let done = self.manifest.append(&note.entry, wall_ns());
        // Who asked may have given up waiting.
        let _ = note.done.try_send(done);
    }

    /// One try to get a chunk into the file it belongs to; may be repeated after an error.
    fn place(&mut self, group: &Group, frame: &[u8], entry: ChunkEntry) -> Result<()> {
        // A loop, because a sync that fails while sealing puts a new segment in the place of the old one.
        while group.opens_segment
            && self
                .live
                .as_ref()
                .is_some_and(|live| live.first_frame() != entry.frame_first)
        {
            failpoint!("raw.rotate.before_seal");
            self.seal(false)?;
            failpoint!("raw.rotate.sealed");
        }
        self.live(entry)?.append(frame, entry)
    }

    /// The live segment, created for `entry` when there is none.
    fn live(&mut self, entry: ChunkEntry) -> Result<&mut LiveSegment> {
        let live = match self.live.take() {
            Some(live) => live,
            None => {
                let header = SegmentHeader {
                    first_frame: entry.frame_first,
                    created_ns: wall_ns(),
                    previous: self.previous.clone(),
                    ..self.config.header.clone()
                };
                let live = LiveSegment::create(&self.layout, &header, entry.recv_first)?;
                self.shared.counters.segments.fetch_add(1, Relaxed);
                self.shared.set_segment(Some(live.name().to_owned()));
                live
            }
        };
        Ok(self.live.insert(live))
    }

    /// Publishes a written chunk.
    fn wrote(&mut self, mut group: Group, frame: &[u8], entry: ChunkEntry) {
        let shared = Arc::clone(&self.shared);
        let raw_bytes = group.raw.len() as u64;
        self.wrote_anything = true;
        self.unsynced_since.get_or_insert_with(Instant::now);
        self.announces.append(&mut group.announces);
        shared
            .segment_bytes
            .store(self.live.as_ref().map_or(0, LiveSegment::bytes), Relaxed);
        if group.opens_segment {
            shared.rotations.fetch_add(1, Release);
        }
        shared.written.store(entry.frame_last, Release);
        let now = mono_ns();
        for (mono, records) in &group.bursts {
            shared
                .write_latency
                .record(u64::try_from(now - mono).unwrap_or(0), u64::from(*records));
        }
        let counters = &shared.counters;
        counters.raw_bytes.fetch_add(raw_bytes, Relaxed);
        counters.compressed_bytes.fetch_add(frame.len() as u64, Relaxed);
        counters.chunks.fetch_add(1, Relaxed);
        counters.records.fetch_add(u64::from(entry.records), Relaxed);
        let unsynced = counters.unsynced_bytes.fetch_add(frame.len() as u64, Relaxed);
        if self.config.fsync.is_some() && unsynced <= KEPT_BYTES_MAX {
            self.unsynced.push(Kept {
                frame: frame.to_vec(),
                entry,
            });
        }
        let left = shared.pending_bytes.fetch_sub(raw_bytes, Relaxed) - raw_bytes;
        if left < self.config.pending_bytes_max / 2 {
            shared.full.store(false, Release);
        }
        self.recycle(group);
        shared.bell.ring();
    }

    fn recycle(&self, mut group: Group) {
        let mut queue = self.shared.queue();
        if queue.spare.len() < SPARE_BUFFERS && group.raw.capacity() <= 4 * self.config.group_bytes {
            group.raw.clear();
            queue.spare.push(group.raw);
        }
    }

    fn sync(&mut self) -> Result<()> {
        // A deleted file syncs without an error.
        self.until_done(Self::heal)?;
        let Some(live) = &self.live else {
            self.unsynced_since = None;
            return Ok(());
        };
        let before = mono_ns();
        match live.sync() {
            Ok(()) => {
                failpoint!("raw.fsync.after");
                self.shared
                    .fsync_latency
                    .record(u64::try_from(mono_ns() - before).unwrap_or(0), 1);
                self.until_done(Self::synced)
            }
            Err(error) => self.sync_failed(&error),
        }
    }

    /// Everything written is on the disk.
    fn synced(&mut self) -> Result<()> {
        self.bury();
        while let Some(sealed) = self.retired.first() {
            let line = Entry::Sealed(sealed.clone());
            self.manifest.append(&line, wall_ns())?;
            self.retired.remove(0);
        }
        while let Some((frame_from, frame_to)) = self.announces.last().copied() {
            self.manifest
                .append(&Entry::Announced { frame_from, frame_to }, wall_ns())?;
            self.announces.pop();
        }
        self.unsynced.clear();
        self.unsynced_since = None;
        self.sync_backoff = None;
        self.shared.counters.fsyncs.fetch_add(1, Relaxed);
        self.shared.counters.unsynced_bytes.store(0, Relaxed);
        self.shared.synced.store(self.shared.written.load(Relaxed), Release);
        failpoint!("raw.fsync.published");
        self.shared.bell.ring();
        Ok(())
    }

    /// One try to seal the live segment; may be repeated after an error.
    fn seal(&mut self, clean: bool) -> Result<()> {
        let Some(live) = &mut self.live else { return Ok(()) };
        let sealed = live.finish(clean, false)?;
        let before = mono_ns();
        if let Err(error) = live.sync() {
            return self.sync_failed(&error);
        }
        self.shared
            .fsync_latency
            .record(u64::try_from(mono_ns() - before).unwrap_or(0), 1);
        failpoint!("raw.seal.synced");
        live.rename(&self.layout)?;
        self.synced()?;
        self.previous = Some(sealed.hash.clone());
        failpoint!("raw.seal.before_line");
        self.manifest.append(&Entry::Sealed(sealed), wall_ns())?;
        failpoint!("raw.seal.after_line");
        self.live = None;
        self.shared.set_segment(None);
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        while self.live.is_some() {
            // A second round only when a sync failed and the rest went to a new segment.
            self.until_done(|writer| writer.seal(true))?;
        }
        if self.sync_backoff.is_some() {
            let fault = self.shared.fault().unwrap_or_default();
            return Err(LogError::Unwritten { bytes: 0, fault });
        }
        if !self.wrote_anything && self.clean_start {
            let frame_next = self.shared.written.load(Relaxed) + 1;
            return self.until_done(|writer| writer.manifest.append(&Entry::Stopped { frame_next }, wall_ns()));
        }
        Ok(())
    }
}

/// Runs a writer to its end. A panic is a bug, and must be seen as a fault rather than as silence.
pub fn run_guarded(writer: Writer, shared: &Shared) {
    if std::panic::catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
        shared.fail(LogError::Misuse("the writer thread has panicked"));
        shared.end();
        shared.bell.ring();
    }
}
