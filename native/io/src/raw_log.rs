//! The raw log as its owner sees it: frames are stamped, numbered and collected per burst, decoded in place, handed to the
//! writer thread, and cut into segments that each begin with a checkpoint.

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tickd_core::batch::Batch;
use tickd_core::decode::Decoder;
use tickd_core::record::{numbers_taken, records, write_record, Record, RecordType, PAYLOAD_BYTES_MAX};
use tickd_core::reuse;
use tickd_core::segment::{ChunkEntry, SegmentHeader, FORMAT_VERSION};

use crate::error::{LogError, Result};
use crate::event_fd::EventFd;
use crate::live::Layout;
use crate::lock::lock;
use crate::queue::{Group, Shared, WriterConfig};
use crate::reader::Reader;
use crate::recover::{list_segments, recover, Gap, Report};
use crate::sys::{mono_ns, wall_ns};
use crate::writer::{run_guarded, Writer};

/// What an operator may set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Node number.
    pub node: u16,
    /// A chunk is full at this many raw bytes.
    pub group_bytes: usize,
    /// A chunk is written at this age at the latest.
    pub group: Duration,
    /// A chunk is synced at this age at the latest; None = when its segment is sealed.
    pub fsync: Option<Duration>,
    /// A segment is sealed at this many compressed bytes …
    pub segment_bytes_max: u64,
    /// … or at this age by receive time, whichever is first.
    pub segment: Duration,
    /// Raw bytes not yet written at which the sockets are to pause.
    pub pending_bytes_max: u64,
    /// zstd level.
    pub zstd_level: i32,
    /// Kept in every segment header.
    pub meta: serde_json::Value,
}

/// A stretch of the burst that goes into one chunk as a whole.
#[derive(Debug, Default)]
struct Piece {
    start: usize,
    entry: ChunkEntry,
    mono_ns: i64,
    opens_segment: bool,
    announces: Vec<(u64, u64)>,
}

/// Where a record of the burst stands, so that decoding need not read its header again.
#[derive(Debug)]
struct Mark {
    frame_no: u64,
    recv_ns: i64,
    mono_ns: i64,
    connection: u32,
    kind: RecordType,
    payload_at: usize,
    payload_len: usize,
}

/// An open raw log; one owner.
#[derive(Debug)]
pub struct RawLog {
    shared: Arc<Shared>,
    layout: Layout,
    config: Config,
    report: Report,
    gaps: Vec<Gap>,
    /// Records since the last `end_burst`.
    burst: Vec<u8>,
    pieces: Vec<Piece>,
    marks: Vec<Mark>,
    frame_next: u64,
    connection_next: u32,
    /// The first segment has its checkpoint: frames may come.
    ready: bool,
    segment_recv_ns: i64,
    /// Segments begun by this tap; the writer's count follows.
    rotations: u64,
    last_stamp: (i64, i64),
    frames: u64,
    bursts: u64,
    thread: Option<JoinHandle<()>>,
    lock: Option<File>,
}

