//! Walks a segment file frame by frame and says what stands where, damage included; changes nothing.
//!
//! Recovery, verification and the reader of unsealed files all see a file through this one walk.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use tickd_core::segment::{
    decode_chunk, decode_footer, decode_header, decode_index, describe_chunk, step, ChunkEntry, Footer, SegmentHeader,
    Step, CHUNK_MAGIC, CHUNK_RAW_MAX, FOOTER_BYTES, MAGIC_FOOTER, MAGIC_HEADER, MAGIC_INDEX, MAGIC_QUARANTINED,
};

use crate::error::{LogError, Result};

/// First read at a frame; nearly every chunk fits.
const WINDOW_BYTES: u64 = 256 << 10;
/// A frame longer than this is damage: no chunk compresses to more.
const FRAME_BYTES_MAX: u64 = CHUNK_RAW_MAX as u64 + (CHUNK_RAW_MAX as u64 >> 7);

/// One thing found in a file.
#[derive(Debug)]
pub enum Item {
    /// The header.
    Header(SegmentHeader),
    /// A whole, checked chunk and its records.
    Chunk(ChunkEntry, Vec<u8>),
    /// The index.
    Index(Vec<ChunkEntry>),
    /// The footer.
    Footer(Footer),
    /// Damage between whole frames.
    Damage(Stretch),
    /// Damage that an earlier recovery has quarantined.
    Quarantined(Stretch),
    /// What stands behind the last whole frame.
    Tail(Stretch),
}

/// Some bytes of a file that are not readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Byte offset.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// Why.
    pub reason: &'static str,
}

/// A walk over one file from some offset to its end as it was at the start.
#[derive(Debug)]
pub struct Walker {
    file: File,
    path: PathBuf,
    offset: u64,
    len: u64,
    frame_last: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Walker {
    /// Starts at the head of the file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(LogError::io("open", path))?;
        let len = file.metadata().map_err(LogError::io("stat", path))?.len();
        Ok(Walker {
            file,
            path: path.to_path_buf(),
            offset: 0,
            len,
            frame_last: 0,
            window: Vec::new(),
            window_at: 0,
        })
    }

    /// Where the next item begins = one past the last one.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes on at an offset at which an item begins, with no frame before it.
    pub fn seek(&mut self, offset: u64) {
        self.offset = offset;
        self.frame_last = 0;
    }

    /// Bytes of the file when the walk began.
    pub fn file_bytes(&self) -> u64 {
        self.len
    }

    /// The next item; None at the end. Errors are those of reading, never of the content.
    pub fn next_item(&mut self) -> Result<Option<Item>> {
        if self.offset >= self.len {
            return Ok(None);
        }
        let at = self.offset;
        match self.item_at(at)? {
            Ok((item, bytes)) => {
                if let Item::Chunk(entry, _) = &item {
                    self.frame_last = entry.frame_last;
                }
                self.offset = at + bytes;
                Ok(Some(item))
            }
            Err(reason) => {
                let next = self.resync(at + 1)?;
                let stretch = Stretch {
                    offset: at,
                    bytes: next.unwrap_or(self.len) - at,
                    reason,
                };
                self.offset = next.unwrap_or(self.len);
                Ok(Some(if next.is_some() {
                    Item::Damage(stretch)
                } else {
                    Item::Tail(stretch)
                }))
            }
        }
    }

