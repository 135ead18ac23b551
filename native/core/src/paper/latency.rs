//! Draws that depend on the seed, the order and what they are for, and on nothing else: not on time, not on other orders.

use crate::paper::config::MILLION;
use crate::sim::random::{below, Random};

/// What a draw is for.
#[repr(u64)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The way to the venue.
    Entry = 1,
    /// The way back.
    Response = 2,
    /// A refusal by chance.
    Reject = 3,
    /// A request that gets lost.
    LostRequest = 4,
    /// An acknowledgement that gets lost.
    LostAck = 5,
    /// One that comes late.
    LateAck = 6,
    /// A report that comes twice.
    Duplicate = 7,
}

/// 64 bits for one purpose of the `count`th request or report of an order.
pub fn draw(seed: u64, number: u64, purpose: Purpose, count: u32) -> u64 {
    let salt = (purpose as u64) << 32 | u64::from(count);
    let mixed = seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ salt.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    Random::new(mixed).bits()
}

/// Whether a share of `ppm` parts per million has these bits.
pub fn hits(bits: u64, ppm: u32) -> bool {
    below((bits >> 32) as u32, MILLION) < ppm
}

/// One of the samples, all equally likely.
pub fn sample(samples: &[i64], bits: u64) -> i64 {
    let at = below((bits >> 32) as u32, samples.len() as u32);
    samples.get(at as usize).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_repeat_and_differ_by_order_purpose_and_count() {
        let first = draw(1, 2, Purpose::Entry, 0);
        assert_eq!(first, draw(1, 2, Purpose::Entry, 0));
        for other in [
            draw(2, 2, Purpose::Entry, 0),
            draw(1, 3, Purpose::Entry, 0),
            draw(1, 2, Purpose::Response, 0),
            draw(1, 2, Purpose::Entry, 1),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn a_share_is_met_and_its_ends_are_certain() {
        let bits = |number| draw(7, number, Purpose::Reject, 0);
        let met = (0..100_000).filter(|number| hits(bits(*number), 250_000)).count();
        assert!((24_500..25_500).contains(&met), "{met}");
        assert!((0..1_000).all(|number| hits(bits(number), MILLION) && !hits(bits(number), 0)));
        let seen: std::collections::BTreeSet<i64> = (0..100).map(|number| sample(&[1, 2, 3], bits(number))).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }
}
