//! Files deleted under an open log: what can still be read is written again, what cannot is said to be lost, exactly.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};

use serde_json::Value;
use tickd_core::decode::Decoder;
use tickd_core::record::{records, RecordType};
use tickd_io::live::Layout;
use tickd_io::lock::lock;
use tickd_io::manifest::{self, Entry, Manifest, MANIFEST_NAME};
use tickd_io::raw_log::{Config, RawLog};
use tickd_io::reader::Reader;
use tickd_io::sys::wall_ns;

const RECV_NS: i64 = 1_700_000_000_000_000_000;

/// A log in a directory of its own, and everything that was written to it.
struct Log {
    home: tempfile::TempDir,
    raw: RawLog,
    decoder: Decoder,
    written: Vec<String>,
    /// Receive stamp of the first message; near the clock, or the age would ask for a rotation.
    recv_ns: i64,
}

impl Log {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let home = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        }
        .unwrap();
        let config = Config {
            node: 1,
            group_bytes: 1 << 10,
            group: Duration::from_millis(1),
            fsync: Some(Duration::from_millis(5)),
            segment_bytes_max: 1 << 30,
            segment: Duration::from_secs(3600),
            pending_bytes_max: 1 << 20,
            zstd_level: 1,
            meta: serde_json::json!({}),
        };
        let mut raw = RawLog::open(&home.path().join("raw"), config).unwrap();
        let mut decoder = Decoder::new();
        raw.restore_decoder(&mut decoder).unwrap();
        raw.end_burst(&mut decoder).unwrap();
        Log {
            home,
            raw,
            decoder,
            written: Vec::new(),
            recv_ns: wall_ns(),
        }
    }

    fn directory(&self) -> PathBuf {
        self.home.path().join("raw")
    }

    fn live(&self) -> PathBuf {
        let name = self.raw.shared().segment().unwrap();
        self.directory().join("segments").join(format!("{name}.open"))
    }

    fn write(&mut self, count: u32) {
        for _ in 0..count {
            let text = format!("message {}", self.written.len());
            let recv_ns = self.recv_ns + self.written.len() as i64;
            self.raw
                .append(1, RecordType::Text, text.as_bytes(), recv_ns, 1)
                .unwrap();
            self.written.push(text);
        }
        self.raw.end_burst(&mut self.decoder).unwrap();
    }

    fn until(&self, what: &str, condition: impl Fn(&RawLog) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition(&self.raw) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.raw.shared().fault());
            std::thread::yield_now();
        }
    }

    /// Waits until everything is on the disk.
    fn sync(&self) {
        self.raw.write_now(true);
        let last = self.raw.next_frame_no() - 1;
        self.until("sync", |raw| raw.shared().synced.load(Acquire) >= last);
    }

    fn close(mut self) -> (tempfile::TempDir, Vec<String>) {
        self.raw.close(Duration::from_secs(10)).unwrap();
        (self.home, self.written)
    }
}

/// The messages and the gap records of a closed log.
fn contents(home: &Path) -> (Vec<String>, Vec<Value>) {
    let mut reader = Reader::open(&home.join("raw"), 0, u64::MAX, false).unwrap();
    let (mut texts, mut gaps) = (Vec::new(), Vec::new());
    while let Some((_, raw)) = reader.next_chunk().unwrap() {
        for record in records(&raw) {
            let record = record.unwrap();
            let text = String::from_utf8(record.payload.to_vec()).unwrap();
            match record.kind {
                RecordType::Text => texts.push(text),
                RecordType::Control => gaps.push(serde_json::from_str(&text).unwrap()),
                _ => {}
            }
        }
    }
    (texts, gaps)
}

fn entries(home: &Path) -> Vec<Entry> {
    let loaded = manifest::load(&home.join("raw")).unwrap();
    assert_eq!((loaded.damaged_lines, loaded.torn_bytes), (0, 0));
    loaded.entries().collect()
}

#[test]
fn a_deleted_state_directory_comes_back_with_everything() {
    let mut log = Log::new();
    log.write(50);
    log.sync();
    let before = log.live();
    fs::remove_dir_all(log.directory()).unwrap();
    log.write(50);
    log.sync();
    assert_eq!(log.live(), before);
    assert!(before.exists());
    assert!(log.directory().join("quarantine").is_dir());
    let refused = lock(&Layout::new(&log.directory()));
    assert!(refused.is_err(), "the directory has its owner again");
    log.write(10);
    let (home, written) = log.close();
    let (texts, gaps) = contents(home.path());
    assert_eq!(texts, written);
    assert_eq!(gaps, Vec::<Value>::new(), "nothing was lost");
    assert!(matches!(entries(home.path()).first(), Some(Entry::Started { .. })));
    assert!(matches!(entries(home.path()).last(), Some(Entry::Sealed(sealed)) if sealed.clean && !sealed.suspect));
}

#[test]
fn a_deleted_live_segment_is_written_again() {
    let mut log = Log::new();
    for _ in 0..3 {
        log.write(20);
        log.sync();
        fs::remove_file(log.live()).unwrap();
    }
    let (home, written) = log.close();
    let (texts, gaps) = contents(home.path());
    assert_eq!(texts, written);
    assert_eq!(gaps, Vec::<Value>::new());
}

#[test]
fn a_deletion_seen_only_by_the_seal_loses_nothing_either() {
    let mut log = Log::new();
    log.write(20);
    log.sync();
    fs::remove_dir_all(log.directory()).unwrap();
    let (home, written) = log.close();
    assert_eq!(contents(home.path()).0, written);
}

