//! What each fuzz target does with its bytes, and what must hold whatever they are. `fuzz_targets/` wraps these functions
//! for libFuzzer; `core/tests/fuzz.rs` runs them over the seeds and over everything that was ever found.

use tickd_core::batch::Batch;
use tickd_core::block::{Assembler, Table};
use tickd_core::decimal;
use tickd_core::decode::Decoder;
use tickd_core::event::{Event, EVENT_BYTES, SEQ_INDEX_BITS};
use tickd_core::record::{numbers_taken, read_record, records as records_of, write_record, Record, RecordType};
use tickd_core::segment;

/// Separates the frames of `decode`; no byte of UTF-8.
const FRAME_END: u8 = 0xFF;

/// Connections 1 to 7 of the streams; two venues have two of them, so that legs overlap.
const VENUES: [&str; 7] = [
    "binance-usdm",
    "binance-usdm",
    "binance-spot",
    "binance-coinm",
    "okx",
    "shioaji",
    "shioaji",
];
const INSTRUMENTS: [(&str, &str, u8, u8); 11] = [
    ("binance-usdm", "BTCUSDT", 2, 3),
    ("binance-usdm", "ETHUSDT", 2, 3),
    ("binance-spot", "BTCUSDT", 2, 8),
    ("binance-coinm", "BTCUSD_PERP", 1, 0),
    ("okx", "BTC-USDT", 1, 8),
    ("okx", "BTC-USDT-SWAP", 1, 2),
    ("okx", "BTC-USDT-INDEX", 1, 0),
    ("shioaji", "2330", 2, 0),
    ("shioaji", "2330-ODD", 2, 0),
    ("shioaji", "2330-TRIAL", 2, 0),
    ("shioaji", "TXFF6", 2, 0),
];

struct Frame {
    frame_no: u64,
    connection: u32,
    kind: RecordType,
    payload: Vec<u8>,
}

impl Frame {
    fn record(&self) -> Record<'_> {
        let stamp = 1_700_000_000_000_000_000 + self.frame_no as i64 * 1_000_000;
        Record {
            frame_no: self.frame_no,
            recv_ns: stamp,
            mono_ns: stamp,
            connection: self.connection,
            kind: self.kind,
            payload: &self.payload,
        }
    }
}

/// Instruments, connections, then one frame per stretch of `bytes`: its first byte says which connection and type.
fn stream(bytes: &[u8]) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut push = |connection, kind, payload: Vec<u8>| {
        let frame_no = frames
            .last()
            .map_or(1, |last| last.frame_no + numbers_taken(last.payload.len()));
        frames.push(Frame {
            frame_no,
            connection,
            kind,
            payload,
        });
    };
    for (venue, symbol, price_scale, size_scale) in INSTRUMENTS {
        let json = format!(
            r#"{{"kind":"instrument","venue":"{venue}","symbol":"{symbol}","asset_class":"x","price_scale":{price_scale},"size_scale":{size_scale},"tick":1,"lot":1,"multiplier":"1"}}"#
        );
        push(0, RecordType::Control, json.into_bytes());
    }
    for (at, venue) in VENUES.iter().enumerate() {
        let json = format!(
            r#"{{"kind":"connect","connection":{},"venue":"{venue}","url":"","streams":[]}}"#,
            at + 1
        );
        push(at as u32 + 1, RecordType::Control, json.into_bytes());
    }
    for frame in bytes.split(|byte| *byte == FRAME_END) {
        let Some((first, payload)) = frame.split_first() else {
            continue;
        };
        let (connection, kind) = match first {
            b'1'..=b'7' => (u32::from(first - b'0'), RecordType::Text),
            b'a'..=b'g' => (u32::from(first - b'a') + 1, RecordType::Rest),
            b'B' => (1, RecordType::Binary),
            _ => (0, RecordType::Control),
        };
        push(connection, kind, payload.to_vec());
    }
    frames
}

/// Decodes in bursts of `size` records; the events in order of their numbers.
fn run(decoder: &mut Decoder, frames: &[Frame], size: usize) -> Vec<Event> {
    let mut events = Vec::new();
    for burst in frames.chunks(size) {
        for frame in burst {
            decoder.push(&frame.record());
        }
        let batch = decoder.finish();
        check_batch(&batch);
        events.extend(batch.events);
    }
    events.sort_by_key(|event| event.seq);
    events
}

/// Topics cover the events in order, each topic's events in order of their numbers.
fn check_batch(batch: &Batch) {
    let mut end = 0;
    for range in &batch.topics {
        assert!(range.start == end && range.stop > end, "topic ranges follow each other");
        let events = &batch.events[range.start as usize..range.stop as usize];
        assert!(
            events.windows(2).all(|two| two[0].seq < two[1].seq),
            "a topic is in order"
        );
        end = range.stop;
    }
    assert_eq!(end as usize, batch.events.len(), "topics cover the batch");
}

/// Frames of venues and control records: bursts and a restart in the middle change nothing, numbers are unique and stay
/// within their frame.
pub fn decode(bytes: &[u8]) {
    let frames = stream(bytes);
    let mut whole = Decoder::new();
    let expected = run(&mut whole, &frames, usize::MAX);
    assert!(
        expected.windows(2).all(|two| two[0].seq < two[1].seq),
        "sequence numbers repeat"
    );
    for event in &expected {
        let at = frames.partition_point(|frame| frame.frame_no <= event.frame_no());
        let frame = &frames[at - 1];
        assert!(
            event.frame_no() < frame.frame_no + numbers_taken(frame.payload.len()),
            "a number beyond its frame"
        );
    }
    let (before, after) = frames.split_at(frames.len() / 2);
    let mut first = Decoder::new();
    let mut events = run(&mut first, before, 1);
    let mut second = Decoder::new();
    second.restore(&first.state()).expect("a decoder takes its own state");
    assert_eq!(second.state(), first.state(), "a restored state is the same state");
    events.extend(run(&mut second, after, 3));
    events.sort_by_key(|event| event.seq);
    assert_eq!(events, expected, "a restart changed the events");
    assert_eq!(second.state(), whole.state(), "a restart changed the state");
}

