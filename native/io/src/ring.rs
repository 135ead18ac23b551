//! A ring between two processes: one writes entries, the other takes them; 64-byte slots in shared memory.
//!
//! The reader says when it goes to sleep, and only then the writer rings: an idle feed costs nothing, a busy one no call into
//! the kernel. Neither side believes the other: every number that the other may write is checked before it is used, and one
//! that cannot be is a `Fault`, after which the ring is not used any more.
//!
//! Memory: a page of header (`Word`), then `capacity` slots. An entry is a head slot (kind, count, stamp, tag, its own
//! position) and its content. `head` and `tail` count slots for ever; a slot's place is its number modulo the capacity.

use std::io;
use std::sync::atomic::{
    fence, AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};
use std::sync::Arc;

use tickd_core::event::{flag, Event};
use tickd_core::feed::Outlet;

use crate::event_fd::{EventFd, Owned};
use crate::progress::{BusyStamp, Progress};
use crate::shared::SharedWords;

/// Fewest and most slots: 4 KiB to 1 GiB.
pub const CAPACITY_MIN: usize = 64;
/// See `CAPACITY_MIN`.
pub const CAPACITY_MAX: usize = 1 << 24;
const MAGIC: u64 = u64::from_le_bytes(*b"TKRING\x00\x01");
const SLOT_WORDS: usize = 8;
const HEADER_WORDS: usize = 512;

/// Words of the header, each on a cache line of its own where both sides are busy with it.
#[derive(Debug, Clone, Copy)]
enum Word {
    Magic = 0,
    Capacity = 1,
    /// Slots written; the writer's.
    Tail = 8,
    /// Slots taken; the reader's.
    Head = 16,
    /// 1: the reader sleeps, or is about to.
    Sleeps = 24,
    /// What the reader says of itself, see `Progress`.
    BusySince = 32,
    Events = 33,
    Entries = 34,
    Seq = 35,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// So many events; the monotonic stamp of the oldest, ns.
    Events(usize, i64),
    /// Bytes with a number: the definition of an instrument.
    Definition(u32),
    /// Bytes with a number that the two sides agree on.
    Text(u32),
}

const EVENTS: u64 = 1;
const DEFINITION: u64 = 2;
const TEXT: u64 = 3;

/// The other side wrote what cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault(pub &'static str);

#[derive(Debug)]
struct Ring {
    memory: Arc<SharedWords>,
    /// A power of two; never read again from the memory, which the other side may change.
    capacity: usize,
    doorbell: EventFd,
}

impl Ring {
    fn word(&self, word: Word) -> &AtomicU64 {
        static NONE: AtomicU64 = AtomicU64::new(0);
        self.memory.words().get(word as usize).unwrap_or(&NONE)
    }

    fn slot(&self, position: u64) -> &[AtomicU64] {
        let at = HEADER_WORDS + (position as usize & (self.capacity - 1)) * SLOT_WORDS;
        self.memory.words().get(at..at + SLOT_WORDS).unwrap_or_default()
    }

    fn write(&self, position: u64, words: [u64; SLOT_WORDS]) {
        for (place, word) in self.slot(position).iter().zip(words) {
            place.store(word, Relaxed);
        }
    }

    fn read(&self, position: u64) -> [u64; SLOT_WORDS] {
        let mut words = [0; SLOT_WORDS];
        for (word, place) in words.iter_mut().zip(self.slot(position)) {
            *word = place.load(Relaxed);
        }
        words
    }

    fn create(capacity: usize) -> io::Result<Ring> {
        if !capacity.is_power_of_two() || !(CAPACITY_MIN..=CAPACITY_MAX).contains(&capacity) {
            return Err(io::Error::other(
                "the capacity of a ring is a power of two from 64 to 2^24",
            ));
        }
        let memory = SharedWords::create(c"tickd-ring", HEADER_WORDS + capacity * SLOT_WORDS)?;
        let ring = Ring {
            memory: Arc::new(memory),
            capacity,
            doorbell: EventFd::new()?,
        };
        ring.word(Word::Capacity).store(capacity as u64, Relaxed);
        ring.word(Word::Magic).store(MAGIC, Release);
        Ok(ring)
    }

