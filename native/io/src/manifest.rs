//! `MANIFEST.jsonl`: an append-only, hash-chained list of what became of every segment.
//!
//! Each line is a JSON object that ends with `"prev"` (the sum of the line before) and `"sum"` (xxh3-64 of its own bytes
//! up to `,"sum"`). States are new lines, never edits. The chain guards against accidents, not against forgery.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tickd_core::segment::{hash_of, hash_text};

use crate::error::{LogError, Result};
use crate::live::{sync_directory, Layout};
use crate::lock::lock;
use crate::sys::{is_same_file, read_exact_at};

/// File name in the raw log's directory.
pub const MANIFEST_NAME: &str = "MANIFEST.jsonl";
const NO_LINE: &str = "0000000000000000";

/// What the raw log itself writes; other tools may add kinds of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// A segment got its final name.
    Sealed(Sealed),
    /// Damaged bytes were set aside.
    Quarantined(Quarantined),
    /// A file that had been written was deleted before it was anywhere else.
    Lost(Lost),
    /// The gap record for these frames is on the disk.
    Announced {
        /// First missing frame number.
        frame_from: u64,
        /// Last missing frame number.
        frame_to: u64,
    },
    /// A daemon may give out frame numbers from here on.
    Started {
        /// The first of them.
        frame_next: u64,
        /// The first connection number that it may give out.
        #[serde(default)]
        connection_next: u32,
    },
    /// The daemon that started last ended in order without having written anything.
    Stopped {
        /// The number it would have given out next.
        frame_next: u64,
    },
    /// A file is in object storage as well.
    Shipped(Shipment),
    /// Its object was read back and has the file's bytes.
    Verified(Shipment),
    /// The file is about to be removed here; the object is the only copy from now on.
    Removed(Shipment),
    /// The file was fetched back, checked, and has its name again.
    Restored(Shipment),
}

/// A file and its object. Names are relative: `segments/…` and `quarantine/…` to the raw log's directory, `sink/…` to the
/// directory above it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    /// The file.
    pub file: String,
    /// Its bytes.
    pub bytes: u64,
    /// xxh3-64 of all of them, hex.
    pub hash: String,
    /// Where the store is, without credentials.
    pub url: String,
    /// The object in the store.
    pub key: String,
    /// What the store called this version of the object, if it said so.
    pub e_tag: Option<String>,
}

/// The keys of a line from outside, all of which it must have.
const NOTE_KEYS: [&str; 7] = ["bytes", "e_tag", "file", "hash", "key", "kind", "url"];

impl Entry {
    /// A line from outside the raw log: a JSON object of one of the kinds `shipped`, `verified`, `removed`, `restored`.
    ///
    /// Errors: `Refused` for every other kind, unknown or missing fields, names that lead out of the state directory.
    pub fn note(json: &[u8]) -> Result<Entry> {
        let refused = |why: String| LogError::Refused(format!("no line for the manifest: {why}"));
        let object: Map<String, Value> = serde_json::from_slice(json).map_err(|error| refused(error.to_string()))?;
        // Unknown keys would be dropped silently, and `line`, `prev`, `sum` are the chain's own.
        let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
        keys.sort_unstable();
        if keys != NOTE_KEYS {
            return Err(refused(format!("its keys are {keys:?}, not {NOTE_KEYS:?}")));
        }
        let parsed = serde_json::from_value(Value::Object(object));
        let entry: Entry = parsed.map_err(|error| refused(error.to_string()))?;
        let (Entry::Shipped(shipment)
        | Entry::Verified(shipment)
        | Entry::Removed(shipment)
        | Entry::Restored(shipment)) = &entry
        else {
            return Err(refused("only the raw log itself writes this kind".to_owned()));
        };
        let inside = ["segments/", "quarantine/", "sink/"]
            .iter()
            .any(|area| shipment.file.starts_with(area));
        if !inside || shipment.file.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(refused(format!("{:?} is no file of a raw log or sink", shipment.file)));
        }
        Ok(entry)
    }
}

