//! What a callback took, and since when the one in hand runs: for the histogram here, and for the daemon that watches.
//!
//! It decides nothing; see `StrategyProcess` for what becomes of a callback that does not end.

use std::cell::{Cell, OnceCell};
use std::time::Instant;

use tickd_io::progress::BusyStamp;
use tickd_io::sys::mono_ns;

/// Measures from call to call.
pub struct Stopwatch {
    /// When what is being measured began.
    since: Cell<Instant>,
    /// The machine's monotonic clock at `zero`, for those who read the stamp in another process.
    zero: Cell<(Instant, i64)>,
    stamp: OnceCell<BusyStamp>,
}

impl Default for Stopwatch {
    fn default() -> Self {
        let now = Instant::now();
        Stopwatch {
            since: Cell::new(now),
            zero: Cell::new((now, 0)),
            stamp: OnceCell::new(),
        }
    }
}

impl Stopwatch {
    /// Says in the header of a ring since when each callback runs; the first ring stays.
    pub fn tell(&self, stamp: BusyStamp) {
        let _ = self.stamp.set(stamp);
    }

    /// What comes now is measured.
    pub fn start(&self) {
        let now = Instant::now();
        self.since.set(now);
        if self.stamp.get().is_some() {
            self.zero.set((now, mono_ns()));
        }
    }

    /// A callback has ended: what it took, ns. What comes now is measured.
    #[inline]
    pub fn lap(&self) -> u64 {
        let now = Instant::now();
        let ns = now.duration_since(self.since.replace(now)).as_nanos();
        if let Some(stamp) = self.stamp.get() {
            let (instant, mono_ns) = self.zero.get();
            stamp.set(mono_ns.saturating_add(now.duration_since(instant).as_nanos() as i64));
        }
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}
