//! Memory of buffers that are filled and emptied again and again: kept for the next use, but not for ever.
//!
//! After an outage, or a stall of the machine, a burst or a block may be ten times the usual one. A buffer that grew for it
//! would keep that memory for the life of the process; here it goes back when the next use leaves most of it idle.

/// Bytes that a buffer may keep however little of them is used.
const KEPT_BYTES: usize = 64 << 10;
/// A larger buffer is kept while this part of it is used, one in so many.
const USED_PART: usize = 4;

/// Empties a buffer for its next use.
pub fn empty<T>(buffer: &mut Vec<T>) {
    let used = buffer.len();
    buffer.clear();
    if buffer.capacity() * size_of::<T>() > KEPT_BYTES && used < buffer.capacity() / USED_PART {
        *buffer = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_stays_while_it_is_used_and_goes_with_the_first_small_use() {
        let mut buffer = vec![7_u64; 100_000];
        empty(&mut buffer);
        assert!(buffer.is_empty() && buffer.capacity() >= 100_000);
        buffer.extend(0..25_000);
        empty(&mut buffer);
        assert!(buffer.capacity() >= 100_000);
        buffer.extend(0..24_999);
        empty(&mut buffer);
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn small_buffers_stay() {
        let mut buffer = Vec::<u8>::with_capacity(KEPT_BYTES);
        empty(&mut buffer);
        assert!(buffer.capacity() >= KEPT_BYTES);
    }
}
