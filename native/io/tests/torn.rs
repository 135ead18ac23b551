//! Files that are not what was written: cut at every byte of the last 64 KiB, flipped at bits of every region, live and
//! sealed. Exactly the damaged chunk is set aside with its frames named, everything else is read, a second start finds
//! nothing new.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Acquire;
use std::time::Duration;

use tickd_core::decode::Decoder;
use tickd_core::record::{records, RecordType};
use tickd_core::segment::ChunkEntry;
use tickd_io::live::Layout;
use tickd_io::manifest::{load, Quarantined};
use tickd_io::raw_log::{Config, RawLog};
use tickd_io::reader::Reader;
use tickd_io::recover::{recover, Recovered, FRAME_LEAP};
use tickd_io::scrub::suspect;
use tickd_io::walk::{read_index, scan};

const LAST_BYTES: usize = 64 << 10;
const THREADS: usize = 2;

fn memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// Numbers without a pattern, so that chunks stay as long compressed as they are raw.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// One segment and the log around it as their writer left them.
struct Sample {
    name: String,
    bytes: Vec<u8>,
    manifest: Vec<u8>,
    entries: Vec<ChunkEntry>,
}

impl Sample {
    /// A segment of `chunks` chunks of different lengths; sealed by a clean stop, or still live.
    fn new(chunks: u64, sealed: bool) -> Self {
        let directory = memory();
        let config = Config {
            node: 1,
            group_bytes: 1 << 20,
            group: Duration::from_secs(3600),
            fsync: None,
            segment_bytes_max: 1 << 30,
            segment: Duration::from_secs(3600),
            pending_bytes_max: 1 << 24,
            zstd_level: 1,
            meta: serde_json::json!({}),
        };
        let mut log = RawLog::open(directory.path(), config).unwrap();
        let mut decoder = Decoder::new();
        log.restore_decoder(&mut decoder).unwrap();
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for chunk in 0..chunks {
            for _ in 0..1 + chunk % 4 {
                let payload: Vec<u8> = (0..1200 + chunk * 211 % 6000).map(|_| dice.next() as u8).collect();
                let stamp = 1_700_000_000_000_000_000 + chunk as i64;
                log.append(1, RecordType::Binary, &payload, stamp, 5).unwrap();
            }
            log.end_burst(&mut decoder).unwrap();
            log.write_now(false);
            while log.shared().written.load(Acquire) + 1 < log.next_frame_no() {
                std::thread::yield_now();
            }
        }
        if sealed {
            log.close(Duration::from_secs(10)).unwrap();
        }
        let folder = fs::read_dir(directory.path().join("segments")).unwrap();
        let path = folder.map(|entry| entry.unwrap().path()).next().unwrap();
        let sample = Sample {
            name: path.file_name().unwrap().to_str().unwrap().to_owned(),
            bytes: fs::read(&path).unwrap(),
            manifest: fs::read(directory.path().join("MANIFEST.jsonl")).unwrap(),
            entries: scan(&path, 1).unwrap().entries,
        };
        assert_eq!(sample.entries.len() as u64, chunks);
        sample
    }

    fn directory(&self) -> tempfile::TempDir {
        let directory = memory();
        Layout::new(directory.path()).create().unwrap();
        directory
    }

    /// The log as it was, but for the bytes of its segment.
    fn place(&self, directory: &Path, bytes: &[u8]) -> PathBuf {
        for folder in ["segments", "quarantine"] {
            for entry in fs::read_dir(directory.join(folder)).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
        let path = directory.join("segments").join(&self.name);
        fs::write(&path, bytes).unwrap();
        fs::write(directory.join("MANIFEST.jsonl"), &self.manifest).unwrap();
        path
    }

    fn range(&self, at: usize) -> Range<usize> {
        let entry = &self.entries[at];
        entry.offset as usize..entry.offset as usize + entry.compressed as usize
    }

    fn data_end(&self) -> usize {
        self.range(self.entries.len() - 1).end
    }

    fn last_frame(&self) -> u64 {
        self.entries.last().unwrap().frame_last
    }
}

fn recovered(directory: &Path) -> Recovered {
    recover(&Layout::new(directory), 7).unwrap().0
}

/// First and last frame of every chunk that a reader gives.
fn chunks_read(directory: &Path) -> Vec<(u64, u64)> {
    let mut reader = Reader::open(directory, 0, u64::MAX, true).unwrap();
    let mut chunks = Vec::new();
    while let Some((_, raw)) = reader.next_chunk().unwrap() {
        let frames: Vec<u64> = records(&raw).map(|record| record.unwrap().frame_no).collect();
        chunks.push((frames[0], frames[frames.len() - 1]));
    }
    chunks
}

fn spans(entries: &[ChunkEntry]) -> Vec<(u64, u64)> {
    entries
        .iter()
        .map(|entry| (entry.frame_first, entry.frame_last))
        .collect()
}

fn holes(found: &[Quarantined]) -> Vec<(u64, u64)> {
    found.iter().map(|hole| (hole.frame_from, hole.frame_to)).collect()
}

/// Runs `test` with cuts of the last 64 KiB, every `step`-th byte, on all cores.
fn at_cuts(sample: &Sample, step: usize, test: impl Fn(&Path, usize) + Sync) {
    let len = sample.bytes.len();
    assert!(len > LAST_BYTES + 4096);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let test = &test;
            scope.spawn(move || {
                let directory = sample.directory();
                for cut in (len - LAST_BYTES + thread * step..=len).step_by(THREADS * step) {
                    test(directory.path(), cut);
                }
            });
        }
    });
}

