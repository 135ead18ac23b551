//! Times of Taiwan as Shioaji says them: naive, as text. To nanoseconds UTC, and to the trading session they belong to.

use crate::decode::json::Value;
use crate::error::{Error, Reason, Result};

const NS_PER_SECOND: i64 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;
/// Taiwan has had one time zone without daylight saving since 1979; the SDK says times without a zone.
const TAIWAN_SECONDS: i64 = 8 * 3600;
/// The futures' sessions lie apart by hours: 05:00 → 08:45 and 13:45 → 15:00. Between them a new count begins.
const DAY_BEGINS_SECONDS: i64 = 7 * 3600;
const NIGHT_BEGINS_SECONDS: i64 = 14 * 3600 + 25 * 60;

/// A naive time of Taiwan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Days since 1970 in Taiwan.
    pub day: i64,
    /// Seconds of that day.
    pub second: i64,
    /// Nanoseconds of that second.
    pub nanos: i64,
}

impl Moment {
    /// `2026-07-14` or `2026/07/14`, `09:00:01.123456`. The SDK turns a date that it cannot read into 2000-01-01: refused.
    pub fn read(date: &Value<'_>, time: &Value<'_>) -> Result<Self> {
        let bad_date = Error::new(Reason::Malformed, date.at);
        let (year, month, day) = match *date.text()? {
            [a, b, c, d, b'-' | b'/', e, f, b'-' | b'/', g, h] => {
                (number(&[a, b, c, d]), number(&[e, f]), number(&[g, h]))
            }
            _ => return Err(bad_date),
        };
        let (Some(year), Some(month), Some(day)) = (year, month, day) else {
            return Err(bad_date);
        };
        if !(2001..=2261).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(bad_date);
        }
        let bad_time = Error::new(Reason::Malformed, time.at);
        let text = time.text()?;
        let (whole, fraction) = text.split_at_checked(8).ok_or(bad_time.clone())?;
        let (hour, minute, second) = match *whole {
            [a, b, b':', c, d, b':', e, f] => (number(&[a, b]), number(&[c, d]), number(&[e, f])),
            _ => return Err(bad_time),
        };
        let (Some(hour @ 0..=23), Some(minute @ 0..=59), Some(second @ 0..=59)) = (hour, minute, second) else {
            return Err(bad_time);
        };
        Ok(Moment {
            day: days(year, month, day),
            second: hour * 3600 + minute * 60 + second,
            nanos: nanos(fraction).ok_or(bad_time)?,
        })
    }

    /// From nanoseconds that Taiwan's clock has counted since 1970 began there: what the SDK's queries give.
    pub const fn of_local(ns: i64) -> Self {
        let seconds = ns.div_euclid(NS_PER_SECOND);
        Moment {
            day: seconds.div_euclid(DAY_SECONDS),
            second: seconds.rem_euclid(DAY_SECONDS),
            nanos: ns.rem_euclid(NS_PER_SECOND),
        }
    }

    /// Nanoseconds since the epoch, UTC.
    pub const fn utc_ns(self) -> i64 {
        (self.day * DAY_SECONDS + self.second - TAIWAN_SECONDS) * NS_PER_SECOND + self.nanos
    }

    /// The number of the count that a running volume of this moment belongs to: one a day for stocks, a day and a night
    /// session for futures and options. The night belongs to the day on which it began.
    pub const fn count(self, stock: bool) -> u64 {
        let session = if stock {
            2 * self.day
        } else if self.second < DAY_BEGINS_SECONDS {
            2 * self.day - 1
        } else if self.second < NIGHT_BEGINS_SECONDS {
            2 * self.day
        } else {
            2 * self.day + 1
        };
        session.unsigned_abs()
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then_some(value * 10 + i64::from(digit))
    })
}

/// `` or `.` and one to nine digits.
fn nanos(fraction: &[u8]) -> Option<i64> {
    let Some((dot, digits)) = fraction.split_first() else {
        return Some(0);
    };
    if *dot != b'.' || digits.is_empty() || digits.len() > 9 {
        return None;
    }
    let value = number(digits)?;
    Some((digits.len()..9).fold(value, |value, _| value * 10))
}

/// Days since 1970-01-01 of a date of the Gregorian calendar (H. Hinnant, "chrono-compatible low-level date algorithms").
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2000, 2, 29), 11_016);
        assert_eq!(days(2026, 7, 14), 20_648);
    }

    #[test]
    fn a_time_of_the_clock_is_eight_hours_ahead_of_utc() {
        let nine = 20_648 * DAY_SECONDS + 9 * 3600;
        let moment = Moment::of_local(nine * NS_PER_SECOND + 5);
        assert_eq!((moment.day, moment.second, moment.nanos), (20_648, 9 * 3600, 5));
        assert_eq!(moment.utc_ns(), (nine - 8 * 3600) * NS_PER_SECOND + 5);
    }

    #[test]
    fn a_session_of_futures_is_named_by_where_it_began() {
        let at = |day: i64, hour: i64, minute: i64| Moment {
            day,
            second: hour * 3600 + minute * 60,
            nanos: 0,
        };
        let night = at(100, 15, 0).count(false);
        assert_eq!(night, at(101, 4, 59).count(false));
        let day = at(101, 8, 45).count(false);
        assert_eq!(day, at(101, 13, 45).count(false));
        assert!(night < day && day < at(101, 15, 0).count(false));
        assert_eq!(at(101, 9, 0).count(true), at(101, 14, 30).count(true));
    }
}
