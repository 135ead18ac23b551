//! Start-up recovery: every segment ends up sealed, every damaged byte in quarantine, every hole known.
//!
//! Each step may be interrupted and is finished by the next start: bytes are set aside before they are cut off, a line is
//! in the manifest before its segment is patched, and the rename comes before the `sealed` line.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tickd_core::segment::{encode_footer, encode_index, quarantine_patch, Footer, SKIPPABLE_BYTES};

use crate::error::{LogError, Result};
use crate::live::{
    first_frame_of, hash_file, rename_open, sealed_entry, sync_directory, Layout, OPEN_SUFFIX, SEGMENT_SUFFIX,
};
pub use crate::manifest::Missing as Gap;
use crate::manifest::{self, Entry, Manifest, Quarantined, Sealed};
use crate::scrub::{clear_suspects, heal, is_sound, lost, suspects, Unreadable};
use crate::walk::{read_at, scan, Scan, Stretch};

/// Numbers skipped after an unclean end: more than a node can have given out in a group that was never written.
pub const FRAME_LEAP: u64 = 1 << 24;
/// Connection numbers skipped after an unclean end.
pub const CONNECTION_LEAP: u32 = 1 << 10;

/// What recovery found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments the manifest knows.
    pub segments: u64,
    /// Records in them.
    pub records: u64,
    /// Last frame number taken.
    pub frame_last: u64,
    /// Highest connection number.
    pub connection_last: u32,
    /// Segments sealed by this recovery.
    pub segments_sealed: u64,
    /// Sealed segments that got a new index or footer.
    pub segments_healed: u64,
    /// Bytes cut off.
    pub truncated_bytes: u64,
    /// What was set aside by this recovery.
    pub quarantined: Vec<Quarantined>,
    /// Frame numbers skipped because the end was not clean.
    pub gap: Option<(u64, u64)>,
    /// The log was closed in order.
    pub clean: bool,
    /// Bytes of a torn manifest line.
    pub manifest_torn_bytes: u64,
    /// Places where the manifest's chain is broken.
    pub manifest_damaged_lines: u64,
    /// Why the newest checkpoint was not taken, if so.
    pub checkpoint_refused: Option<String>,
}

/// Where the log goes on.
#[derive(Debug)]
pub struct Recovered {
    /// What was found.
    pub report: Report,
    /// First number to give out.
    pub frame_next: u64,
    /// First connection number to give out.
    pub connection_next: u32,
    /// Data hash of the newest segment.
    pub previous: Option<String>,
    /// What the first records have to announce.
    pub gaps: Vec<Gap>,
}

/// A segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Final name.
    pub name: String,
    /// First frame number, from the name.
    pub first_frame: u64,
    /// Not sealed.
    pub open: bool,
    /// Where it is now.
    pub path: PathBuf,
}

/// The segment files in order of their frames.
///
/// A directory that changes while it is read may show a renamed file twice or not at all; the listing is therefore
/// repeated until two agree.
pub fn list_segments(layout: &Layout) -> Result<Vec<Listed>> {
    let mut listed = list_once(layout)?;
    for _ in 0..8 {
        let again = list_once(layout)?;
        if again == listed {
            break;
        }
        listed = again;
    }
    Ok(listed)
}

fn list_once(layout: &Layout) -> Result<Vec<Listed>> {
    let mut listed = Vec::new();
    let directory = fs::read_dir(&layout.segments).map_err(LogError::io("list", &layout.segments))?;
    for entry in directory {
        let entry = entry.map_err(LogError::io("list", &layout.segments))?;
        let file_name = entry.file_name();
        let Some(text) = file_name.to_str() else { continue };
        let name = text.strip_suffix(OPEN_SUFFIX).unwrap_or(text);
        let Some(first_frame) = first_frame_of(name).filter(|_| name.ends_with(SEGMENT_SUFFIX)) else {
            continue;
        };
        listed.push(Listed {
            name: name.to_owned(),
            first_frame,
            open: name != text,
            path: entry.path(),
        });
    }
    listed.sort_by(|a, b| a.name.cmp(&b.name).then(a.open.cmp(&b.open)));
    listed.dedup_by(|later, earlier| later.name == earlier.name);
    Ok(listed)
}

/// Brings a directory in order; the caller holds its lock.
pub fn recover(layout: &Layout, now_ns: i64) -> Result<(Recovered, Manifest)> {
    let loaded = manifest::load(&layout.root)?;
    let mut repair = Repair {
        layout,
        manifest: Manifest::open(&layout.root, &loaded)?,
        known: loaded.entries().collect(),
        now_ns,
        report: Report {
            manifest_torn_bytes: loaded.torn_bytes,
            manifest_damaged_lines: loaded.damaged_lines,
            ..Report::default()
        },
    };
    let sealed = loaded.sealed();
    let suspects = suspects(layout)?;
    // No tear ends with a line's end: this was `started` perhaps, so numbers may have been given out since.
    let mut interrupted = loaded.last_damaged;
    let listing = list_segments(layout)?;
    let newest = listing.last().map(|listed| listed.name.clone());
    for listed in listing {
        if let Some(line) = sealed.get(&listed.name).filter(|_| !listed.open) {
            // The newest one is about to be replayed; of the others a look at the end must do.
            let all = Some(&listed.name) == newest.as_ref() || suspects.contains(&listed.name);
            if !is_sound(&listed.path, line, all)? {
                repair.sealed(&listed, line)?;
            }
            continue;
        }
        let clean = repair.segment(&listed)?;
        interrupted |= listed.open && !clean;
    }
    let recovered = conclude(repair.report, &repair.known, interrupted, now_ns);
    clear_suspects(layout)?;
    failpoint!("recover.before_started");
    repair.manifest.append(
        &Entry::Started {
            frame_next: recovered.frame_next,
            connection_next: recovered.connection_next,
        },
        now_ns,
    )?;
    Ok((recovered, repair.manifest))
}

