//! The live segment: an unbuffered append-only file that always ends with a whole chunk, and its sealing.
//!
//! The order of the seal is the crash order: index and footer, fsync, rename, directory fsync, manifest line. A crash
//! between two steps leaves something that recovery finishes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tickd_core::segment::{
    encode_footer, encode_header, encode_index, hash_text, ChunkEntry, DataHash, Footer, SegmentHeader, FLAG_CLEAN,
    FLAG_SUSPECT,
};

use crate::error::{LogError, Result};
use crate::manifest::{Lost, Sealed};
use crate::sys::{is_same_file, is_sickness, read_exact_at};

const COPY_BYTES: usize = 1 << 20;
/// After so many failed writes in a row a file is given up.
const SICK_WRITES_MAX: u32 = 3;
/// Ending of a live segment behind its final name.
pub const OPEN_SUFFIX: &str = ".open";
/// Ending of a segment's name.
pub const SEGMENT_SUFFIX: &str = ".tkraw";

/// The folders of a raw log.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The raw log's directory: manifest and lock.
    pub root: PathBuf,
    /// The segments.
    pub segments: PathBuf,
    /// What was damaged.
    pub quarantine: PathBuf,
}

impl Layout {
    /// The layout of a raw log in `root`.
    pub fn new(root: &Path) -> Self {
        Layout {
            root: root.to_path_buf(),
            segments: root.join("segments"),
            quarantine: root.join("quarantine"),
        }
    }

    /// Makes what is missing.
    pub fn create(&self) -> Result<()> {
        for path in [&self.segments, &self.quarantine] {
            fs::create_dir_all(path).map_err(LogError::io("create", path))?;
        }
        sync_directory(&self.root)
    }
}

