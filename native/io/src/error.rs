//! What can go wrong with the raw log's files, with the path it happened to.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use tickd_core::error::Error;

/// Result of a file operation of the raw log.
pub type Result<T> = std::result::Result<T, LogError>;

/// A failure with its place.
#[derive(Debug)]
pub enum LogError {
    /// The system refused.
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The content of a file is not what the format says.
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong and where.
        error: Error,
    },
    /// Another process owns the directory.
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Its owner, as the file says.
        pid: String,
    },
    /// A call at the wrong time.
    Misuse(&'static str),
    /// The record is longer than a record may be.
    TooLarge(usize),
    /// A line from outside that has no place in the manifest.
    Refused(String),
    /// The writer did not answer in time: whether it did what was asked shows in the file.
    Unanswered(&'static str),
    /// The log was closed while this many bytes could not be written.
    Unwritten {
        /// Raw bytes given up.
        bytes: u64,
        /// The fault that kept them from the disk.
        fault: String,
    },
}

impl LogError {
    /// An `Io` maker for `map_err`.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
        let path = path.to_path_buf();
        move |source| LogError::Io { doing, path, source }
    }

    /// A `Format` maker for `map_err`.
    pub fn format(path: &Path) -> impl FnOnce(Error) -> LogError {
        let path = path.to_path_buf();
        move |error| LogError::Format { path, error }
    }

    /// The system's number of the refusal; none when it was no system call that failed.
    pub fn errno(&self) -> Option<i32> {
        match self {
            LogError::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Stable snake_case name.
    pub fn name(&self) -> &'static str {
        match self {
            LogError::Io { .. } => "io",
            LogError::Format { error, .. } => error.reason.name(),
            LogError::Locked { .. } => "locked",
            LogError::Misuse(_) => "misuse",
            LogError::TooLarge(_) => "too_large",
            LogError::Refused(_) => "refused",
            LogError::Unanswered(_) => "unanswered",
            LogError::Unwritten { .. } => "unwritten",
        }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Io { doing, path, source } => write!(f, "{doing} {}: {source}", path.display()),
            LogError::Format { path, error } => write!(f, "{}: {error}", path.display()),
            LogError::Locked { path, pid } => write!(f, "{} is held by process {pid}", path.display()),
            LogError::Misuse(what) | LogError::Unanswered(what) => f.write_str(what),
            LogError::Refused(what) => f.write_str(what),
            LogError::TooLarge(len) => write!(f, "a record of {len} bytes is too long"),
            LogError::Unwritten { bytes, fault } => write!(f, "closed with {bytes} bytes unwritten: {fault}"),
        }
    }
}

impl std::error::Error for LogError {}
