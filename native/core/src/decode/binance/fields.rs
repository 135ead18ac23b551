//! The one-letter fields of a Binance message: where each stands, found by name in any order.

use crate::decimal;
use crate::decode::json::{Cursor, Shape, Value};
use crate::error::{Error, Reason, Result};
use crate::event::TS_UNDEF;

/// Place of `pu`, behind the letters.
pub(super) const PU: u8 = b'z' + 1;
/// Place of `ap`.
pub(super) const AP: u8 = b'z' + 2;
const PLACES: usize = 64;

/// Where a value stands; `stop` 0 = absent (no value ends at 0).
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u32,
    stop: u32,
}

/// See the module. 512 bytes, so that clearing it costs less than a look-up per field.
pub(super) struct Fields<'a> {
    pub(super) payload: &'a [u8],
    /// Where the message ends: the position of "a field is missing".
    pub(super) end: usize,
    spans: [Span; PLACES],
}

impl<'a> Fields<'a> {
    #[inline]
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Fields {
            payload,
            end: payload.len(),
            spans: [Span::default(); PLACES],
        }
    }

    /// The fields of the object `value` of `payload`. Errors: `Malformed` when it is none.
    pub(super) fn read(payload: &'a [u8], value: Value<'a>) -> Result<Self> {
        let mut fields = Fields::new(payload);
        let mut cursor = Cursor::at(payload, value.at);
        cursor.expect(b'{')?;
        let mut first = true;
        while let Some(key) = cursor.key(&mut first)? {
            let value = cursor.value()?;
            match key {
                [letter] => fields.set(*letter, value),
                b"ap" => fields.set(AP, value),
                _ => {}
            }
        }
        fields.end = cursor.position();
        Ok(fields)
    }

    #[inline]
    pub(super) fn set(&mut self, key: u8, value: Value<'a>) {
        if let Some(span) = self.spans.get_mut(usize::from(key.wrapping_sub(b'A'))) {
            *span = Span {
                start: value.at as u32,
                stop: (value.at + value.bytes.len()) as u32,
            };
        }
    }

    #[inline]
    pub(super) fn get(&self, key: u8) -> Option<Value<'a>> {
        let span = self
            .spans
            .get(usize::from(key.wrapping_sub(b'A')))
            .filter(|span| span.stop != 0)?;
        let at = span.start as usize;
        let bytes = self.payload.get(at..span.stop as usize)?;
        let quoted = self.payload.get(at.wrapping_sub(1)) == Some(&b'"');
        let shape = match bytes.first() {
            _ if quoted => Shape::Text,
            Some(b'{') => Shape::Object,
            Some(b'[') => Shape::Array,
            Some(b't' | b'f' | b'n') => Shape::Word,
            _ => Shape::Number,
        };
        Some(Value { bytes, at, shape })
    }

    #[inline]
    pub(super) fn has(&self, keys: &[u8]) -> bool {
        keys.iter().all(|key| self.get(*key).is_some())
    }

    #[inline]
    pub(super) fn need(&self, key: u8) -> Result<Value<'a>> {
        self.get(key).ok_or(Error::new(Reason::MissingField, self.end))
    }

    #[inline]
    pub(super) fn unsigned(&self, key: u8) -> Result<u64> {
        let value = self.need(key)?;
        // From the payload rather than the value: eight bytes at a time need room behind the last digit.
        match decimal::whole(self.payload, value.at) {
            Some((number, count)) if count == value.bytes.len() && count > 0 => Ok(number),
            _ => value.unsigned(),
        }
    }

    #[inline]
    pub(super) fn decimal(&self, key: u8, scale: u8) -> Result<i64> {
        let value = self.need(key)?;
        let rest = self.payload.get(value.at..).unwrap_or_default();
        match decimal::plain(rest, scale) {
            Some((mantissa, used)) if used == value.bytes.len() => Ok(mantissa),
            _ => value.decimal(scale),
        }
    }

    /// A time in ns, `TS_UNDEF` without the field.
    #[inline]
    pub(super) fn time(&self, key: u8) -> Result<i64> {
        match self.get(key) {
            None => Ok(TS_UNDEF),
            Some(value) => nanoseconds(self.unsigned(key)?, value.at),
        }
    }
}

/// A time of the venue in ns.
pub(super) fn time(value: Value<'_>) -> Result<i64> {
    nanoseconds(value.unsigned()?, value.at)
}

/// Times are ms, or µs where the connection asked for `timeUnit=MICROSECOND`; the size of the number tells which:
/// 10^14 ms are the year 5138, 10^14 µs were in 1973.
#[inline]
fn nanoseconds(time: u64, at: usize) -> Result<i64> {
    let unit: u64 = match time {
        0..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000,
        _ => 1,
    };
    let ns = time
        .checked_mul(unit)
        .and_then(|ns| i64::try_from(ns).ok())
        .filter(|ns| *ns != TS_UNDEF);
    ns.ok_or(Error::new(Reason::Overflow, at))
}
