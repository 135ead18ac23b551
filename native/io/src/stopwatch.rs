//! Durations of a hundred nanoseconds for less than ten: the processor's own counter where the kernel keeps its clock by it.
//!
//! A reading of the system's clock costs as much as everything else that tickd does around a call of a strategy. The counter
//! is trusted only where Linux does (clock source `tsc`: constant, and the same on all cores); elsewhere the clock is read.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::sync::OnceLock;

use crate::sys::mono_ns;

/// How long the counter is compared with the clock, once per process; readings are some 30 ns apart, so 1 in 30,000.
const COMPARED_NS: i64 = 1_000_000;
/// Readings of both at each end; the one with the least between them counts, so that being put off the core does not.
const READINGS: usize = 16;
/// Nanoseconds per count are a fixed-point number with so many fractional bits.
const FRACTION_BITS: u32 = 32;

/// Measures one stretch after the other.
#[derive(Debug)]
pub struct Stopwatch {
    since: Cell<u64>,
    /// Nanoseconds per count, fixed point; 0: the system's clock is read.
    ns_per_count: u64,
}

impl Default for Stopwatch {
    fn default() -> Self {
        Stopwatch::new()
    }
}

impl Stopwatch {
    /// One that begins now; the first of a process takes a millisecond.
    pub fn new() -> Self {
        static NS_PER_COUNT: OnceLock<u64> = OnceLock::new();
        let watch = Stopwatch {
            since: Cell::new(0),
            ns_per_count: *NS_PER_COUNT.get_or_init(compared),
        };
        watch.begin();
        watch
    }

    /// A stretch begins.
    #[inline]
    pub fn begin(&self) {
        self.since.set(self.now());
    }

    /// Nanoseconds of the stretch that ends; the next one begins.
    #[inline]
    pub fn lap(&self) -> u64 {
        let now = self.now();
        let counts = now.saturating_sub(self.since.replace(now));
        if self.ns_per_count == 0 {
            return counts;
        }
        let ns = (u128::from(counts) * u128::from(self.ns_per_count)) >> FRACTION_BITS;
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    #[inline]
    fn now(&self) -> u64 {
        if self.ns_per_count == 0 {
            u64::try_from(mono_ns()).unwrap_or(0)
        } else {
            counter()
        }
    }
}

/// Nanoseconds per count, fixed point; 0 where the counter cannot be trusted.
fn compared() -> u64 {
    let source = std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    if !cfg!(target_arch = "x86_64") || source.map_or(true, |name| name.trim() != "tsc") {
        return 0;
    }
    let (began_ns, began) = both();
    while mono_ns() - began_ns < COMPARED_NS {}
    let (now_ns, now) = both();
    let ns = u64::try_from(now_ns - began_ns).unwrap_or(0);
    (ns << FRACTION_BITS)
        .checked_div(now.saturating_sub(began))
        .unwrap_or(0)
}

/// The clock and the counter at one moment.
fn both() -> (i64, u64) {
    let mut closest = (u64::MAX, 0, 0);
    for _ in 0..READINGS {
        let before = counter();
        let ns = mono_ns();
        let between = counter().saturating_sub(before);
        if between < closest.0 {
            closest = (between, ns, before + between / 2);
        }
    }
    (closest.1, closest.2)
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn counter() -> u64 {
    // SAFETY: every processor of this architecture has the instruction, and Linux leaves it to programs; it touches no memory.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn counter() -> u64 {
    0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Both ways to tell the time say the same of one wait, within what interruptions can add to either.
    #[test]
    fn a_stretch_is_as_long_as_the_clock_says() {
        for ns_per_count in [compared(), 0] {
            let watch = Stopwatch {
                since: Cell::new(0),
                ns_per_count,
            };
            let outside = mono_ns();
            watch.begin();
            let inside = mono_ns();
            while mono_ns() - inside < 5_000_000 {}
            let shortest = u64::try_from(mono_ns() - inside).unwrap();
            let lap = watch.lap();
            let longest = u64::try_from(mono_ns() - outside).unwrap();
            assert!(lap >= shortest - shortest / 1_000, "{lap} {shortest}");
            assert!(lap <= longest + longest / 1_000, "{lap} {longest}");
        }
    }

    #[test]
    fn the_next_stretch_begins_where_the_last_ended() {
        let watch = Stopwatch::new();
        let began = mono_ns();
        watch.begin();
        let laps: u64 = (0..1_000).map(|_| watch.lap()).sum();
        let all = u64::try_from(mono_ns() - began).unwrap();
        // A lap is rounded down by less than a nanosecond.
        assert!(laps <= all + all / 1_000, "{laps} {all}");
    }
}