/// A sealed segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// File name.
    pub segment: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Number of chunks.
    pub chunks: u64,
    /// Number of records.
    pub records: u64,
    /// First frame number.
    pub frame_first: u64,
    /// Last frame number taken.
    pub frame_last: u64,
    /// Wall clock of the first record.
    pub recv_first: i64,
    /// Wall clock of the last record.
    pub recv_last: i64,
    /// Highest connection number.
    pub connection_max: u32,
    /// xxh3-64 of header and chunks, hex.
    pub hash: String,
    /// The daemon stopped in order after it.
    pub clean: bool,
    /// A sync of it failed.
    pub suspect: bool,
    /// Sealed by recovery, not by its writer.
    pub recovered: bool,
}

/// A quarantined stretch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The segment it stood in (final name).
    pub segment: String,
    /// Where.
    pub offset: u64,
    /// How much.
    pub bytes: u64,
    /// Why.
    pub reason: String,
    /// First missing frame number; above `frame_to` when the numbers are not known (a torn tail).
    pub frame_from: u64,
    /// Last missing frame number.
    pub frame_to: u64,
    /// Wall clock of the record before it, 0 = unknown.
    pub recv_before: i64,
    /// Wall clock of the record behind it, 0 = unknown.
    pub recv_behind: i64,
    /// Where it lies now, in `quarantine/`.
    pub file: String,
}

/// Frames that were written and are not there any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The segment they stood in (final name).
    pub segment: String,
    /// First lost frame number.
    pub frame_from: u64,
    /// Last lost frame number.
    pub frame_to: u64,
    /// Wall clock of the first of them.
    pub recv_first: i64,
    /// Wall clock of the last of them.
    pub recv_last: i64,
}

/// Missing frames that a gap record has to announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// `restart`, `quarantine` or `disk`.
    pub cause: &'static str,
    /// First missing frame number.
    pub frame_from: u64,
    /// Last missing frame number.
    pub frame_to: u64,
    /// Wall clock before the hole, 0 = unknown.
    pub from_ns: i64,
    /// Wall clock behind it, 0 = unknown.
    pub to_ns: i64,
}

impl Missing {
    /// The control record that announces it; times that nobody knows are `null`.
    pub fn record(&self) -> String {
        let known = |ns: i64| (ns != 0).then_some(ns);
        let json = serde_json::json!({
            "kind": "gap", "cause": self.cause, "from_frame": self.frame_from, "to_frame": self.frame_to,
            "from_ns": known(self.from_ns), "to_ns": known(self.to_ns),
        });
        json.to_string()
    }
}

impl From<&Lost> for Missing {
    fn from(lost: &Lost) -> Self {
        Missing {
            cause: "disk",
            frame_from: lost.frame_from,
            frame_to: lost.frame_to,
            from_ns: lost.recv_first,
            to_ns: lost.recv_last,
        }
    }
}

/// The open manifest, positioned at its end.
#[derive(Debug)]
pub struct Manifest {
    file: File,
    path: PathBuf,
    len: u64,
    count: u64,
    last_sum: String,
    /// The file may be longer than `len`.
    ragged: bool,
    /// A sync of this file failed: it is not asked again.
    suspect: bool,
}

/// What was read from a manifest.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Every whole line, as JSON.
    pub lines: Vec<Map<String, Value>>,
    /// Lines whose sum or chain is wrong (the last one excepted).
    pub damaged_lines: u64,
    /// Bytes of a torn last line.
    pub torn_bytes: u64,
    /// The last line has its end and is damaged all the same: what it said of how the log ended is not known.
    pub last_damaged: bool,
    /// Bytes before it.
    pub good_bytes: u64,
    last_sum: String,
    count: u64,
}

impl Loaded {
    /// The lines that this version understands.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.lines
            .iter()
            .filter_map(|line| serde_json::from_value(Value::Object(line.clone())).ok())
    }

    /// The last `sealed` line per segment.
    pub fn sealed(&self) -> HashMap<String, Sealed> {
        let sealed = self.entries().filter_map(|entry| match entry {
            Entry::Sealed(sealed) => Some((sealed.segment.clone(), sealed)),
            _ => None,
        });
        sealed.collect()
    }
}

