//! The frame of a record in the orders' outbox; `docs/formats/outbox.md` is its document. It knows no record.

use crc32fast::Hasher;

/// Bytes before the payload: its length, the checksum of number and payload, the number.
pub const HEAD_BYTES: usize = 16;
/// Frames begin at multiples of it.
pub const ALIGN: usize = 8;

/// Bytes that the frame of a payload takes.
pub const fn frame_bytes(payload: usize) -> usize {
    (HEAD_BYTES + payload).next_multiple_of(ALIGN)
}

/// Writes a payload in its frame, with zeros behind it, into `frame_bytes` bytes. False: it does not fit.
pub fn write_frame(number: u64, payload: &[u8], frame: &mut [u8]) -> bool {
    let Ok(length) = u32::try_from(payload.len()) else {
        return false;
    };
    let Some((head, rest)) = frame.split_at_mut_checked(HEAD_BYTES) else {
        return false;
    };
    let Some((body, padding)) = rest.split_at_mut_checked(payload.len()) else {
        return false;
    };
    let number = number.to_le_bytes();
    let mut crc = Hasher::new();
    crc.update(&number);
    crc.update(payload);
    let words = length.to_le_bytes().into_iter();
    let words = words.chain(crc.finalize().to_le_bytes()).chain(number);
    head.iter_mut().zip(words).for_each(|(place, byte)| *place = byte);
    body.copy_from_slice(payload);
    padding.fill(0);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_what_the_document_says() {
        let mut frame = [0xFF; 24];
        assert_eq!(frame_bytes(5), 24);
        assert!(write_frame(7, b"hello", &mut frame));
        assert_eq!(frame[..4], [5, 0, 0, 0]);
        assert_eq!(frame[4..8], crc32fast::hash(b"\x07\0\0\0\0\0\0\0hello").to_le_bytes());
        assert_eq!(frame[8..], *b"\x07\0\0\0\0\0\0\0hello\0\0\0");
        assert!(!write_frame(7, b"hello", &mut frame[..20]) && !write_frame(7, b"hello", &mut []));
        assert_eq!((frame_bytes(0), frame_bytes(8), frame_bytes(9)), (16, 24, 32));
    }
}
