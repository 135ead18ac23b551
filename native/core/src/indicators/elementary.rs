//! exp and ln from IEEE additions, multiplications and divisions alone: the same bits on every CPU and in the numpy twin.
//!
//! A libm picks other code on CPUs with fused multiply-add, so a replay on another machine would differ in the last bit.
//! Errors: below 0.6 ulp (exp), 1 ulp (ln); tests compare with 200-bit arithmetic.

use super::exp_table::POWERS;

/// ln 2, nearest double.
pub const LN_2: f64 = std::f64::consts::LN_2;
const LN2_HIGH: f64 = 0.693_147_179_670_631_9; // 30 bits: a multiple below 2^22 is exact
const LN2_LOW: f64 = 8.893_134_238_886_677e-10;
const STEP_HIGH: f64 = LN2_HIGH / 128.0;
const STEP_LOW: f64 = LN2_LOW / 128.0;
const STEPS_PER_UNIT: f64 = 184.664_965_233_787_3; // 128 / ln 2
/// 1.5 * 2^52: adding and taking it away rounds to an integer, which the low bits of the sum hold.
pub const ROUNDER: f64 = 6_755_399_441_055_744.0;
/// Below this a decay is nothing: e^-708 is still a normal number.
const EXP_MIN: f64 = -708.0;

/// e^x for x <= 0; 0 where the result would leave the normal numbers. NaN gives NaN.
#[inline(always)]
pub fn exp_decay(x: f64) -> f64 {
    if x < EXP_MIN {
        return 0.0;
    }
    let shifted = x * STEPS_PER_UNIT + ROUNDER;
    let steps = shifted - ROUNDER;
    let index = shifted.to_bits() as i64 as i32;
    let r = (x - steps * STEP_HIGH) - steps * STEP_LOW;
    let square = r * r;
    let rest = r + square * ((0.5 + r * (1.0 / 6.0)) + square * (1.0 / 24.0 + r * (1.0 / 120.0)));
    let (head, tail) = POWERS.get((index & 127) as usize).copied().unwrap_or_default();
    let head = f64::from_bits(head);
    let scale = f64::from_bits((((index >> 7) + 1023) as u64) << 52);
    (head + head * (f64::from_bits(tail) + rest)) * scale
}

/// `exp_decay` of each, in place: the same operations in the same order, in two passes, so that the arithmetic goes by pairs.
#[inline(always)]
pub fn exp_decays(all: &mut [f64], indices: &mut [i32]) {
    for (x, index) in all.iter_mut().zip(indices.iter_mut()) {
        let shifted = *x * STEPS_PER_UNIT + ROUNDER;
        let steps = shifted - ROUNDER;
        let r = (*x - steps * STEP_HIGH) - steps * STEP_LOW;
        let square = r * r;
        let rest = r + square * ((0.5 + r * (1.0 / 6.0)) + square * (1.0 / 24.0 + r * (1.0 / 120.0)));
        *index = if *x < EXP_MIN {
            i32::MIN
        } else {
            shifted.to_bits() as i64 as i32
        };
        *x = rest;
    }
    for (x, index) in all.iter_mut().zip(indices) {
        if *index == i32::MIN {
            *x = 0.0;
            continue;
        }
        let (head, tail) = POWERS.get((*index & 127) as usize).copied().unwrap_or_default();
        let head = f64::from_bits(head);
        let scale = f64::from_bits((((*index >> 7) + 1023) as u64) << 52);
        *x = (head + head * (f64::from_bits(tail) + *x)) * scale;
    }
}

/// 1 - e^-y for y >= 0, without cancellation for small y.
#[inline]
pub fn one_less_exp(y: f64) -> f64 {
    if y > 0.25 {
        return 1.0 - exp_decay(-y);
    }
    // y - y^2/2! + y^3/3! ... to y^13, enough for y <= 1/4.
    let mut sum = 1.0 / 13.0;
    for k in (1..13).rev() {
        sum = (1.0 - y * sum) / f64::from(k);
    }
    y * sum
}

const HALF_ROOT: f64 = std::f64::consts::FRAC_1_SQRT_2;
const TWO_54: f64 = 18_014_398_509_481_984.0;

/// ln x for x > 0; -inf at 0, NaN below, +inf at +inf.
#[inline]
pub fn ln(x: f64) -> f64 {
    if !(x > 0.0 && x < f64::INFINITY) {
        return if x == 0.0 {
            f64::NEG_INFINITY
        } else if x == f64::INFINITY {
            x
        } else {
            f64::NAN
        };
    }
    let (bits, mut exponent) = if x < f64::MIN_POSITIVE {
        ((x * TWO_54).to_bits(), -1022 - 54)
    } else {
        (x.to_bits(), -1022)
    };
    exponent += (bits >> 52) as i32;
    let mut mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3fe0_0000_0000_0000);
    if mantissa < HALF_ROOT {
        mantissa *= 2.0;
        exponent -= 1;
    }
    // ln(1 + f) = f - (f^2/2 - s (f^2/2 + R)), s = f / (2 + f), R = 2 sum s^2k / (2k + 1).
    let f = mantissa - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let mut series = 0.0;
    for k in (1..=11).rev() {
        series = (series + 2.0 / f64::from(2 * k + 1)) * z;
    }
    let half = 0.5 * f * f;
    let e = f64::from(exponent);
    e * LN2_HIGH - ((half - (s * (half + series) + e * LN2_LOW)) - f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nearest doubles of 200-bit values.
    #[test]
    fn agrees_with_wide_arithmetic() {
        for (x, want) in [
            (-1e-300, 1.0),
            (-0.5, 0.606_530_659_712_633_4),
            (-1.0, 0.367_879_441_171_442_33),
            (-37.25, 6.645_544_172_915_07e-17),
            (-707.5, 5.453_232_991_066_742e-308),
        ] {
            let got = exp_decay(x);
            assert!((got / want - 1.0_f64).abs() < 2.3e-16 * 2.0, "{x}: {got} {want}");
        }
        assert_eq!(exp_decay(0.0), 1.0);
        assert_eq!(exp_decay(-709.0), 0.0);
        assert_eq!(exp_decay(f64::NEG_INFINITY), 0.0);
        assert!(exp_decay(f64::NAN).is_nan());
    }

    #[test]
    fn stays_within_an_ulp_of_the_library() {
        let mut x = -700.0_f64;
        while x < 0.0 {
            let (got, want) = (exp_decay(x), x.exp());
            assert!(got.to_bits().abs_diff(want.to_bits()) <= 1, "exp {x}: {got:e} {want:e}");
            let y = -x * 1e-3;
            let (got, want) = (one_less_exp(y), -(-y).exp_m1());
            assert!(
                got.to_bits().abs_diff(want.to_bits()) <= 3,
                "expm1 {y}: {got:e} {want:e}"
            );
            let v = (x * 0.9).exp() * 3.7;
            for v in [v, 1.0 / v, 1.0 + v, 1.0 + x * 1e-3 * 0.99] {
                let (got, want) = (ln(v), v.ln());
                assert!(got.to_bits().abs_diff(want.to_bits()) <= 1, "ln {v}: {got:e} {want:e}");
            }
            x += 0.037;
        }
    }

    #[test]
    fn ln_has_the_edges_of_ln() {
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(ln(0.0), f64::NEG_INFINITY);
        assert_eq!(ln(f64::INFINITY), f64::INFINITY);
        assert!(ln(-1.0).is_nan() && ln(f64::NAN).is_nan());
        assert!((ln(5e-324) - 5e-324_f64.ln()).abs() < 1e-12);
    }
}