fn cut_a_live_segment(step: usize) {
    let sample = Sample::new(14, false);
    at_cuts(&sample, step, |directory, cut| {
        let path = sample.place(directory, &sample.bytes[..cut]);
        let whole = (0..14).take_while(|at| sample.range(*at).end <= cut).count();
        let kept = sample.range(whole - 1).end;
        let last = sample.entries[whole - 1].frame_last;
        let found = recovered(directory);
        assert_eq!(found.report.frame_last, last, "cut at {cut}");
        assert_eq!(
            found.report.gap,
            Some((last + 1, last + FRAME_LEAP - 1)),
            "cut at {cut}"
        );
        assert_eq!(found.report.truncated_bytes as usize, cut - kept, "cut at {cut}");
        let (_, index) = read_index(&path.with_extension("")).unwrap().unwrap();
        assert_eq!(index, sample.entries[..whole], "cut at {cut}");
        if cut > kept {
            let aside = directory.join("quarantine").join(&found.report.quarantined[0].file);
            assert_eq!(fs::read(aside).unwrap(), sample.bytes[kept..cut], "cut at {cut}");
        }
        if cut % 61 == 0 {
            assert_eq!(chunks_read(directory), spans(&sample.entries[..whole]), "cut at {cut}");
            let again = recovered(directory);
            assert_eq!((again.report.segments_sealed, again.report.truncated_bytes), (0, 0));
        }
    });
}

fn cut_a_sealed_segment(step: usize) {
    let sample = Sample::new(14, true);
    at_cuts(&sample, step, |directory, cut| {
        let path = sample.place(directory, &sample.bytes[..cut]);
        let found = recovered(directory);
        let whole = (0..14).take_while(|at| sample.range(*at).end <= cut).count();
        assert_eq!(
            found.frame_next,
            sample.last_frame() + 1,
            "numbers go on behind what was lost"
        );
        if cut >= sample.data_end() {
            let healed = u64::from(cut < sample.bytes.len());
            assert_eq!(found.report.segments_healed, healed, "cut at {cut}");
            assert_eq!(
                (fs::read(&path).unwrap(), found.gaps.len()),
                (sample.bytes.clone(), 0),
                "cut at {cut}"
            );
            return;
        }
        let from = sample.entries[whole - 1].frame_last + 1;
        assert_eq!(
            holes(&found.report.quarantined),
            [(from, sample.last_frame())],
            "cut at {cut}"
        );
        let gaps: Vec<_> = found
            .gaps
            .iter()
            .map(|gap| (gap.cause, gap.frame_from, gap.frame_to))
            .collect();
        assert_eq!(gaps, [("quarantine", from, sample.last_frame())], "cut at {cut}");
        let kept = sample.range(whole - 1).end;
        let aside = directory.join("quarantine").join(&found.report.quarantined[0].file);
        assert_eq!(fs::read(aside).unwrap(), sample.bytes[kept..cut], "cut at {cut}");
        assert_eq!(fs::metadata(&path).unwrap().len() as usize, cut, "the file is evidence");
        if cut % 61 == 0 {
            assert_eq!(chunks_read(directory), spans(&sample.entries[..whole]), "cut at {cut}");
            let again = recovered(directory).report;
            assert!(again.quarantined.is_empty(), "cut at {cut}: {:?}", again.quarantined);
        }
    });
}

#[test]
fn a_cut_live_segment_keeps_its_whole_chunks() {
    cut_a_live_segment(37);
}

#[test]
#[ignore = "65,537 cuts: make proof"]
fn a_live_segment_cut_at_every_byte_keeps_its_whole_chunks() {
    cut_a_live_segment(1);
}

#[test]
fn a_cut_sealed_segment_names_exactly_the_frames_cut_off() {
    cut_a_sealed_segment(37);
}

#[test]
#[ignore = "65,537 cuts: make proof"]
fn a_sealed_segment_cut_at_every_byte_names_exactly_the_frames_cut_off() {
    cut_a_sealed_segment(1);
}