/// What the manifest as a whole says about numbers and gaps.
fn conclude(mut report: Report, known: &[Entry], interrupted: bool, now_ns: i64) -> Recovered {
    let mut last: Option<&Sealed> = None;
    let mut clean = true;
    // First numbers of the life that started last: all of its records may be lost, the numbers are taken.
    let mut started = (0, 0);
    for entry in known {
        match entry {
            Entry::Sealed(sealed) => {
                report.segments += 1;
                report.records += sealed.records;
                report.frame_last = report.frame_last.max(sealed.frame_last);
                report.connection_last = report.connection_last.max(sealed.connection_max);
                last = Some(sealed)
                    .filter(|new| last.is_none_or(|old| old.frame_last <= new.frame_last))
                    .or(last);
                clean |= sealed.clean;
            }
            Entry::Quarantined(hole) if hole.frame_from <= hole.frame_to => {
                report.frame_last = report.frame_last.max(hole.frame_to);
            }
            Entry::Lost(lost) => report.frame_last = report.frame_last.max(lost.frame_to),
            Entry::Started {
                frame_next,
                connection_next,
            } => {
                clean = false;
                started = (*frame_next, *connection_next);
            }
            Entry::Stopped { .. } => clean = true,
            _ => {}
        }
    }
    report.clean = clean && !interrupted;
    let mut gaps = Vec::new();
    let (mut frame_next, mut connection_next) = (report.frame_last + 1, report.connection_last + 1);
    if !report.clean {
        let (frame_from, frame_to) = (frame_next, frame_next.max(started.0) + FRAME_LEAP - 2);
        let from_ns = last.map_or(0, |sealed| sealed.recv_last);
        gaps.push(Gap {
            cause: "restart",
            frame_from,
            frame_to,
            from_ns,
            to_ns: now_ns,
        });
        report.gap = Some((frame_from, frame_to));
        frame_next = frame_to + 1;
        connection_next = connection_next.max(started.1).saturating_add(CONNECTION_LEAP - 1);
    }
    gaps.extend(manifest::unannounced(known));
    Recovered {
        frame_next,
        connection_next,
        previous: last.map(|sealed| sealed.hash.clone()),
        gaps,
        report,
    }
}

struct Repair<'a> {
    layout: &'a Layout,
    manifest: Manifest,
    known: Vec<Entry>,
    now_ns: i64,
    report: Report,
}

