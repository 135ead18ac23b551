//! The sink's worker thread: batches and cuts in, finished blocks out, so that encoding never runs on the event loop.
//!
//! Everything the worker holds (queued batches, open and finished blocks until their owner drops them) counts against one
//! limit; a push beyond it is refused and the caller decides what to do. The worker never decides when to cut. A dropped
//! block gives its memory back to the next one.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tickd_core::batch::Batch;
use tickd_core::block::{compress, row_binary, Assembler, Block, Compression, Cut, Format, Table};
use tickd_core::event::EVENT_BYTES;
use tickd_core::instrument::Instrument;

use crate::event_fd::EventFd;
use crate::sys::thread_cpu_ns;

/// How a worker is set up.
#[derive(Debug, Clone, Copy)]
pub struct SinkOptions {
    /// The node number in every row.
    pub node: u16,
    /// First sequence number of the first cut.
    pub seq_from: u64,
    /// Limit of everything held, bytes.
    pub bytes_max: usize,
    /// How bodies are laid out.
    pub format: Format,
    /// How bodies travel.
    pub compression: Compression,
}

/// Bodies on their way back to the worker, at most: one cut's worth of large ones.
const RETURNED_MAX: usize = 4;

/// A finished block; its bytes count against the worker's limit until it is dropped.
#[derive(Debug)]
pub struct ReadyBlock {
    /// The block; `body` is what travels, compressed or not.
    pub block: Block,
    /// What the body is, once it is plain.
    pub format: Format,
    /// Bytes of the uncompressed body.
    pub plain_bytes: usize,
    /// `Content-Encoding` of the body; none when it is plain.
    pub encoding: Option<&'static str>,
    charge: usize,
    held: Arc<AtomicUsize>,
    /// Where the body's memory goes back to.
    returned: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Drop for ReadyBlock {
    fn drop(&mut self) {
        self.held.fetch_sub(self.charge, Ordering::Relaxed);
        let mut returned = lock(&self.returned);
        if returned.len() < RETURNED_MAX {
            returned.push(std::mem::take(&mut self.block.body));
        }
    }
}

/// A cut whose blocks are finished.
#[derive(Debug)]
pub struct ReadyCut {
    /// First sequence number that the cut covers.
    pub seq_from: u64,
    /// Last sequence number that the cut covers.
    pub seq_to: u64,
    /// Highest frame in it.
    pub frame_last: u64,
    /// Why it was made, as the caller said.
    pub reason: String,
    /// Its blocks.
    pub blocks: Vec<ReadyBlock>,
}

/// What the worker did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SinkStats {
    /// Batches taken.
    pub batches: u64,
    /// Events taken.
    pub events: u64,
    /// Rows in finished blocks.
    pub rows: u64,
    /// Finished blocks.
    pub blocks: u64,
    /// Bytes of finished blocks, uncompressed.
    pub plain_bytes: u64,
    /// Bytes of finished blocks as they travel.
    pub body_bytes: u64,
    /// CPU time of the whole thread, ns.
    pub cpu_ns: u64,
    /// CPU time of all cuts, ns.
    pub cut_cpu_ns: u64,
    /// CPU time of the dearest cut, ns.
    pub cut_cpu_ns_max: u64,
    /// Events that no table holds.
    pub unstored: u64,
    /// Rows without an instrument definition.
    pub undefined: u64,
    /// Definitions that were refused (collision, scale).
    pub refused_definitions: u64,
}

enum Order {
    Push {
        batch: Arc<Batch>,
        start: usize,
        stop: usize,
    },
    Define(Instrument),
    WantFrom(Table, u64),
    Cut(String),
    Stop,
}

struct Shared {
    orders: Mutex<VecDeque<Order>>,
    wake: Condvar,
    ready: Mutex<VecDeque<ReadyCut>>,
    stats: Mutex<SinkStats>,
    bell: EventFd,
    /// Bytes held, under `bytes_max`.
    held: Arc<AtomicUsize>,
    rows_open: AtomicUsize,
    bytes_open: AtomicUsize,
    cuts_asked: AtomicU64,
    cuts_done: AtomicU64,
}

