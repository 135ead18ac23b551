//! What a venue must provide to be decoded; `venues` lists those that do.

use crate::book::sync::Rule;
use crate::decode::continuity::Numbering;
use crate::decode::report::NoticeKind;
use crate::decode::stage::Stage;
use crate::error::{Error, Reason, Result};
use crate::topic::Channel;

/// The request line of a REST record, `GET /api/v3/depth?symbol=BTCUSDT&limit=1000 200`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// `GET` …
    pub method: &'a str,
    /// Path without the query.
    pub path: &'a str,
    /// Query without the question mark; empty without one.
    pub query: &'a str,
    /// HTTP status.
    pub status: u16,
}

impl<'a> Request<'a> {
    /// Reads a request line. Errors: `Malformed`.
    pub fn parse(line: &'a str) -> Result<Self> {
        let refuse = Error::new(Reason::Malformed, 0);
        let mut words = line.split(' ');
        let (Some(method), Some(target), Some(status), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(refuse);
        };
        let status = status.trim_end_matches('\r').parse().map_err(|_| refuse)?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ok(Request {
            method,
            path,
            query,
            status,
        })
    }

    /// The value of a query parameter as it stands.
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        self.query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }
}

/// The bytes of one venue to events, notices and counters in the stage.
///
/// A decoder is a pure function of the frame and the instruments: it remembers nothing. An `Err` refuses the whole frame:
/// what it staged is dropped, the error is counted and reported with the frame's number; the bytes are in the raw log.
pub trait VenueDecoder: Sync {
    /// tickd's name of the venue.
    fn venue(&self) -> &'static str;

    /// How its depth channel proves that nothing is missing. Never asked of a venue that has none: any will do.
    fn rule(&self) -> Rule;

    /// How the ids of `channel` are numbered.
    fn numbering(&self, channel: Channel) -> Numbering {
        match channel {
            Channel::Trade | Channel::AggTrade => Numbering::Gapless,
            Channel::Depth => Numbering::Linked,
            _ => Numbering::Rising,
        }
    }

    /// Whether its merged trades (`aggtrade`) are numbered by the ids of the single trades in them.
    fn merged_by_trade_id(&self) -> bool {
        false
    }

    /// A text message. `payload` is valid UTF-8.
    fn text(&self, payload: &[u8], stage: &mut Stage) -> Result<()>;

    /// A binary message.
    fn binary(&self, _payload: &[u8], _stage: &mut Stage) -> Result<()> {
        Err(Error::new(Reason::UnknownMessage, 0))
    }

    /// A REST reply with status 200; positions in errors count from the start of `body`.
    fn rest(&self, request: &Request<'_>, body: &[u8], stage: &mut Stage) -> Result<()>;
}

/// Reports the venue's refusal of a request in its own words.
pub fn refused(stage: &mut Stage, words: &[u8]) {
    stage.count("venue_refusals");
    stage.notice(NoticeKind::Refused, &String::from_utf8_lossy(words));
}
