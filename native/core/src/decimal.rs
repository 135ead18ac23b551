//! Exact decimals: the venue's text to an integer mantissa, and back. No floats anywhere.
//!
//! A number that does not fit its scale or an i64 is an error with a position, never a wrap. `i64::MAX` is the sentinel
//! for "undefined" and therefore no value a text may have.

use crate::error::{Error, Reason, Result};

/// Most decimals a scale may have.
pub const SCALE_MAX: u8 = 18;

/// 10^n for every n that fits an i64.
const POWERS: [u64; 19] = {
    let mut powers = [1u64; 19];
    let mut n = 1;
    #[allow(clippy::indexing_slicing)] // evaluated by the compiler
    while n < 19 {
        powers[n] = powers[n - 1] * 10;
        n += 1;
    }
    powers
};

/// A number as its digits stand: `significand × 10^exponent`, trailing zeros stripped.
struct Parts {
    negative: bool,
    /// `None`: more digits than a u64 holds.
    significand: Option<u64>,
    exponent: i64,
    /// Decimals as written, the exponent taken into account; may be negative.
    decimals: i64,
    /// Offset of the last digit that is not zero.
    last_digit: usize,
}

/// The mantissa of `text` at `scale` decimals.
///
/// Accepts an optional sign, digits with at most one dot, and an exponent (`1e-7`, `1.5E+3`).
/// Errors: `NotANumber`, `ScaleExceeded` (a digit other than zero beyond the scale), `Overflow`; positions are in `text`.
#[inline]
pub fn parse(text: &[u8], scale: u8) -> Result<i64> {
    match plain(text, scale) {
        Some((mantissa, used)) if used == text.len() => Ok(mantissa),
        _ => parse_any(text, scale),
    }
}

/// Mantissa and decimals as the venue wrote them (`0.00015640` → (15640, 8)); zeros at the end go only where they must.
///
/// Errors: as `parse`; `ScaleExceeded` beyond `SCALE_MAX` decimals.
pub fn parse_own(text: &[u8]) -> Result<(i64, u8)> {
    let parts = split(text)?;
    let Some(significand) = parts.significand else {
        let beyond = parts.exponent < -i64::from(SCALE_MAX);
        return Err(if beyond {
            too_fine(&parts)
        } else {
            Error::new(Reason::Overflow, 0)
        });
    };
    if significand == 0 {
        return Ok((0, parts.decimals.clamp(0, i64::from(SCALE_MAX)) as u8));
    }
    let fewest = (-parts.exponent).max(0);
    if fewest > i64::from(SCALE_MAX) {
        return Err(too_fine(&parts));
    }
    let most = parts.decimals.clamp(fewest, i64::from(SCALE_MAX));
    for decimals in (fewest..=most).rev() {
        if let Some(mantissa) = scaled(significand, decimals + parts.exponent) {
            return Ok((if parts.negative { -mantissa } else { mantissa }, decimals as u8));
        }
    }
    Err(Error::new(Reason::Overflow, 0))
}

/// Appends `mantissa × 10^−scale` in plain notation with all `scale` decimals.
pub fn write(out: &mut Vec<u8>, mantissa: i64, scale: u8) {
    if mantissa < 0 {
        out.push(b'-');
    }
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(mantissa.unsigned_abs()).as_bytes();
    let scale = usize::from(scale);
    let whole = digits.len().saturating_sub(scale);
    let (whole_digits, fraction) = digits.split_at(whole);
    out.extend_from_slice(if whole == 0 { b"0" } else { whole_digits });
    if scale > 0 {
        out.push(b'.');
        out.resize(out.len() + scale - fraction.len(), b'0');
        out.extend_from_slice(fraction);
    }
}

/// `mantissa × 10^−scale` as text, see `write`.
pub fn format(mantissa: i64, scale: u8) -> String {
    let mut out = Vec::with_capacity(24);
    write(&mut out, mantissa, scale);
    out.into_iter().map(char::from).collect()
}

/// The hot path: an unsigned number without exponent at the start of `bytes`, at most 16 + 16 digits.
/// Returns the mantissa and the bytes used; `None` leaves the verdict to `parse_any`.
#[inline(always)]
pub(crate) fn plain(bytes: &[u8], scale: u8) -> Option<(i64, usize)> {
    let (mut value, whole) = digits_16(bytes, 0)?;
    let mut at = whole;
    if whole == 0 {
        return None;
    }
    let scale = usize::from(scale);
    if bytes.get(at) != Some(&b'.') {
        let mantissa = value.checked_mul(*POWERS.get(scale)?)?;
        return Some((in_range(mantissa)?, at));
    }
    at += 1;
    let (word, count) = digit_run(bytes, at)?;
    if count == 8 && bytes.get(at + 8).is_some_and(|byte| byte.wrapping_sub(b'0') < 10) {
        return None;
    }
    at += count;
    let kept = count.min(scale);
    // '0' is 0 in `word`, so anything left above the kept digits is a digit beyond the scale.
    if count > scale && word & low_bytes(count) & !low_bytes(scale) != 0 {
        return None;
    }
    value = value.checked_mul(*POWERS.get(kept)?)?.checked_add(fold(word, kept))?;
    let mantissa = value.checked_mul(*POWERS.get(scale - kept)?)?;
    Some((in_range(mantissa)?, at))
}

