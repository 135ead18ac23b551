//! Whether a number is a multiple of a step, without a division: two of them were a tenth of a check.

/// A step of prices or sizes, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The step.
    pub value: i64,
    /// Of its odd part, modulo 2^64.
    inverse: u64,
    twos: u32,
    /// The largest quotient there is.
    most: u64,
}

impl Step {
    /// A step; below 1 it is 1.
    pub const fn new(value: i64) -> Self {
        let value = if value < 1 { 1 } else { value };
        let twos = value.trailing_zeros();
        let odd = value as u64 >> twos;
        // Newton's iteration; it begins with three bits that are right, and doubles them.
        let mut inverse = odd;
        let mut rounds = 0;
        while rounds < 5 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
            rounds += 1;
        }
        Step {
            value,
            inverse,
            twos,
            most: u64::MAX / value as u64,
        }
    }

    /// Whether `number` is a multiple of it; of a negative one: no.
    ///
    /// A multiple times the inverse is its quotient; everything else comes out beyond the largest one.
    /// Source: Warren, Hacker's Delight, 10-17 "Test for zero remainder after division by a constant".
    #[inline]
    pub const fn divides(&self, number: i64) -> bool {
        number >= 0 && (number as u64).wrapping_mul(self.inverse).rotate_right(self.twos) <= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_remainder(
            step in prop_oneof![1i64..2_000, 1i64..i64::MAX],
            number in prop_oneof![0i64..20_000, 0i64..i64::MAX],
        ) {
            let found = Step::new(step);
            prop_assert_eq!(found.divides(number), number % step == 0);
            let multiple = number / step * step;
            prop_assert!(found.divides(multiple));
            prop_assert!(step == 1 || !found.divides(multiple + 1));
        }
    }

    #[test]
    fn the_ends_are_right() {
        for step in [1, 2, 3, 5, 1 << 62, i64::MAX] {
            let found = Step::new(step);
            assert!(found.divides(0) && found.divides(step) && !found.divides(-step));
            assert_eq!(found.divides(i64::MAX), i64::MAX % step == 0);
        }
        assert_eq!((Step::new(0), Step::new(-7)), (Step::new(1), Step::new(1)));
    }
}
