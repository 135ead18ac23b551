//! The raw log's file format: header, chunks, index, footer. `docs/formats/raw-log.md` is its document.
//!
//! A segment is a sequence of zstd frames, so that `zstd -dc` prints its records. Chunks are ordinary frames; everything
//! that is not a record stands in skippable frames. This file turns bytes into structure and back and touches no file.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, Xxh3};
use zstd::zstd_safe;

use crate::error::{Error, Reason, Result};
use crate::record::{numbers_taken, records, PAYLOAD_BYTES_MAX};

/// Version in header and footer; readers refuse a higher one.
pub const FORMAT_VERSION: u32 = 1;
/// Skippable frame that opens a segment: JSON, LF, xxh3 of the JSON.
pub const MAGIC_HEADER: u32 = 0x184D_2A50;
/// Skippable frame with one fixed-size entry per chunk.
pub const MAGIC_INDEX: u32 = 0x184D_2A51;
/// Skippable frame of fixed size that ends a sealed segment.
pub const MAGIC_FOOTER: u32 = 0x184D_2A52;
/// Skippable frame that recovery puts over a damaged stretch; the damaged bytes are in quarantine.
pub const MAGIC_QUARANTINED: u32 = 0x184D_2A53;
/// First bytes of every chunk (a zstd frame).
pub const CHUNK_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// Bytes before the content of a skippable frame: magic and length.
pub const SKIPPABLE_BYTES: usize = 8;
/// Bytes of one index entry.
pub const INDEX_ENTRY_BYTES: usize = 64;
/// Bytes of the footer with its frame: a reader takes the last this many bytes of a sealed file.
pub const FOOTER_BYTES: usize = SKIPPABLE_BYTES + FOOTER_CONTENT;
/// Largest raw chunk: one record of the largest payload on top of a full group.
pub const CHUNK_RAW_MAX: usize = PAYLOAD_BYTES_MAX + (16 << 20);

const FOOTER_CONTENT: usize = 96;
const FOOTER_TAG: &[u8; 8] = b"TKRAWEND";
/// In the byte behind the magic: a checksum follows the blocks (RFC 8878, 3.1.1.1.1).
const ZSTD_CHECKSUM_FLAG: u8 = 1 << 2;
/// zstd's `srcSize_wrong`: the frame goes on behind the bytes given.
const ZSTD_SOURCE_SIZE_WRONG: usize = 0usize.wrapping_sub(72);

/// Footer flag: the daemon stopped in order after this segment; the next frame number follows without a leap.
pub const FLAG_CLEAN: u32 = 1;
/// Footer flag: a sync of this file failed, so its last chunks may be missing although they were reported written.
pub const FLAG_SUSPECT: u32 = 2;

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentHeader {
    /// Always `tickd-raw`.
    pub format: String,
    /// `FORMAT_VERSION` of the writer.
    pub version: u32,
    /// Node number.
    pub node: u16,
    /// Number of the first record.
    pub first_frame: u64,
    /// Wall clock at creation, ns.
    pub created_ns: i64,
    /// Host name.
    pub host: String,
    /// Boot id: monotonic stamps compare only within one.
    pub boot_id: String,
    /// Version of tickd.
    pub tickd: String,
    /// Data hash of the segment before, 16 hex digits; `null` for a node's first.
    pub previous: Option<String>,
    /// What the operator wants to keep with it.
    pub meta: serde_json::Value,
}

/// One chunk as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChunkEntry {
    /// Byte offset of the frame in the file.
    pub offset: u64,
    /// Bytes of the frame.
    pub compressed: u32,
    /// Bytes of its records.
    pub raw: u32,
    /// Number of records.
    pub records: u32,
    /// Highest connection number in it.
    pub connection_max: u32,
    /// First frame number.
    pub frame_first: u64,
    /// Last frame number taken (a long record takes several).
    pub frame_last: u64,
    /// Wall clock of the first record.
    pub recv_first: i64,
    /// Wall clock of the last record.
    pub recv_last: i64,
    /// xxh3-64 of the raw bytes.
    pub hash: u64,
}

/// Totals at the end of a sealed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Footer {
    /// `FLAG_*`.
    pub flags: u32,
    /// Where the index frame begins = bytes of header and chunks.
    pub index_offset: u64,
    /// Number of chunks.
    pub chunks: u64,
    /// Number of records.
    pub records: u64,
    /// First frame number; 0 without records.
    pub frame_first: u64,
    /// Last frame number taken.
    pub frame_last: u64,
    /// Wall clock of the first record.
    pub recv_first: i64,
    /// Wall clock of the last record.
    pub recv_last: i64,
    /// Highest connection number.
    pub connection_max: u32,
    /// xxh3-64 of the bytes before the index.
    pub data_hash: u64,
}