/// The digits of `bytes` from `at`, fewer than 16 of them: their value and count.
#[inline(always)]
pub(crate) fn whole(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    digits_16(bytes, at)
}

/// How many of the eight bytes from `at` are digits, counted from the first.
#[inline(always)]
pub(crate) fn digit_count(bytes: &[u8], at: usize) -> usize {
    digit_run(bytes, at).map_or(0, |(_, count)| count)
}

/// A run of at most 19 digits from `at`: its value and the position behind it. `None` where there are more, or none.
#[inline(always)]
pub(crate) fn run_19(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let (word, first) = digit_run(bytes, at)?;
    let mut value = fold(word, first);
    let mut count = first;
    if first == 8 {
        let (word, second) = digit_run(bytes, at + 8)?;
        value = value * *POWERS.get(second)? + fold(word, second);
        count += second;
        if second == 8 {
            let (word, third) = digit_run(bytes, at + 16)?;
            if third > 3 {
                return None;
            }
            value = value * *POWERS.get(third)? + fold(word, third);
            count += third;
        }
    }
    (count > 0).then_some((value, at + count))
}

#[inline(always)]
fn in_range(mantissa: u64) -> Option<i64> {
    (mantissa < i64::MAX as u64).then_some(mantissa as i64)
}

/// Up to 16 digits from `at`: their value and count. `None` where there are more.
#[inline(always)]
fn digits_16(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let (word, count) = digit_run(bytes, at)?;
    let value = fold(word, count);
    if count < 8 {
        return Some((value, count));
    }
    let (word, more) = digit_run(bytes, at + 8)?;
    if more == 8 {
        return None;
    }
    Some((value * *POWERS.get(more)? + fold(word, more), 8 + more))
}

/// The bytes from `at` with `'0'` taken off, and how many of the first eight are digits.
#[inline(always)]
fn digit_run(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let word = match bytes.get(at..at + 8).and_then(|eight| <[u8; 8]>::try_from(eight).ok()) {
        Some(eight) => u64::from_le_bytes(eight),
        None => tail_word(bytes, at),
    } ^ 0x3030_3030_3030_3030;
    // A digit is now 0..=9: the addition carries into the high bit of every other byte, and never across bytes because
    // the high bits are taken away first.
    let other = (((word & 0x7F7F_7F7F_7F7F_7F7F) + 0x7676_7676_7676_7676) | word) & 0x8080_8080_8080_8080;
    Some((word, (other.trailing_zeros() / 8) as usize))
}