/// Frame ranges that are missing and whose gap record is not known to be on the disk.
pub fn unannounced(entries: &[Entry]) -> Vec<Missing> {
    let mut open = Vec::new();
    let mut announced = HashSet::new();
    for entry in entries {
        match entry {
            Entry::Quarantined(hole) if hole.frame_from <= hole.frame_to => open.push(Missing {
                cause: "quarantine",
                frame_from: hole.frame_from,
                frame_to: hole.frame_to,
                from_ns: hole.recv_before,
                to_ns: hole.recv_behind,
            }),
            Entry::Lost(lost) => open.push(Missing::from(lost)),
            Entry::Announced { frame_from, frame_to } => {
                announced.insert((*frame_from, *frame_to));
            }
            _ => {}
        }
    }
    open.retain(|hole| !announced.contains(&(hole.frame_from, hole.frame_to)));
    open
}

/// Sealed segments that are gone although nothing says that they were shipped or lost.
pub fn deleted(entries: &[Entry], exists: impl Fn(&str) -> bool) -> Vec<Lost> {
    let mut gone: BTreeMap<&str, Lost> = BTreeMap::new();
    for entry in entries {
        match entry {
            Entry::Sealed(sealed) => {
                let lost = Lost {
                    segment: sealed.segment.clone(),
                    frame_from: sealed.frame_first,
                    frame_to: sealed.frame_last,
                    recv_first: sealed.recv_first,
                    recv_last: sealed.recv_last,
                };
                gone.insert(&sealed.segment, lost);
            }
            Entry::Lost(lost) => drop(gone.remove(lost.segment.as_str())),
            Entry::Verified(object) | Entry::Removed(object) => {
                gone.remove(object.file.trim_start_matches("segments/"));
            }
            _ => {}
        }
    }
    gone.retain(|name, _| !exists(name));
    gone.into_values().collect()
}

/// Reads and checks the manifest of a raw-log directory; an absent one is empty.
pub fn load(directory: &Path) -> Result<Loaded> {
    let path = directory.join(MANIFEST_NAME);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        read => read.map_err(LogError::io("read", &path))?,
    };
    let mut loaded = Loaded {
        last_sum: NO_LINE.to_owned(),
        ..Loaded::default()
    };
    let mut at = 0;
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let (line, whole) = match rest.iter().position(|byte| *byte == b'\n') {
            Some(len) => (rest.get(..len).unwrap_or_default(), len + 1),
            None => (&[][..], rest.len()),
        };
        match checked_line(line) {
            Some((object, prev, sum)) => {
                // A line before this one is missing or was exchanged; what stands here is good all the same.
                loaded.damaged_lines += u64::from(prev != loaded.last_sum);
                loaded.lines.push(object);
                loaded.last_sum = sum;
                loaded.good_bytes = (at + whole) as u64;
            }
            None if at + whole == bytes.len() => {
                loaded.torn_bytes = whole as u64;
                loaded.last_damaged = rest.ends_with(b"\n");
            }
            None => loaded.good_bytes = (at + whole) as u64,
        }
        loaded.count += 1;
        at += whole;
    }
    loaded.count -= u64::from(loaded.torn_bytes > 0);
    Ok(loaded)
}