#[test]
fn what_cannot_be_read_any_more_is_a_gap_with_its_exact_frames() {
    let mut log = Log::new();
    log.write(30);
    log.sync();
    let lost_to = log.raw.shared().synced.load(Acquire);
    let path = log.live();
    // The copy will not have the hash of what was written: as if the device had lost the blocks.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let middle = fs::metadata(&path).unwrap().len() - 10;
    file.write_at(b"\xff\xff", middle).unwrap();
    fs::remove_file(&path).unwrap();
    log.write(5);
    log.sync();
    log.write(5);
    log.sync();
    let recv_ns = log.recv_ns;
    let (home, written) = log.close();
    let (texts, gaps) = contents(home.path());
    assert_eq!(texts, written[30..]);
    assert_eq!(gaps.len(), 1);
    let gap = &gaps[0];
    assert_eq!(
        (&gap["kind"], &gap["cause"]),
        (&Value::from("gap"), &Value::from("disk"))
    );
    assert_eq!(
        (gap["from_frame"].as_u64(), gap["to_frame"].as_u64()),
        (Some(1), Some(lost_to))
    );
    assert_eq!(gap["to_ns"].as_i64(), Some(recv_ns + 29));
    let lines = entries(home.path());
    let lost = lines.iter().filter(|entry| matches!(entry, Entry::Lost(_))).count();
    assert_eq!(lost, 1);
    assert!(lines.contains(&Entry::Announced {
        frame_from: 1,
        frame_to: lost_to
    }));
    // The numbers are not used again, and the next start has nothing left to announce.
    assert!(manifest::unannounced(&lines).is_empty());
}

#[test]
fn a_sealed_segment_that_was_deleted_with_the_rest_is_a_loss_and_said_once() {
    let mut log = Log::new();
    log.write(10);
    log.sync();
    let sealed_to = log.raw.next_frame_no() - 1;
    log.raw.shared().rotate_wanted.store(true, Relaxed);
    log.write(1);
    let old_to = log.raw.next_frame_no() - 2;
    log.until("rotation", |raw| raw.shared().rotations.load(Acquire) == 2);
    log.sync();
    for _ in 0..2 {
        fs::remove_dir_all(log.directory()).unwrap();
        log.write(10);
        log.sync();
        log.write(1);
        log.sync();
    }
    let (home, written) = log.close();
    let (texts, gaps) = contents(home.path());
    assert_eq!(texts, written[11..]);
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0]["from_frame"].as_u64(), Some(1));
    assert_eq!(gaps[0]["to_frame"].as_u64(), Some(old_to));
    assert!(sealed_to < old_to);
}

#[test]
fn a_deleted_manifest_is_written_again_from_its_first_line() {
    let mut log = Log::new();
    log.write(10);
    log.sync();
    let path = log.directory().join(MANIFEST_NAME);
    let before = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let (home, _) = log.close();
    let after = fs::read(&path).unwrap();
    assert!(after.starts_with(&before));
    assert!(after.len() > before.len());
    assert!(matches!(entries(home.path()).last(), Some(Entry::Sealed(_))));
    assert!(!home.path().join("raw/MANIFEST.jsonl.new").exists());
}

#[test]
fn a_manifest_exchanged_for_another_file_goes_on_with_its_own_lines() {
    let home = tempfile::tempdir().unwrap();
    let line = |frame| Entry::Announced {
        frame_from: frame,
        frame_to: frame,
    };
    let mut open = Manifest::open(home.path(), &manifest::load(home.path()).unwrap()).unwrap();
    open.append(&line(1), 5).unwrap();
    fs::rename(home.path().join(MANIFEST_NAME), home.path().join("moved")).unwrap();
    fs::write(home.path().join(MANIFEST_NAME), "something else\n").unwrap();
    open.append(&line(2), 6).unwrap();
    let loaded = manifest::load(home.path()).unwrap();
    assert_eq!(loaded.damaged_lines, 0);
    assert_eq!(loaded.entries().collect::<Vec<_>>(), [line(1), line(2)]);
}

#[test]
fn remains_of_a_failed_creation_are_no_obstacle_and_records_are_not_overwritten() {
    let header = tickd_core::segment::SegmentHeader {
        format: "tickd-raw".to_owned(),
        version: tickd_core::segment::FORMAT_VERSION,
        node: 1,
        first_frame: 7,
        created_ns: 1,
        host: String::new(),
        boot_id: String::new(),
        tickd: String::new(),
        previous: None,
        meta: serde_json::json!({}),
    };
    let home = tempfile::tempdir().unwrap();
    let layout = Layout::new(home.path());
    layout.create().unwrap();
    let first = tickd_io::live::LiveSegment::create(&layout, &header, RECV_NS).unwrap();
    let name = first.name().to_owned();
    drop(first);
    let again = tickd_io::live::LiveSegment::create(&layout, &header, RECV_NS).unwrap();
    assert_eq!(again.name(), name, "it held no record");
    let path = layout.segments.join(format!("{name}.open"));
    let mut bytes = fs::read(&path).unwrap();
    bytes.push(0);
    fs::write(&path, &bytes).unwrap();
    let other = tickd_io::live::LiveSegment::create(&layout, &header, RECV_NS).unwrap();
    assert!(other.name() > name.as_str());
    fs::rename(&path, layout.segments.join(&name)).unwrap();
    assert_eq!(fs::read(layout.segments.join(&name)).unwrap(), bytes);
}