    /// The item at `at` and its length, or why there is none.
    fn item_at(&mut self, at: u64) -> Result<std::result::Result<(Item, u64), &'static str>> {
        let mut want = WINDOW_BYTES;
        let (found, len) = loop {
            let rest = self.len - at;
            let bytes = self.bytes(at, want)?;
            match step(bytes) {
                Step::Incomplete if want >= rest => return Ok(Err("cut_short")),
                Step::Incomplete if want > FRAME_BYTES_MAX => return Ok(Err("no_frame")),
                Step::Incomplete => want *= 4,
                Step::Damaged => return Ok(Err("no_frame")),
                found @ (Step::Chunk(len) | Step::Skippable(_, len)) => break (found, len),
            }
        };
        let (path, frame_last) = (self.path.clone(), self.frame_last);
        let frame = self.bytes(at, want)?.get(..len).ok_or_else(|| unexpected_end(&path))?;
        let item = match found {
            Step::Chunk(_) => checked_chunk(frame, at, frame_last).map(|(entry, raw)| Item::Chunk(entry, raw)),
            Step::Skippable(MAGIC_HEADER, _) => decode_header(frame).map(Item::Header).map_err(|_| "header"),
            Step::Skippable(MAGIC_INDEX, _) => decode_index(frame).map(Item::Index).map_err(|_| "index"),
            Step::Skippable(MAGIC_FOOTER, _) => decode_footer(frame).map(Item::Footer).map_err(|_| "footer"),
            _ => Ok(Item::Quarantined(Stretch {
                offset: at,
                bytes: len as u64,
                reason: "quarantined",
            })),
        };
        Ok(item.map(|item| (item, len as u64)))
    }

    /// The next offset from `from` on at which something whole begins.
    ///
    /// A damaged frame's own length is not to be trusted, so the search goes by the magic numbers; what they mark must
    /// also decode, which rules out payload bytes that look like one.
    fn resync(&mut self, from: u64) -> Result<Option<u64>> {
        let mut at = from;
        while at + 4 <= self.len {
            let bytes = self.bytes(at, WINDOW_BYTES)?;
            let Some(hit) = bytes.windows(4).position(is_magic) else {
                at += (bytes.len() as u64).saturating_sub(3).max(1);
                continue;
            };
            at += hit as u64;
            if matches!(self.item_at(at)?, Ok((item, _)) if !matches!(item, Item::Header(_))) {
                return Ok(Some(at));
            }
            at += 1;
        }
        Ok(None)
    }

    /// At most `want` bytes from `at` on, fewer only at the end of the file.
    fn bytes(&mut self, at: u64, want: u64) -> Result<&[u8]> {
        let want = want.min(self.len.saturating_sub(at)) as usize;
        let start = at.wrapping_sub(self.window_at) as usize;
        if at < self.window_at || self.window.len() < start.saturating_add(want) {
            self.window.resize(want, 0);
            self.window_at = at;
            let read = self
                .file
                .seek(SeekFrom::Start(at))
                .and_then(|_| self.file.read_exact(&mut self.window));
            read.map_err(LogError::io("read", &self.path))?;
            return Ok(&self.window);
        }
        self.window
            .get(start..start + want)
            .ok_or_else(|| unexpected_end(&self.path))
    }
}

fn is_magic(bytes: &[u8]) -> bool {
    bytes == CHUNK_MAGIC
        || [MAGIC_INDEX, MAGIC_FOOTER, MAGIC_QUARANTINED]
            .iter()
            .any(|magic| bytes == magic.to_le_bytes())
}

fn unexpected_end(path: &Path) -> LogError {
    LogError::Io {
        doing: "read",
        path: path.to_path_buf(),
        source: io::ErrorKind::UnexpectedEof.into(),
    }
}

fn checked_chunk(frame: &[u8], at: u64, frame_last: u64) -> std::result::Result<(ChunkEntry, Vec<u8>), &'static str> {
    let raw = decode_chunk(frame).map_err(|_| "checksum")?;
    let entry = describe_chunk(&raw, at, frame.len()).map_err(|_| "records")?;
    if entry.frame_first <= frame_last {
        return Err("order");
    }
    Ok((entry, raw))
}

/// A damaged stretch with the frame numbers that stood in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// Where and why.
    pub stretch: Stretch,
    /// First missing frame number.
    pub frame_from: u64,
    /// Last missing frame number; below `frame_from` when no number is missing.
    pub frame_to: u64,
    /// Wall clock of the record before and behind it (0 = unknown).
    pub recv: (i64, i64),
    /// Already quarantined by an earlier recovery.
    pub patched: bool,
}

