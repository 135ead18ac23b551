//! Sealed segments that are no longer what the manifest says: cut short, flipped bits, a lost index.
//!
//! A sealed file is evidence and may lie in object storage under the hash of its line, so it is never cut or patched. Index
//! and footer are derived: where all records are whole they are written again, which gives the very bytes of the line.
//! Anything else is copied to quarantine and named, with its frames, in the manifest.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use tickd_core::segment::{encode_footer, encode_index, hash_text, Footer, FLAG_CLEAN, FLAG_SUSPECT};

use crate::error::{LogError, Result};
use crate::live::{hash_file, sync_directory, Layout};
use crate::manifest::Sealed;
use crate::walk::{read_footer, read_index, Scan, Stretch};

/// Names of segments that a reader found damaged, one per line; the next start looks at all of each.
pub const SUSPECTS_NAME: &str = "SUSPECTS";

/// Asks the next start to look at all of a sealed segment.
pub fn suspect(directory: &Path, segment: &str) -> Result<()> {
    let path = directory.join(SUSPECTS_NAME);
    let opened = OpenOptions::new().append(true).create(true).open(&path);
    let mut file = opened.map_err(LogError::io("open", &path))?;
    file.write_all(format!("{segment}\n").as_bytes())
        .map_err(LogError::io("write", &path))
}

/// The segments that readers found damaged.
pub fn suspects(layout: &Layout) -> Result<BTreeSet<String>> {
    let path = layout.root.join(SUSPECTS_NAME);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
        // Not text: nobody of ours wrote that, and it names no segment.
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(BTreeSet::new()),
        Err(source) => Err(LogError::io("read", &path)(source)),
    }
}

/// Every suspect was looked at.
pub fn clear_suspects(layout: &Layout) -> Result<()> {
    let path = layout.root.join(SUSPECTS_NAME);
    match fs::remove_file(&path) {
        Ok(()) => sync_directory(&layout.root),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(source) => Err(LogError::io("remove", &path)(source)),
    }
}

/// Whether a segment looks as its line says: length and footer, and with `all` the index and the hash of its bytes.
pub fn is_sound(path: &Path, sealed: &Sealed, all: bool) -> Result<bool> {
    let bytes = fs::metadata(path).map_err(LogError::io("stat", path))?.len();
    let Some(footer) = read_footer(path)?.filter(|_| bytes == sealed.bytes) else {
        return Ok(false);
    };
    let described = footer.records == sealed.records && hash_text(footer.data_hash) == sealed.hash;
    if !described || !all {
        return Ok(described);
    }
    Ok(read_index(path)?.is_some() && hash_text(hash_file(path, footer.index_offset)?) == sealed.hash)
}

/// Writes index and footer again where every byte before them is as it was; whether that has healed the file.
pub fn heal(path: &Path, scan: &Scan, sealed: &Sealed) -> Result<bool> {
    let Some(data_end) = whole_data(path, scan, sealed)? else {
        return Ok(false);
    };
    let flags = if sealed.clean { FLAG_CLEAN } else { 0 } | if sealed.suspect { FLAG_SUSPECT } else { 0 };
    let footer = Footer::of(&scan.entries, flags, data_end, hash_file(path, data_end)?);
    let mut bytes = encode_index(&scan.entries).map_err(LogError::format(path))?;
    bytes.extend_from_slice(&encode_footer(&footer).map_err(LogError::format(path))?);
    if data_end + bytes.len() as u64 != sealed.bytes {
        return Ok(false);
    }
    let opened = OpenOptions::new().read(true).append(true).open(path);
    let file = opened.map_err(LogError::io("open", path))?;
    file.set_len(data_end).map_err(LogError::io("cut", path))?;
    failpoint!("scrub.heal.cut");
    failpoint_write!("scrub.heal.write", &file, &bytes)
        .and_then(|()| (&file).write_all(&bytes))
        .map_err(LogError::io("write", path))?;
    file.sync_all().map_err(LogError::io("sync", path))?;
    Ok(true)
}

/// Where header and chunks end, if they are what the line's hash says.
fn whole_data(path: &Path, scan: &Scan, sealed: &Sealed) -> Result<Option<u64>> {
    let chunks_end = scan
        .entries
        .last()
        .map_or(0, |entry| entry.offset + u64::from(entry.compressed));
    // Behind the last chunk a quarantined stretch may stand; a broken index may count as one.
    for data_end in BTreeSet::from([chunks_end, scan.data_end]) {
        if hash_text(hash_file(path, data_end)?) == sealed.hash {
            return Ok(Some(data_end));
        }
    }
    Ok(None)
}

/// A stretch of a sealed segment that cannot be read, and the frames that stood in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Where and why.
    pub stretch: Stretch,
    /// First and last missing frame number; the first is above the last when none is missing.
    pub frames: (u64, u64),
    /// Wall clock around them.
    pub recv: (i64, i64),
}

/// What a sealed segment has lost since it was sealed.
pub fn lost(scan: &Scan, sealed: &Sealed) -> Vec<Unreadable> {
    let known = |found: i64, line: i64| if found == 0 { line } else { found };
    let mut lost: Vec<Unreadable> = scan
        .holes
        .iter()
        .filter(|hole| !hole.patched)
        .map(|hole| {
            let behind = scan.entries.iter().any(|entry| entry.offset > hole.stretch.offset);
            Unreadable {
                stretch: hole.stretch.clone(),
                frames: (hole.frame_from, if behind { hole.frame_to } else { sealed.frame_last }),
                recv: (
                    known(hole.recv.0, sealed.recv_first),
                    known(hole.recv.1, sealed.recv_last),
                ),
            }
        })
        .collect();
    let last = scan.entries.last();
    let frame_from = last.map_or(sealed.frame_first, |entry| entry.frame_last + 1);
    let named = lost
        .iter()
        .any(|lost| lost.frames.1 == sealed.frame_last && lost.frames.0 <= lost.frames.1);
    if let Some(stretch) = cut_off(scan).filter(|_| !named) {
        lost.push(Unreadable {
            stretch,
            frames: (frame_from, sealed.frame_last),
            recv: (
                last.map_or(sealed.recv_first, |entry| entry.recv_last),
                sealed.recv_last,
            ),
        });
    }
    lost
}

/// What stands where the rest of the records should; empty when the file simply ends there.
fn cut_off(scan: &Scan) -> Option<Stretch> {
    match (&scan.tail, scan.footer) {
        (Some(tail), _) => Some(tail.clone()),
        (None, Some(_)) => None,
        (None, None) => Some(Stretch {
            offset: scan.file_bytes,
            bytes: 0,
            reason: "cut_short",
        }),
    }
}