/// Makes renames and new names in a directory durable.
pub fn sync_directory(path: &Path) -> Result<()> {
    #[cfg(unix)]
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(LogError::io("sync", path))?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// `<first frame, 20 digits>-<UTC yyyymmddThhmmss>.tkraw`
pub fn segment_name(first_frame: u64, recv_ns: i64) -> String {
    let seconds = recv_ns.div_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{first_frame:020}-{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}{SEGMENT_SUFFIX}")
}

/// The first frame number in a segment's name.
pub fn first_frame_of(name: &str) -> Option<u64> {
    name.get(..20)?.parse().ok()
}

/// Days since 1970-01-01 as (year, month, day), proleptic Gregorian calendar.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A segment that is being written.
#[derive(Debug)]
pub struct LiveSegment {
    file: File,
    path: PathBuf,
    name: String,
    first_frame: u64,
    /// Last good offset: the file is cut back to it after every failed write.
    len: u64,
    /// The file may be longer than `len`.
    ragged: bool,
    /// Writes in a row that failed for the disk's own reasons, not for lack of room.
    sick_writes: u32,
    hash: DataHash,
    entries: Vec<ChunkEntry>,
    sealed: Option<Sealed>,
    renamed: bool,
}

impl LiveSegment {
    /// Creates `<name>.open` with its header; nothing stays behind after an error.
    pub fn create(layout: &Layout, header: &SegmentHeader, recv_ns: i64) -> Result<Self> {
        let bytes = encode_header(header).map_err(LogError::format(&layout.segments))?;
        let name = free_name(layout, header.first_frame, recv_ns, bytes.len() as u64)?;
        let path = layout.segments.join(format!("{name}{OPEN_SUFFIX}"));
        failpoint!("raw.open.before_create");
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(LogError::io("create", &path))?;
        let written = failpoint_write!("raw.open.header", &file, &bytes)
            .and_then(|()| (&file).write_all(&bytes))
            .map_err(LogError::io("write", &path));
        failpoint!("raw.open.before_directory_sync");
        if let Err(error) = written.and_then(|()| sync_directory(&layout.segments)) {
            // Best effort: an empty file that stays is removed at the next start.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        let mut hash = DataHash::default();
        hash.update(&bytes);
        let len = bytes.len() as u64;
        let first_frame = header.first_frame;
        Ok(LiveSegment {
            file,
            path,
            name,
            first_frame,
            len,
            ragged: false,
            sick_writes: 0,
            hash,
            entries: Vec::new(),
            sealed: None,
            renamed: false,
        })
    }

    /// Final file name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of its first record.
    pub fn first_frame(&self) -> u64 {
        self.first_frame
    }

    /// Bytes up to the last good offset.
    pub fn bytes(&self) -> u64 {
        self.len
    }

    /// Writes one chunk; after an error the file ends where it ended before (or is cut there before the next write).
    pub fn append(&mut self, frame: &[u8], mut entry: ChunkEntry) -> Result<()> {
        entry.offset = self.len;
        failpoint!("raw.append.before_write");
        self.write(frame)?;
        failpoint!("raw.append.after_write");
        self.hash.update(frame);
        self.len += frame.len() as u64;
        self.entries.push(entry);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.ragged {
            self.file.set_len(self.len).map_err(LogError::io("cut", &self.path))?;
            self.ragged = false;
        }
        let written = failpoint_write!("raw.write", &self.file, bytes).and_then(|()| self.file.write_all(bytes));
        let Err(source) = written else {
            self.sick_writes = 0;
            return Ok(());
        };
        self.ragged = self.file.set_len(self.len).is_err();
        self.sick_writes += u32::from(is_sickness(&source));
        Err(LogError::Io {
            doing: "write",
            path: self.path.clone(),
            source,
        })
    }

    /// Whether this very place of the disk seems to be broken: another file may lie on a better one.
    pub fn is_sick(&self) -> bool {
        self.sick_writes >= SICK_WRITES_MAX
    }

    /// Whether its name still leads to this file: a deleted file takes everything and keeps nothing.
    pub fn is_in_place(&self) -> bool {
        is_same_file(&self.file, &self.path)
    }

    /// A copy of this deleted file in its old place, durable; none when it cannot be read any more.
    ///
    /// Errors: the copy cannot be written; a repeated try begins anew.
    pub fn salvage(&self, layout: &Layout) -> Result<Option<LiveSegment>> {
        let path = layout.segments.join(format!("{}{OPEN_SUFFIX}", self.name));
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .map_err(LogError::io("create", &path))?;
        file.set_len(0).map_err(LogError::io("cut", &path))?;
        let (mut hash, mut at, mut piece) = (DataHash::default(), 0, vec![0; COPY_BYTES]);
        while at < self.len {
            let len = COPY_BYTES.min(usize::try_from(self.len - at).unwrap_or(COPY_BYTES));
            let bytes = piece.get_mut(..len).unwrap_or_default();
            if read_exact_at(&self.file, bytes, at).is_err() {
                return Ok(None);
            }
            (&file).write_all(bytes).map_err(LogError::io("write", &path))?;
            hash.update(bytes);
            at += len as u64;
        }
        if hash.value() != self.hash.value() {
            return Ok(None);
        }
        file.sync_all().map_err(LogError::io("sync", &path))?;
        sync_directory(&layout.segments)?;
        Ok(Some(LiveSegment {
            file,
            path,
            name: self.name.clone(),
            first_frame: self.first_frame,
            len: self.len,
            ragged: false,
            sick_writes: 0,
            hash,
            entries: self.entries.clone(),
            sealed: None,
            renamed: false,
        }))
    }

    /// What is lost with this file when everything from `rescued` on is kept elsewhere; none when that is all of it.
    pub fn lost_before(&self, rescued: Option<ChunkEntry>) -> Option<Lost> {
        let is_lost = |entry: &&ChunkEntry| rescued.is_none_or(|first| entry.frame_last < first.frame_first);
        let last = self.entries.iter().rfind(is_lost)?;
        let first = self.entries.first()?;
        Some(Lost {
            segment: self.name.clone(),
            frame_from: first.frame_first,
            frame_to: last.frame_last,
            recv_first: first.recv_first,
            recv_last: last.recv_last,
        })
    }

    /// fdatasync. After an error this file must not be synced again: the kernel may have dropped the pages.
    pub fn sync(&self) -> Result<()> {
        failpoint_step!("raw.fsync.before")
            .and_then(|()| self.file.sync_data())
            .map_err(LogError::io("sync", &self.path))
    }

    /// Writes index and footer, once; a failed try may be repeated.
    pub fn finish(&mut self, clean: bool, suspect: bool) -> Result<Sealed> {
        if let Some(sealed) = &self.sealed {
            return Ok(sealed.clone());
        }
        let flags = if clean { FLAG_CLEAN } else { 0 } + if suspect { FLAG_SUSPECT } else { 0 };
        let footer = Footer::of(&self.entries, flags, self.len, self.hash.value());
        let mut bytes = encode_index(&self.entries).map_err(LogError::format(&self.path))?;
        bytes.extend_from_slice(&encode_footer(&footer).map_err(LogError::format(&self.path))?);
        failpoint!("raw.seal.before_index");
        self.write(&bytes)?;
        failpoint!("raw.seal.after_index");
        let sealed = sealed_entry(&self.name, self.len + bytes.len() as u64, &footer, false);
        self.sealed = Some(sealed.clone());
        Ok(sealed)
    }

    /// Gives the finished file its final name, durably; a failed try may be repeated.
    pub fn rename(&mut self, layout: &Layout) -> Result<()> {
        failpoint!("raw.seal.before_rename");
        if !self.renamed {
            rename_open(layout, &self.name)?;
            self.path = layout.segments.join(&self.name);
            self.renamed = true;
        }
        failpoint!("raw.seal.before_directory_sync");
        sync_directory(&layout.segments)
    }
}

/// A segment's name that is not taken. What holds no record, because its creation failed, is removed first.
fn free_name(layout: &Layout, first_frame: u64, recv_ns: i64, header_bytes: u64) -> Result<String> {
    let mut second_ns = recv_ns;
    loop {
        let name = segment_name(first_frame, second_ns);
        let open = layout.segments.join(format!("{name}{OPEN_SUFFIX}"));
        if fs::metadata(&open).is_ok_and(|found| found.len() <= header_bytes) {
            fs::remove_file(&open).map_err(LogError::io("remove", &open))?;
        }
        if !open.exists() && !layout.segments.join(&name).exists() {
            return Ok(name);
        }
        // The segment was given up with its first records not yet synced: they are written again under a later name.
        second_ns += 1_000_000_000;
    }
}

/// Takes the `.open` away from a segment's name.
pub fn rename_open(layout: &Layout, name: &str) -> Result<()> {
    let from = layout.segments.join(format!("{name}{OPEN_SUFFIX}"));
    fs::rename(&from, layout.segments.join(name)).map_err(LogError::io("rename", &from))
}

/// The manifest entry of a footer.
pub fn sealed_entry(name: &str, bytes: u64, footer: &Footer, recovered: bool) -> Sealed {
    Sealed {
        segment: name.to_owned(),
        bytes,
        chunks: footer.chunks,
        records: footer.records,
        frame_first: footer.frame_first,
        frame_last: footer.frame_last,
        recv_first: footer.recv_first,
        recv_last: footer.recv_last,
        connection_max: footer.connection_max,
        hash: hash_text(footer.data_hash),
        clean: footer.flags & FLAG_CLEAN != 0,
        suspect: footer.flags & FLAG_SUSPECT != 0,
        recovered,
    }
}

/// xxh3 of the first `len` bytes of a file.
pub fn hash_file(path: &Path, len: u64) -> Result<u64> {
    let file = File::open(path).map_err(LogError::io("open", path))?;
    let mut reader = io::Read::take(file, len);
    let (mut hash, mut buffer) = (DataHash::default(), vec![0; 1 << 20]);
    loop {
        let read = io::Read::read(&mut reader, &mut buffer).map_err(LogError::io("read", path))?;
        match buffer.get(..read) {
            Some(bytes) if read > 0 => hash.update(bytes),
            _ => return Ok(hash.value()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_frame_and_carry_the_utc_time() {
        assert_eq!(
            segment_name(7, 1_723_161_255_030_314_667),
            "00000000000000000007-20240808T235415.tkraw"
        );
        assert_eq!(
            segment_name(1, 951_782_400_000_000_000),
            "00000000000000000001-20000229T000000.tkraw"
        );
        assert_eq!(first_frame_of("00000000000000000007-20240808T235415.tkraw"), Some(7));
        assert_eq!(first_frame_of("x"), None);
    }
}
