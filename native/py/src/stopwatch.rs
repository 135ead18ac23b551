//! What a callback took, and since when the one in hand runs: for the histogram here, and for the daemon that watches.
//!
//! It decides nothing; see `StrategyProcess` for what becomes of a callback that does not end.

use std::cell::{Cell, OnceCell};

use tickd_io::progress::BusyStamp;
use tickd_io::stopwatch::Stopwatch as Laps;
use tickd_io::sys::mono_ns;

/// Measures from call to call.
#[derive(Default)]
pub struct Stopwatch {
    laps: Laps,
    /// The machine's monotonic clock at the end of the last lap, for those who read the stamp in another process.
    lap_ns: Cell<i64>,
    stamp: OnceCell<BusyStamp>,
}

impl Stopwatch {
    /// Says in the header of a ring since when each callback runs; the first ring stays.
    pub fn tell(&self, stamp: BusyStamp) {
        let _ = self.stamp.set(stamp);
    }

    /// What comes now is measured.
    pub fn start(&self) {
        self.laps.begin();
        if self.stamp.get().is_some() {
            self.lap_ns.set(mono_ns());
        }
    }

    /// A callback has ended: what it took, ns. What comes now is measured.
    #[inline]
    pub fn lap(&self) -> u64 {
        let ns = self.laps.lap();
        if let Some(stamp) = self.stamp.get() {
            let lap_ns = self.lap_ns.get().saturating_add_unsigned(ns);
            self.lap_ns.set(lap_ns);
            stamp.set(lap_ns);
        }
        ns
    }
}
