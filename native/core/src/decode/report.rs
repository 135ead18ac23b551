//! What the decoder tells besides events: notices for sessions, refusals for people, counters. Bounded, exact in number.

use std::collections::BTreeMap;

use crate::error::Error;

/// Most refusals kept for `take_refusals`; more are only counted.
pub const REFUSALS_MAX: usize = 1024;
/// Most notices kept for `take_notices`; more are only counted.
pub const NOTICES_MAX: usize = 65_536;
/// Longest text of a notice, bytes: it may be the venue's.
pub const NOTICE_TEXT_BYTES_MAX: usize = 512;

/// What a notice says; the names are those of `tickd.ports.Notice`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeKind {
    /// The venue accepted a subscription; text = request id.
    Subscribed,
    /// The venue refused something; text = its words.
    Refused,
    /// The venue will close: reconnect at once.
    Shutdown,
    /// A book needs a snapshot; text = symbol.
    SnapshotWanted,
    /// The venue answered a ping in a message.
    Pong,
}

impl NoticeKind {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            NoticeKind::Subscribed => "subscribed",
            NoticeKind::Refused => "refused",
            NoticeKind::Shutdown => "shutdown",
            NoticeKind::SnapshotWanted => "snapshot_wanted",
            NoticeKind::Pong => "pong",
        }
    }
}

/// A word to the session that owns a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The connection.
    pub connection: u32,
    /// The frame it follows from.
    pub frame_no: u64,
    /// What it says.
    pub kind: NoticeKind,
    /// See `NoticeKind`.
    pub text: String,
}

/// A frame that gave nothing because it was refused; its bytes are in the raw log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The frame.
    pub frame_no: u64,
    /// Its connection.
    pub connection: u32,
    /// Why and where.
    pub error: Error,
}

/// Notices, refusals and counters since they were last taken (counters: since the start).
#[derive(Debug, Default)]
pub struct Report {
    notices: Vec<Notice>,
    refusals: Vec<Refusal>,
    counters: BTreeMap<&'static str, u64>,
}

impl Report {
    pub(crate) fn notice(&mut self, connection: u32, frame_no: u64, kind: NoticeKind, text: &str) {
        if self.notices.len() >= NOTICES_MAX {
            self.count("notices_dropped", 1);
            return;
        }
        let mut end = text.len().min(NOTICE_TEXT_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = text.get(..end).unwrap_or_default().to_owned();
        self.notices.push(Notice {
            connection,
            frame_no,
            kind,
            text,
        });
    }

    pub(crate) fn refuse(&mut self, frame_no: u64, connection: u32, error: Error) {
        self.count("refused", 1);
        self.count(refused_name(&error), 1);
        if self.refusals.len() < REFUSALS_MAX {
            self.refusals.push(Refusal {
                frame_no,
                connection,
                error,
            });
        }
    }

    pub(crate) fn count(&mut self, name: &'static str, by: u64) {
        *self.counters.entry(name).or_insert(0) += by;
    }

    /// The notices since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// The refusals since the last call, at most `REFUSALS_MAX`.
    pub fn take_refusals(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.refusals)
    }

    /// The counters by name.
    pub const fn counters(&self) -> &BTreeMap<&'static str, u64> {
        &self.counters
    }
}

fn refused_name(error: &Error) -> &'static str {
    use crate::error::Reason;
    match error.reason {
        Reason::Truncated => "refused_truncated",
        Reason::Malformed => "refused_malformed",
        Reason::MissingField => "refused_missing_field",
        Reason::UnknownMessage => "refused_unknown_message",
        Reason::UnknownInstrument => "refused_unknown_instrument",
        Reason::ScaleExceeded => "refused_scale_exceeded",
        Reason::Overflow => "refused_overflow",
        Reason::NotANumber => "refused_not_a_number",
        Reason::TooLarge => "refused_too_large",
        Reason::Checksum => "refused_checksum",
        Reason::Collision => "refused_collision",
        Reason::Unsupported => "refused_unsupported",
    }
}
