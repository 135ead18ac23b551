//! The ring: nothing lost, nothing twice, nobody asleep for ever; wrap-around at every offset; garbage is refused.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;
use tickd_core::event::{flag, Event, Kind};
use tickd_core::feed::Outlet;
use tickd_io::ring::{create, Fault, Head, Reader, Writer};
use tickd_io::shared::{duplicate_of, SharedWords};

const HEADER_WORDS: usize = 512;

fn event(seq: u64, is_last: bool) -> Event {
    let mut event = Event::new(Kind::Trade, seq, 1, 2, 3);
    event.flags = if is_last { flag::LAST } else { 0 };
    event
}

fn run(from: u64, count: u64) -> Vec<Event> {
    (from..from + count).map(|seq| event(seq, true)).collect()
}

fn take_all(reader: &mut Reader) -> Vec<Event> {
    let (mut events, mut bytes, mut all) = (Vec::new(), Vec::new(), Vec::new());
    while reader.take(&mut events, &mut bytes, usize::MAX).unwrap().is_some() {
        all.extend_from_slice(&events);
    }
    all
}

#[test]
fn entries_of_every_length_pass_at_every_offset() {
    let (mut writer, mut reader) = create(64).unwrap();
    let (mut events, mut bytes) = (Vec::new(), Vec::new());
    let mut seq = 1;
    for offset in 0..64 {
        for length in 1..=63_u64 {
            assert_eq!(writer.room(), 63);
            let sent = run(seq, length);
            let (left, right) = sent.split_at(length as usize / 2);
            writer.put(seq as i64, &[left, right]);
            let head = reader.take(&mut events, &mut bytes, usize::MAX).unwrap();
            assert_eq!(head, Some(Head::Events(length as usize, seq as i64)));
            assert_eq!(events, sent, "offset {offset}");
            seq += length;
        }
        let text: Vec<u8> = (0..offset * 61 % 4000).map(|at| at as u8).collect();
        assert!(writer.put_bytes(Head::Text(offset as u32), &text).unwrap());
        assert!(writer.depth() == text.len().div_ceil(64) + 1);
        assert_eq!(
            reader.take(&mut events, &mut bytes, 1).unwrap(),
            Some(Head::Text(offset as u32))
        );
        assert_eq!(bytes, text);
    }
    assert_eq!(reader.take(&mut events, &mut bytes, 1), Ok(None));
}

#[test]
fn portions_end_with_whole_messages_and_free_the_ring_at_once() {
    let (mut writer, mut reader) = create(64).unwrap();
    let sent: Vec<Event> = (0..9).map(|seq| event(seq, seq % 3 == 2)).collect();
    writer.put(5, &[&sent]);
    let (mut events, mut bytes) = (Vec::new(), Vec::new());
    let mut portions = Vec::new();
    while let Some(Head::Events(count, 5)) = reader.take(&mut events, &mut bytes, 2).unwrap() {
        portions.push((count, writer.depth()));
        reader.begin(77, &events);
        assert_eq!(writer.progress().busy_since, 77);
    }
    assert_eq!(portions, [(3, 6), (3, 3), (3, 0)]);
    assert_eq!((writer.progress().events, writer.progress().seq), (6, 5));
    reader.finish();
    let progress = writer.progress();
    assert_eq!((progress.events, progress.entries, progress.seq), (9, 3, 8));
    assert_eq!(progress.busy_since, 0);
}

#[test]
fn a_full_ring_takes_nothing_and_a_bell_rings_only_for_sleepers() {
    let (mut writer, mut reader) = create(64).unwrap();
    writer.put(0, &[&run(1, 40)]);
    assert_eq!((writer.room(), writer.rings()), (22, 0));
    writer.put(0, &[&run(41, 23)]);
    assert!(!writer.put_bytes(Head::Text(1), &[0; 64 * 23]).unwrap());
    assert!(writer.put_bytes(Head::Text(1), &[0; 64 * 64]).is_err());
    assert!(reader.arm(), "something is there: no sleep");
    assert_eq!(take_all(&mut reader), run(1, 40));
    assert!(!reader.arm());
    writer.put(0, &[&run(41, 1)]);
    writer.put(0, &[&run(42, 1)]);
    assert_eq!(writer.rings(), 1);
    assert_eq!(reader.wait(None, 0), (true, false));
    assert_eq!(take_all(&mut reader), run(41, 2));
    assert_eq!(reader.wait(None, 0), (false, false));
    let (pipe, end) = std::io::pipe().unwrap();
    drop(end);
    assert_eq!(reader.wait(Some(pipe.as_raw_fd()), 10_000), (false, true));
}

/// The reader's side of a race: takes everything until `last`, sleeping whenever there is nothing.
fn consume(reader: &mut Reader, last: u64, events_max: usize) -> u64 {
    let (mut events, mut bytes) = (Vec::new(), Vec::new());
    let (mut next, mut sleeps) = (1, 0);
    while next <= last {
        match reader.take(&mut events, &mut bytes, events_max).unwrap() {
            Some(Head::Events(..)) => {
                for event in &events {
                    assert_eq!(*event, self::event(next, true));
                    next += 1;
                }
            }
            Some(Head::Text(tag)) => assert_eq!(bytes, tag.to_le_bytes().repeat(tag as usize % 50)),
            Some(Head::Definition(_)) => panic!("never sent"),
            None => {
                sleeps += 1;
                assert_eq!(reader.wait(None, 10_000), (true, false), "a wake-up was lost at {next}");
            }
        }
    }
    sleeps
}

