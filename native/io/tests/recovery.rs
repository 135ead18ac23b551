//! Recovery of a live segment cut at every byte and flipped at every bit: exactly the whole chunks come back, in order,
//! the rest is in quarantine, and a second recovery changes nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Acquire;
use std::time::Duration;

use tickd_core::decode::Decoder;
use tickd_core::record::{records, RecordType};
use tickd_io::live::Layout;
use tickd_io::raw_log::{Config, RawLog};
use tickd_io::reader::Reader;
use tickd_io::recover::{recover, Recovered, FRAME_LEAP};
use tickd_io::walk::{scan, Scan};

fn memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

fn config() -> Config {
    Config {
        node: 1,
        group_bytes: 1 << 10,
        group: Duration::from_secs(3600),
        fsync: None,
        segment_bytes_max: 1 << 30,
        segment: Duration::from_secs(3600),
        pending_bytes_max: 1 << 20,
        zstd_level: 1,
        meta: serde_json::json!({}),
    }
}

/// A log of one live segment: its file's name and bytes, the manifest's bytes, what a scan of the whole file gives.
struct Sample {
    name: String,
    segment: Vec<u8>,
    manifest: Vec<u8>,
    scan: Scan,
}

fn sample(chunks: u32) -> Sample {
    let directory = memory();
    let mut log = RawLog::open(directory.path(), config()).unwrap();
    let mut decoder = Decoder::new();
    log.restore_decoder(&mut decoder).unwrap();
    for chunk in 0..chunks {
        for n in 0..3 {
            let payload = format!("{{\"chunk\":{chunk},\"n\":{n},\"x\":\"{}\"}}", "z".repeat(n * 7));
            log.append(
                chunk,
                RecordType::Text,
                payload.as_bytes(),
                1_700_000_000_000_000_000 + i64::from(chunk),
                5,
            )
            .unwrap();
        }
        log.end_burst(&mut decoder).unwrap();
        log.write_now(false);
        while log.shared().written.load(Acquire) + 1 < log.next_frame_no() {
            std::thread::yield_now();
        }
    }
    let live = fs::read_dir(directory.path().join("segments"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let name = live.file_name().unwrap().to_str().unwrap().to_owned();
    let sample = Sample {
        segment: fs::read(&live).unwrap(),
        manifest: fs::read(directory.path().join("MANIFEST.jsonl")).unwrap(),
        scan: scan(&live, 1).unwrap(),
        name,
    };
    assert_eq!(sample.scan.entries.len(), chunks as usize);
    sample
}

impl Sample {
    fn place(&self, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let directory = memory();
        Layout::new(directory.path()).create().unwrap();
        let live = directory.path().join("segments").join(&self.name);
        fs::write(&live, bytes).unwrap();
        fs::write(directory.path().join("MANIFEST.jsonl"), &self.manifest).unwrap();
        (directory, live)
    }

    fn chunk(&self, at: usize) -> Range<usize> {
        let entry = &self.scan.entries[at];
        entry.offset as usize..entry.offset as usize + entry.compressed as usize
    }
}

fn recovered(directory: &Path) -> Recovered {
    recover(&Layout::new(directory), 7).unwrap().0
}

fn frames(directory: &Path) -> Vec<u64> {
    let mut reader = Reader::open(directory, 0, u64::MAX, true).unwrap();
    let mut frames = Vec::new();
    while let Some((_, raw)) = reader.next_chunk().unwrap() {
        frames.extend(records(&raw).map(|record| record.unwrap().frame_no));
    }
    assert!(reader.unread().is_empty(), "{:?}", reader.unread());
    frames
}

/// Everything below `directory` but the manifest, whose `started` lines grow.
fn snapshot(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for folder in ["segments", "quarantine"] {
        for entry in fs::read_dir(directory.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            files.push((path.clone(), fs::read(path).unwrap()));
        }
    }
    files.sort();
    files
}

#[test]
fn a_cut_at_every_byte_leaves_exactly_the_whole_chunks() {
    let sample = sample(4);
    for cut in 0..sample.segment.len() {
        let (directory, _) = sample.place(&sample.segment[..cut]);
        let whole: Vec<_> = (0..4).filter(|at| sample.chunk(*at).end <= cut).collect();
        let last = whole.last().map_or(0, |at| sample.scan.entries[*at].frame_last);
        let first = recovered(directory.path());
        assert_eq!(frames(directory.path()), (1..=last).collect::<Vec<_>>(), "cut at {cut}");
        assert_eq!(
            (first.report.clean, first.report.frame_last),
            (false, last),
            "cut at {cut}"
        );
        assert_eq!(first.report.gap, Some((last + 1, last + FRAME_LEAP - 1)));
        assert_eq!(first.frame_next, last + FRAME_LEAP);
        let kept: u64 = snapshot(directory.path())
            .iter()
            .filter(|(path, _)| path.parent().unwrap().ends_with("quarantine"))
            .map(|(_, bytes)| bytes.len() as u64)
            .sum();
        assert_eq!(kept, first.report.truncated_bytes, "cut at {cut}");
        let before = snapshot(directory.path());
        let second = recovered(directory.path());
        // The first start may have given out numbers that nobody wrote.
        let next = first.frame_next + FRAME_LEAP - 1;
        assert_eq!(
            (second.frame_next, second.report.gap),
            (next, Some((last + 1, next - 1))),
            "cut at {cut}"
        );
        assert!(second.connection_next > first.connection_next, "cut at {cut}");
        assert_eq!((second.report.truncated_bytes, second.report.segments_sealed), (0, 0));
        assert_eq!(before, snapshot(directory.path()), "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_costs_only_its_chunk() {
    let sample = sample(4);
    let all: Vec<u64> = (1..=sample.scan.entries[3].frame_last).collect();
    for bit in 0..sample.segment.len() * 8 {
        let mut flipped = sample.segment.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (directory, _) = sample.place(&flipped);
        let report = recovered(directory.path()).report;
        let hit = (0..4).find(|at| sample.chunk(*at).contains(&(bit / 8)));
        let lost = hit.map_or(0..=0, |at| {
            let entry = &sample.scan.entries[at];
            entry.frame_first..=entry.frame_last
        });
        let got = frames(directory.path());
        // A bit that carries nothing (zstd has such bits in its headers) may be flipped without a loss.
        if got == all {
            assert!(
                report.quarantined.iter().all(|hole| hole.frame_from > hole.frame_to),
                "bit {bit}"
            );
            continue;
        }
        let left: Vec<u64> = all.iter().copied().filter(|frame| !lost.contains(frame)).collect();
        assert_eq!(got, left, "bit {bit} in chunk {hit:?}");
        assert_eq!(report.quarantined.len(), 1, "bit {bit}");
        let hole = &report.quarantined[0];
        let range = sample.chunk(hit.unwrap());
        assert_eq!(
            (hole.offset as usize, hole.bytes as usize),
            (range.start, range.len()),
            "bit {bit}"
        );
        let kept = fs::read(directory.path().join("quarantine").join(&hole.file)).unwrap();
        assert_eq!(kept, flipped[range.clone()], "bit {bit}");
        if hit != Some(3) {
            assert_eq!(
                (hole.frame_from, hole.frame_to),
                (*lost.start(), *lost.end()),
                "bit {bit}"
            );
        }
    }
}

#[test]
fn a_quarantined_chunk_is_announced_once_and_only_once() {
    let sample = sample(4);
    let mut flipped = sample.segment.clone();
    flipped[sample.chunk(1).end - 1] ^= 1;
    let (directory, _) = sample.place(&flipped);
    let lost = (sample.scan.entries[1].frame_first, sample.scan.entries[1].frame_last);
    let announce = |gaps: &[tickd_io::recover::Gap]| -> Vec<(u64, u64)> {
        let quarantined = gaps.iter().filter(|gap| gap.cause == "quarantine");
        quarantined.map(|gap| (gap.frame_from, gap.frame_to)).collect()
    };
    // Two starts that die before they could write: the range stays to be announced.
    assert_eq!(announce(&recovered(directory.path()).gaps), [lost]);
    assert_eq!(announce(&recovered(directory.path()).gaps), [lost]);
    let mut log = RawLog::open(directory.path(), config()).unwrap();
    let mut decoder = Decoder::new();
    log.restore_decoder(&mut decoder).unwrap();
    log.end_burst(&mut decoder).unwrap();
    log.close(Duration::from_secs(10)).unwrap();
    let mut reader = Reader::open(directory.path(), FRAME_LEAP, u64::MAX, false).unwrap();
    let (_, raw) = reader.next_chunk().unwrap().unwrap();
    let kinds: Vec<_> = records(&raw).map(|record| record.unwrap().kind).collect();
    assert_eq!(
        kinds,
        [RecordType::Checkpoint, RecordType::Control, RecordType::Control]
    );
    let text = String::from_utf8_lossy(&raw).into_owned();
    assert!(text.find("\"restart\"").unwrap() < text.find("\"quarantine\"").unwrap());
    assert!(recovered(directory.path()).gaps.is_empty());
}

#[test]
fn every_step_of_the_seal_may_be_the_last() {
    let sample = sample(3);
    let sealed = {
        let (directory, _) = sample.place(&sample.segment);
        recovered(directory.path());
        snapshot(directory.path()).remove(0)
    };
    let all: Vec<u64> = (1..=sample.scan.entries[2].frame_last).collect();
    // Index and footer cut at every byte, still `.open`.
    for cut in sample.segment.len()..=sealed.1.len() {
        let (directory, _) = sample.place(&sealed.1[..cut]);
        let report = recovered(directory.path()).report;
        assert_eq!(frames(directory.path()), all, "cut at {cut}");
        assert_eq!(
            snapshot(directory.path()).len(),
            1 + report.quarantined.len(),
            "cut at {cut}"
        );
        assert_eq!(snapshot(directory.path()).pop().unwrap().1, sealed.1, "cut at {cut}");
    }
    // Renamed, not yet in the manifest.
    let (directory, live) = sample.place(&sealed.1);
    fs::rename(&live, live.with_extension("")).unwrap();
    let report = recovered(directory.path()).report;
    assert_eq!(
        (report.segments, report.segments_sealed, report.records),
        (1, 1, all.len() as u64)
    );
    assert_eq!(recovered(directory.path()).report.segments_sealed, 0);
}
