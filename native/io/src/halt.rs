//! The halt word: one atomic that says whether orders may leave, and who stopped them.
//!
//! Whoever trips it changes memory first, in one step that a signal handler may do; the latch file, the event loop and
//! `tickd panic` come after, on threads of their own (`latch.rs`). It opens for whoever holds its one key, and only while
//! it still is what that holder saw.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, AtomicU8};
use std::sync::{Mutex, PoisonError};

use crate::event_fd::EventFd;
use crate::sys::{mono_ns, wall_ns};

/// No order may leave.
pub const GLOBAL: u64 = 1;
/// Beside `GLOBAL`: orders that reduce a position may.
pub const REDUCING: u64 = 2;
/// The epoch stands above the flags.
pub const FLAG_BITS: u32 = 8;
/// Trips that wait for somebody to take them; of a storm the first ones are kept and the rest counted.
const TRIPS_MAX: usize = 64;
/// A reason is for people and for a file that must stay small.
const REASON_CHARS_MAX: usize = 500;

const FREE: u8 = 0;
const FILLING: u8 = 1;
const FULL: u8 = 2;

/// Who tripped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A signal: its number, and who sent it.
    Signal {
        /// As in `kill -l`.
        number: i32,
        /// Real user of the sender.
        uid: u32,
        /// Process of the sender; 0: the kernel.
        pid: i32,
    },
    /// A part of this program, by name.
    Call(String),
}

/// One trip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trip {
    /// Of the word behind it.
    pub epoch: u64,
    /// For people.
    pub reason: String,
    /// Who.
    pub source: Source,
    /// Wall clock, ns.
    pub wall_ns: i64,
    /// Monotonic clock, ns.
    pub mono_ns: i64,
}

/// What a signal handler leaves for others: one place, of which the first writer wins until it was read.
#[derive(Debug, Default)]
struct Signalled {
    state: AtomicU8,
    epoch: AtomicU64,
    number: AtomicI32,
    uid: AtomicU32,
    pid: AtomicI32,
    wall_ns: AtomicI64,
    mono_ns: AtomicI64,
}

/// The word and what belongs to it.
#[derive(Debug)]
pub struct Halt {
    word: AtomicU64,
    signalled: Signalled,
    /// Rung by every trip; the latch thread listens.
    bell: EventFd,
    called: Mutex<VecDeque<Trip>>,
    /// Epoch for which cancelling has begun.
    cancelled: AtomicU64,
    key_given: AtomicBool,
}

/// The right to open one word; there is one.
#[derive(Debug)]
pub struct Key(());

impl Halt {
    /// A halted word: nothing is armed before a person did it. Errors: no descriptors left.
    pub fn new() -> io::Result<Self> {
        Ok(Halt {
            word: AtomicU64::new((1 << FLAG_BITS) | GLOBAL),
            signalled: Signalled::default(),
            bell: EventFd::new()?,
            called: Mutex::default(),
            cancelled: AtomicU64::new(0),
            key_given: AtomicBool::new(false),
        })
    }

    /// What the gate looks at before every order.
    #[inline]
    pub fn load(&self) -> u64 {
        self.word.load(Acquire)
    }

    /// The epoch of a word.
    pub const fn epoch_of(word: u64) -> u64 {
        word >> FLAG_BITS
    }

    fn halt(&self) -> u64 {
        let halted = |word: u64| Some((((word >> FLAG_BITS) + 1) << FLAG_BITS) | GLOBAL);
        // `halted` always says something, so both arms hold the word before.
        let (Ok(before) | Err(before)) = self.word.fetch_update(AcqRel, Acquire, halted);
        (before >> FLAG_BITS) + 1
    }

    /// Halts by a signal. Async-signal-safe: atomics, the clock, and a write to a descriptor.
    pub fn trip_by_signal(&self, number: i32, uid: u32, pid: i32) {
        let epoch = self.halt();
        let slot = &self.signalled;
        if slot.state.compare_exchange(FREE, FILLING, Acquire, Relaxed).is_ok() {
            slot.epoch.store(epoch, Relaxed);
            slot.number.store(number, Relaxed);
            slot.uid.store(uid, Relaxed);
            slot.pid.store(pid, Relaxed);
            slot.wall_ns.store(wall_ns(), Relaxed);
            slot.mono_ns.store(mono_ns(), Relaxed);
            slot.state.store(FULL, Release);
        }
        self.bell.ring();
    }

    /// Halts; returns the word.
    pub fn trip(&self, reason: &str, source: &str) -> u64 {
        let epoch = self.halt();
        let trip = Trip {
            epoch,
            reason: reason.chars().take(REASON_CHARS_MAX).collect(),
            source: Source::Call(source.chars().take(REASON_CHARS_MAX).collect()),
            wall_ns: wall_ns(),
            mono_ns: mono_ns(),
        };
        let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        if called.len() < TRIPS_MAX {
            called.push_back(trip);
        }
        drop(called);
        self.bell.ring();
        (epoch << FLAG_BITS) | GLOBAL
    }