/// The writer's side: portions of odd sizes, texts in between.
fn produce(writer: &mut Writer, last: u64, is_alive: &mut dyn FnMut() -> bool) {
    let (mut next, mut step) = (1, 0_u64);
    while next <= last {
        step += 1;
        assert!(step % 4096 != 0 || is_alive(), "the reader gave up at {next}");
        let room = writer.room() as u64;
        let count = (step * 7 % 13 + 1).min(room).min(last + 1 - next);
        if count > 0 {
            writer.put(0, &[&run(next, count)]);
            next += count;
        } else {
            std::thread::yield_now();
        }
        if step % 97 == 0 {
            let tag = step as u32;
            let text = tag.to_le_bytes().repeat(tag as usize % 50);
            writer.put_bytes(Head::Text(tag), &text).unwrap();
        }
        if step % 31 == 0 {
            // Lets the reader come to its sleep.
            std::thread::yield_now();
        }
    }
}

#[test]
fn two_threads_pass_millions_and_none_sleeps_for_ever() {
    for (capacity, last, events_max) in [(64, 3_000_000, 5), (4096, 3_000_000, usize::MAX)] {
        let (mut writer, mut reader) = create(capacity).unwrap();
        let sleeps = std::thread::scope(|scope| {
            let consumer = scope.spawn(|| consume(&mut reader, last, events_max));
            produce(&mut writer, last, &mut || !consumer.is_finished());
            consumer.join().unwrap()
        });
        assert!(sleeps > 0 && writer.depth() < 64, "the reader never slept");
    }
}

/// Run by `two_processes…` in a process of its own; passes at once otherwise.
#[test]
fn child_side() {
    let Ok(fds) = std::env::var("TICKD_RING_TEST_FDS") else {
        return;
    };
    let fds: Vec<i32> = fds.split(',').map(|fd| fd.parse().unwrap()).collect();
    let [memory, doorbell] = [fds[0], fds[1]].map(|fd| duplicate_of(fd).unwrap());
    let mut reader = Reader::open(memory, doorbell).unwrap();
    assert!(consume(&mut reader, 2_000_000, 100) > 0);
}

#[test]
fn two_processes_pass_millions_and_none_sleeps_for_ever() {
    let (mut writer, reader) = create(1024).unwrap();
    let (memory, doorbell) = reader.descriptors();
    for fd in [memory, doorbell] {
        // SAFETY: a live descriptor and plain numbers: the child is to inherit it.
        unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "child_side"])
        .env("TICKD_RING_TEST_FDS", format!("{memory},{doorbell}"));
    let mut child = child.stdout(std::process::Stdio::null()).spawn().unwrap();
    produce(&mut writer, 2_000_000, &mut || child.try_wait().unwrap().is_none());
    assert!(child.wait().unwrap().success());
    assert_eq!((writer.depth(), writer.fault()), (0, None));
}

#[test]
fn what_is_no_ring_is_refused() {
    let fd = |words: usize| SharedWords::create(c"test", words).unwrap();
    let (_, bell) = create(64).unwrap();
    let bell = || duplicate_of(bell.descriptors().1).unwrap();
    for words in [1, 512, 512 + 64 * 8, 512 + 65 * 8] {
        assert!(Reader::open(fd(words).duplicate().unwrap(), bell()).is_err());
    }
    assert!(create(63).is_err() && create(100).is_err() && create(1 << 25).is_err());
    let (writer, reader) = create(64).unwrap();
    let memory = || duplicate_of(writer.descriptors().0).unwrap();
    let words = SharedWords::open(memory()).unwrap();
    words.words()[1].store(128, Relaxed);
    assert!(Reader::open(memory(), bell()).is_err());
    drop(reader);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Whatever a peer writes into the memory, a reader gives entries or a fault, and a writer writes or stops.
    #[test]
    fn garbage_never_panics(
        junk in prop::collection::vec((0..HEADER_WORDS + 64 * 8, any::<u64>()), 0..40),
        small in prop::collection::vec((0..40_usize, 0..200_u64), 0..6),
    ) {
        let (mut writer, mut reader) = create(64).unwrap();
        writer.put(0, &[&run(1, 20)]);
        writer.put_bytes(Head::Definition(3), b"{}").unwrap();
        let memory = duplicate_of(writer.descriptors().0).unwrap();
        let memory = SharedWords::open(memory).unwrap();
        for (at, word) in junk.into_iter().chain(small) {
            memory.words()[at].store(word, Relaxed);
        }
        let (mut events, mut bytes) = (Vec::new(), Vec::new());
        for _ in 0..100 {
            match reader.take(&mut events, &mut bytes, 7) {
                Ok(Some(_)) => prop_assert!(events.len() < 64 && bytes.len() <= 64 * 64),
                Ok(None) => break,
                Err(Fault(words)) => {
                    prop_assert!(!words.is_empty());
                    break;
                }
            }
        }
        prop_assert!(writer.room() <= 63);
        let _ = writer.put_bytes(Head::Text(1), &[1; 300]);
        writer.put(0, &[&run(50, 3)]);
        let _ = (writer.progress(), writer.depth());
    }
}

#[test]
fn a_reader_that_says_it_took_too_much_is_a_fault_for_good() {
    for head in [6, u64::MAX] {
        let (mut writer, reader) = create(64).unwrap();
        writer.put(0, &[&run(1, 4)]);
        let memory = duplicate_of(writer.descriptors().0).unwrap();
        SharedWords::open(memory).unwrap().words()[16].store(head, Relaxed);
        assert_eq!((writer.room(), writer.fault().is_some()), (0, true));
        assert!(!writer.put_bytes(Head::Text(1), b"more").unwrap());
        drop(reader);
    }
}