/// All that a walk over a whole file found.
#[derive(Debug, Default)]
pub struct Scan {
    /// The header, when whole.
    pub header: Option<SegmentHeader>,
    /// The chunks.
    pub entries: Vec<ChunkEntry>,
    /// Damage in front of the last whole frame.
    pub holes: Vec<Hole>,
    /// What stands behind the last whole frame.
    pub tail: Option<Stretch>,
    /// End of header, chunks and quarantined stretches.
    pub data_end: u64,
    /// The index, when whole.
    pub index: Option<Vec<ChunkEntry>>,
    /// The footer, when whole and last.
    pub footer: Option<Footer>,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// Walks the whole file; `first_frame` (from its name) bounds a hole before the first chunk.
pub fn scan(path: &Path, first_frame: u64) -> Result<Scan> {
    let mut walker = Walker::open(path)?;
    let mut scan = Scan {
        file_bytes: walker.file_bytes(),
        ..Scan::default()
    };
    let mut damage: Vec<(Stretch, bool, usize)> = Vec::new();
    while let Some(item) = walker.next_item()? {
        match item {
            Item::Header(header) => scan.header = Some(header),
            Item::Chunk(entry, _) => scan.entries.push(entry),
            Item::Damage(stretch) => {
                // A damaged index is derived data behind the records: nothing is missing, it is only to be written again.
                // (At the head of the file it is a header with a flipped magic number.)
                if stretch.offset > 0 && matches!(stretch.reason, "index" | "footer") {
                    continue;
                }
                damage.push((stretch, false, scan.entries.len()));
            }
            Item::Quarantined(stretch) => damage.push((stretch, true, scan.entries.len())),
            Item::Index(index) => {
                scan.index = Some(index);
                continue;
            }
            Item::Footer(footer) => {
                scan.footer = Some(footer).filter(|_| walker.offset() == walker.file_bytes());
                continue;
            }
            Item::Tail(stretch) => {
                scan.tail = Some(stretch);
                continue;
            }
        }
        scan.data_end = walker.offset();
    }
    let indexed_last = scan
        .index
        .as_ref()
        .and_then(|index| index.last())
        .map_or(0, |entry| entry.frame_last);
    for (stretch, patched, behind) in damage {
        let before = behind.checked_sub(1).and_then(|at| scan.entries.get(at));
        let after = scan.entries.get(behind);
        scan.holes.push(Hole {
            frame_from: before.map_or(first_frame, |entry| entry.frame_last + 1),
            frame_to: after.map_or(indexed_last, |entry| entry.frame_first - 1),
            recv: (
                before.map_or(0, |entry| entry.recv_last),
                after.map_or(0, |entry| entry.recv_first),
            ),
            stretch,
            patched,
        });
    }
    Ok(scan)
}

impl Scan {
    /// Whether the file ends as a sealed one and its index agrees with its chunks.
    pub fn sealed(&self) -> bool {
        let index_offset = self.footer.map(|footer| footer.index_offset);
        index_offset == Some(self.data_end) && self.tail.is_none() && self.index_agrees()
    }

    /// Whether every whole chunk stands in the index as it is.
    pub fn index_agrees(&self) -> bool {
        let Some(index) = &self.index else { return false };
        let mut indexed = index.iter();
        self.entries.iter().all(|entry| indexed.any(|other| other == entry))
    }
}

/// Reads the footer from the end of a sealed file; None when it is damaged.
pub fn read_footer(path: &Path) -> Result<Option<Footer>> {
    let mut file = File::open(path).map_err(LogError::io("open", path))?;
    Ok(footer_of(&mut file, path)?.map(|(footer, _)| footer))
}

/// The footer and where it stands.
fn footer_of(file: &mut File, path: &Path) -> Result<Option<(Footer, u64)>> {
    let len = file.metadata().map_err(LogError::io("stat", path))?.len();
    let Some(footer_at) = len.checked_sub(FOOTER_BYTES as u64) else {
        return Ok(None);
    };
    let bytes = read_at(file, path, footer_at, FOOTER_BYTES)?;
    Ok(decode_footer(&bytes).ok().map(|footer| (footer, footer_at)))
}

/// Reads index and footer from the end of a sealed file; None when either is damaged.
pub fn read_index(path: &Path) -> Result<Option<(Footer, Vec<ChunkEntry>)>> {
    let mut file = File::open(path).map_err(LogError::io("open", path))?;
    let Some((footer, footer_at)) = footer_of(&mut file, path)? else {
        return Ok(None);
    };
    let Some(index_bytes) = footer_at.checked_sub(footer.index_offset) else {
        return Ok(None);
    };
    let bytes = read_at(&mut file, path, footer.index_offset, index_bytes as usize)?;
    Ok(decode_index(&bytes).ok().map(|index| (footer, index)))
}

/// Exactly `len` bytes from `offset` on.
pub fn read_at(file: &mut File, path: &Path, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let read = file
        .seek(SeekFrom::Start(offset))
        .and_then(|_| file.read_exact(&mut bytes));
    read.map_err(LogError::io("read", path))?;
    Ok(bytes)
}