fn checked_line(line: &[u8]) -> Option<(Map<String, Value>, String, String)> {
    let object: Map<String, Value> = serde_json::from_slice(line).ok()?;
    let text = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
    let (prev, sum) = (text("prev")?, text("sum")?);
    let body = line.get(..line.len().checked_sub(sum.len() + br#","sum":""}"#.len())?)?;
    (hash_text(hash_of(body)) == sum).then_some((object, prev, sum))
}

impl Manifest {
    /// Opens for appending; a torn last line goes to `quarantine/` and is cut off.
    pub fn open(directory: &Path, loaded: &Loaded) -> Result<Self> {
        let path = directory.join(MANIFEST_NAME);
        if loaded.torn_bytes > 0 {
            let bytes = fs::read(&path).map_err(LogError::io("read", &path))?;
            let torn = bytes.get(loaded.good_bytes as usize..).unwrap_or_default();
            let kept = directory
                .join("quarantine")
                .join(format!("{MANIFEST_NAME}-{}.bin", loaded.good_bytes));
            fs::write(&kept, torn).map_err(LogError::io("write", &kept))?;
            failpoint!("manifest.open.before_cut");
        }
        let file = OpenOptions::new()
            .read(true)
            .create(true)
            .append(true)
            .open(&path)
            .map_err(LogError::io("open", &path))?;
        file.set_len(loaded.good_bytes)
            .map_err(LogError::io("truncate", &path))?;
        let last_sum = loaded.last_sum.clone();
        Ok(Manifest {
            file,
            path,
            len: loaded.good_bytes,
            count: loaded.count,
            last_sum,
            ragged: false,
            suspect: false,
        })
    }

    /// Writes the lines to a new file when this one was deleted, replaced, or failed to sync.
    pub fn renew_if_needed(&mut self) -> Result<()> {
        if !self.suspect && is_same_file(&self.file, &self.path) {
            return Ok(());
        }
        let mut lines = vec![0; self.len as usize];
        read_exact_at(&self.file, &mut lines, 0).map_err(LogError::io("read", &self.path))?;
        let fresh = self.path.with_extension("jsonl.new");
        let file = OpenOptions::new()
            .read(true)
            .create(true)
            .append(true)
            .open(&fresh)
            .map_err(LogError::io("open", &fresh))?;
        let written = file.set_len(0).and_then(|()| (&file).write_all(&lines));
        written
            .and_then(|()| file.sync_all())
            .map_err(LogError::io("write", &fresh))?;
        fs::rename(&fresh, &self.path).map_err(LogError::io("rename", &fresh))?;
        if let Some(directory) = self.path.parent() {
            sync_directory(directory)?;
        }
        (self.file, self.ragged, self.suspect) = (file, false, false);
        Ok(())
    }

    /// Appends one line and syncs it. After an error the file is as before, as far as the disk lets us.
    pub fn append(&mut self, entry: &Entry, at_ns: i64) -> Result<()> {
        let body = serde_json::to_string(entry).unwrap_or_default();
        let body = body
            .strip_prefix('{')
            .and_then(|body| body.strip_suffix('}'))
            .unwrap_or_default();
        let mut line = format!(
            r#"{{"line":{},"at_ns":{at_ns},{body},"prev":"{}""#,
            self.count, self.last_sum
        );
        let sum = hash_text(hash_of(line.as_bytes()));
        line.push_str(&format!(",\"sum\":\"{sum}\"}}\n"));
        self.renew_if_needed()?;
        if self.ragged {
            self.file.set_len(self.len).map_err(LogError::io("cut", &self.path))?;
            self.ragged = false;
        }
        failpoint!("manifest.append.before_write");
        let written = failpoint_write!("manifest.append.write", &self.file, line.as_bytes())
            .and_then(|()| self.file.write_all(line.as_bytes()));
        let synced = written.and_then(|()| {
            let synced = failpoint_step!("manifest.append.before_sync").and_then(|()| self.file.sync_data());
            self.suspect = synced.is_err();
            synced
        });
        failpoint!("manifest.append.after_sync");
        if let Err(source) = synced {
            // A torn line that stays is cut off before the next one, or dropped at the next start.
            self.ragged = self.file.set_len(self.len).is_err();
            return Err(LogError::Io {
                doing: "append to",
                path: self.path.clone(),
                source,
            });
        }
        self.len += line.len() as u64;
        self.count += 1;
        self.last_sum = sum;
        Ok(())
    }
}

/// The manifest of a raw log that no daemon owns; it holds the directory's lock.
#[derive(Debug)]
pub struct OfflineManifest {
    manifest: Manifest,
    _lock: File,
}

impl OfflineManifest {
    /// Takes the lock and reads the manifest.
    ///
    /// Errors: `Locked` while another process owns the directory, `Io`.
    pub fn open(directory: &Path) -> Result<Self> {
        let layout = Layout::new(directory);
        let lock = lock(&layout)?;
        layout.create()?;
        let manifest = Manifest::open(directory, &load(directory)?)?;
        Ok(OfflineManifest { manifest, _lock: lock })
    }

    /// Appends one line and syncs it.
    pub fn append(&mut self, entry: &Entry, at_ns: i64) -> Result<()> {
        self.manifest.append(entry, at_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipment(kind: &str, file: &str) -> String {
        format!(r#"{{"kind":"{kind}","file":"{file}","bytes":7,"hash":"00","url":"s3://b","key":"k","e_tag":null}}"#)
    }

    #[test]
    fn lines_from_outside_are_of_four_kinds_and_stay_inside() {
        for kind in ["shipped", "verified", "removed", "restored"] {
            assert!(Entry::note(shipment(kind, "segments/a").as_bytes()).is_ok(), "{kind}");
        }
        let refused = [
            shipment("sealed", "segments/a"),
            shipment("other", "segments/a"),
            shipment("shipped", "/etc/passwd"),
            shipment("shipped", "segments/../../a"),
            shipment("shipped", "segments/"),
            shipment("shipped", "sink/./a"),
            r#"{"kind":"started","frame_next":1}"#.to_owned(),
            r#"{"kind":"shipped","file":"segments/a"}"#.to_owned(),
            shipment("shipped", "segments/a").replace(r#""bytes":7"#, r#""bytes":7,"line":3"#),
            "[]".to_owned(),
            String::new(),
        ];
        for json in refused {
            let error = Entry::note(json.as_bytes()).unwrap_err();
            assert_eq!(error.name(), "refused", "{json}");
        }
    }

    #[test]
    fn offline_lines_go_into_the_chain_and_need_the_lock() {
        let (directory, _) = filled(2);
        let entry = Entry::note(shipment("removed", "segments/a").as_bytes()).unwrap();
        let append = || OfflineManifest::open(directory.path())?.append(&entry, 9);
        append().unwrap();
        let loaded = load(directory.path()).unwrap();
        assert_eq!((loaded.lines.len(), loaded.damaged_lines, loaded.torn_bytes), (3, 0, 0));
        assert_eq!(loaded.entries().last(), Some(entry.clone()));
        let held = lock(&Layout::new(directory.path())).unwrap();
        let error = append().unwrap_err();
        assert_eq!(error.name(), "locked");
        drop(held);
        assert_eq!(load(directory.path()).unwrap().lines.len(), 3);
    }

    fn filled(lines: u64) -> (tempfile::TempDir, Vec<u8>) {
        // Memory where there is some: hundreds of syncs take long on a disk.
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        }
        .unwrap();
        fs::create_dir(directory.path().join("quarantine")).unwrap();
        let mut manifest = Manifest::open(directory.path(), &load(directory.path()).unwrap()).unwrap();
        for n in 0..lines {
            manifest
                .append(
                    &Entry::Announced {
                        frame_from: n,
                        frame_to: n + 1,
                    },
                    5,
                )
                .unwrap();
        }
        let bytes = fs::read(directory.path().join(MANIFEST_NAME)).unwrap();
        (directory, bytes)
    }

    #[test]
    fn lines_read_back_and_the_chain_goes_on() {
        let (directory, _) = filled(3);
        let loaded = load(directory.path()).unwrap();
        assert_eq!((loaded.lines.len(), loaded.damaged_lines, loaded.torn_bytes), (3, 0, 0));
        assert_eq!(
            loaded.entries().nth(1),
            Some(Entry::Announced {
                frame_from: 1,
                frame_to: 2
            })
        );
        Manifest::open(directory.path(), &loaded)
            .unwrap()
            .append(
                &Entry::Announced {
                    frame_from: 9,
                    frame_to: 9,
                },
                6,
            )
            .unwrap();
        let loaded = load(directory.path()).unwrap();
        assert_eq!((loaded.lines.len(), loaded.damaged_lines), (4, 0));
    }

    #[test]
    fn a_cut_at_every_byte_loses_only_the_torn_line() {
        let (directory, bytes) = filled(3);
        let path = directory.path().join(MANIFEST_NAME);
        for cut in 0..bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            let whole = bytes[..cut].iter().filter(|byte| **byte == b'\n').count();
            let loaded = load(directory.path()).unwrap();
            assert_eq!((loaded.lines.len(), loaded.damaged_lines), (whole, 0), "cut at {cut}");
            let mut manifest = Manifest::open(directory.path(), &loaded).unwrap();
            manifest
                .append(
                    &Entry::Announced {
                        frame_from: 7,
                        frame_to: 7,
                    },
                    6,
                )
                .unwrap();
            let loaded = load(directory.path()).unwrap();
            assert_eq!(
                (loaded.lines.len(), loaded.damaged_lines, loaded.torn_bytes),
                (whole + 1, 0, 0)
            );
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (directory, bytes) = filled(3);
        let path = directory.path().join(MANIFEST_NAME);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &flipped).unwrap();
            let loaded = load(directory.path()).unwrap();
            assert!(loaded.damaged_lines > 0 || loaded.torn_bytes > 0, "bit {bit}");
            assert!(loaded.lines.len() < 3, "bit {bit}");
        }
    }
}
