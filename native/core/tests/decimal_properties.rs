//! Decimals against plain i128 arithmetic over generated texts.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use tickd_core::decimal::{format, parse, parse_own};
use tickd_core::error::Reason;

/// A number as text, and what it is: `digits × 10^exponent`.
#[derive(Debug, Clone)]
struct Number {
    text: String,
    negative: bool,
    digits: i128,
    exponent: i32,
    decimals: i32,
}

fn number() -> impl Strategy<Value = Number> {
    let sign = prop_oneof![4 => Just(""), 1 => Just("-"), 1 => Just("+")];
    let exponent = prop_oneof![3 => Just(None), 1 => (-30i32..30).prop_map(Some)];
    (
        sign,
        "[0-9]{0,20}",
        prop::option::of("[0-9]{0,14}0{0,6}"),
        exponent,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_filter_map(
            "at least one digit",
            |(sign, whole, fraction, exponent, upper, plus)| {
                let fraction_digits = fraction.clone().unwrap_or_default();
                let digits = format!("{whole}{fraction_digits}");
                if digits.is_empty() || digits.len() > 36 {
                    return None;
                }
                let mut text = format!("{sign}{whole}");
                if fraction.is_some() {
                    text = format!("{text}.{fraction_digits}");
                }
                if let Some(exponent) = exponent {
                    let letter = if upper { 'E' } else { 'e' };
                    let mark = if plus && exponent >= 0 { "+" } else { "" };
                    text = format!("{text}{letter}{mark}{exponent}");
                }
                let shift = exponent.unwrap_or(0) - fraction_digits.len() as i32;
                let digits = digits.parse().ok()?;
                Some(Number {
                    text,
                    negative: sign == "-",
                    digits,
                    exponent: shift,
                    decimals: -shift,
                })
            },
        )
}

/// The slow, obvious way.
fn reference(number: &Number, scale: i32) -> Result<i64, Reason> {
    let (mut digits, mut shift) = (number.digits, number.exponent + scale);
    if digits == 0 {
        return Ok(0);
    }
    while digits % 10 == 0 {
        (digits, shift) = (digits / 10, shift + 1);
    }
    if shift < 0 {
        return Err(Reason::ScaleExceeded);
    }
    let value = 10i128
        .checked_pow(shift as u32)
        .and_then(|power| digits.checked_mul(power));
    let value = value
        .filter(|value| *value < i128::from(i64::MAX))
        .ok_or(Reason::Overflow)?;
    Ok(if number.negative { -value as i64 } else { value as i64 })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn mantissas_are_those_of_integer_arithmetic(number in number(), scale in 0u8..=18) {
        let parsed = parse(number.text.as_bytes(), scale).map_err(|error| error.reason);
        prop_assert_eq!(parsed, reference(&number, i32::from(scale)), "{} at {}", number.text, scale);
    }

    #[test]
    fn own_decimals_lose_nothing(number in number()) {
        if let Ok((mantissa, decimals)) = parse_own(number.text.as_bytes()) {
            prop_assert_eq!(parse(number.text.as_bytes(), decimals), Ok(mantissa));
            prop_assert!(i32::from(decimals) <= number.decimals.max(0));
        } else {
            // Refused only where no scale holds it.
            prop_assert!((0..=18).all(|scale| reference(&number, scale).is_err()));
        }
    }

    #[test]
    fn text_of_a_mantissa_reads_back(mantissa in -i64::MAX + 1..i64::MAX, scale in 0u8..=18) {
        let text = format(mantissa, scale);
        prop_assert_eq!(parse(text.as_bytes(), scale), Ok(mantissa), "{}", text);
        prop_assert_eq!(parse_own(text.as_bytes()), Ok((mantissa, scale)));
    }

    #[test]
    fn any_bytes_are_a_number_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..40), scale in 0u8..=18) {
        let _ = parse(&bytes, scale);
        let _ = parse_own(&bytes);
    }

    #[test]
    fn bytes_around_digits_are_never_taken_for_digits(text in "[0-9./:eE+-]{0,24}", scale in 0u8..=18) {
        let accepted = parse(text.as_bytes(), scale).is_ok();
        let grammar = text.trim_start_matches(['+', '-']).parse::<f64>().is_ok() && !text.is_empty();
        prop_assert!(!accepted || grammar, "{}", text);
    }
}
