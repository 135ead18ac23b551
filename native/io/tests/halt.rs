//! The kill signal, the latch file, and the last resort, with real signals, files and processes.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tickd_io::halt::{Halt, Source, Trip, GLOBAL};
use tickd_io::halt_probe::Probe;
use tickd_io::halt_signal::{bind, send_to_self, unbind};
use tickd_io::latch::{Latch, Settings};
use tickd_io::latch_file::{record, Context, LATCH};

/// The signal is the whole process's: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::yield_now();
    }
}

fn context() -> Context {
    Context {
        config: "c0ffee".to_owned(),
        boot_id: "boot".to_owned(),
        halts: serde_json::json!([{"scope": "venue", "key": "okx"}]),
    }
}

fn settings(directory: &Path, panic: &[&str], panic_after_ms: u32) -> Settings {
    Settings {
        directory: directory.to_path_buf(),
        panic: panic.iter().map(|word| (*word).to_owned()).collect(),
        panic_after_ms,
        disk_wait_ms: 100,
    }
}

fn latch(halt: &Arc<Halt>, settings: Settings) -> Latch {
    Latch::start(halt, settings, context(), b"first\n".to_vec()).unwrap()
}

fn file(directory: &Path) -> serde_json::Value {
    let bytes = fs::read(directory.join(LATCH)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

#[test]
fn the_signal_trips_the_bound_word_and_says_who_sent_it() {
    let _alone = alone();
    let halt = Arc::new(Halt::new().unwrap());
    let other = Arc::new(Halt::new().unwrap());
    bind(&halt).unwrap();
    assert!(bind(&other).is_err(), "the signal has one word");
    assert!(!unbind(&other));
    send_to_self();
    until("the word moves", || Halt::epoch_of(halt.load()) == 2);
    until("the sender is told", || {
        !halt.bell().wait(None, 0).0 || Halt::epoch_of(halt.load()) == 2
    });
    let trips = halt.take_trips();
    let [trip] = trips.as_slice() else { panic!("{trips:?}") };
    let Source::Signal { pid, .. } = trip.source else {
        panic!("{trip:?}")
    };
    assert_eq!(u32::try_from(pid).unwrap(), std::process::id());
    assert!(trip.wall_ns > 0 && trip.mono_ns > 0);
    assert_eq!(Halt::epoch_of(other.load()), 1);
    assert!(unbind(&halt));
    bind(&other).unwrap();
    assert!(unbind(&other));
}

#[test]
fn a_trip_is_on_disk_before_the_loop_hears_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let halt = Arc::new(Halt::new().unwrap());
    let latch = latch(&halt, settings(directory.path(), &[], 1));
    halt.trip("a test", "test");
    until("the bell is rung", || latch.bell().wait(None, 100).0);
    let found = file(directory.path());
    assert_eq!(found["state"], "halted");
    assert_eq!(found["reason"], "a test");
    assert_eq!(found["source"]["name"], "test");
    assert_eq!(found["halts"][0]["key"], "okx");
    assert_eq!(latch.take_seen().len(), 1);
    assert!(!latch.bell().wait(None, 0).0);
    assert!(!directory.path().join("latch.json.tmp").exists());
}

#[test]
fn the_record_ends_with_the_hash_of_what_stands_before_it() {
    let trip = Trip {
        epoch: 9,
        reason: "quote \" and newline \n".to_owned(),
        source: Source::Signal {
            number: 10,
            uid: 1,
            pid: 2,
        },
        wall_ns: 3,
        mono_ns: 4,
    };
    let bytes = record(&trip, &context());
    let text = std::str::from_utf8(&bytes).unwrap();
    let (body, check) = text.split_once(",\"check\":").unwrap();
    let hash = tickd_core::block::hash(body.as_bytes());
    assert_eq!(check, format!("\"{hash:016x}\"}}\n"));
}

#[test]
fn panic_is_run_once_when_nobody_begins_to_cancel() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("mark");
    let script = format!("echo ran >> {}; exit 3", mark.display());
    let halt = Arc::new(Halt::new().unwrap());
    let latch = latch(&halt, settings(directory.path(), &["sh", "-c", &script], 20));
    halt.trip("a test", "test");
    until("panic ends", || latch.panic().exit_code == Some(3));
    assert_eq!(latch.panic().runs, 1);
    assert_eq!(fs::read_to_string(&mark).unwrap(), "ran\n");
    halt.trip("again", "test");
    until("panic runs for the second trip", || latch.panic().runs == 2);
    until("it ends", || latch.panic().exit_code == Some(3));
    assert_eq!(fs::read_to_string(&mark).unwrap(), "ran\nran\n");
}

#[test]
fn panic_is_not_run_when_cancelling_began() {
    let directory = tempfile::tempdir().unwrap();
    let halt = Arc::new(Halt::new().unwrap());
    let latch = latch(&halt, settings(directory.path(), &["true"], 50));
    halt.trip("a test", "test");
    halt.cancel_all_began();
    let began = Instant::now();
    until("its time is over", || began.elapsed() > Duration::from_millis(100));
    halt.trip("again", "test");
    until("panic runs for the second", || latch.panic().runs == 1);
    until("it ends", || latch.panic().exit_code == Some(0));
    drop(latch);
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let halt = Arc::new(Halt::new().unwrap());
    let latch = latch(&halt, settings(directory.path(), &["/nowhere/at/all"], 1));
    halt.trip("a test", "test");
    until("the fault is told", || latch.panic().fault.is_some());
    assert_eq!(latch.panic().runs, 0);
}

