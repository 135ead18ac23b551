//! Reads the records of a raw log between two frame numbers, chunk by chunk, sealed and live segments alike.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};

use tickd_core::segment::{decode_chunk, hash_of, ChunkEntry};

use crate::error::{LogError, Result};
use crate::live::Layout;
use crate::recover::{list_segments, Listed};
use crate::walk::{read_at, read_index, Item, Walker};

/// Frames that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Segment name.
    pub segment: String,
    /// Byte offset in it.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
    /// Why.
    pub reason: &'static str,
}

/// Where the chunk that a reader read last stands: another reader can go on there.
///
/// It is a hint: what stands there is looked at, and where it is another chunk, or none, the segment is read from its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Segment name, the one that it has when it is sealed.
    pub segment: String,
    /// Byte offset of the chunk.
    pub offset: u64,
    /// Its first frame.
    pub frame_first: u64,
    /// Its last frame.
    pub frame_last: u64,
}

impl Position {
    fn is_of(&self, entry: &ChunkEntry) -> bool {
        (self.offset, self.frame_first, self.frame_last) == (entry.offset, entry.frame_first, entry.frame_last)
    }
}

enum Source {
    /// A sealed segment, by its index.
    Indexed {
        file: File,
        path: PathBuf,
        entries: VecDeque<ChunkEntry>,
    },
    /// A live segment, or a sealed one whose index is damaged.
    Walked { walker: Walker, live: bool },
}

/// A forward reader. It sees the directory as it was at the start; what comes later is for the next reader.
pub struct Reader {
    from: u64,
    to: u64,
    segments: VecDeque<Listed>,
    source: Option<(String, Source)>,
    frame_last: u64,
    unread: Vec<Unread>,
    /// Of the last chunk that was handed out.
    position: Option<Position>,
    /// Where to go on, until the segment is open.
    resume: Option<Position>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reader {}..={}", self.from, self.to)
    }
}

impl Reader {
    /// A reader of the chunks that hold frames `from..=to` (whole chunks: the edges may hold more).
    pub fn open(directory: &Path, from: u64, to: u64, live: bool) -> Result<Self> {
        let listed = list_segments(&Layout::new(directory))?;
        let after: Vec<u64> = listed
            .iter()
            .skip(1)
            .map(|next| next.first_frame)
            .chain([u64::MAX])
            .collect();
        let wanted = listed.into_iter().zip(after).filter(|(listed, next)| {
            // Names give the first frame only; a segment ends at the latest where the next begins. A continuation
            // after a failed sync repeats frames of the segment before it, hence `<` and not the frame before.
            *next >= from && listed.first_frame <= to && (live || !listed.open)
        });
        let segments = wanted.map(|(listed, _)| listed).collect();
        Ok(Reader {
            from,
            to,
            segments,
            source: None,
            frame_last: 0,
            unread: Vec::new(),
            position: None,
            resume: None,
        })
    }

    /// Goes on where another reader of the directory was: what is before that chunk is neither read nor checked again.
    ///
    /// The chunk itself is handed out once more where it has wanted frames. Without its segment nothing changes.
    #[must_use]
    pub fn resumed(mut self, position: Position) -> Self {
        let found = self.segments.iter().position(|listed| listed.name == position.segment);
        if let Some(number) = found {
            self.segments.drain(..number);
            self.resume = Some(position.clone());
        }
        // A reader that finds nothing new is where that one was.
        self.position = Some(position);
        self
    }

    /// Where the last chunk that was handed out stands; None before the first.
    pub const fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// What could not be read so far.
    pub fn unread(&self) -> &[Unread] {
        &self.unread
    }