    fn open(memory: Owned, doorbell: Owned) -> io::Result<Ring> {
        let memory = SharedWords::open(memory)?;
        let slots = memory.words().len().saturating_sub(HEADER_WORDS) / SLOT_WORDS;
        let ring = Ring {
            memory: Arc::new(memory),
            capacity: slots,
            doorbell: EventFd::from_fd(doorbell),
        };
        if ring.word(Word::Magic).load(Acquire) != MAGIC {
            return Err(io::Error::other("no ring of this version"));
        }
        let said = ring.word(Word::Capacity).load(Relaxed);
        if said != slots as u64 || !slots.is_power_of_two() || !(CAPACITY_MIN..=CAPACITY_MAX).contains(&slots) {
            return Err(io::Error::other("the ring's length is not what it says"));
        }
        Ok(ring)
    }
}

/// Descriptors for the other side: the memory and the doorbell. Valid as long as the side that gave them lives.
pub type Descriptors = (i32, i32);

/// Both sides of a new ring, in one process.
pub fn create(capacity: usize) -> io::Result<(Writer, Reader)> {
    let ring = Ring::create(capacity)?;
    let other = Ring::open(ring.memory.duplicate()?, ring.doorbell.duplicate()?)?;
    Ok((Writer::of(ring), Reader::of(other)))
}

/// The side that writes.
#[derive(Debug)]
pub struct Writer {
    ring: Ring,
    tail: u64,
    /// The reader's, as last seen.
    head: u64,
    fault: Option<Fault>,
    rings: u64,
}

impl Writer {
    fn of(ring: Ring) -> Writer {
        Writer {
            ring,
            tail: 0,
            head: 0,
            fault: None,
            rings: 0,
        }
    }

    /// The writing side of a new ring; the other joins by its descriptors. Errors: the system refused, or the capacity.
    pub fn create(capacity: usize) -> io::Result<Writer> {
        Ring::create(capacity).map(Writer::of)
    }

    /// Joins a ring that another process made. Errors: it is none, or has been written to.
    pub fn open(memory: Owned, doorbell: Owned) -> io::Result<Writer> {
        let ring = Ring::open(memory, doorbell)?;
        if ring.word(Word::Tail).load(Acquire) != 0 {
            return Err(io::Error::other("the ring has a writer already"));
        }
        Ok(Writer::of(ring))
    }

    /// For the other side.
    pub fn descriptors(&self) -> Descriptors {
        (self.ring.memory.raw(), self.ring.doorbell.raw())
    }

    /// What the reader did that it cannot do; nothing is written any more.
    pub const fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Slots that the reader has not taken.
    pub fn depth(&mut self) -> usize {
        self.look();
        (self.tail - self.head) as usize
    }

    /// How often the reader was woken.
    pub const fn rings(&self) -> u64 {
        self.rings
    }

    /// What the reader says of itself; not checked, for nothing but people and watchdogs.
    pub fn progress(&self) -> Progress {
        let read = |word| self.ring.word(word).load(Relaxed);
        Progress {
            busy_since: read(Word::BusySince) as i64,
            events: read(Word::Events),
            entries: read(Word::Entries),
            seq: read(Word::Seq),
        }
    }

    fn look(&mut self) {
        let head = self.ring.word(Word::Head).load(Acquire);
        if head < self.head || head > self.tail {
            self.fault = Some(Fault("the reader of the ring says it took what was not written"));
        } else {
            self.head = head;
        }
    }

    /// Slots free for an entry, its head included.
    fn free(&mut self, wanted: usize) -> usize {
        if self.ring.capacity - ((self.tail - self.head) as usize) < wanted {
            self.look();
        }
        if self.fault.is_some() {
            return 0;
        }
        self.ring.capacity - (self.tail - self.head) as usize
    }

