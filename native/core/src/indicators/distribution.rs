//! Distribution functions for bulk volume classification: the normal and Student's t with a quarter degree of freedom.
//!
//! As in `elementary`, basic IEEE operations alone. The normal one is read off Taylor rows around multiples of 1/16, made
//! once from a slow series and continued fraction; far tails take the slow way and keep their relative precision.

use std::sync::LazyLock;

use super::elementary::{exp_decay, ROUNDER};

const FRAC_1_SQRT_2PI: f64 = 0.398_942_280_401_432_7;
const CELLS: usize = 137; // up to |x| = 8.5
const TERMS: usize = 11;
const CELLS_PER_UNIT: f64 = 16.0;

/// Row i: Taylor coefficients of h -> Z(-(i/16 + h)) at h = 0.
static ROWS: LazyLock<Vec<[f64; TERMS]>> = LazyLock::new(|| (0..CELLS).map(row).collect());

fn row(i: usize) -> [f64; TERMS] {
    let a = i as f64 / CELLS_PER_UNIT;
    let density = FRAC_1_SQRT_2PI * exp_decay(-0.5 * a * a);
    let mut row = [0.0; TERMS];
    let (mut before, mut hermite, mut factor) = (0.0, 1.0, -density);
    for (k, slot) in row.iter_mut().enumerate() {
        if k == 0 {
            *slot = lower_tail(a);
            continue;
        }
        // The k-th derivative of Z(-(a + h)) is -(-1)^(k-1) He_(k-1)(a) density.
        factor /= k as f64;
        *slot = factor * hermite;
        factor = -factor;
        (before, hermite) = (hermite, a * hermite - (k - 1) as f64 * before);
    }
    row
}

/// Z(-a) for a >= 0: a series near 0, a continued fraction (Laplace) in the tail.
fn lower_tail(a: f64) -> f64 {
    let density = FRAC_1_SQRT_2PI * exp_decay(-0.5 * a * a);
    if a < 3.0 {
        // Z(a) - 1/2 = density * (a + a^3/3 + a^5/(3 5) + ...)
        let (mut term, mut sum) = (a, a);
        for k in 1..60 {
            term = term * a * a / f64::from(2 * k + 1);
            sum += term;
        }
        return 0.5 - density * sum;
    }
    let mut fraction = a;
    for k in (1..=64).rev() {
        fraction = a + f64::from(k) / fraction;
    }
    density / fraction
}

#[cold]
#[inline(never)]
fn far(x: f64) -> f64 {
    let a = x.abs();
    let tail = if a < 38.0 { lower_tail(a) } else { 0.0 };
    if x < 0.0 {
        tail
    } else {
        1.0 - tail
    }
}

/// Z(x), the standard normal distribution function.
#[inline]
pub fn normal(x: f64) -> f64 {
    normal_by(&ROWS, x)
}

/// Z of each, in place.
pub fn normals(all: &mut [f64]) {
    let rows: &[[f64; TERMS]] = &ROWS;
    for x in all {
        *x = normal_by(rows, *x);
    }
}

#[inline(always)]
fn normal_by(rows: &[[f64; TERMS]], x: f64) -> f64 {
    let a = x.abs();
    if a >= 8.5 {
        return far(x);
    }
    let shifted = a * CELLS_PER_UNIT + ROUNDER;
    let h = a - (shifted - ROUNDER) / CELLS_PER_UNIT;
    let cell = shifted.to_bits() as u32 as usize;
    let Some([c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10]) = rows.get(cell) else {
        return f64::NAN; // x is NaN
    };
    let h2 = h * h;
    let h4 = h2 * h2;
    let low = (c0 + c1 * h) + h2 * (c2 + c3 * h);
    let middle = (c4 + c5 * h) + h2 * (c6 + c7 * h);
    let high = (c8 + c9 * h) + h2 * c10;
    let tail = low + h4 * (middle + h4 * high);
    // Both, and one picked by bits: the sign of a price change cannot be predicted.
    let is_below = (x.to_bits() as i64 >> 63) as u64;
    f64::from_bits((tail.to_bits() & is_below) | ((1.0 - tail).to_bits() & !is_below))
}

const BETA_INVERSE: f64 = 0.107_425_917_878_735_08; // 1 / B(1/8, 1/2)
const SERIES_TERMS: u32 = 56;

/// I_y(a, b) without its factor y^a / B(a, b), for y <= 1/2.
fn beta_series(y: f64, a: f64, b: f64) -> f64 {
    let (mut factor, mut sum) = (1.0, 1.0 / a);
    for n in 1..SERIES_TERMS {
        let n = f64::from(n);
        factor = factor * y * (n - b) / n;
        sum += factor / (a + n);
    }
    sum
}

/// F(x), Student's t distribution function with nu = 0.25: 1 - I(nu/(nu + x^2); nu/2, 1/2)/2 for x >= 0.
pub fn student_quarter(x: f64) -> f64 {
    let square = x * x;
    let whole = 0.25 + square;
    let (y, other) = (0.25 / whole, square / whole);
    let (eighth, root) = (y.sqrt().sqrt().sqrt(), other.sqrt()); // y^(1/8), (1 - y)^(1/2)
    if x.is_nan() {
        return x;
    }
    let tail = if square == f64::INFINITY {
        0.0
    } else if y <= 0.5 {
        0.5 * (BETA_INVERSE * eighth * beta_series(y, 0.125, 0.5))
    } else {
        0.5 - 0.5 * (BETA_INVERSE * root * beta_series(other, 0.5, 0.125))
    };
    if x < 0.0 {
        tail
    } else {
        1.0 - tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_has_its_known_values() {
        for (x, want) in [
            (0.0, 0.5),
            (-0.03, 0.488_033_526_585_887_33),
            (-1.0, 0.158_655_253_931_457_05),
            (-2.99, 0.001_394_887_235_492_249_4),
            (-5.0, 2.866_515_718_791_939e-7),
            (-10.0, 7.619_853_024_160_525e-24),
            (-37.0, 5.725_571_222_524_577e-300),
        ] {
            let got = normal(x);
            assert!((got / want - 1.0_f64).abs() < 1e-13, "{x}: {got:e} {want:e}");
            assert_eq!(normal(-x), 1.0 - got);
        }
        assert_eq!(normal(f64::NEG_INFINITY), 0.0);
        assert!(normal(f64::NAN).is_nan());
    }

    #[test]
    fn normal_never_falls() {
        let mut before = 0.0;
        for i in -40_000..40_000 {
            let now = normal(f64::from(i) / 1000.0);
            assert!(now >= before - 1e-15 && now <= 1.0, "{i}");
            before = now;
        }
    }

    #[test]
    fn student_is_symmetric_and_heavy_tailed() {
        assert_eq!(student_quarter(0.0), 0.5);
        for x in [1e-9, 0.1, 0.5, 1.0, 7.0, 1e6, 1e150] {
            assert!((student_quarter(x) + student_quarter(-x) - 1.0_f64).abs() < 1e-15);
        }
        assert!(student_quarter(-1e6) > 0.01);
        assert_eq!(student_quarter(f64::NEG_INFINITY), 0.0);
    }
}
