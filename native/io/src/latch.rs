//! What follows a trip, on a native thread that no Python can hold up: the latch file, the event loop's bell, and
//! `tickd panic` when nobody began to cancel.
//!
//! Memory was first, in `halt.rs`. It knows no orders and talks to no venue.

use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::event_fd::EventFd;
use crate::halt::{Halt, Key, Source, Trip, GLOBAL, REDUCING};
use crate::halt_signal::block;
use crate::latch_file::{record, Context, LatchWriter};
use crate::sys::{mono_ns, wall_ns};

const NS_PER_MS: i64 = 1_000_000;
/// Between two looks at a child that runs.
const CHILD_MS: i32 = 100;
/// Trips that Python did not take yet; of a storm the first ones are kept.
const SEEN_MAX: usize = 256;

/// What the thread does, and when.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where `latch.json` lives.
    pub directory: PathBuf,
    /// What is run when cancelling has not begun; empty: nothing.
    pub panic: Vec<String>,
    /// How long after a trip.
    pub panic_after_ms: u32,
    /// How long the disk may hold cancelling up.
    pub disk_wait_ms: u32,
}

/// How it stands with the last trip.
#[derive(Debug, Clone, Default)]
pub struct Panic {
    /// Times it was run.
    pub runs: u64,
    /// Its process; 0: never run.
    pub pid: u32,
    /// How the last one ended.
    pub exit_code: Option<i32>,
    /// Why it could not be run.
    pub fault: Option<String>,
}