impl Repair<'_> {
    /// Sets damage aside and seals; returns whether its writer had marked a clean stop.
    fn segment(&mut self, listed: &Listed) -> Result<bool> {
        let scan = scan(&listed.path, listed.first_frame)?;
        for hole in scan.holes.iter().filter(|hole| !hole.patched) {
            let entry = quarantined(listed, &hole.stretch, (hole.frame_from, hole.frame_to), hole.recv);
            self.quarantine(listed, &hole.stretch, entry)?;
            self.patch(listed, &hole.stretch)?;
        }
        if let Some(tail) = &scan.tail {
            self.report.truncated_bytes += tail.bytes;
            if !matches!(tail.reason, "index" | "footer") {
                let last = scan
                    .entries
                    .last()
                    .map_or((listed.first_frame, 0), |e| (e.frame_last + 1, e.recv_last));
                let entry = quarantined(listed, tail, (last.0, last.0 - 1), (last.1, 0));
                self.quarantine(listed, tail, entry)?;
            }
        }
        if scan.entries.is_empty() && scan.holes.is_empty() {
            // Header only (or not even that): no record ever stood here.
            failpoint!("recover.empty.before_remove");
            fs::remove_file(&listed.path).map_err(LogError::io("remove", &listed.path))?;
            failpoint!("recover.empty.removed");
            sync_directory(&self.layout.segments)?;
            return Ok(false);
        }
        let footer = self.seal(listed, &scan)?;
        failpoint!("recover.seal.before_rename");
        if listed.open {
            rename_open(self.layout, &listed.name)?;
        }
        failpoint!("recover.seal.before_directory_sync");
        sync_directory(&self.layout.segments)?;
        let sealed_path = self.layout.segments.join(&listed.name);
        let bytes = fs::metadata(&sealed_path)
            .map_err(LogError::io("stat", &sealed_path))?
            .len();
        let sealed = sealed_entry(&listed.name, bytes, &footer, true);
        let clean = sealed.clean;
        self.report.segments_sealed += 1;
        failpoint!("recover.seal.before_line");
        self.line(Entry::Sealed(sealed))?;
        Ok(clean)
    }

    /// Heals a segment that has changed since it was sealed, or sets aside what cannot be read any more.
    fn sealed(&mut self, listed: &Listed, line: &Sealed) -> Result<()> {
        let scan = scan(&listed.path, listed.first_frame)?;
        if heal(&listed.path, &scan, line)? {
            self.report.segments_healed += 1;
            return Ok(());
        }
        for Unreadable { stretch, frames, recv } in lost(&scan, line) {
            let entry = quarantined(listed, &stretch, frames, recv);
            if !self.known.contains(&Entry::Quarantined(entry.clone())) {
                self.quarantine(listed, &stretch, entry)?;
            }
        }
        Ok(())
    }

    /// Index and footer behind the data, unless they stand there.
    fn seal(&self, listed: &Listed, scan: &Scan) -> Result<Footer> {
        let path = &listed.path;
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(path)
            .map_err(LogError::io("open", path))?;
        if let Some(footer) = scan
            .footer
            .filter(|_| scan.sealed() && scan.holes.iter().all(|hole| hole.patched))
        {
            file.sync_all().map_err(LogError::io("sync", path))?;
            return Ok(footer);
        }
        failpoint!("recover.seal.before_cut");
        file.set_len(scan.data_end).map_err(LogError::io("cut", path))?;
        failpoint!("recover.seal.cut");
        let flags = scan.footer.map_or(0, |footer| footer.flags);
        let footer = Footer::of(&scan.entries, flags, scan.data_end, hash_file(path, scan.data_end)?);
        let mut bytes = encode_index(&scan.entries).map_err(LogError::format(path))?;
        bytes.extend_from_slice(&encode_footer(&footer).map_err(LogError::format(path))?);
        failpoint_write!("recover.seal.write", &file, &bytes)
            .and_then(|()| (&file).write_all(&bytes))
            .map_err(LogError::io("write", path))?;
        failpoint!("recover.seal.before_sync");
        file.sync_all().map_err(LogError::io("sync", path))?;
        Ok(footer)
    }

    /// Copies a stretch to `quarantine/`, then says so in the manifest; once per stretch.
    fn quarantine(&mut self, listed: &Listed, stretch: &Stretch, entry: Quarantined) -> Result<()> {
        let kept = self.layout.quarantine.join(&entry.file);
        failpoint!("recover.quarantine.before_copy");
        copy_stretch(&listed.path, stretch, &kept)?;
        failpoint!("recover.quarantine.copied");
        sync_directory(&self.layout.quarantine)?;
        self.report.quarantined.push(entry.clone());
        let line = Entry::Quarantined(entry);
        if self.known.contains(&line) {
            return Ok(());
        }
        self.line(line)
    }

    /// Makes a stretch a skippable frame, so that every reader passes over it.
    fn patch(&self, listed: &Listed, stretch: &Stretch) -> Result<()> {
        let path = &listed.path;
        if stretch.bytes < SKIPPABLE_BYTES as u64 {
            // No frame is that short, so this is not expected; the index leads past it all the same.
            return Ok(());
        }
        let patch = quarantine_patch(stretch.bytes).map_err(LogError::format(path))?;
        let mut file = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(LogError::io("open", path))?;
        failpoint!("recover.patch.before_write");
        let written = file
            .seek(SeekFrom::Start(stretch.offset))
            .and_then(|_| file.write_all(&patch));
        failpoint!("recover.patch.before_sync");
        written
            .and_then(|()| file.sync_data())
            .map_err(LogError::io("patch", path))
    }

    fn line(&mut self, entry: Entry) -> Result<()> {
        self.manifest.append(&entry, self.now_ns)?;
        self.known.push(entry);
        Ok(())
    }
}

/// The manifest's words for a stretch that is set aside.
fn quarantined(listed: &Listed, stretch: &Stretch, frames: (u64, u64), recv: (i64, i64)) -> Quarantined {
    Quarantined {
        segment: listed.name.clone(),
        offset: stretch.offset,
        bytes: stretch.bytes,
        reason: stretch.reason.to_owned(),
        frame_from: frames.0,
        frame_to: frames.1,
        recv_before: recv.0,
        recv_behind: recv.1,
        file: format!("{}-{}.bin", listed.name, stretch.offset),
    }
}

fn copy_stretch(from: &Path, stretch: &Stretch, to: &Path) -> Result<()> {
    const PIECE_BYTES: u64 = 1 << 20;
    let mut source = fs::File::open(from).map_err(LogError::io("open", from))?;
    let mut target = fs::File::create(to).map_err(LogError::io("create", to))?;
    let mut done = 0;
    while done < stretch.bytes {
        let len = PIECE_BYTES.min(stretch.bytes - done);
        let bytes = read_at(&mut source, from, stretch.offset + done, len as usize)?;
        target.write_all(&bytes).map_err(LogError::io("write", to))?;
        done += len;
    }
    target.sync_all().map_err(LogError::io("sync", to))
}