    /// Writes bytes; false when there is no room for them now.
    ///
    /// Errors: longer than the ring.
    pub fn put_bytes(&mut self, head: Head, bytes: &[u8]) -> io::Result<bool> {
        let slots = bytes.len().div_ceil(SLOT_WORDS * 8);
        if slots + 1 > self.ring.capacity {
            return Err(io::Error::other("longer than the ring"));
        }
        if self.free(slots + 1) < slots + 1 {
            return Ok(false);
        }
        let (kind, tag) = match head {
            Head::Definition(instrument) => (DEFINITION, instrument),
            Head::Text(tag) => (TEXT, tag),
            Head::Events(..) => return Err(io::Error::other("events are no bytes")),
        };
        let first = self.tail;
        self.ring.write(
            first,
            [kind | (bytes.len() as u64) << 32, 0, u64::from(tag), first, 0, 0, 0, 0],
        );
        for (at, part) in bytes.chunks(SLOT_WORDS * 8).enumerate() {
            let mut words = [0; SLOT_WORDS];
            for (word, eight) in words.iter_mut().zip(part.chunks(8)) {
                let mut padded = [0; 8];
                for (to, from) in padded.iter_mut().zip(eight) {
                    *to = *from;
                }
                *word = u64::from_le_bytes(padded);
            }
            self.ring.write(first + 1 + at as u64, words);
        }
        self.publish(first + 1 + slots as u64);
        Ok(true)
    }

    /// Makes everything up to `tail` visible and wakes the reader if it sleeps.
    fn publish(&mut self, tail: u64) {
        self.tail = tail;
        self.ring.word(Word::Tail).store(tail, Release);
        // The reader sets its flag, then looks at the tail; we set the tail, then look at the flag. With a full fence between
        // the two on both sides at least one of us sees the other's.
        fence(SeqCst);
        if self.ring.word(Word::Sleeps).load(Relaxed) != 0 {
            self.ring.word(Word::Sleeps).store(0, Relaxed);
            self.rings += 1;
            self.ring.doorbell.ring();
        }
    }
}

impl Outlet for Writer {
    fn room(&mut self) -> usize {
        self.free(self.ring.capacity).saturating_sub(1)
    }

    fn room_max(&self) -> usize {
        self.ring.capacity - 1
    }

    fn put(&mut self, ts_mono: i64, parts: &[&[Event]]) {
        let count: usize = parts.iter().map(|part| part.len()).sum();
        if count == 0 || count > self.room() {
            return;
        }
        let first = self.tail;
        self.ring.write(
            first,
            [EVENTS | (count as u64) << 32, ts_mono as u64, 0, first, 0, 0, 0, 0],
        );
        let mut position = first;
        for event in parts.iter().flat_map(|part| part.iter()) {
            position += 1;
            self.ring.write(position, event.to_words());
        }
        self.publish(position + 1);
    }
}

/// The side that takes.
#[derive(Debug)]
pub struct Reader {
    ring: Ring,
    head: u64,
    /// Of the entry in hand: events left, stamp.
    left: (usize, i64),
    done: Progress,
    /// Events and last number of the portion in hand.
    hand: (u64, u64),
}

impl Reader {
    fn of(ring: Ring) -> Reader {
        Reader {
            ring,
            head: 0,
            left: (0, 0),
            done: Progress::default(),
            hand: (0, 0),
        }
    }

    /// The reading side of a new ring; the other joins by its descriptors. Errors: the system refused, or the capacity.
    pub fn create(capacity: usize) -> io::Result<Reader> {
        Ring::create(capacity).map(Reader::of)
    }

    /// Joins a ring that another process made. Errors: it is none, or has been read from.
    pub fn open(memory: Owned, doorbell: Owned) -> io::Result<Reader> {
        let ring = Ring::open(memory, doorbell)?;
        if ring.word(Word::Head).load(Acquire) != 0 {
            return Err(io::Error::other("the ring has a reader already"));
        }
        Ok(Reader::of(ring))
    }

    /// For the other side.
    pub fn descriptors(&self) -> Descriptors {
        (self.ring.memory.raw(), self.ring.doorbell.raw())
    }