impl Footer {
    /// The totals of `entries`; flags, offset and hash are the caller's.
    pub fn of(entries: &[ChunkEntry], flags: u32, index_offset: u64, data_hash: u64) -> Self {
        let first = entries.first().copied().unwrap_or_default();
        let last = entries.last().copied().unwrap_or_default();
        Footer {
            flags,
            index_offset,
            chunks: entries.len() as u64,
            records: entries.iter().map(|entry| u64::from(entry.records)).sum(),
            frame_first: first.frame_first,
            frame_last: last.frame_last,
            recv_first: first.recv_first,
            recv_last: last.recv_last,
            connection_max: entries.iter().map(|entry| entry.connection_max).max().unwrap_or(0),
            data_hash,
        }
    }
}

/// The hash of a segment's bytes before the index, fed in order.
#[derive(Default)]
pub struct DataHash(Xxh3);

impl std::fmt::Debug for DataHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataHash")
    }
}

impl DataHash {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// xxh3-64 of everything so far.
    pub fn value(&self) -> u64 {
        self.0.digest()
    }
}

/// How hashes are written in JSON: 16 hex digits.
pub fn hash_text(hash: u64) -> String {
    format!("{hash:016x}")
}

/// xxh3-64 of one buffer.
pub fn hash_of(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// What stands at the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A chunk of so many bytes (its content not yet checked).
    Chunk(usize),
    /// A skippable frame: magic, whole bytes.
    Skippable(u32, usize),
    /// A frame begins but goes on behind the bytes given.
    Incomplete,
    /// No frame.
    Damaged,
}

/// Looks at the start of `bytes`, which are not empty.
pub fn step(bytes: &[u8]) -> Step {
    if bytes.len() < SKIPPABLE_BYTES {
        return Step::Incomplete;
    }
    if bytes.starts_with(&CHUNK_MAGIC) {
        return match zstd_safe::find_frame_compressed_size(bytes) {
            Ok(size) if size <= bytes.len() => Step::Chunk(size),
            Ok(_) => Step::Incomplete,
            Err(ZSTD_SOURCE_SIZE_WRONG) => Step::Incomplete,
            Err(_) => Step::Damaged,
        };
    }
    let mut fields = Fields { bytes };
    match (fields.u32(), fields.u32()) {
        (Ok(magic @ MAGIC_HEADER..=MAGIC_QUARANTINED), Ok(len)) => {
            let whole = SKIPPABLE_BYTES + len as usize;
            if whole <= bytes.len() {
                Step::Skippable(magic, whole)
            } else {
                Step::Incomplete
            }
        }
        _ => Step::Damaged,
    }
}

/// Makes chunks; keeps its zstd context.
pub struct ChunkEncoder {
    zstd: zstd::bulk::Compressor<'static>,
}

impl std::fmt::Debug for ChunkEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChunkEncoder")
    }
}

impl ChunkEncoder {
    /// An encoder at a zstd level; checksum and content size are on.
    pub fn new(level: i32) -> Result<Self> {
        let unsupported = |_| Error::new(Reason::Unsupported, 0);
        let mut zstd = zstd::bulk::Compressor::new(level).map_err(unsupported)?;
        zstd.include_checksum(true).map_err(unsupported)?;
        zstd.include_contentsize(true).map_err(unsupported)?;
        Ok(ChunkEncoder { zstd })
    }