#[test]
fn a_disk_that_takes_nothing_stops_neither_the_bell_nor_panic_and_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let halt = Arc::new(Halt::new().unwrap());
    let latch = latch(&halt, settings(&missing, &["true"], 1));
    halt.trip("a test", "test");
    until("the bell is rung", || latch.bell().wait(None, 100).0);
    until("panic runs", || latch.panic().exit_code == Some(0));
    assert!(latch.fault().unwrap().contains("missing"));
    assert_ne!(halt.load() & GLOBAL, 0);
    fs::create_dir(&missing).unwrap();
    until("the record is written", || {
        missing.join(LATCH).exists() && latch.fault().is_none()
    });
    until("it is the trip's", || file(&missing)["reason"] == "a test");
}

#[test]
fn arming_waits_for_the_disk_and_a_refused_one_leaves_a_file_that_halts() {
    let directory = tempfile::tempdir().unwrap();
    let halt = Arc::new(Halt::new().unwrap());
    let key = halt.take_key().unwrap();
    let latch = latch(&halt, settings(directory.path(), &[], 1));
    let armed = || b"{\"state\":\"armed\"}\n".to_vec();
    let second = Duration::from_secs(20);
    assert!(
        !latch.prepare(&key, halt.load() + 256, armed(), second),
        "not what was seen"
    );
    assert!(latch.prepare(&key, halt.load(), armed(), second));
    assert_eq!(file(directory.path())["state"], "armed");
    assert_ne!(halt.load() & GLOBAL, 0);
    let seen = halt.load();
    let tripped = halt.trip("between", "test");
    assert!(!latch.open(&key, seen), "a trip came between");
    until("the file halts", || file(directory.path())["reason"] == "between");
    assert!(latch.prepare(&key, tripped, armed(), second) && latch.open(&key, tripped));
    assert_eq!(halt.load() & GLOBAL, 0);
    halt.trip("a test", "test");
    until("the file halts", || file(directory.path())["state"] == "halted");
    let seen = halt.load();
    fs::remove_dir_all(directory.path()).unwrap();
    assert!(!latch.prepare(&key, seen, armed(), second), "nothing is durable");
    assert_eq!(halt.load(), seen);
    fs::create_dir(directory.path()).unwrap();
    until("the file halts again", || file(directory.path())["reason"] == "a test");
}

#[test]
fn a_record_of_an_older_trip_is_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let halt = Arc::new(Halt::new().unwrap());
    let latch = latch(&halt, settings(directory.path(), &[], 1));
    let old = Halt::epoch_of(halt.trip("a test", "test"));
    let new = Halt::epoch_of(halt.trip("again", "test"));
    assert!(!latch.keep(old, b"{\"reason\":\"old\"}\n".to_vec()));
    until("the trips were followed", || {
        latch.take_seen().iter().any(|trip| trip.epoch == new)
    });
    assert!(latch.keep(new, b"{\"reason\":\"more\"}\n".to_vec()));
    until("it is kept", || file(directory.path())["reason"] == "more");
    assert!(!latch.note(halt.load() + 256, b"{}\n".to_vec()));
    assert!(latch.note(halt.load(), b"{\"reason\":\"noted\"}\n".to_vec()));
    until("it is noted", || file(directory.path())["reason"] == "noted");
}

#[test]
fn what_waits_is_written_when_the_latch_goes() {
    let directory = tempfile::tempdir().unwrap();
    let halt = Arc::new(Halt::new().unwrap());
    let latch = latch(&halt, settings(directory.path(), &[], 1));
    halt.trip("last words", "test");
    drop(latch);
    assert_eq!(file(directory.path())["reason"], "last words");
}

#[test]
fn a_storm_of_signals_ends_with_one_halted_word_and_a_whole_file() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let halt = Arc::new(Halt::new().unwrap());
    let latch = latch(&halt, settings(directory.path(), &[], 1));
    bind(&halt).unwrap();
    for _ in 0..500 {
        send_to_self();
    }
    until("something arrives", || Halt::epoch_of(halt.load()) > 1);
    unbind(&halt);
    drop(latch);
    let found = file(directory.path());
    assert_eq!(found["state"], "halted");
    assert_ne!(halt.load() & GLOBAL, 0);
}

#[test]
fn a_probe_sees_every_kill() {
    let _alone = alone();
    let mut probe = Probe::start(20, 100, true).unwrap();
    let found = probe.finish();
    assert_eq!(found.len(), 20);
    assert!(found.iter().all(|ns| *ns > 0));
    let mut by_hand = Probe::start(0, 100, false).unwrap();
    by_hand.halt().trip("probe", "probe");
    assert!(by_hand.finish().is_empty() && by_hand.is_done());
}