    /// Takes the next entry, or so much of an entry of events as has `events_max` of them and ends with a whole message, into
    /// one of the two buffers; None when there is nothing. The memory is free for the writer at once.
    ///
    /// Errors: what is there cannot be an entry; the ring is then of no use.
    pub fn take(
        &mut self,
        events: &mut Vec<Event>,
        bytes: &mut Vec<u8>,
        events_max: usize,
    ) -> Result<Option<Head>, Fault> {
        events.clear();
        bytes.clear();
        let tail = self.ring.word(Word::Tail).load(Acquire);
        let there = tail.wrapping_sub(self.head);
        if there > self.ring.capacity as u64 {
            return Err(Fault(
                "the writer of the ring says it wrote more than there is room for",
            ));
        }
        if self.left.0 > 0 {
            return self.take_events(events, events_max).map(Some);
        }
        if there == 0 {
            return Ok(None);
        }
        let [kind, stamp, tag, position, ..] = self.ring.read(self.head);
        let count = (kind >> 32) as usize;
        let (slots, kind) = match kind & 0xFFFF_FFFF {
            EVENTS if count > 0 => (count, EVENTS),
            kind @ (DEFINITION | TEXT) => (count.div_ceil(SLOT_WORDS * 8), kind),
            _ => return Err(Fault("an entry of the ring is of no known kind")),
        };
        if position != self.head || slots as u64 >= there {
            return Err(Fault("an entry of the ring is longer than what was written"));
        }
        self.head += 1;
        if kind == EVENTS {
            self.left = (count, stamp as i64);
            return self.take_events(events, events_max).map(Some);
        }
        for position in self.head..self.head + slots as u64 {
            bytes.extend(self.ring.read(position).iter().flat_map(|word| word.to_le_bytes()));
        }
        bytes.truncate(count);
        self.release(self.head + slots as u64);
        let tag = tag as u32;
        Ok(Some(if kind == TEXT {
            Head::Text(tag)
        } else {
            Head::Definition(tag)
        }))
    }

    fn take_events(&mut self, events: &mut Vec<Event>, events_max: usize) -> Result<Head, Fault> {
        let (left, stamp) = self.left;
        events.reserve(left.min(events_max));
        let mut taken = 0;
        while taken < left {
            let event = Event::from_words(self.ring.read(self.head + taken as u64));
            taken += 1;
            events.push(event);
            if taken >= events_max && event.flags & flag::LAST != 0 {
                break;
            }
        }
        self.left.0 -= taken;
        self.release(self.head + taken as u64);
        Ok(Head::Events(taken, stamp))
    }

    fn release(&mut self, head: u64) {
        self.head = head;
        self.ring.word(Word::Head).store(head, Release);
    }

    /// Says that it is at work on `events` since `mono_ns`, and done with what it had before.
    pub fn begin(&mut self, mono_ns: i64, events: &[Event]) {
        self.finish();
        self.hand = (events.len() as u64, events.last().map_or(0, |last| last.seq));
        self.ring.word(Word::BusySince).store(mono_ns as u64, Relaxed);
    }

    /// For work on a portion that is in steps: each is said to begin by itself. To be used between `begin` and `finish`.
    pub fn busy_stamp(&self) -> BusyStamp {
        BusyStamp::new(Arc::clone(&self.ring.memory), Word::BusySince as usize)
    }

    /// Says that it is done with what it had in hand.
    pub fn finish(&mut self) {
        if self.hand.0 == 0 {
            return;
        }
        self.done.events += self.hand.0;
        self.done.entries += 1;
        self.done.seq = self.hand.1;
        self.hand = (0, 0);
        let ring = &self.ring;
        ring.word(Word::Events).store(self.done.events, Relaxed);
        ring.word(Word::Entries).store(self.done.entries, Relaxed);
        ring.word(Word::Seq).store(self.done.seq, Relaxed);
        ring.word(Word::BusySince).store(0, Relaxed);
    }

    /// Whether something is there; if not, the writer rings from now on.
    pub fn arm(&mut self) -> bool {
        if self.left.0 > 0 || self.ring.word(Word::Tail).load(Acquire) != self.head {
            return true;
        }
        self.ring.word(Word::Sleeps).store(1, Relaxed);
        fence(SeqCst); // see `Writer::publish`
        if self.ring.word(Word::Tail).load(Acquire) == self.head {
            return false;
        }
        self.ring.word(Word::Sleeps).store(0, Relaxed);
        true
    }

    /// Waits until something is there or `other` is readable; (something is there, other). Both false: the time is up.
    pub fn wait(&mut self, other: Option<i32>, timeout_ms: i32) -> (bool, bool) {
        while !self.arm() {
            let (is_rung, other) = self.ring.doorbell.wait(other, timeout_ms);
            self.ring.doorbell.clear();
            if other || !is_rung {
                return (self.arm(), other);
            }
            // A bell without an entry is one for an entry that was found without it.
        }
        (true, false)
    }

    /// Makes the doorbell silent: for those who wait by themselves. Then take everything, and `arm`.
    pub fn hush(&self) {
        self.ring.doorbell.clear();
    }
}
