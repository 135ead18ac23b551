//! What an instrument's definition means to a venue: its grid, and what a trade of it is worth.

use crate::instrument::Instrument;

/// Decimals of money, and of rates: 1e-8.
pub const MONEY_SCALE: u32 = 8;
const ONE: i128 = 10_i128.pow(MONEY_SCALE);

/// The terms of one instrument. Money = price × size × multiplier, linear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// Smallest price step, mantissa.
    pub tick: i64,
    /// Smallest size step, mantissa.
    pub lot: i64,
    multiplier: i128,
    /// Decimals of price mantissa × size mantissa × multiplier mantissa.
    value_scale: u32,
    size_scale: u32,
}

/// `value / 10^scale`, rounded away from zero: nobody pays less than he owes.
fn shed(value: i128, scale: u32) -> Option<i128> {
    let divisor = 10_i128.checked_pow(scale)?;
    let (whole, rest) = (value / divisor, value % divisor);
    Some(whole + rest.signum())
}

/// Mantissa and decimals of a plain decimal text.
fn decimal(text: &str) -> Option<(i128, u32)> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 18 || whole.len() > 18 {
        return None;
    }
    let mantissa: i128 = format!("{whole}{part}").parse().ok()?;
    Some((mantissa, part.len() as u32))
}

impl Contract {
    /// The terms of a definition; `None`: no positive tick, lot or multiplier.
    pub fn of(instrument: &Instrument) -> Option<Self> {
        let (multiplier, decimals) = decimal(&instrument.multiplier)?;
        if multiplier <= 0 || instrument.tick <= 0 || instrument.lot <= 0 {
            return None;
        }
        if instrument.price_scale > 18 || instrument.size_scale > 18 {
            return None;
        }
        let size_scale = u32::from(instrument.size_scale);
        Some(Contract {
            tick: instrument.tick,
            lot: instrument.lot,
            multiplier,
            value_scale: u32::from(instrument.price_scale) + size_scale + decimals,
            size_scale,
        })
    }

    /// What a trade costs: `rate` (1e-8) of its value and `per_unit` (1e-8 money) for each whole unit, in 1e-8 money,
    /// each rounded away from zero. `None`: it does not fit.
    pub fn fee(&self, price: i64, size: i64, rate: i64, per_unit: i64) -> Option<i64> {
        let value = i128::from(price)
            .checked_mul(i128::from(size))?
            .checked_mul(self.multiplier)?;
        let by_value = match rate {
            0 => 0,
            // Rates and money have the same scale, so the product's decimals are those of the value alone.
            rate => shed(value.checked_mul(i128::from(rate))?, self.value_scale)?,
        };
        // The value itself must fit as well: positions and accounts are made of it.
        i64::try_from(shed_to_money(value, self.value_scale)?).ok()?;
        let by_unit = shed(i128::from(per_unit).checked_mul(i128::from(size))?, self.size_scale)?;
        i64::try_from(by_value.checked_add(by_unit)?).ok()
    }
}

fn shed_to_money(value: i128, scale: u32) -> Option<i128> {
    if scale >= MONEY_SCALE {
        return shed(value, scale - MONEY_SCALE);
    }
    value.checked_mul(ONE / 10_i128.checked_pow(scale)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract(price_scale: u8, size_scale: u8, multiplier: &str) -> Option<Contract> {
        Contract::of(&Instrument {
            venue: "okx".into(),
            symbol: "A".into(),
            asset_class: "perpetual".into(),
            price_scale,
            size_scale,
            tick: 1,
            lot: 1,
            multiplier: multiplier.into(),
        })
    }

    #[test]
    fn fees_are_exact_and_round_away_from_zero() {
        let plain = contract(2, 3, "1").unwrap();
        // 60,000.00 × 0.005 = 300; 4 bp of it = 0.12
        assert_eq!(plain.fee(6_000_000, 5, 40_000, 0), Some(12_000_000));
        assert_eq!(plain.fee(6_000_000, 5, -10_000, 0), Some(-3_000_000));
        // 0.01 × 0.001 × 1e-8: less than the smallest money is still owed.
        assert_eq!(plain.fee(1, 1, 1, 0), Some(1));
        assert_eq!(plain.fee(1, 1, -1, 0), Some(-1));
        // 2.5 contracts at 20 each
        assert_eq!(plain.fee(100, 2_500, 0, 20 * 100_000_000), Some(50 * 100_000_000));
        // TAIFEX TX: 23,000 × 2 × 200 = 9,200,000; 2e-5 of it = 184
        let future = contract(0, 0, "200").unwrap();
        assert_eq!(future.fee(23_000, 2, 2_000, 0), Some(184 * 100_000_000));
        // Contracts of 0.01 coins.
        let swap = contract(1, 0, "0.01").unwrap();
        assert_eq!(swap.fee(600_000, 10, 50_000, 0), Some(300_000_000));
        assert_eq!(plain.fee(i64::MAX - 1, i64::MAX - 1, 0, 0), None);
    }

    #[test]
    fn a_definition_without_terms_is_refused() {
        for text in ["", "0", "-1", "1e3", ".5", "1.2.3", "0.0000000000000000001"] {
            assert_eq!(contract(1, 1, text), None, "{text}");
        }
        assert_eq!(contract(19, 0, "1"), None);
    }
}