    /// The next chunk: segment name and records. None at the end.
    pub fn next_chunk(&mut self) -> Result<Option<(String, Vec<u8>)>> {
        loop {
            let Some((name, mut source)) = self.source.take() else {
                let Some(listed) = self.segments.pop_front() else {
                    return Ok(None);
                };
                let source = match self.resume.take() {
                    Some(position) => self.open_resumed(&listed, &position)?,
                    None => open_source(&listed)?,
                };
                self.source = Some((listed.name, source));
                continue;
            };
            let found = match &mut source {
                Source::Indexed { file, path, entries } => self.indexed(&name, file, path, entries)?,
                Source::Walked { walker, live } => self.walked(&name, walker, *live)?,
            };
            let Some((entry, raw)) = found else { continue };
            self.frame_last = entry.frame_last;
            self.position = Some(Position {
                segment: name.clone(),
                offset: entry.offset,
                frame_first: entry.frame_first,
                frame_last: entry.frame_last,
            });
            self.source = Some((name.clone(), source));
            return Ok(Some((name, raw)));
        }
    }

    /// The segment from that chunk on, if it is there as it was, else from the head.
    fn open_resumed(&mut self, listed: &Listed, position: &Position) -> Result<Source> {
        let mut source = open_source(listed)?;
        let is_there = match &mut source {
            Source::Indexed { entries, .. } => match entries.iter().position(|entry| position.is_of(entry)) {
                Some(number) => {
                    entries.drain(..number);
                    true
                }
                None => false,
            },
            Source::Walked { walker, .. } => {
                walker.seek(position.offset);
                let found = walker.next_item()?;
                let is_there = matches!(&found, Some(Item::Chunk(entry, _)) if position.is_of(entry));
                walker.seek(if is_there { position.offset } else { 0 });
                is_there
            }
        };
        if is_there && position.frame_last < self.from {
            // It was handed out: chunks that repeat its frames are not.
            self.frame_last = position.frame_last;
        }
        Ok(source)
    }

    fn wants(&self, entry: &ChunkEntry) -> bool {
        entry.frame_last >= self.from && entry.frame_first <= self.to && entry.frame_first > self.frame_last
    }

    fn indexed(
        &mut self,
        name: &str,
        file: &mut File,
        path: &Path,
        entries: &mut VecDeque<ChunkEntry>,
    ) -> Result<Option<(ChunkEntry, Vec<u8>)>> {
        while let Some(entry) = entries.pop_front() {
            if !self.wants(&entry) {
                continue;
            }
            let frame = read_at(file, path, entry.offset, entry.compressed as usize)?;
            match decode_chunk(&frame) {
                Ok(raw) if hash_of(&raw) == entry.hash => return Ok(Some((entry, raw))),
                _ => self.note(name, entry.offset, u64::from(entry.compressed), "checksum"),
            }
        }
        Ok(None)
    }

    fn walked(&mut self, name: &str, walker: &mut Walker, live: bool) -> Result<Option<(ChunkEntry, Vec<u8>)>> {
        while let Some(item) = walker.next_item()? {
            match item {
                Item::Chunk(entry, raw) if self.wants(&entry) => return Ok(Some((entry, raw))),
                Item::Damage(stretch) => self.note(name, stretch.offset, stretch.bytes, stretch.reason),
                Item::Tail(stretch) if !live => self.note(name, stretch.offset, stretch.bytes, stretch.reason),
                _ => {}
            }
        }
        Ok(None)
    }

    fn note(&mut self, name: &str, offset: u64, bytes: u64, reason: &'static str) {
        self.unread.push(Unread {
            segment: name.to_owned(),
            offset,
            bytes,
            reason,
        });
    }
}

fn open_source(listed: &Listed) -> Result<Source> {
    if listed.open {
        match Walker::open(&listed.path) {
            Ok(walker) => return Ok(Source::Walked { walker, live: true }),
            // Sealed since the listing: the file goes on under its final name.
            Err(LogError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let path = listed.path.with_file_name(&listed.name);
    match read_index(&path)? {
        Some((_, entries)) => {
            let file = File::open(&path).map_err(LogError::io("open", &path))?;
            Ok(Source::Indexed {
                file,
                path,
                entries: entries.into(),
            })
        }
        None => Ok(Source::Walked {
            walker: Walker::open(&path)?,
            live: false,
        }),
    }
}
