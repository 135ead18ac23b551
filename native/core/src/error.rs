//! The one error type of the core: what is wrong, and where in the input.

use std::fmt;

/// Result of a core function.
pub type Result<T> = std::result::Result<T, Error>;

/// Why some input was refused. Every reason is countable (`Reason::name`) and carries the byte position in the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What is wrong.
    pub reason: Reason,
    /// Byte offset in the payload at which it was noticed.
    pub position: usize,
}

/// The countable kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The input ends before the message does.
    Truncated,
    /// Not the syntax of the venue (JSON, UTF-8, record header …).
    Malformed,
    /// A field that the message needs is absent.
    MissingField,
    /// A message kind that the decoder does not know.
    UnknownMessage,
    /// The symbol has no instrument definition yet.
    UnknownInstrument,
    /// The number has more decimals than the instrument's scale holds.
    ScaleExceeded,
    /// The number does not fit an i64 mantissa at the scale.
    Overflow,
    /// Not a number at all (NaN, Infinity, empty, two dots …).
    NotANumber,
    /// A size limit of tickd was exceeded.
    TooLarge,
    /// A checksum does not match the bytes.
    Checksum,
    /// Two different definitions hash to the same id.
    Collision,
    /// The format or version is not one this build reads.
    Unsupported,
}

impl Reason {
    /// Stable snake_case name: metric label, log field, SQL value.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Truncated => "truncated",
            Reason::Malformed => "malformed",
            Reason::MissingField => "missing_field",
            Reason::UnknownMessage => "unknown_message",
            Reason::UnknownInstrument => "unknown_instrument",
            Reason::ScaleExceeded => "scale_exceeded",
            Reason::Overflow => "overflow",
            Reason::NotANumber => "not_a_number",
            Reason::TooLarge => "too_large",
            Reason::Checksum => "checksum",
            Reason::Collision => "collision",
            Reason::Unsupported => "unsupported",
        }
    }
}

impl Error {
    /// A refusal for `reason`, noticed at byte `position`.
    pub const fn new(reason: Reason, position: usize) -> Self {
        Error { reason, position }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.reason.name(), self.position)
    }
}

impl std::error::Error for Error {}