impl RawLog {
    /// Locks and recovers `directory` and starts the writer.
    ///
    /// Errors: `Locked` (another daemon), `Io`.
    pub fn open(directory: &Path, config: Config) -> Result<Self> {
        let layout = Layout::new(directory);
        fs::create_dir_all(directory).map_err(LogError::io("create", directory))?;
        let lock = lock(&layout)?;
        layout.create()?;
        let (recovered, manifest) = recover(&layout, wall_ns())?;
        let bell = EventFd::new().map_err(LogError::io("make an eventfd for", directory))?;
        let shared = Arc::new(Shared::new(recovered.report.frame_last, bell));
        let header = SegmentHeader {
            format: "tickd-raw".to_owned(),
            version: FORMAT_VERSION,
            node: config.node,
            first_frame: 0,
            created_ns: 0,
            host: first_line("/proc/sys/kernel/hostname"),
            boot_id: first_line("/proc/sys/kernel/random/boot_id"),
            tickd: env!("CARGO_PKG_VERSION").to_owned(),
            previous: recovered.previous,
            meta: config.meta.clone(),
        };
        let writer_config = WriterConfig {
            group_bytes: config.group_bytes,
            group: config.group,
            fsync: config.fsync,
            pending_bytes_max: config.pending_bytes_max,
            zstd_level: config.zstd_level,
            header,
        };
        let clean = recovered.report.clean;
        let own = lock.try_clone().map_err(LogError::io("keep the lock of", directory))?;
        let writer = Writer::new(writer_config, layout.clone(), Arc::clone(&shared), manifest, own, clean)?;
        let watched = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("raw-writer".to_owned())
            .spawn(move || run_guarded(writer, &watched));
        Ok(RawLog {
            shared,
            layout,
            config,
            report: recovered.report,
            gaps: recovered.gaps,
            burst: Vec::new(),
            pieces: Vec::new(),
            marks: Vec::new(),
            frame_next: recovered.frame_next,
            connection_next: recovered.connection_next,
            ready: false,
            segment_recv_ns: 0,
            rotations: 0,
            last_stamp: (0, 0),
            frames: 0,
            bursts: 0,
            thread: Some(thread.map_err(LogError::io("start the writer of", directory))?),
            lock: Some(lock),
        })
    }

    /// Brings `decoder` to the state of the log's end and begins the first segment with its checkpoint; returns the
    /// records replayed. Gap records follow in the first burst, so call `end_burst` next.
    pub fn restore_decoder(&mut self, decoder: &mut Decoder) -> Result<u64> {
        if self.ready {
            return Err(LogError::Misuse("the decoder was restored already"));
        }
        let replayed = self.replay(decoder)?;
        let (recv_ns, mono) = (wall_ns(), mono_ns());
        self.ready = true;
        self.checkpoint(decoder, recv_ns, mono)?;
        for gap in std::mem::take(&mut self.gaps) {
            self.announce(&gap, recv_ns, mono)?;
        }
        Ok(replayed)
    }

    /// Says in the log what is missing from it.
    fn announce(&mut self, gap: &Gap, recv_ns: i64, mono: i64) -> Result<()> {
        self.append(0, RecordType::Control, gap.record().as_bytes(), recv_ns, mono)?;
        // A leap of numbers is announced by the next start if not by this one; the others are lines of the manifest.
        if let Some(piece) = self.pieces.last_mut().filter(|_| gap.cause != "restart") {
            piece.announces.push((gap.frame_from, gap.frame_to));
        }
        Ok(())
    }

    /// Feeds `decoder` the newest checkpoint and everything behind it; events are discarded.
    fn replay(&mut self, decoder: &mut Decoder) -> Result<u64> {
        let mut replayed = 0;
        let newest_first = list_segments(&self.layout)?.into_iter().rev();
        for listed in newest_first {
            let mut reader = Reader::open(&self.layout.root, listed.first_frame, u64::MAX, false)?;
            let Some((name, mut raw)) = reader.next_chunk()? else {
                continue;
            };
            let Some(Ok(first)) = records(&raw).next().filter(|_| name == listed.name) else {
                continue;
            };
            if first.kind != RecordType::Checkpoint {
                continue;
            }
            if let Err(error) = decoder.restore(first.payload) {
                // Recording goes on with what the decoder knows; the report tells the operator.
                self.report.checkpoint_refused = Some(format!("{name}: {error}"));
                return Ok(0);
            }
            let mut skip = 1;
            loop {
                for record in records(&raw).skip(skip).flatten() {
                    decoder.push(&record);
                    replayed += 1;
                }
                decoder.finish();
                skip = 0;
                let Some((_, next)) = reader.next_chunk()? else {
                    return Ok(replayed);
                };
                raw = next;
            }
        }
        Ok(replayed)
    }

