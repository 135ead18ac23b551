//! A raw-log record: `frame_no recv_ns mono_ns connection type length payload LF`, ASCII header, payload as received.
//!
//! A live burst, a chunk of a segment and a replay are all the same thing: concatenated records. `docs/formats/raw-log.md`
//! is the format's document.

use crate::error::{Error, Reason, Result};

/// What a payload is.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordType {
    /// `W`: a WebSocket text message.
    Text = b'W',
    /// `B`: a binary message.
    Binary = b'B',
    /// `R`: a REST reply: `METHOD path?query status LF body`.
    Rest = b'R',
    /// `C`: a control record of tickd: one JSON object with `kind`.
    Control = b'C',
    /// `K`: a checkpoint of registry and synchroniser state, JSON.
    Checkpoint = b'K',
}

impl RecordType {
    /// The type behind its letter.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'W' => Some(RecordType::Text),
            b'B' => Some(RecordType::Binary),
            b'R' => Some(RecordType::Rest),
            b'C' => Some(RecordType::Control),
            b'K' => Some(RecordType::Checkpoint),
            _ => None,
        }
    }
}

/// One record, its payload borrowed from the buffer it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Node-wide number, strictly increasing.
    pub frame_no: u64,
    /// Wall clock at the socket read, ns.
    pub recv_ns: i64,
    /// Monotonic clock at the socket read, ns (comparable within one boot only).
    pub mono_ns: i64,
    /// Connection number, node-wide; 0 for tickd itself.
    pub connection: u32,
    /// What the payload is.
    pub kind: RecordType,
    /// The payload as received.
    pub payload: &'a [u8],
}

/// Largest header: 20 + 20 + 20 + 10 + 1 + 10 digits and 6 spaces.
pub const HEADER_BYTES_MAX: usize = 87;
/// Largest payload a record may have.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;
/// One more frame number is taken per this many payload bytes, so that 65,536 events per number suffice:
/// a level as venues write it is at least 9 bytes. The decoder refuses a frame that says more.
pub const PAYLOAD_BYTES_PER_NUMBER: usize = 512 << 10;

/// How many frame numbers a payload of `len` bytes takes.
pub const fn numbers_taken(len: usize) -> u64 {
    1 + (len / PAYLOAD_BYTES_PER_NUMBER) as u64
}

/// Appends `record` to `out`.
pub fn write_record(out: &mut Vec<u8>, record: &Record<'_>) {
    let mut digits = itoa::Buffer::new();
    out.reserve(HEADER_BYTES_MAX + record.payload.len() + 1);
    out.extend_from_slice(digits.format(record.frame_no).as_bytes());
    out.push(b' ');
    out.extend_from_slice(digits.format(record.recv_ns).as_bytes());
    out.push(b' ');
    out.extend_from_slice(digits.format(record.mono_ns).as_bytes());
    out.push(b' ');
    out.extend_from_slice(digits.format(record.connection).as_bytes());
    out.push(b' ');
    out.push(record.kind as u8);
    out.push(b' ');
    out.extend_from_slice(digits.format(record.payload.len()).as_bytes());
    out.push(b' ');
    out.extend_from_slice(record.payload);
    out.push(b'\n');
}

/// Reads the record at the start of `bytes`; returns it and the bytes it took.
///
/// Errors: `Truncated` when the buffer ends inside it, `Malformed` or `TooLarge` when it is no record.
pub fn read_record(bytes: &[u8]) -> Result<(Record<'_>, usize)> {
    let mut at = 0;
    let frame_no = unsigned(bytes, &mut at)?;
    let recv_ns = signed(bytes, &mut at)?;
    let mono_ns = signed(bytes, &mut at)?;
    let connection = u32::try_from(unsigned(bytes, &mut at)?).map_err(|_| Error::new(Reason::Malformed, at))?;
    let kind = match bytes.get(at) {
        None => return Err(Error::new(Reason::Truncated, at)),
        Some(byte) => RecordType::from_byte(*byte).ok_or(Error::new(Reason::Malformed, at))?,
    };
    at += 1;
    space(bytes, &mut at)?;
    let len = unsigned(bytes, &mut at)? as usize;
    if len > PAYLOAD_BYTES_MAX {
        return Err(Error::new(Reason::TooLarge, at));
    }
    let payload = bytes
        .get(at..at + len)
        .ok_or(Error::new(Reason::Truncated, bytes.len()))?;
    at += len;
    match bytes.get(at) {
        Some(b'\n') => {}
        Some(_) => return Err(Error::new(Reason::Malformed, at)),
        None => return Err(Error::new(Reason::Truncated, at)),
    }
    Ok((
        Record {
            frame_no,
            recv_ns,
            mono_ns,
            connection,
            kind,
            payload,
        },
        at + 1,
    ))
}

