//! The segment format: what is written reads back, and every flipped bit is noticed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use tickd_core::error::Reason;
use tickd_core::record::{write_record, Record, RecordType};
use tickd_core::segment::*;

fn raw(frames: std::ops::Range<u64>) -> Vec<u8> {
    let mut out = Vec::new();
    for frame_no in frames {
        let recv_ns = 1_700_000_000_000_000_000 + frame_no as i64;
        let payload = b"{\"a\":1}";
        write_record(
            &mut out,
            &Record {
                frame_no,
                recv_ns,
                mono_ns: 5,
                connection: 9,
                kind: RecordType::Text,
                payload,
            },
        );
    }
    out
}

fn header() -> SegmentHeader {
    SegmentHeader {
        format: "tickd-raw".into(),
        version: FORMAT_VERSION,
        node: 1,
        first_frame: 7,
        created_ns: 8,
        host: "h".into(),
        boot_id: "b".into(),
        tickd: "0.1.0".into(),
        previous: None,
        meta: serde_json::json!({"desk": "x"}),
    }
}

#[test]
fn header_index_and_footer_read_back() {
    let frame = encode_header(&header()).unwrap();
    assert_eq!(decode_header(&frame), Ok(header()));
    let entry = describe_chunk(&raw(3..9), 100, 50).unwrap();
    assert_eq!(
        (entry.records, entry.frame_first, entry.frame_last, entry.connection_max),
        (6, 3, 8, 9)
    );
    let index = encode_index(&[entry, entry]).unwrap();
    assert_eq!(decode_index(&index), Ok(vec![entry, entry]));
    let footer = Footer::of(&[entry], FLAG_CLEAN, 150, 77);
    let frame = encode_footer(&footer).unwrap();
    assert_eq!(frame.len(), FOOTER_BYTES);
    assert_eq!(decode_footer(&frame), Ok(footer));
}

type Reads = fn(&[u8]) -> bool;

#[test]
fn one_flipped_bit_in_header_index_or_footer_is_noticed() {
    let entry = describe_chunk(&raw(3..9), 100, 50).unwrap();
    let frames: [(Vec<u8>, Reads); 3] = [
        (encode_header(&header()).unwrap(), |bytes| decode_header(bytes).is_ok()),
        (encode_index(&[entry]).unwrap(), |bytes| decode_index(bytes).is_ok()),
        (encode_footer(&Footer::of(&[entry], 0, 150, 77)).unwrap(), |bytes| {
            decode_footer(bytes).is_ok()
        }),
    ];
    for (frame, reads) in frames {
        assert!(reads(&frame));
        // The LF before the header's sum carries nothing, so it may flip and still be refused as no LF.
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!reads(&flipped), "bit {bit}");
        }
    }
}

#[test]
fn a_chunk_reads_back_and_every_cut_is_incomplete() {
    let raw = raw(1..200);
    let mut frame = Vec::new();
    ChunkEncoder::new(1).unwrap().encode(&raw, &mut frame).unwrap();
    assert_eq!(step(&frame), Step::Chunk(frame.len()));
    assert_eq!(decode_chunk(&frame), Ok(raw));
    for cut in 1..frame.len() {
        assert_eq!(step(&frame[..cut]), Step::Incomplete, "cut at {cut}");
    }
}

#[test]
fn a_damaged_stretch_becomes_a_frame_that_is_skipped() {
    let mut bytes = vec![0xAA; 40];
    bytes[..8].copy_from_slice(&quarantine_patch(40).unwrap());
    assert_eq!(step(&bytes), Step::Skippable(MAGIC_QUARANTINED, 40));
    assert!(quarantine_patch(7).is_err());
}

#[test]
fn numbers_that_do_not_increase_are_no_chunk() {
    let mut bytes = raw(5..6);
    bytes.extend_from_slice(&raw(5..6));
    assert_eq!(describe_chunk(&bytes, 0, 0).unwrap_err().reason, Reason::Malformed);
    assert_eq!(describe_chunk(b"", 0, 0).unwrap_err().reason, Reason::Malformed);
}
