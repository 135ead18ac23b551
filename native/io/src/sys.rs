//! The few system calls that the standard library lacks; clocks and file locks.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::Path;

#[cfg(unix)]
pub use unix::{is_same_file, is_sickness, lock_exclusive, mono_ns, read_exact_at, thread_cpu_ns, wall_ns};

#[cfg(feature = "failpoints")]
pub use unix::kill_self;

#[cfg(not(unix))]
pub use other::{is_same_file, is_sickness, lock_exclusive, mono_ns, read_exact_at, thread_cpu_ns, wall_ns};

#[cfg(unix)]
mod unix {
    use super::{io, File, Path};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{FileExt, MetadataExt};

    /// Whether `path` leads to `file`. What cannot be asked is taken for true: only a proven loss is acted upon.
    pub fn is_same_file(file: &File, path: &Path) -> bool {
        let Ok(here) = file.metadata() else { return true };
        match std::fs::metadata(path) {
            Ok(there) => (here.dev(), here.ino()) == (there.dev(), there.ino()),
            Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        }
    }

    /// EIO: the device itself failed.
    pub fn is_sickness(error: &io::Error) -> bool {
        error.raw_os_error() == Some(libc::EIO)
    }

    /// Fills `bytes` from position `at`.
    pub fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
        file.read_exact_at(bytes, at)
    }

    fn clock_ns(clock: libc::clockid_t) -> i64 {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is a valid timespec that the call fills; it cannot fail for the clocks named in this file.
        unsafe { libc::clock_gettime(clock, &mut now) };
        #[allow(clippy::unnecessary_cast)] // both fields are narrower on 32-bit systems
        let ns = now.tv_sec as i64 * 1_000_000_000 + now.tv_nsec as i64;
        ns
    }

    /// Wall clock, ns since the Unix epoch.
    pub fn wall_ns() -> i64 {
        clock_ns(libc::CLOCK_REALTIME)
    }

    /// Monotonic clock, ns (Python's `time.monotonic_ns`).
    pub fn mono_ns() -> i64 {
        clock_ns(libc::CLOCK_MONOTONIC)
    }

    /// CPU time of the calling thread, ns.
    pub fn thread_cpu_ns() -> i64 {
        clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
    }

    /// Ends the process as `kill -9` does: nothing is flushed, nothing unwound.
    #[cfg(feature = "failpoints")]
    pub fn kill_self() -> ! {
        loop {
            // SAFETY: both calls take plain numbers and touch no memory of ours.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
    }

    /// Takes the lock of `file` without waiting; false when somebody else has it. It goes with the process.
    pub fn lock_exclusive(file: &File) -> io::Result<bool> {
        // SAFETY: the descriptor is open for the duration of the call; flock touches no memory of ours.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(true);
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            error => Err(error),
        }
    }
}

#[cfg(not(unix))]
mod other {
    use super::{io, File, Path};
    use std::sync::OnceLock;
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    fn unsupported() -> io::Error {
        io::Error::new(io::ErrorKind::Unsupported, "the raw log is written on Unix only")
    }

    /// Wall clock, ns since the Unix epoch.
    pub fn wall_ns() -> i64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as i64)
    }

    /// Monotonic clock, ns since the first call.
    pub fn mono_ns() -> i64 {
        static FIRST: OnceLock<Instant> = OnceLock::new();
        FIRST.get_or_init(Instant::now).elapsed().as_nanos() as i64
    }

    /// Not measured here.
    pub fn thread_cpu_ns() -> i64 {
        0
    }

    /// Whether there is a file at `path`.
    pub fn is_same_file(_file: &File, path: &Path) -> bool {
        path.exists()
    }

    /// Not told apart here.
    pub fn is_sickness(_error: &io::Error) -> bool {
        false
    }

    /// Always refuses.
    pub fn read_exact_at(_file: &File, _bytes: &mut [u8], _at: u64) -> io::Result<()> {
        Err(unsupported())
    }

    /// Always refuses: without a lock nobody may write.
    pub fn lock_exclusive(_file: &File) -> io::Result<bool> {
        Err(unsupported())
    }
}