/// The records of `bytes` in order; the iterator ends after its first error.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = Result<Record<'_>>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        Some(match read_record(rest) {
            Ok((record, used)) => {
                rest = rest.get(used..).unwrap_or_default();
                Ok(record)
            }
            Err(error) => {
                rest = &[];
                Err(error)
            }
        })
    })
}

/// Bytes of concatenated records before the first one whose frame number is above `frame_no`. Errors: as `read_record`.
pub fn records_until(bytes: &[u8], frame_no: u64) -> Result<usize> {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let (record, used) = read_record(rest)?;
        if record.frame_no > frame_no {
            break;
        }
        at += used;
    }
    Ok(at)
}

fn space(bytes: &[u8], at: &mut usize) -> Result<()> {
    match bytes.get(*at) {
        Some(b' ') => {
            *at += 1;
            Ok(())
        }
        Some(_) => Err(Error::new(Reason::Malformed, *at)),
        None => Err(Error::new(Reason::Truncated, *at)),
    }
}

/// Digits and the space behind them; eight digits at a time where the number is one.
#[inline]
fn unsigned(bytes: &[u8], at: &mut usize) -> Result<u64> {
    if let Some((value, behind)) = crate::decimal::run_19(bytes, *at) {
        if bytes.get(behind) == Some(&b' ') {
            *at = behind + 1;
            return Ok(value);
        }
    }
    unsigned_slow(bytes, at)
}

/// The same digit by digit: says where a number goes wrong, and takes the twentieth digit.
#[cold]
fn unsigned_slow(bytes: &[u8], at: &mut usize) -> Result<u64> {
    let start = *at;
    let mut value: u64 = 0;
    while let Some(digit) = bytes
        .get(*at)
        .map(|byte| byte.wrapping_sub(b'0'))
        .filter(|digit| *digit < 10)
    {
        value = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(u64::from(digit)))
            .ok_or(Error::new(Reason::Malformed, *at))?;
        *at += 1;
    }
    if *at == start && *at < bytes.len() {
        return Err(Error::new(Reason::Malformed, *at));
    }
    space(bytes, at)?;
    Ok(value)
}

fn signed(bytes: &[u8], at: &mut usize) -> Result<i64> {
    let negative = bytes.get(*at) == Some(&b'-');
    if negative {
        *at += 1;
    }
    let value = i64::try_from(unsigned(bytes, at)?).map_err(|_| Error::new(Reason::Malformed, *at))?;
    Ok(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(payload: &[u8]) -> Record<'_> {
        Record {
            frame_no: 7,
            recv_ns: 1_723_161_255_030_314_667,
            mono_ns: 88,
            connection: 3,
            kind: RecordType::Text,
            payload,
        }
    }

    #[test]
    fn a_record_reads_back_whatever_its_payload() {
        for payload in [&b""[..], b"{}", b"two\nlines ", &[0, 255, 10, 13]] {
            let mut bytes = Vec::new();
            write_record(&mut bytes, &sample(payload));
            assert_eq!(read_record(&bytes), Ok((sample(payload), bytes.len())));
        }
    }

    #[test]
    fn every_cut_is_truncated_and_nothing_panics() {
        let mut bytes = Vec::new();
        write_record(&mut bytes, &sample(b"{\"a\":1}"));
        for cut in 0..bytes.len() {
            assert_eq!(
                read_record(&bytes[..cut]).unwrap_err().reason,
                Reason::Truncated,
                "cut at {cut}"
            );
        }
    }
}