/// The latch of one word. Its threads live as long as it does.
pub struct Latch {
    halt: Arc<Halt>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    writer: LatchWriter,
    context: Mutex<Context>,
    /// Rung for the event loop, behind the disk.
    bell: EventFd,
    seen: Mutex<Vec<Trip>>,
    panic: Mutex<Panic>,
    ended: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Latch {
    /// Follows the word from now on; `first` is what the file says until something happens; empty: what it said
    /// before.
    /// Errors: no threads or descriptors left.
    pub fn start(halt: &Arc<Halt>, settings: Settings, context: Context, first: Vec<u8>) -> io::Result<Self> {
        let writer = LatchWriter::start(settings.directory.clone())?;
        if !first.is_empty() {
            drop(writer.halt(first));
        }
        let shared = Arc::new(Shared {
            writer,
            context: Mutex::new(context),
            bell: EventFd::new()?,
            seen: Mutex::default(),
            panic: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let mut follower = Follower {
            halt: Arc::clone(halt),
            shared: Arc::clone(&shared),
            settings,
            epoch: Halt::epoch_of(halt.load()),
            due: None,
            child: None,
        };
        let thread = std::thread::Builder::new().name("tickd-halt".to_owned());
        let thread = thread.spawn(move || {
            block();
            follower.run();
        })?;
        Ok(Latch {
            halt: Arc::clone(halt),
            shared,
            thread: Some(thread),
        })
    }

    /// The descriptor that becomes readable with every trip.
    pub fn bell(&self) -> &EventFd {
        &self.shared.bell
    }

    /// Trips since the last call; silences the bell.
    pub fn take_seen(&self) -> Vec<Trip> {
        self.shared.bell.clear();
        std::mem::take(&mut *locked(&self.shared.seen))
    }

    /// Says more about the trip of `epoch` than its record did; false when another one came.
    pub fn keep(&self, epoch: u64, record: Vec<u8>) -> bool {
        let current = Halt::epoch_of(self.halt.load()) == epoch;
        if current {
            drop(self.shared.writer.halt(record));
        }
        current
    }

    /// The scopes that later records say are halted.
    pub fn set_halts(&self, halts: serde_json::Value) {
        locked(&self.shared.context).halts = halts;
    }

    /// Puts a record in the file that does not halt, while the word is what the caller saw; false when it is not.
    pub fn note(&self, seen: u64, record: Vec<u8>) -> bool {
        let current = self.halt.load() == seen;
        if current {
            drop(self.shared.writer.note(record));
        }
        current
    }

    /// Makes a record that arms durable, for `open` to follow; blocks for `timeout` at most. On any doubt the file halts.
    pub fn prepare(&self, _key: &Key, seen: u64, record: Vec<u8>, timeout: Duration) -> bool {
        let durable = self.halt.load() == seen && self.shared.writer.arm(record, timeout);
        if !durable {
            self.shared.writer.halt_again();
        }
        durable
    }

    /// Opens the word if it still is what the caller saw; else the file halts.
    pub fn open(&self, key: &Key, seen: u64) -> bool {
        let opened = self.halt.open(key, seen);
        if !opened {
            self.shared.writer.halt_again();
        }
        opened
    }

    /// Why the file could not be written.
    pub fn fault(&self) -> Option<String> {
        self.shared.writer.fault()
    }

    /// Records made durable.
    pub fn written(&self) -> u64 {
        self.shared.writer.written()
    }

    /// How it stands with the last resort.
    pub fn panic(&self) -> Panic {
        locked(&self.shared.panic).clone()
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        self.shared.ended.store(true, Release);
        self.halt.bell().ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Follower {
    halt: Arc<Halt>,
    shared: Arc<Shared>,
    settings: Settings,
    /// Of the last trip that was seen.
    epoch: u64,
    /// The last trip, and when somebody must have begun to cancel.
    due: Option<(u64, i64)>,
    child: Option<Child>,
}

impl Follower {
    fn run(&mut self) {
        loop {
            self.halt.bell().wait(None, self.wait_ms());
            self.halt.bell().clear();
            let mut trips = self.halt.take_trips();
            trips.extend(self.unsaid(&trips));
            if let Some(last) = trips.last() {
                self.follow(last.clone(), trips);
            }
            self.look_after_child();
            self.panic_if_due();
            if self.shared.ended.load(Acquire) {
                return;
            }
        }
    }

    /// A trip of which only the word knows: its signal came while that of the one before was being read, or too many did.
    fn unsaid(&self, trips: &[Trip]) -> Option<Trip> {
        let word = self.halt.load();
        let epoch = Halt::epoch_of(word);
        let known = trips.last().map_or(self.epoch, |trip| trip.epoch).max(self.epoch);
        (epoch > known && word & (GLOBAL | REDUCING) == GLOBAL).then(|| Trip {
            epoch,
            reason: "tripped again".to_owned(),
            source: Source::Call("unknown".to_owned()),
            wall_ns: wall_ns(),
            mono_ns: mono_ns(),
        })
    }

    fn follow(&mut self, last: Trip, trips: Vec<Trip>) {
        self.epoch = self.epoch.max(last.epoch);
        let record = record(&last, &locked(&self.shared.context));
        let written = self.shared.writer.halt(record);
        // Disk before cancelling, but no disk may hold cancelling up for long.
        let _ = written.recv_timeout(Duration::from_millis(u64::from(self.settings.disk_wait_ms)));
        let mut seen = locked(&self.shared.seen);
        let room = SEEN_MAX.saturating_sub(seen.len());
        seen.extend(trips.into_iter().take(room));
        drop(seen);
        self.shared.bell.ring();
        let wait_ns = i64::from(self.settings.panic_after_ms) * NS_PER_MS;
        self.due = Some((last.epoch, last.mono_ns.saturating_add(wait_ns)));
    }

    fn wait_ms(&self) -> i32 {
        if self.child.is_some() {
            return CHILD_MS;
        }
        let Some((_, due_ns)) = self.due else { return -1 };
        // Up to the next millisecond, so that it is over when the wait is.
        i32::try_from((due_ns - mono_ns()).max(0) / NS_PER_MS + 1).unwrap_or(i32::MAX)
    }

    fn panic_if_due(&mut self) {
        let Some((epoch, due_ns)) = self.due else { return };
        if self.halt.is_cancelling(epoch) || self.settings.panic.is_empty() {
            self.due = None;
        } else if self.child.is_none() && mono_ns() >= due_ns {
            self.due = None;
            self.spawn();
        }
    }

    fn spawn(&mut self) {
        let Some((program, arguments)) = self.settings.panic.split_first() else {
            return;
        };
        let mut command = Command::new(program);
        // What it says belongs to the daemon's own log; a terminal's interrupt is not for it.
        command.args(arguments).stdin(Stdio::null());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut panic = locked(&self.shared.panic);
        match command.spawn() {
            Ok(child) => {
                panic.runs += 1;
                panic.pid = child.id();
                panic.exit_code = None;
                panic.fault = None;
                self.child = Some(child);
            }
            Err(error) => panic.fault = Some(format!("{program}: {error}")),
        }
    }

    fn look_after_child(&mut self) {
        let Some(child) = &mut self.child else { return };
        if let Ok(Some(status)) = child.try_wait() {
            // None where a signal ended it: 128, as nobody's own code.
            locked(&self.shared.panic).exit_code = Some(status.code().unwrap_or(128));
            self.child = None;
        }
    }
}
