//! tickd's native threads, files and signals: what the pure core must not know.

/// A place where a test may end the process; nothing without the feature `failpoints`.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        $crate::failpoint::pass($name);
    };
}

/// The place of a write: half of it may get to the file, or none with an error; nothing without the feature.
macro_rules! failpoint_write {
    ($name:literal, $file:expr, $bytes:expr) => {{
        #[cfg(feature = "failpoints")]
        let passed = $crate::failpoint::pass_write($name, $file, $bytes);
        #[cfg(not(feature = "failpoints"))]
        let passed: std::io::Result<()> = Ok(());
        passed
    }};
}

/// The place of a step that may be ordered to fail; nothing without the feature.
macro_rules! failpoint_step {
    ($name:literal) => {{
        #[cfg(feature = "failpoints")]
        let passed = $crate::failpoint::pass_step($name);
        #[cfg(not(feature = "failpoints"))]
        let passed: std::io::Result<()> = Ok(());
        passed
    }};
}

pub mod error;
pub mod event_fd;
#[cfg(feature = "failpoints")]
pub mod failpoint;
pub mod halt;
pub mod halt_probe;
pub mod halt_signal;
pub mod latch;
pub mod latch_file;
pub mod live;
pub mod lock;
pub mod manifest;
pub mod progress;
pub mod queue;
pub mod raw_log;
pub mod reader;
pub mod recover;
pub mod ring;
pub mod scrub;
pub mod shared;
pub mod sink_worker;
pub mod stopwatch;
pub mod sync_thread;
pub mod sys;
pub mod walk;
pub mod writer;