    /// Replaces `out` by the frame of `raw`.
    pub fn encode(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<()> {
        if raw.len() > CHUNK_RAW_MAX {
            return Err(Error::new(Reason::TooLarge, raw.len()));
        }
        out.clear();
        out.reserve(zstd_safe::compress_bound(raw.len()));
        self.zstd
            .compress_to_buffer(raw, out)
            .map_err(|_| Error::new(Reason::TooLarge, raw.len()))?;
        Ok(())
    }
}

/// The raw bytes of a whole chunk; `Checksum` when they are not what was written.
pub fn decode_chunk(frame: &[u8]) -> Result<Vec<u8>> {
    let damaged = Error::new(Reason::Checksum, 0);
    // Without this a flipped flag would turn the check off and let any content pass.
    if frame
        .get(CHUNK_MAGIC.len())
        .is_none_or(|descriptor| descriptor & ZSTD_CHECKSUM_FLAG == 0)
    {
        return Err(damaged);
    }
    let raw = match zstd_safe::get_frame_content_size(frame) {
        Ok(Some(size)) if size <= CHUNK_RAW_MAX as u64 => size as usize,
        _ => return Err(damaged),
    };
    zstd::bulk::decompress(frame, raw).map_err(|_| damaged)
}

/// Reads the records of `raw` and returns their index entry (offset and compressed size are the caller's).
///
/// Errors: what `read_record` says; `Malformed` when there is no record or the numbers do not increase.
pub fn describe_chunk(raw: &[u8], offset: u64, compressed: usize) -> Result<ChunkEntry> {
    let too_large = |_| Error::new(Reason::TooLarge, 0);
    let mut entry = ChunkEntry {
        offset,
        compressed: u32::try_from(compressed).map_err(too_large)?,
        raw: u32::try_from(raw.len()).map_err(too_large)?,
        hash: xxh3_64(raw),
        ..ChunkEntry::default()
    };
    for record in records(raw) {
        let record = record?;
        if entry.records == 0 {
            (entry.frame_first, entry.recv_first) = (record.frame_no, record.recv_ns);
        } else if record.frame_no <= entry.frame_last {
            return Err(Error::new(Reason::Malformed, entry.records as usize));
        }
        entry.records += 1;
        entry.frame_last = record.frame_no + (numbers_taken(record.payload.len()) - 1);
        entry.recv_last = record.recv_ns;
        entry.connection_max = entry.connection_max.max(record.connection);
    }
    if entry.records == 0 {
        return Err(Error::new(Reason::Malformed, 0));
    }
    Ok(entry)
}

/// The header frame.
pub fn encode_header(header: &SegmentHeader) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(header).map_err(|_| Error::new(Reason::Malformed, 0))?;
    let mut content = json.clone();
    content.push(b'\n');
    content.extend_from_slice(&xxh3_64(&json).to_le_bytes());
    skippable(MAGIC_HEADER, &content)
}

/// The header out of its whole frame.
pub fn decode_header(frame: &[u8]) -> Result<SegmentHeader> {
    let content = content_of(frame, MAGIC_HEADER)?;
    let short = Error::new(Reason::Truncated, frame.len());
    let (json, sum) = content
        .split_at_checked(content.len().saturating_sub(8))
        .ok_or(short.clone())?;
    let json = json.strip_suffix(b"\n").ok_or(short)?;
    if xxh3_64(json).to_le_bytes() != sum {
        return Err(Error::new(Reason::Checksum, SKIPPABLE_BYTES));
    }
    let header: SegmentHeader =
        serde_json::from_slice(json).map_err(|error| Error::new(Reason::Malformed, error.column()))?;
    if header.format != "tickd-raw" || header.version > FORMAT_VERSION {
        return Err(Error::new(Reason::Unsupported, SKIPPABLE_BYTES));
    }
    Ok(header)
}

/// The index frame: the entries, then xxh3 of them.
pub fn encode_index(entries: &[ChunkEntry]) -> Result<Vec<u8>> {
    let mut content = Vec::with_capacity(entries.len() * INDEX_ENTRY_BYTES + 8);
    for entry in entries {
        content.extend_from_slice(&entry.offset.to_le_bytes());
        for value in [entry.compressed, entry.raw, entry.records, entry.connection_max] {
            content.extend_from_slice(&value.to_le_bytes());
        }
        content.extend_from_slice(&entry.frame_first.to_le_bytes());
        content.extend_from_slice(&entry.frame_last.to_le_bytes());
        content.extend_from_slice(&entry.recv_first.to_le_bytes());
        content.extend_from_slice(&entry.recv_last.to_le_bytes());
        content.extend_from_slice(&entry.hash.to_le_bytes());
    }
    let sum = xxh3_64(&content);
    content.extend_from_slice(&sum.to_le_bytes());
    skippable(MAGIC_INDEX, &content)
}

/// The entries out of the whole index frame.
pub fn decode_index(frame: &[u8]) -> Result<Vec<ChunkEntry>> {
    let content = content_of(frame, MAGIC_INDEX)?;
    let (body, sum) = content
        .split_at_checked(content.len().saturating_sub(8))
        .filter(|(body, _)| body.len() % INDEX_ENTRY_BYTES == 0)
        .ok_or(Error::new(Reason::Truncated, frame.len()))?;
    if xxh3_64(body).to_le_bytes() != sum {
        return Err(Error::new(Reason::Checksum, SKIPPABLE_BYTES));
    }
    body.chunks_exact(INDEX_ENTRY_BYTES)
        .map(|bytes| decode_entry(&mut Fields { bytes }))
        .collect()
}

fn decode_entry(fields: &mut Fields<'_>) -> Result<ChunkEntry> {
    Ok(ChunkEntry {
        offset: fields.u64()?,
        compressed: fields.u32()?,
        raw: fields.u32()?,
        records: fields.u32()?,
        connection_max: fields.u32()?,
        frame_first: fields.u64()?,
        frame_last: fields.u64()?,
        recv_first: fields.i64()?,
        recv_last: fields.i64()?,
        hash: fields.u64()?,
    })
}