    /// Trips since the last call, in the order of their epochs; at most one by a signal, its first.
    pub fn take_trips(&self) -> Vec<Trip> {
        let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        let mut trips: Vec<Trip> = called.drain(..).collect();
        drop(called);
        let slot = &self.signalled;
        if slot.state.load(Acquire) == FULL {
            let number = slot.number.load(Relaxed);
            trips.push(Trip {
                epoch: slot.epoch.load(Relaxed),
                reason: "kill signal".to_owned(),
                source: Source::Signal {
                    number,
                    uid: slot.uid.load(Relaxed),
                    pid: slot.pid.load(Relaxed),
                },
                wall_ns: slot.wall_ns.load(Relaxed),
                mono_ns: slot.mono_ns.load(Relaxed),
            });
            slot.state.store(FREE, Release);
        }
        trips.sort_by_key(|trip| trip.epoch);
        trips
    }

    /// Whoever cancels has begun: nobody else need do it for the trips so far.
    pub fn cancel_all_began(&self) {
        self.cancelled.fetch_max(Halt::epoch_of(self.load()), AcqRel);
    }

    /// Whether cancelling has begun for a trip.
    pub fn is_cancelling(&self, epoch: u64) -> bool {
        self.cancelled.load(Acquire) >= epoch
    }

    /// The key; none when it was given before.
    pub fn take_key(&self) -> Option<Key> {
        (!self.key_given.swap(true, AcqRel)).then_some(Key(()))
    }

    /// Opens, if the word is still what the holder saw.
    pub fn open(&self, _key: &Key, seen: u64) -> bool {
        self.replace(seen, Halt::epoch_of(seen) << FLAG_BITS)
    }

    /// Lets orders leave that reduce a position, if the word is still what the holder saw.
    pub fn reduce(&self, _key: &Key, seen: u64) -> bool {
        let next = ((Halt::epoch_of(seen) + 1) << FLAG_BITS) | GLOBAL | REDUCING;
        seen & GLOBAL != 0 && self.replace(seen, next)
    }

    fn replace(&self, seen: u64, next: u64) -> bool {
        self.word.compare_exchange(seen, next, AcqRel, Acquire).is_ok()
    }

    /// The bell that every trip rings.
    pub fn bell(&self) -> &EventFd {
        &self.bell
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_halted_and_opens_only_for_who_saw_the_word() {
        let halt = Halt::new().unwrap();
        let key = halt.take_key().unwrap();
        assert!(halt.take_key().is_none());
        let seen = halt.load();
        assert_eq!(seen & GLOBAL, GLOBAL);
        let tripped = halt.trip("a reason", "test");
        assert!(!halt.open(&key, seen), "a trip came between");
        assert!(halt.open(&key, tripped));
        assert_eq!(halt.load() & 0xFF, 0);
        assert!(!halt.reduce(&key, halt.load()), "an open word has nothing to reduce");
    }

    #[test]
    fn a_trip_ends_reducing_and_every_step_but_opening_has_an_epoch() {
        let halt = Halt::new().unwrap();
        let key = halt.take_key().unwrap();
        assert!(halt.reduce(&key, halt.load()));
        assert_eq!(halt.load(), (2 << FLAG_BITS) | GLOBAL | REDUCING);
        halt.trip_by_signal(10, 0, 1);
        assert_eq!(halt.load(), (3 << FLAG_BITS) | GLOBAL);
        halt.cancel_all_began();
        assert!(halt.is_cancelling(3) && !halt.is_cancelling(4));
    }

    #[test]
    fn trips_are_told_once_in_their_order_and_a_storm_is_bounded() {
        let halt = Halt::new().unwrap();
        halt.trip_by_signal(10, 7, 8);
        halt.trip("x".repeat(REASON_CHARS_MAX + 1).as_str(), "test");
        halt.trip_by_signal(10, 9, 9);
        let trips = halt.take_trips();
        let epochs: Vec<u64> = trips.iter().map(|trip| trip.epoch).collect();
        assert_eq!(epochs, [2, 3]);
        let sender = Source::Signal {
            number: 10,
            uid: 7,
            pid: 8,
        };
        assert_eq!(trips[0].source, sender);
        assert_eq!(trips[1].reason.len(), REASON_CHARS_MAX);
        assert!(halt.take_trips().is_empty());
        for _ in 0..TRIPS_MAX + 9 {
            halt.trip("again", "test");
        }
        assert_eq!(halt.take_trips().len(), TRIPS_MAX);
        assert_eq!(Halt::epoch_of(halt.load()), 4 + TRIPS_MAX as u64 + 9);
    }

    /// Many threads trip while one opens what it saw: no opening survives a trip that came after the look.
    #[test]
    fn no_trip_is_lost_among_threads() {
        let halt = Halt::new().unwrap();
        let key = halt.take_key().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..2_000).for_each(|_| halt.trip_by_signal(10, 0, 0)));
            }
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let seen = halt.load();
                    halt.open(&key, seen);
                }
            });
        });
        assert_eq!(Halt::epoch_of(halt.load()), 6_001);
    }
}