/// Bits of every region: one of each byte of header, index and chunk ends, all of chunk heads and footer, some between.
fn bits(sample: &Sample) -> Vec<usize> {
    let one = |byte: usize| byte * 8 + byte % 8;
    let all = |byte: usize| byte * 8..byte * 8 + 8;
    let len = sample.bytes.len();
    let mut bits: Vec<usize> = (0..sample.range(0).start).map(one).collect();
    for at in 0..sample.entries.len() {
        let Range { start, end } = sample.range(at);
        bits.extend((start..start + 12).flat_map(all));
        bits.extend((end - 8..end).map(one));
    }
    bits.extend((sample.data_end()..len - 104).map(one));
    bits.extend((len - 104..len).flat_map(all));
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    bits.extend((0..800).map(|_| dice.next() as usize % (len * 8)));
    bits
}

#[test]
fn a_flipped_bit_of_a_sealed_segment_costs_only_its_chunk() {
    let sample = Sample::new(8, true);
    let directory = sample.directory();
    let directory = directory.path();
    for bit in bits(&sample) {
        let mut flipped = sample.bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let path = sample.place(directory, &flipped);
        let hit = (0..8).find(|at| sample.range(*at).contains(&(bit / 8)));
        let found = recovered(directory);
        assert_eq!(found.frame_next, sample.last_frame() + 1, "bit {bit}");
        if bit / 8 >= sample.data_end() {
            assert_eq!((found.report.segments_healed, found.gaps.len()), (1, 0), "bit {bit}");
            assert_eq!(fs::read(&path).unwrap(), sample.bytes, "bit {bit}");
            continue;
        }
        assert_eq!(fs::read(&path).unwrap(), flipped, "bit {bit}: the file is evidence");
        let read = chunks_read(directory);
        let Some(hit) = hit else {
            // The header: no frame stood there.
            assert_eq!((read, found.gaps.len()), (spans(&sample.entries), 0), "bit {bit}");
            assert_eq!(found.report.quarantined.len(), 1, "bit {bit}");
            continue;
        };
        if read == spans(&sample.entries) {
            // zstd has bits that carry nothing; the records are whole.
            assert!(found.gaps.is_empty(), "bit {bit}");
            continue;
        }
        let mut left = spans(&sample.entries);
        let lost = left.remove(hit);
        assert_eq!(read, left, "bit {bit} in chunk {hit}");
        assert_eq!(holes(&found.report.quarantined), [lost], "bit {bit} in chunk {hit}");
        let hole = &found.report.quarantined[0];
        let range = sample.range(hit);
        assert_eq!(
            (hole.offset as usize, hole.bytes as usize),
            (range.start, range.len()),
            "bit {bit}"
        );
        assert_eq!(
            fs::read(directory.join("quarantine").join(&hole.file)).unwrap(),
            flipped[range],
            "bit {bit}"
        );
        assert!(recovered(directory).report.quarantined.is_empty(), "bit {bit}");
    }
}

#[test]
fn an_older_segment_is_looked_at_when_a_reader_found_it_damaged() {
    let sample = Sample::new(6, true);
    let directory = sample.directory();
    let directory = directory.path();
    let mut flipped = sample.bytes.clone();
    flipped[sample.range(2).start + 30] ^= 4;
    let path = sample.place(directory, &flipped);
    // A newer one, so that this one is no longer the newest.
    let name = format!("{:020}-20261120T052803.tkraw.open", sample.last_frame() + 1);
    fs::write(path.with_file_name(&name), &sample.bytes[..sample.range(0).start]).unwrap();
    assert!(
        recovered(directory).report.quarantined.is_empty(),
        "a short look does not see it"
    );
    fs::write(path.with_file_name(&name), &sample.bytes[..sample.range(0).start]).unwrap();
    suspect(directory, &sample.name).unwrap();
    let found = recovered(directory);
    let lost = (sample.entries[2].frame_first, sample.entries[2].frame_last);
    assert_eq!(holes(&found.report.quarantined), [lost]);
    assert!(found.gaps.iter().any(|gap| (gap.frame_from, gap.frame_to) == lost));
    assert!(!directory.join("SUSPECTS").exists());
}

#[test]
fn a_flipped_bit_of_the_manifest_costs_no_record_and_no_number() {
    let sample = Sample::new(3, true);
    let directory = sample.directory();
    let directory = directory.path();
    for bit in 0..sample.manifest.len() * 8 {
        sample.place(directory, &sample.bytes);
        let mut flipped = sample.manifest.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(directory.join("MANIFEST.jsonl"), &flipped).unwrap();
        let found = recovered(directory);
        assert!(found.frame_next > sample.last_frame(), "bit {bit}");
        assert_eq!(chunks_read(directory), spans(&sample.entries), "bit {bit}");
        let loaded = load(directory).unwrap();
        assert!(
            loaded.sealed().contains_key(&sample.name),
            "bit {bit}: the segment has a line again"
        );
        assert_eq!(loaded.torn_bytes, 0, "bit {bit}");
    }
}