/// The footer frame.
pub fn encode_footer(footer: &Footer) -> Result<Vec<u8>> {
    let mut content = Vec::with_capacity(FOOTER_CONTENT);
    content.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    content.extend_from_slice(&footer.flags.to_le_bytes());
    for value in [
        footer.index_offset,
        footer.chunks,
        footer.records,
        footer.frame_first,
        footer.frame_last,
    ] {
        content.extend_from_slice(&value.to_le_bytes());
    }
    content.extend_from_slice(&footer.recv_first.to_le_bytes());
    content.extend_from_slice(&footer.recv_last.to_le_bytes());
    content.extend_from_slice(&footer.connection_max.to_le_bytes());
    content.extend_from_slice(&0u32.to_le_bytes());
    content.extend_from_slice(&footer.data_hash.to_le_bytes());
    let sum = xxh3_64(&content);
    content.extend_from_slice(&sum.to_le_bytes());
    content.extend_from_slice(FOOTER_TAG);
    skippable(MAGIC_FOOTER, &content)
}

/// The footer out of the last `FOOTER_BYTES` of a file.
pub fn decode_footer(frame: &[u8]) -> Result<Footer> {
    let content = content_of(frame, MAGIC_FOOTER)?;
    let body = content
        .strip_suffix(FOOTER_TAG)
        .filter(|_| content.len() == FOOTER_CONTENT)
        .ok_or(Error::new(Reason::Malformed, 0))?;
    let (body, sum) = body
        .split_at_checked(FOOTER_CONTENT - 16)
        .ok_or(Error::new(Reason::Truncated, 0))?;
    if xxh3_64(body).to_le_bytes() != sum {
        return Err(Error::new(Reason::Checksum, SKIPPABLE_BYTES));
    }
    let mut fields = Fields { bytes: body };
    if fields.u32()? > FORMAT_VERSION {
        return Err(Error::new(Reason::Unsupported, SKIPPABLE_BYTES));
    }
    let flags = fields.u32()?;
    let (index_offset, chunks, records) = (fields.u64()?, fields.u64()?, fields.u64()?);
    let (frame_first, frame_last) = (fields.u64()?, fields.u64()?);
    let (recv_first, recv_last) = (fields.i64()?, fields.i64()?);
    let connection_max = fields.u32()?;
    fields.u32()?;
    let data_hash = fields.u64()?;
    Ok(Footer {
        flags,
        index_offset,
        chunks,
        records,
        frame_first,
        frame_last,
        recv_first,
        recv_last,
        connection_max,
        data_hash,
    })
}

/// The 8 bytes that make a stretch of `len` damaged bytes a skippable frame; `TooLarge` below 8 or above 4 GiB.
pub fn quarantine_patch(len: u64) -> Result<[u8; SKIPPABLE_BYTES]> {
    let wrong = Error::new(Reason::TooLarge, 0);
    let content = len.checked_sub(SKIPPABLE_BYTES as u64).ok_or(wrong.clone())?;
    let content = u32::try_from(content).map_err(|_| wrong)?;
    let mut patch = [0; SKIPPABLE_BYTES];
    for (slot, byte) in patch
        .iter_mut()
        .zip(MAGIC_QUARANTINED.to_le_bytes().into_iter().chain(content.to_le_bytes()))
    {
        *slot = byte;
    }
    Ok(patch)
}

fn skippable(magic: u32, content: &[u8]) -> Result<Vec<u8>> {
    let len = u32::try_from(content.len()).map_err(|_| Error::new(Reason::TooLarge, content.len()))?;
    let mut frame = Vec::with_capacity(SKIPPABLE_BYTES + content.len());
    frame.extend_from_slice(&magic.to_le_bytes());
    frame.extend_from_slice(&len.to_le_bytes());
    frame.extend_from_slice(content);
    Ok(frame)
}

fn content_of(frame: &[u8], magic: u32) -> Result<&[u8]> {
    match step(frame) {
        Step::Skippable(found, len) if found == magic && len == frame.len() => {
            frame.get(SKIPPABLE_BYTES..).ok_or(Error::new(Reason::Truncated, 0))
        }
        _ => Err(Error::new(Reason::Malformed, 0)),
    }
}

/// Little-endian fields from the front of some bytes.
struct Fields<'a> {
    bytes: &'a [u8],
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.bytes.split_first_chunk().ok_or(Error::new(Reason::Truncated, 0))?;
        self.bytes = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64> {
        self.take().map(i64::from_le_bytes)
    }
}