/// Fewer than eight bytes are left: zero bytes stand in, which are no digits.
#[cold]
fn tail_word(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[inline(always)]
const fn low_bytes(count: usize) -> u64 {
    if count >= 8 {
        u64::MAX
    } else {
        (1u64 << (8 * count)) - 1
    }
}

/// The value of the first `count` digits of `word` (first digit in the lowest byte).
#[inline(always)]
fn fold(word: u64, count: usize) -> u64 {
    if count == 0 {
        return 0;
    }
    // Move the digits to the high end: the bytes shifted in are leading zeros.
    let word = word << (64 - 8 * count);
    let pairs = (word & 0x0F0F_0F0F_0F0F_0F0F).wrapping_mul(10 << 8 | 1) >> 8 & 0x00FF_00FF_00FF_00FF;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_FFFF_0000_FFFF;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
}

/// The complete grammar, slow and exact.
#[cold]
fn parse_any(text: &[u8], scale: u8) -> Result<i64> {
    let parts = split(text)?;
    if parts.significand == Some(0) {
        return Ok(0);
    }
    let shift = parts.exponent.saturating_add(i64::from(scale));
    if shift < 0 {
        return Err(too_fine(&parts));
    }
    let mantissa = parts.significand.and_then(|significand| scaled(significand, shift));
    let mantissa = mantissa.ok_or(Error::new(Reason::Overflow, 0))?;
    Ok(if parts.negative { -mantissa } else { mantissa })
}

fn too_fine(parts: &Parts) -> Error {
    Error::new(Reason::ScaleExceeded, parts.last_digit)
}

fn scaled(significand: u64, shift: i64) -> Option<i64> {
    let power = *POWERS.get(usize::try_from(shift).ok()?)?;
    in_range(significand.checked_mul(power)?)
}

fn split(text: &[u8]) -> Result<Parts> {
    let mut at = 0;
    let negative = text.first() == Some(&b'-');
    if matches!(text.first(), Some(b'-' | b'+')) {
        at = 1;
    }
    let mut significand = Some(0u64);
    let (mut digits, mut after_dot, mut zeros) = (0usize, 0i64, 0u32);
    let (mut dot, mut last_digit) = (false, 0);
    while let Some(byte) = text.get(at) {
        match byte {
            b'0' => zeros = zeros.saturating_add(1),
            b'1'..=b'9' => {
                significand = significand.and_then(|value| append(value, zeros, byte - b'0'));
                zeros = 0;
                last_digit = at;
            }
            b'.' if !dot => {
                dot = true;
                at += 1;
                continue;
            }
            _ => break,
        }
        digits += 1;
        after_dot += i64::from(dot);
        at += 1;
    }
    if digits == 0 {
        return Err(Error::new(Reason::NotANumber, at));
    }
    let shift = exponent(text, &mut at)?;
    if at != text.len() {
        return Err(Error::new(Reason::NotANumber, at));
    }
    let decimals = after_dot.saturating_sub(shift);
    Ok(Parts {
        negative,
        significand,
        exponent: i64::from(zeros).saturating_sub(decimals),
        decimals,
        last_digit,
    })
}

/// `value` with `zeros` zeros and `digit` written behind it.
fn append(value: u64, zeros: u32, digit: u8) -> Option<u64> {
    if value == 0 {
        return Some(u64::from(digit)); // zeros in front mean nothing
    }
    let power = 10u64.checked_pow(zeros.checked_add(1)?)?;
    value.checked_mul(power)?.checked_add(u64::from(digit))
}

/// The exponent behind the digits, 0 without one; saturates far outside of what any scale can take.
fn exponent(text: &[u8], at: &mut usize) -> Result<i64> {
    if !matches!(text.get(*at), Some(b'e' | b'E')) {
        return Ok(0);
    }
    *at += 1;
    let negative = text.get(*at) == Some(&b'-');
    if matches!(text.get(*at), Some(b'-' | b'+')) {
        *at += 1;
    }
    let start = *at;
    let mut value = 0i64;
    while let Some(digit) = text
        .get(*at)
        .map(|byte| byte.wrapping_sub(b'0'))
        .filter(|digit| *digit < 10)
    {
        value = (value * 10 + i64::from(digit)).min(1 << 40);
        *at += 1;
    }
    if *at == start {
        return Err(Error::new(Reason::NotANumber, *at));
    }
    Ok(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_scientific_text_give_the_same_mantissa() {
        let cases: [(&str, u8, i64); 14] = [
            ("61837.63000000", 2, 6_183_763),
            ("61837.63", 8, 6_183_763_000_000),
            ("0", 0, 0),
            ("0.00000000", 2, 0),
            ("1e-7", 8, 10),
            ("1.5E+3", 0, 1500),
            ("15e2", 1, 15_000),
            ("-0.25", 2, -25),
            ("+7", 1, 70),
            (".5", 1, 5),
            ("5.", 1, 50),
            ("0e99999999999999999999", 3, 0),
            ("10000000000000000000000000e-25", 0, 1),
            ("9223372036854775806", 0, i64::MAX - 1),
        ];
        for (text, scale, mantissa) in cases {
            assert_eq!(parse(text.as_bytes(), scale), Ok(mantissa), "{text} at {scale}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_position() {
        let cases: [(&str, u8, Reason, usize); 14] = [
            ("1.239", 2, Reason::ScaleExceeded, 4),
            ("1e-400", 8, Reason::ScaleExceeded, 0),
            ("9223372036854775807", 0, Reason::Overflow, 0),
            ("92233720368547758.07", 3, Reason::Overflow, 0),
            ("1e19", 0, Reason::Overflow, 0),
            ("123456789012345678901234567890", 0, Reason::Overflow, 0),
            ("", 2, Reason::NotANumber, 0),
            ("-", 2, Reason::NotANumber, 1),
            ("NaN", 2, Reason::NotANumber, 0),
            ("Infinity", 2, Reason::NotANumber, 0),
            ("1.2.3", 4, Reason::NotANumber, 3),
            ("1e", 4, Reason::NotANumber, 2),
            ("0.-10000", 4, Reason::NotANumber, 2),
            ("12 ", 4, Reason::NotANumber, 2),
        ];
        for (text, scale, reason, position) in cases {
            assert_eq!(
                parse(text.as_bytes(), scale),
                Err(Error::new(reason, position)),
                "{text} at {scale}"
            );
        }
    }

    #[test]
    fn own_decimals_are_those_of_the_text() {
        assert_eq!(parse_own(b"0.00015640"), Ok((15_640, 8)));
        assert_eq!(parse_own(b"11857.56000000"), Ok((1_185_756_000_000, 8)));
        assert_eq!(parse_own(b"1e-7"), Ok((1, 7)));
        assert_eq!(parse_own(b"1.5E+3"), Ok((1500, 0)));
        assert_eq!(parse_own(b"-0.0001"), Ok((-1, 4)));
        assert_eq!(parse_own(b"0.0000"), Ok((0, 4)));
        assert_eq!(
            parse_own(b"123456789012.100000000000"),
            Ok((1_234_567_890_121_000_000, 7))
        );
        assert_eq!(parse_own(b"1e-19").unwrap_err().reason, Reason::ScaleExceeded);
    }

    #[test]
    fn text_of_a_mantissa_has_all_its_decimals() {
        assert_eq!(format(6_183_763, 2), "61837.63");
        assert_eq!(format(-5, 3), "-0.005");
        assert_eq!(format(0, 0), "0");
        assert_eq!(format(1, 18), "0.000000000000000001");
    }
}
