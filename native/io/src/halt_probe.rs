//! How long a kill takes: a thread that sends the signal and looks at a word as the gate does, until it denies.
//!
//! It measures a word of its own, never the one that guards orders. Compared mechanisms trip the same word from Python.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::halt::{Halt, Key, GLOBAL};
use crate::halt_signal::{bind, block, send_to_self, unbind};
use crate::sys::mono_ns;

/// A kill that was not seen for so long is not measured any more.
const SHOT_NS_MAX: i64 = 10_000_000_000;
/// Loads between two looks at the clock.
const LOADS: usize = 64;

/// One series of shots under way.
#[derive(Debug)]
pub struct Probe {
    halt: Arc<Halt>,
    thread: Option<JoinHandle<Vec<i64>>>,
    done: Arc<AtomicBool>,
    bound: bool,
}

impl Probe {
    /// Begins: `shots` kills, each `gap_us` after the one before was seen, and up to as long again so that they hit the
    /// measured program at any moment of its turn. `native`: the handler is ours, else somebody calls `trip`.
    /// Errors: another word is bound to the signal, or no threads or descriptors left.
    pub fn start(shots: usize, gap_us: u64, native: bool) -> io::Result<Self> {
        let halt = Arc::new(Halt::new()?);
        let key = halt.take_key().ok_or(io::ErrorKind::Other)?;
        if native {
            bind(&halt)?;
        }
        let done = Arc::new(AtomicBool::new(false));
        let mut probe = Probe {
            halt: Arc::clone(&halt),
            thread: None,
            done: Arc::clone(&done),
            bound: native,
        };
        let thread = std::thread::Builder::new().name("tickd-probe".to_owned());
        probe.thread = Some(thread.spawn(move || {
            let found = measure(&halt, &key, shots, gap_us);
            done.store(true, Release);
            found
        })?);
        Ok(probe)
    }

    /// The word, for a handler that is not ours.
    pub fn halt(&self) -> Arc<Halt> {
        Arc::clone(&self.halt)
    }

    /// Whether the series has ended.
    pub fn is_done(&self) -> bool {
        self.done.load(Acquire)
    }

    /// Waits for the end and gives the signal back: nanoseconds from each signal to the first load that denied; shorter
    /// than asked for when one was not seen.
    pub fn finish(&mut self) -> Vec<i64> {
        let found = self.thread.take().and_then(|thread| thread.join().ok());
        if std::mem::take(&mut self.bound) {
            unbind(&self.halt);
        }
        found.unwrap_or_default()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.finish();
    }
}

fn measure(halt: &Halt, key: &Key, shots: usize, gap_us: u64) -> Vec<i64> {
    block(); // the signal is for the program, not for its probe
    let mut found = Vec::with_capacity(shots);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..shots {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let extra_us = state.checked_rem(gap_us).unwrap_or(0);
        std::thread::sleep(Duration::from_micros(gap_us + extra_us));
        halt.take_trips();
        while !halt.open(key, halt.load()) {}
        let sent_ns = mono_ns();
        send_to_self();
        let Some(seen_ns) = denied_ns(halt, sent_ns) else { break };
        found.push(seen_ns - sent_ns);
    }
    found
}

/// The moment of the first load that denies; none when there is none in time.
fn denied_ns(halt: &Halt, sent_ns: i64) -> Option<i64> {
    loop {
        for _ in 0..LOADS {
            if halt.load() & GLOBAL != 0 {
                return Some(mono_ns());
            }
            std::hint::spin_loop();
        }
        if mono_ns() - sent_ns > SHOT_NS_MAX {
            return None;
        }
    }
}