    /// Begins a segment: the next record is the decoder's state.
    fn checkpoint(&mut self, decoder: &Decoder, recv_ns: i64, mono: i64) -> Result<()> {
        self.segment_recv_ns = recv_ns;
        self.rotations += 1;
        self.pieces.push(Piece {
            start: self.burst.len(),
            opens_segment: true,
            ..Piece::default()
        });
        self.append(0, RecordType::Checkpoint, &decoder.state(), recv_ns, mono)?;
        Ok(())
    }

    /// A connection number that was never given out before.
    pub fn next_connection(&mut self) -> u32 {
        let number = self.connection_next;
        self.connection_next += 1;
        number
    }

    /// Stamps a text message and appends it to the burst.
    pub fn frame(&mut self, connection: u32, payload: &[u8]) -> Result<()> {
        let recv_ns = wall_ns();
        let mono = mono_ns();
        self.append(connection, RecordType::Text, payload, recv_ns, mono)
            .map(|_| ())
    }

    /// Appends any record with the caller's stamps; returns its number.
    ///
    /// Errors: `TooLarge`, `Misuse` before `restore_decoder` and after `close`.
    pub fn append(
        &mut self,
        connection: u32,
        kind: RecordType,
        payload: &[u8],
        recv_ns: i64,
        mono_ns: i64,
    ) -> Result<u64> {
        if !self.ready {
            return Err(LogError::Misuse(
                "the raw log takes no records before restore_decoder and after close",
            ));
        }
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(LogError::TooLarge(payload.len()));
        }
        let start = self.burst.len();
        if self
            .pieces
            .last()
            .is_none_or(|piece| start - piece.start >= self.config.group_bytes)
        {
            self.pieces.push(Piece {
                start,
                ..Piece::default()
            });
        }
        let frame_no = self.frame_next;
        self.frame_next += numbers_taken(payload.len());
        if let Some(Piece {
            entry,
            mono_ns: first_mono,
            ..
        }) = self.pieces.last_mut()
        {
            if entry.records == 0 {
                (entry.frame_first, entry.recv_first, *first_mono) = (frame_no, recv_ns, mono_ns);
            }
            entry.records += 1;
            entry.frame_last = self.frame_next - 1;
            entry.recv_last = recv_ns;
            entry.connection_max = entry.connection_max.max(connection);
        }
        self.last_stamp = (recv_ns, mono_ns);
        self.frames += 1;
        let record = Record {
            frame_no,
            recv_ns,
            mono_ns,
            connection,
            kind,
            payload,
        };
        write_record(&mut self.burst, &record);
        let payload_len = payload.len();
        let payload_at = self.burst.len() - payload_len - 1;
        self.marks.push(Mark {
            frame_no,
            recv_ns,
            mono_ns,
            connection,
            kind,
            payload_at,
            payload_len,
        });
        Ok(frame_no)
    }

    /// Decodes the records since the last call, hands their bytes to the writer, and begins a new segment when one is due.
    /// None when there were none.
    pub fn end_burst(&mut self, decoder: &mut Decoder) -> Result<Option<Batch>> {
        if self.shared.losing.load(Acquire) && self.ready {
            for lost in self.shared.take_lost() {
                self.announce(&lost, wall_ns(), mono_ns())?;
            }
        }
        if self.burst.is_empty() {
            return Ok(None);
        }
        for mark in self.marks.drain(..) {
            let payload = self.burst.get(mark.payload_at..mark.payload_at + mark.payload_len);
            let Mark {
                frame_no,
                recv_ns,
                mono_ns,
                connection,
                kind,
                ..
            } = mark;
            let payload = payload.unwrap_or_default();
            decoder.push(&Record {
                frame_no,
                recv_ns,
                mono_ns,
                connection,
                kind,
                payload,
            });
        }
        let batch = decoder.finish();
        self.bursts += 1;
        failpoint!("raw.burst.before_hand_over");
        self.hand_over();
        failpoint!("raw.burst.handed_over");
        if self.rotation_due() {
            let (recv_ns, mono) = self.last_stamp;
            self.checkpoint(decoder, recv_ns, mono)?;
            failpoint!("raw.rotate.checkpoint");
            self.hand_over();
        }
        Ok(Some(batch))
    }

    fn rotation_due(&self) -> bool {
        // While a rotation is under way the size still belongs to the old segment.
        if self.shared.rotations.load(Acquire) != self.rotations {
            return false;
        }
        let age_ns = self.last_stamp.0.saturating_sub(self.segment_recv_ns);
        self.shared.rotate_wanted.swap(false, Acquire)
            || self.shared.segment_bytes.load(Relaxed) >= self.config.segment_bytes_max
            || u128::try_from(age_ns).is_ok_and(|age| age >= self.config.segment.as_nanos())
    }

    /// Moves the burst into the writer's queue.
    fn hand_over(&mut self) {
        let bytes = self.burst.len();
        let pending = self.shared.pending_bytes.fetch_add(bytes as u64, Relaxed) + bytes as u64;
        if pending >= self.config.pending_bytes_max {
            self.shared.full.store(true, Release);
        }
        let mut queue = self.shared.queue();
        let mut wake = queue.groups.is_empty();
        let mut end = bytes;
        let starts: Vec<usize> = self
            .pieces
            .iter()
            .skip(1)
            .map(|piece| piece.start)
            .chain([bytes])
            .collect();
        for (piece, stop) in self.pieces.drain(..).zip(starts) {
            end = stop;
            let raw = self.burst.get(piece.start..stop).unwrap_or_default();
            let room = |group: &Group| group.raw.len() + raw.len() <= self.config.group_bytes;
            if piece.opens_segment || !queue.groups.back().is_some_and(room) {
                // The group before is complete now.
                wake = true;
                let buffer = queue.spare.pop().unwrap_or_default();
                queue.groups.push_back(Group {
                    raw: buffer,
                    began: Some(Instant::now()),
                    ..Group::default()
                });
            }
            if let Some(group) = queue.groups.back_mut() {
                group.add(raw, piece.entry, piece.mono_ns);
                group.opens_segment |= piece.opens_segment;
                group.announces.extend(piece.announces);
            }
        }
        debug_assert_eq!(end, bytes);
        drop(queue);
        if wake {
            self.shared.notify();
        }
        reuse::empty(&mut self.burst);
        reuse::empty(&mut self.marks);
    }

    /// Asks the writer to write what was handed over, without waiting for it.
    pub fn write_now(&self, sync: bool) {
        let last = self.frame_next - 1;
        let mut queue = self.shared.queue();
        queue.write_to = last;
        if sync {
            queue.sync_to = queue
                .groups
                .back()
                .map_or(self.shared.written.load(Relaxed), |group| group.entry.frame_last);
        }
        drop(queue);
        self.shared.notify();
    }

    /// Writes everything, seals, ends the thread.
    ///
    /// Errors: `Unwritten` when the disk did not take it in time, or what else ended the writer.
    pub fn close(&mut self, timeout: Duration) -> Result<()> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        self.hand_over();
        self.ready = false;
        self.shared.queue().closing = Some(Instant::now() + timeout);
        self.shared.notify();
        let joined = thread.join();
        self.lock = None;
        if joined.is_err() {
            return Err(LogError::Misuse("the writer thread has panicked"));
        }
        self.shared.queue().failure.take().map_or(Ok(()), Err)
    }

    /// What recovery found.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What the writer publishes.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The number that the next record gets.
    pub fn next_frame_no(&self) -> u64 {
        self.frame_next
    }

    /// Receive stamp and monotonic time of the last record that was appended, ns.
    pub const fn last_stamp(&self) -> (i64, i64) {
        self.last_stamp
    }

    /// Bytes since the last `end_burst`.
    pub fn burst_bytes(&self) -> usize {
        self.burst.len()
    }

    /// Records and bursts since the start.
    pub fn totals(&self) -> (u64, u64) {
        (self.frames, self.bursts)
    }
}

impl Drop for RawLog {
    fn drop(&mut self) {
        // Somebody forgot `close`: what was handed over is still written, but not for longer than a moment.
        let _ = self.close(Duration::from_secs(1));
    }
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