/// The handle of the thread.
pub struct SinkWorker {
    shared: Arc<Shared>,
    bytes_max: usize,
    thread: Mutex<Option<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SinkWorker {
    /// Starts the thread. Errors: no descriptor or no thread to be had.
    pub fn start(options: SinkOptions) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            orders: Mutex::new(VecDeque::new()),
            wake: Condvar::new(),
            ready: Mutex::new(VecDeque::new()),
            stats: Mutex::new(SinkStats::default()),
            bell: EventFd::new()?,
            held: Arc::new(AtomicUsize::new(0)),
            rows_open: AtomicUsize::new(0),
            bytes_open: AtomicUsize::new(0),
            cuts_asked: AtomicU64::new(0),
            cuts_done: AtomicU64::new(0),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("tickd-sink".to_owned())
            .spawn(move || Loop::new(options, theirs).run())?;
        Ok(SinkWorker {
            shared,
            bytes_max: options.bytes_max,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Queues the events [start, stop) of a batch; false when that would exceed the limit. An empty worker takes any batch.
    pub fn push(&self, batch: Arc<Batch>, start: usize, stop: usize) -> bool {
        let bytes = stop.saturating_sub(start) * EVENT_BYTES;
        let held = self.shared.held.load(Ordering::Relaxed);
        if held != 0 && held + bytes > self.bytes_max {
            return false;
        }
        self.shared.held.fetch_add(bytes, Ordering::Relaxed);
        self.order(Order::Push { batch, start, stop });
        true
    }

    /// Makes an instrument's scales known to all later rows.
    pub fn define(&self, instrument: Instrument) {
        self.order(Order::Define(instrument));
    }

    /// Leaves out rows of `table` below `seq`.
    pub fn want_from(&self, table: Table, seq: u64) {
        self.order(Order::WantFrom(table, seq));
    }

    /// Finishes all open blocks behind what was pushed so far; the cut appears in `take`, also when it is empty.
    pub fn cut(&self, reason: &str) {
        self.shared.cuts_asked.fetch_add(1, Ordering::Relaxed);
        self.order(Order::Cut(reason.to_owned()));
    }

    /// The finished cuts, oldest first; silences the bell.
    pub fn take(&self) -> Vec<ReadyCut> {
        self.shared.bell.clear();
        lock(&self.shared.ready).drain(..).collect()
    }

    /// Readable when a cut is finished.
    pub fn wake_fd(&self) -> i32 {
        self.shared.bell.raw()
    }

    /// Everything held, bytes: queued, open, finished and not yet dropped.
    pub fn held_bytes(&self) -> usize {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// Rows of the largest open block, as far as the worker has come.
    pub fn rows_open(&self) -> usize {
        self.shared.rows_open.load(Ordering::Relaxed)
    }

    /// Bytes of all open blocks, as far as the worker has come.
    pub fn bytes_open(&self) -> usize {
        self.shared.bytes_open.load(Ordering::Relaxed)
    }

    /// Cuts that were asked for and are not finished.
    pub fn cuts_pending(&self) -> u64 {
        self.shared
            .cuts_asked
            .load(Ordering::Relaxed)
            .saturating_sub(self.shared.cuts_done.load(Ordering::Relaxed))
    }

    /// What was done so far.
    pub fn stats(&self) -> SinkStats {
        *lock(&self.shared.stats)
    }

    /// Whether the thread runs; false before `stop` means that it died of a bug.
    pub fn alive(&self) -> bool {
        lock(&self.thread).as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Ends the thread after all earlier orders; open blocks are discarded (cut first to keep them).
    pub fn stop(&self) {
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            self.order(Order::Stop);
            // A panicked worker has nothing left to say; `alive` told the owner already.
            let _ = thread.join();
        }
    }

    fn order(&self, order: Order) {
        lock(&self.shared.orders).push_back(order);
        self.shared.wake.notify_one();
    }
}

impl Drop for SinkWorker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread's own state.
struct Loop {
    shared: Arc<Shared>,
    assembler: Assembler,
    format: Format,
    compression: Compression,
    stats: SinkStats,
    bytes_open: usize,
    returned: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Loop {
    fn new(options: SinkOptions, shared: Arc<Shared>) -> Self {
        Loop {
            shared,
            assembler: Assembler::new(options.node, options.seq_from),
            format: options.format,
            compression: options.compression,
            stats: SinkStats::default(),
            bytes_open: 0,
            returned: Arc::default(),
        }
    }

    fn run(mut self) {
        let mut orders = VecDeque::new();
        loop {
            {
                let mut queue = lock(&self.shared.orders);
                while queue.is_empty() {
                    queue = self.shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                std::mem::swap(&mut orders, &mut *queue);
            }
            for order in orders.drain(..) {
                match order {
                    Order::Push { batch, start, stop } => self.push(&batch, start, stop),
                    Order::Define(instrument) => {
                        self.stats.refused_definitions += u64::from(self.assembler.define(instrument).is_err());
                    }
                    Order::WantFrom(table, seq) => self.assembler.want_from(table, seq),
                    Order::Cut(reason) => self.cut(reason),
                    Order::Stop => return,
                }
            }
            self.publish();
        }
    }

    fn push(&mut self, batch: &Batch, start: usize, stop: usize) {
        let events = batch.events.get(start..stop).unwrap_or_default();
        self.assembler.push(events, batch.frame_last, batch.ts_mono);
        self.stats.batches += 1;
        self.stats.events += events.len() as u64;
        let bytes_open = self.assembler.open_bytes();
        self.shared
            .held
            .fetch_add(bytes_open - self.bytes_open, Ordering::Relaxed);
        self.shared
            .held
            .fetch_sub(std::mem::size_of_val(events), Ordering::Relaxed);
        self.bytes_open = bytes_open;
        self.shared.bytes_open.store(bytes_open, Ordering::Relaxed);
        self.shared
            .rows_open
            .store(self.assembler.rows_max(), Ordering::Relaxed);
    }

    fn cut(&mut self, reason: String) {
        failpoint!("block.build.before");
        let started_ns = thread_cpu_ns().unsigned_abs();
        let Cut {
            seq_from,
            seq_to,
            frame_last,
            blocks,
        } = self.assembler.cut();
        let blocks = blocks.into_iter().map(|block| self.finish(block)).collect();
        self.shared.held.fetch_sub(self.bytes_open, Ordering::Relaxed);
        self.bytes_open = 0;
        self.shared.bytes_open.store(0, Ordering::Relaxed);
        self.shared.rows_open.store(0, Ordering::Relaxed);
        let spent_ns = thread_cpu_ns().unsigned_abs().saturating_sub(started_ns);
        self.stats.cut_cpu_ns += spent_ns;
        self.stats.cut_cpu_ns_max = self.stats.cut_cpu_ns_max.max(spent_ns);
        self.publish();
        failpoint!("block.build.after");
        lock(&self.shared.ready).push_back(ReadyCut {
            seq_from,
            seq_to,
            frame_last,
            reason,
            blocks,
        });
        self.shared.cuts_done.fetch_add(1, Ordering::Relaxed);
        self.shared.bell.ring();
    }

    /// Makes the body what travels. The block's hash stays that of its Native bytes: one identity for the same rows.
    fn finish(&mut self, mut block: Block) -> ReadyBlock {
        let mut format = Format::Native;
        if self.format == Format::RowBinary {
            // Our own bytes: they cannot be malformed, and Native would be as good as an answer.
            if let Ok(rows) = row_binary(block.table, &block.body) {
                self.assembler.recycle(std::mem::replace(&mut block.body, rows));
                format = Format::RowBinary;
            }
        }
        let plain_bytes = block.body.len();
        let mut encoding = None;
        if let Some(packed) = compress(&block.body, self.compression) {
            self.assembler.recycle(std::mem::replace(&mut block.body, packed));
            encoding = self.compression.encoding();
        }
        self.stats.blocks += 1;
        self.stats.rows += u64::from(block.rows);
        self.stats.plain_bytes += plain_bytes as u64;
        self.stats.body_bytes += block.body.len() as u64;
        let charge = block.body.len();
        self.shared.held.fetch_add(charge, Ordering::Relaxed);
        ReadyBlock {
            block,
            format,
            plain_bytes,
            encoding,
            charge,
            held: Arc::clone(&self.shared.held),
            returned: Arc::clone(&self.returned),
        }
    }

    fn publish(&mut self) {
        self.stats.unstored = self.assembler.unstored;
        self.stats.undefined = self.assembler.undefined;
        self.stats.cpu_ns = thread_cpu_ns().unsigned_abs();
        *lock(&self.shared.stats) = self.stats;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tickd_core::event::{Event, Kind};

    fn batch(frame_no: u64, count: u64) -> Arc<Batch> {
        let events: Vec<Event> = (0..count)
            .map(|index| Event::new(Kind::Trade, frame_no << 16 | index, 1, 2, 7))
            .collect();
        Arc::new(Batch {
            seq: (frame_no << 16, frame_no << 16 | count),
            frame_last: frame_no,
            events,
            ..Batch::default()
        })
    }

    fn worker(bytes_max: usize) -> SinkWorker {
        SinkWorker::start(SinkOptions {
            node: 1,
            seq_from: 1 << 16,
            bytes_max,
            format: Format::Native,
            compression: Compression::None,
        })
        .unwrap()
    }

    fn wait_for_cuts(worker: &SinkWorker) -> Vec<ReadyCut> {
        while worker.cuts_pending() > 0 {
            std::thread::yield_now();
        }
        worker.take()
    }

    #[test]
    fn cuts_join_without_a_hole_and_bytes_come_back() {
        let worker = worker(1 << 20);
        for frame_no in 1..=10 {
            assert!(worker.push(batch(frame_no, 3), 0, 3));
        }
        worker.cut("rows");
        assert!(worker.push(batch(11, 1), 0, 1));
        worker.cut("age");
        let cuts = wait_for_cuts(&worker);
        assert_eq!(
            cuts.iter().map(|cut| (cut.seq_from, cut.seq_to)).collect::<Vec<_>>(),
            [(1 << 16, (11 << 16) - 1), (11 << 16, (12 << 16) - 1)]
        );
        assert_eq!(cuts[0].blocks[0].block.rows, 30);
        assert!(worker.held_bytes() > 0);
        drop(cuts);
        assert_eq!(worker.held_bytes(), 0);
    }

    #[test]
    fn a_full_worker_refuses_until_its_blocks_are_dropped() {
        let worker = worker(64 * 8);
        assert!(worker.push(batch(1, 100), 0, 100), "an empty worker takes any batch");
        worker.cut("rows");
        let cuts = wait_for_cuts(&worker);
        assert!(!worker.push(batch(2, 1), 0, 1));
        drop(cuts);
        assert!(worker.push(batch(2, 1), 0, 1));
    }
}
