//! The decoder is a pure function of the records in order: bursts, restarts and damage do not change what it says.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use proptest::prelude::*;
use support::{decode, depth, trade, Owned, Stream};
use tickd_core::decode::Decoder;
use tickd_core::event::{Event, Kind};
use tickd_core::record::RecordType;

/// One thing that happens on the wire; ids are small so that repeats, holes and overlaps are frequent.
#[derive(Debug, Clone)]
enum Step {
    Trade(u32, u64),
    Quote(u32, u64),
    Depth(u32, u64, bool),
    Snapshot(u32),
    Mark(u32),
    Connect(u32),
    Disconnect(u32),
    Gap,
    Start,
    Redefine(u8),
    Junk(u32, Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let leg = 1u32..4;
    prop_oneof![
        8 => (leg.clone(), 0u64..4).prop_map(|(leg, jump)| Step::Trade(leg, jump)),
        6 => (leg.clone(), 0u64..4).prop_map(|(leg, jump)| Step::Quote(leg, jump)),
        8 => (leg.clone(), 0u64..3, prop::bool::weighted(0.9)).prop_map(|(leg, jump, chained)| Step::Depth(leg, jump, chained)),
        3 => leg.clone().prop_map(Step::Snapshot),
        2 => leg.clone().prop_map(Step::Mark),
        2 => leg.clone().prop_map(Step::Connect),
        2 => leg.clone().prop_map(Step::Disconnect),
        1 => Just(Step::Gap),
        1 => Just(Step::Start),
        1 => (1u8..4).prop_map(Step::Redefine),
        1 => (leg, prop::collection::vec(any::<u8>(), 0..30)).prop_map(|(leg, bytes)| Step::Junk(leg, bytes)),
    ]
}

fn stream(steps: &[Step]) -> Stream {
    let mut stream = Stream::new();
    stream.connect(1, "binance-usdm");
    stream.connect(2, "binance-usdm");
    let (mut trade_id, mut quote_id, mut depth_id) = (100u64, 1000u64, 5000u64);
    for step in steps {
        match step {
            Step::Trade(leg, jump) => {
                trade_id = (trade_id + jump).saturating_sub(1);
                stream.trade(*leg, trade_id);
            }
            Step::Quote(leg, jump) => {
                quote_id = (quote_id + jump).saturating_sub(1);
                stream.text(*leg, &format!(
                    r#"{{"e":"bookTicker","u":{quote_id},"s":"ETHUSDT","b":"1.20","B":"2.5","a":"1.30","A":"2.510","T":1700000000000,"E":1700000000001}}"#
                ));
            }
            Step::Depth(leg, jump, chained) => {
                let previous = if *chained { depth_id } else { depth_id + 1 };
                depth_id += jump;
                stream.depth(*leg, depth_id, depth_id, previous);
            }
            Step::Snapshot(leg) => {
                stream.snapshot(*leg, depth_id);
            }
            Step::Mark(leg) => {
                stream.text(*leg, r#"{"e":"markPriceUpdate","E":1700000000000,"s":"BTCUSDT","p":"11857.56000000","i":"11851.86949091","r":"0.00015640","T":1700006400000}"#);
            }
            Step::Connect(leg) => stream.connect(*leg, "binance-usdm"),
            Step::Disconnect(leg) => {
                stream.disconnect(*leg);
            }
            Step::Gap => {
                stream.control(r#"{"kind":"gap","cause":"disk","from_frame":5,"to_frame":9,"from_ns":1700000000000000000,"to_ns":1700000000500000000}"#);
            }
            Step::Start => {
                stream.control(r#"{"kind":"start","version":"0","node":1}"#);
            }
            Step::Redefine(scale) => stream.instrument("binance-usdm", "BTCUSDT", 2 + scale, 3),
            Step::Junk(leg, bytes) => {
                stream.push(*leg, RecordType::Text, bytes.clone());
            }
        }
    }
    stream
}

fn in_bursts(records: &[Owned], cuts: &[usize]) -> Vec<Event> {
    let mut decoder = Decoder::new();
    let mut events = Vec::new();
    for (at, record) in records.iter().enumerate() {
        if cuts.contains(&at) {
            events.extend(decoder.finish().events);
        }
        decoder.push(&record.record());
    }
    events.extend(decoder.finish().events);
    events.sort_by_key(|event| event.seq);
    events
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn bursts_change_nothing(steps in prop::collection::vec(step(), 0..60), cuts in prop::collection::vec(0usize..80, 0..10)) {
        let records = stream(&steps).records;
        let whole = decode(&mut Decoder::new(), &records);
        prop_assert_eq!(&whole, &in_bursts(&records, &cuts));
        prop_assert!(whole.windows(2).all(|pair| pair[0].seq < pair[1].seq), "numbers are unique");
    }

    #[test]
    fn a_checkpoint_at_any_point_changes_nothing(steps in prop::collection::vec(step(), 0..60), at in any::<prop::sample::Index>()) {
        let records = stream(&steps).records;
        let cut = at.index(records.len() + 1);
        let mut unbroken = Decoder::new();
        decode(&mut unbroken, &records[..cut]);
        let state = unbroken.state();
        let checkpoint = Owned { frame_no: 0, recv_ns: 0, connection: 0, kind: RecordType::Checkpoint, payload: state.clone() };
        let mut restored = Decoder::new();
        restored.push(&checkpoint.record());
        prop_assert_eq!(String::from_utf8(restored.state()), String::from_utf8(state));
        unbroken.push(&checkpoint.record());
        prop_assert!(!unbroken.counters().iter().any(|(name, _)| *name == "checkpoint_mismatch"));
        prop_assert_eq!(decode(&mut unbroken, &records[cut..]), decode(&mut restored, &records[cut..]));
        prop_assert_eq!(unbroken.state(), restored.state());
    }

    #[test]
    fn topics_are_whole_and_in_order(steps in prop::collection::vec(step(), 0..60)) {
        let mut decoder = Decoder::new();
        for record in &stream(&steps).records {
            decoder.push(&record.record());
        }
        let batch = decoder.finish();
        let mut at = 0;
        for range in &batch.topics {
            prop_assert_eq!(range.start, at, "no event without a topic");
            at = range.stop;
            let events = &batch.events[range.start as usize..range.stop as usize];
            prop_assert!(events.windows(2).all(|pair| pair[0].seq < pair[1].seq));
            prop_assert!(decoder.topic_name(range.topic).is_some());
        }
        prop_assert_eq!(at as usize, batch.events.len());
        let total: u64 = decoder.topic_stats().map(|(_, events, _)| events).sum();
        prop_assert_eq!(total as usize, batch.events.len());
    }

    #[test]
    fn damage_gives_at_most_a_refusal(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..6),
    ) {
        let mut payload = messages()[which.index(messages().len())].clone().into_bytes();
        for (at, byte, how) in edits {
            let at = at.index(payload.len().max(1)).min(payload.len().saturating_sub(1));
            match how {
                0 if !payload.is_empty() => payload[at] = byte,
                1 => payload.insert(at, byte),
                _ if !payload.is_empty() => { payload.remove(at); }
                _ => {}
            }
        }
        offer(payload)?;
    }
}

/// Decodes one damaged frame between two good ones: nothing panics, and the good ones are untouched.
fn offer(payload: Vec<u8>) -> std::result::Result<(), TestCaseError> {
    let mut stream = Stream::new();
    stream.connect(1, "binance-usdm");
    stream.trade(1, 7);
    stream.push(1, RecordType::Text, payload);
    stream.trade(1, 8);
    let mut decoder = Decoder::new();
    let events = decode(&mut decoder, &stream.records);
    let damaged = stream.records[stream.records.len() - 2].frame_no;
    let refused = !decoder.report_mut().take_refusals().is_empty();
    prop_assert!(!refused || events.iter().all(|event| event.frame_no() != damaged));
    let last = events
        .iter()
        .filter(|event| event.frame_no() > damaged && event.kind == Kind::Trade as u8);
    prop_assert!(last.count() == 1 || !refused);
    Ok(())
}

fn messages() -> Vec<String> {
    vec![
        trade(9),
        depth(10, 12, 9),
        r#"{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":5123107839020,"s":"BTCUSDT","b":"61800.20","B":"2.507","a":"61800.30","A":"2.510","T":1723161256313,"E":1723161256313}}"#.into(),
        r#"{"stream":"btcusdt@markPrice@1s","data":{"e":"markPriceUpdate","E":1597536008000,"s":"BTCUSDT","p":"11857.56000000","i":"11851.86949091","r":"0.00015640","T":1597564800000}}"#.into(),
        r#"{"stream":"btcusdt@forceOrder","data":{"e":"forceOrder","E":1584059031426,"o":{"s":"BTCUSDT","S":"BUY","o":"LIMIT","f":"IOC","q":"0.014","p":"4793.91","ap":"4706.04","X":"FILLED","l":"0.015","z":"0.014","T":1584059031421}}}"#.into(),
        r#"{"result":null,"id":1}"#.into(),
        r#"{"error":{"code":2,"msg":"Invalid request"},"id":3}"#.into(),
    ]
}

#[test]
fn every_cut_of_every_message_is_refused_as_a_whole() {
    for message in messages() {
        for cut in 0..message.len() {
            let mut stream = Stream::new();
            stream.connect(1, "binance-usdm");
            stream.text(1, &message[..cut]);
            let mut decoder = Decoder::new();
            let before = decoder.state();
            assert!(
                decode(&mut decoder, &stream.records).is_empty(),
                "{message} cut at {cut}"
            );
            let refusals = decoder.report_mut().take_refusals();
            assert_eq!(refusals.len(), 1, "{message} cut at {cut}");
            assert_eq!(refusals[0].error.reason.name(), "truncated", "{message} cut at {cut}");
            assert_ne!(before, decoder.state());
        }
    }
}

#[test]
fn huge_numbers_deep_nesting_and_foreign_bytes_are_refused() {
    let long = "9".repeat(400);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (trade(1).replace("61800.30", &long).into_bytes(), "overflow"),
        (trade(1).replace("61800.30", "1e999999999").into_bytes(), "overflow"),
        (trade(1).replace("61800.30", "NaN").into_bytes(), "not_a_number"),
        (trade(1).replace("61800.30", "61800.301").into_bytes(), "scale_exceeded"),
        (
            trade(1).replace("\"t\":1,", &format!("\"t\":{long},")).into_bytes(),
            "overflow",
        ),
        (
            trade(1).replace("1700000000000", "99999999999999999999").into_bytes(),
            "overflow",
        ),
        (
            trade(1).replace("BTCUSDT", "XRPUSDT").into_bytes(),
            "unknown_instrument",
        ),
        (trade(1).replace("\"m\":false", "\"m\":0").into_bytes(), "malformed"),
        (trade(1).replace(",\"q\":\"0.006\"", "").into_bytes(), "missing_field"),
        (
            trade(1).replace("\"e\":\"trade\"", "\"e\":\"kline\"").into_bytes(),
            "unknown_message",
        ),
        (
            format!("{{\"x\":{}1{}}}", "[".repeat(5000), "]".repeat(5000)).into_bytes(),
            "too_large",
        ),
        (b"{\"e\":\"tr\xffade\"}".to_vec(), "malformed"),
        (b"[]".to_vec(), "malformed"),
        (b"{}".to_vec(), "unknown_message"),
        (b"".to_vec(), "truncated"),
        (b"{\"e\":\"trade\"} x".to_vec(), "missing_field"),
        ([trade(1).as_bytes(), b"}"].concat(), "malformed"),
    ];
    for (payload, reason) in cases {
        let text = String::from_utf8_lossy(&payload).into_owned();
        let mut stream = Stream::new();
        stream.connect(1, "binance-usdm");
        stream.push(1, RecordType::Text, payload);
        let mut decoder = Decoder::new();
        assert!(decode(&mut decoder, &stream.records).is_empty(), "{text}");
        let refusals = decoder.report_mut().take_refusals();
        assert_eq!(
            refusals.first().map(|refusal| refusal.error.reason.name()),
            Some(reason),
            "{text}"
        );
    }
}

#[test]
fn a_frame_that_says_more_than_its_numbers_can_name_is_refused() {
    let levels = |count: usize| {
        let list = vec!["[1,1]"; count].join(",");
        format!(r#"{{"e":"depthUpdate","E":1,"T":1,"s":"BTCUSDT","U":1,"u":2,"pu":0,"b":[{list}],"a":[]}}"#)
    };
    for (count, refused) in [(65_000, false), (65_536, true), (90_000, false)] {
        let mut stream = Stream::new();
        stream.connect(1, "binance-usdm");
        let payload = levels(count);
        assert_eq!(
            payload.len() >= 512 << 10,
            count == 90_000,
            "the longest takes two numbers"
        );
        stream.text(1, &payload);
        let mut decoder = Decoder::new();
        let events = decode(&mut decoder, &stream.records);
        assert_eq!(events.is_empty(), refused, "{count} levels");
        let refusals = decoder.report_mut().take_refusals();
        let reason = refusals.first().map(|refusal| refusal.error.reason.name());
        assert_eq!(reason, refused.then_some("too_large"), "{count} levels");
    }
}