/// One control record on a decoder that is in use.
pub fn control(bytes: &[u8]) {
    let mut frame = vec![b'C'];
    frame.extend(bytes.iter().filter(|byte| **byte != FRAME_END));
    decode(&frame);
}

/// Bytes as a checkpoint: refused without a change, or taken and then the same whenever it is saved again.
pub fn checkpoint(bytes: &[u8]) {
    let mut decoder = Decoder::new();
    let before = decoder.state();
    if decoder.restore(bytes).is_err() {
        assert_eq!(decoder.state(), before, "a refused checkpoint changed the decoder");
        return;
    }
    let state = decoder.state();
    let mut again = Decoder::new();
    again.restore(&state).expect("a decoder takes its own state");
    assert_eq!(again.state(), state, "a checkpoint is not the same after a second trip");
    let frames = stream(br#"1{"e":"trade","E":1,"T":1,"s":"BTCUSDT","t":7,"p":"1.5","q":"2","m":true}"#);
    let continued = run(&mut decoder, &frames, 2);
    assert_eq!(run(&mut again, &frames, 5), continued);
}

/// Bytes as records, and as a segment file: what reads back is what would be written.
pub fn records(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok((record, used)) = read_record(rest) {
        let mut written = Vec::new();
        write_record(&mut written, &record);
        let (again, _) = read_record(&written).expect("a written record reads back");
        assert_eq!(again, record);
        rest = &rest[used..];
    }
    let _ = Decoder::new().push_all(bytes);
    let count = records_of(bytes).flatten().count();
    if let Ok(entry) = segment::describe_chunk(bytes, 0, 1) {
        assert_eq!(entry.records as usize, count);
        assert!(entry.frame_first <= entry.frame_last);
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let (frame, after) = match segment::step(rest) {
            segment::Step::Chunk(len) | segment::Step::Skippable(_, len) => rest.split_at(len),
            segment::Step::Incomplete | segment::Step::Damaged => break,
        };
        assert!(!frame.is_empty(), "a step moves");
        if let Ok(raw) = segment::decode_chunk(frame) {
            let _ = segment::describe_chunk(&raw, 0, frame.len());
        }
        if let Ok(entries) = segment::decode_index(frame) {
            assert_eq!(segment::encode_index(&entries).as_deref(), Ok(frame));
        }
        if let Ok(footer) = segment::decode_footer(frame) {
            assert_eq!(
                segment::decode_footer(&segment::encode_footer(&footer).unwrap()),
                Ok(footer)
            );
        }
        let _ = segment::decode_header(frame);
        rest = after;
    }
}

/// The first byte is the scale, the rest a number: the two parsers agree with each other and with the writer.
pub fn decimals(bytes: &[u8]) {
    let Some((scale, text)) = bytes.split_first() else {
        return;
    };
    let scale = scale % (decimal::SCALE_MAX + 1);
    let exact = decimal::parse(text, scale);
    if let Ok(mantissa) = exact {
        assert!(mantissa != i64::MAX, "the sentinel is no value");
        let written = decimal::format(mantissa, scale);
        assert_eq!(decimal::parse(written.as_bytes(), scale), Ok(mantissa), "{written}");
    }
    if let Ok((mantissa, decimals)) = decimal::parse_own(text) {
        let written = decimal::format(mantissa, decimals);
        assert_eq!(
            decimal::parse_own(written.as_bytes()),
            Ok((mantissa, decimals)),
            "{written}"
        );
        let at_scale = decimal::parse(written.as_bytes(), scale);
        assert_eq!(at_scale.is_ok(), exact.is_ok(), "{written}");
        if let (Ok(one), Ok(other)) = (at_scale, exact) {
            assert_eq!(one, other);
        }
    }
}

/// Bytes as events: no row is lost or doubled, and the same events give the same blocks, in fresh memory or used.
pub fn blocks(bytes: &[u8]) {
    let events: Vec<Event> = bytes
        .chunks_exact(EVENT_BYTES)
        .filter_map(<[u8]>::first_chunk)
        .map(Event::from_bytes)
        .collect();
    let mut one = Assembler::new(1, 0);
    one.push(&events, 9, 1);
    let mut other = Assembler::new(1, 0);
    other.push(&events, 9, 1);
    let (cut, again) = (one.cut(), other.cut());
    assert_eq!(cut, again);
    for block in &cut.blocks {
        assert!(block.rows > 0 && block.seq_first <= block.seq_last && !block.body.is_empty());
        assert!(block.seq_last <= cut.seq_to || block.table == Table::Trades || cut.seq_to >> SEQ_INDEX_BITS >= 9);
    }
    let rows: usize = cut.blocks.iter().map(|block| block.rows as usize).sum();
    assert!(rows + one.unstored as usize <= events.len());
    for block in cut.blocks {
        one.recycle(block.body);
    }
    one.push(&events, 9, 1);
    let in_used_memory = one.cut().blocks.into_iter().map(|block| (block.hash, block.body));
    let in_fresh = again.blocks.into_iter().map(|block| (block.hash, block.body));
    assert!(in_used_memory.eq(in_fresh), "used memory shows through");
}
