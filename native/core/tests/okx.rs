//! OKX through the whole decoder: documented shapes written by hand, and the recording of 2022 where it is at hand
//! (`$TICKD_CAPTURES`), whose checksums prove every book.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use tickd_core::book::builder::BookBuilder;
use tickd_core::book::l2::{Side, Touch};
use tickd_core::book::sync::Rule;
use tickd_core::decode::{Decoder, NoticeKind};
use tickd_core::event::{flag, BookState, Event, Kind};
use tickd_core::record::{Record, RecordType};

/// 2022-05-13 16:27:05 UTC, ms.
const MS: i64 = 1_652_459_225_000;

struct Wire {
    decoder: Decoder,
    frame_no: u64,
}

impl Wire {
    fn new() -> Self {
        let mut wire = Wire {
            decoder: Decoder::new(),
            frame_no: 0,
        };
        for connection in [1, 2] {
            wire.send(
                connection,
                RecordType::Control,
                &format!(r#"{{"kind":"connect","connection":{connection},"venue":"okx","url":"ws://x","streams":[]}}"#),
            );
        }
        wire
    }

    fn define(&mut self, symbol: &str, price_scale: u8, size_scale: u8) {
        let text = format!(
            r#"{{"kind":"instrument","venue":"okx","symbol":"{symbol}","asset_class":"spot","price_scale":{price_scale},"size_scale":{size_scale},"tick":1,"lot":1,"multiplier":"1"}}"#
        );
        self.send(0, RecordType::Control, &text);
    }

    fn send(&mut self, connection: u32, kind: RecordType, text: &str) {
        self.frame_no += 1;
        let recv_ns = MS * 1_000_000 + self.frame_no as i64;
        let payload = text.as_bytes();
        self.decoder.push(&Record {
            frame_no: self.frame_no,
            recv_ns,
            mono_ns: 0,
            connection,
            kind,
            payload,
        });
    }

    /// The events of one frame, in order.
    fn frame(&mut self, connection: u32, text: &str) -> Vec<Event> {
        self.decoder.finish();
        self.send(connection, RecordType::Text, text);
        let mut events = self.decoder.finish().events;
        events.sort_by_key(|event| event.seq);
        events
    }

    fn counter(&self, name: &str) -> u64 {
        self.decoder
            .counters()
            .iter()
            .find(|(key, _)| *key == name)
            .map_or(0, |(_, count)| *count)
    }
}

fn kinds(events: &[Event]) -> Vec<u8> {
    events.iter().map(|event| event.kind).collect()
}

fn books(action: &str, previous: i64, id: i64, bids: &str, asks: &str) -> String {
    format!(
        r#"{{"arg":{{"channel":"books","instId":"BTC-USDT"}},"action":"{action}","data":[{{"asks":{asks},"bids":{bids},"ts":"{MS}","checksum":0,"prevSeqId":{previous},"seqId":{id}}}]}}"#
    )
}

fn state(events: &[Event]) -> Option<i64> {
    events
        .iter()
        .find(|event| event.kind == Kind::BookState as u8)
        .map(|event| event.aux)
}

#[test]
fn a_book_is_live_from_its_snapshot_through_keep_alive_and_reset_to_a_gap() {
    let mut wire = Wire::new();
    wire.define("BTC-USDT", 2, 8);
    let (bid, ask) = (r#"[["8476.97","256","0","12"]]"#, r#"[["8476.98","415","0","13"]]"#);
    let events = wire.frame(1, &books("snapshot", -1, 100, bid, ask));
    assert_eq!(kinds(&events), [3, 4, 4, 10]);
    assert!(events[..3].iter().all(|event| event.flags & flag::SNAPSHOT != 0));
    assert_eq!((events[0].id, events[0].size, events[0].aux), (100, i64::MAX, 2));
    assert_eq!(
        (events[1].side, events[1].price, events[1].size),
        (b'A', 847_698, 41_500_000_000)
    );
    assert_eq!(state(&events), Some(BookState::Synced as i64));

    let events = wire.frame(1, &books("update", 100, 104, r#"[["8476.97","0","0","0"]]"#, "[]"));
    assert_eq!((kinds(&events), events[0].size, events[1].size), (vec![3, 4], 100, 0));
    assert_eq!(kinds(&wire.frame(1, &books("update", 104, 104, "[]", "[]"))), [3]);
    assert_eq!(kinds(&wire.frame(1, &books("update", 104, 3, "[]", ask))), [3, 4]);

    let events = wire.frame(1, &books("update", 5, 6, "[]", ask));
    assert_eq!(state(&events), Some(BookState::Gap as i64));
    let gap = events.iter().find(|event| event.kind == Kind::Gap as u8).unwrap();
    assert_eq!((gap.id, gap.price), (4, 5));
    let notices = wire.decoder.report_mut().take_notices();
    assert_eq!(
        (notices.len(), notices[0].kind, notices[0].text.as_str()),
        (1, NoticeKind::SnapshotWanted, "BTC-USDT")
    );
    assert_eq!(
        state(&wire.frame(1, &books("snapshot", -1, 9, bid, ask))),
        Some(BookState::Synced as i64)
    );
}

#[test]
fn a_second_leg_neither_repeats_nor_rewinds_the_book() {
    let mut wire = Wire::new();
    wire.define("BTC-USDT", 2, 8);
    wire.frame(1, &books("snapshot", -1, 100, "[]", "[]"));
    wire.frame(1, &books("update", 100, 110, "[]", "[]"));
    assert_eq!(wire.frame(2, &books("snapshot", -1, 105, "[]", "[]")), []);
    assert_eq!(wire.frame(2, &books("update", 105, 110, "[]", "[]")), []);
    assert_eq!(kinds(&wire.frame(2, &books("update", 110, 115, "[]", "[]"))), [3]);
    assert_eq!(wire.frame(1, &books("update", 110, 115, "[]", "[]")), []);
    wire.send(
        1,
        RecordType::Control,
        r#"{"kind":"disconnect","connection":1,"reason":"rotation"}"#,
    );
    assert_eq!(kinds(&wire.frame(2, &books("update", 115, 120, "[]", "[]"))), [3]);
    assert_eq!(wire.counter("gaps"), 0);
}

#[test]
fn keys_may_come_in_any_order() {
    let mut wire = Wire::new();
    wire.define("BTC-USDT", 2, 8);
    let text = r#" {"data":[{"seqId":7,"prevSeqId":-1,"bids":[["1.5","2"]],"ts":"1","asks":[]}],"action":"snapshot","arg":{"instId":"BTC-USDT","channel":"books"}} "#;
    assert_eq!(kinds(&wire.frame(1, text)), [3, 4, 10]);
}

#[test]
fn trades_merge_fills_and_trades_all_do_not() {
    let mut wire = Wire::new();
    wire.define("BTC-USDT", 1, 8);
    let text = r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"130639474","px":"42219.9","sz":"0.12060306","side":"buy","ts":"1630048897897","count":"3"}]}"#;
    let events = wire.frame(1, text);
    assert_eq!(kinds(&events), [1]);
    let trade = events[0];
    assert_eq!(
        (trade.id, trade.price, trade.size, trade.side, trade.aux),
        (130_639_474, 422_199, 12_060_306, b'B', 3)
    );
    assert_eq!(trade.ts_event, 1_630_048_897_897_000_000);
    assert_eq!(
        trade.flags & (flag::AGGREGATE | flag::LAST),
        flag::AGGREGATE | flag::LAST
    );
    assert_eq!(
        wire.frame(1, &text.replace("474", "475").replace(r#""3"}"#, r#""1"}"#))[0].aux,
        1
    );
    assert_eq!(wire.counter("gaps"), 0);
    let lost = wire.frame(1, &text.replace("474", "480").replace(r#""3"}"#, r#""2"}"#));
    assert_eq!(
        (kinds(&lost), lost[1].id, lost[1].price),
        (vec![1, 17], 130_639_476, 130_639_478)
    );

    let fill = r#"{"arg":{"channel":"trades-all","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"9","px":"42.5","sz":"3.75","side":"sell","ts":"1697760012017"}]}"#;
    let events = wire.frame(1, fill);
    assert_eq!(
        (events[0].side, events[0].aux, events[0].flags & flag::AGGREGATE),
        (b'A', 1, 0)
    );
    let names: Vec<_> = (0..3).filter_map(|topic| wire.decoder.topic_name(topic)).collect();
    assert_eq!(
        names,
        ["aggtrade.okx.BTC-USDT", "gap.okx.BTC-USDT", "trade.okx.BTC-USDT"]
    );
}

#[test]
fn best_levels_and_single_values_become_their_events() {
    let mut wire = Wire::new();
    wire.define("BTC-USDT-INDEX", 8, 0);
    wire.define("BTC-USDT", 1, 4);
    let arg = |channel: &str, data: &str| {
        format!(r#"{{"arg":{{"channel":"{channel}","instId":"BTC-USDT"}},"data":[{data}]}}"#)
    };
    for channel in ["bbo-tbt", "books5"] {
        let data = r#"{"asks":[["111.6","55154","0","2"],["111.7","1","0","1"]],"bids":[["111.5","57745","0","2"]],"ts":"1670324386802","seqId":363996337}"#;
        let events = wire.frame(1, &arg(channel, data));
        assert_eq!(
            (kinds(&events), events[0].price, events[1].price),
            (vec![2, 2], 1115, 1116)
        );
        assert_eq!(events[1].id, 363_996_337);
    }
    let events = wire.frame(
        1,
        &arg(
            "bbo-tbt",
            r#"{"asks":[],"bids":[["1","2","0","2"]],"ts":"1670324386803","seqId":363996338}"#,
        ),
    );
    assert_eq!((events[1].price, events[1].size), (i64::MAX, i64::MAX));

    let funding = r#"{"fundingRate":"0.0001875391284828","fundingTime":"1700726400000","instId":"BTC-USDT","ts":"1700724675402"}"#;
    let event = wire.frame(1, &arg("funding-rate", funding))[0];
    assert_eq!(
        (event.kind, event.price, event.aux, event.id),
        (12, 1_875_391_284_828, 16, 1_700_726_400_000_000_000)
    );
    let event = wire.frame(
        1,
        &arg(
            "mark-price",
            r#"{"instId":"BTC-USDT","markPx":"42310.6","ts":"1630049139746"}"#,
        ),
    )[0];
    assert_eq!((event.kind, event.price, event.aux), (13, 423_106, 1));
    let event = wire.frame(
        1,
        &arg(
            "index-tickers",
            r#"{"instId":"BTC-USDT","idxPx":"0.10","ts":"1597026383085"}"#,
        ),
    )[0];
    assert_eq!((event.kind, event.price, event.aux), (14, 10, 2));
    let event = wire.frame(
        1,
        &arg(
            "open-interest",
            r#"{"instId":"BTC-USDT","oi":"50.5","ts":"1597026383085"}"#,
        ),
    )[0];
    assert_eq!((event.kind, event.size), (15, 505_000));
    assert_eq!(wire.counter("refused"), 0);
}

#[test]
fn words_about_the_connection_become_notices() {
    let mut wire = Wire::new();
    for text in [
        "pong",
        r#"{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a4d3ae55"}"#,
        r#"{"event":"unsubscribe","arg":{"channel":"books","instId":"BTC-USDT"}}"#,
        r#"{"event":"error","code":"60018","msg":"Wrong URL or channel doesn't exist","connId":"a4d3ae55"}"#,
        r#"{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect.","connId":"a4d3ae55"}"#,
        r#"{"event":"channel-conn-count","channel":"books","connCount":"2","connId":"a4d3ae55"}"#,
    ] {
        assert_eq!(wire.frame(1, text), [], "{text}");
    }
    let notices: Vec<_> = wire
        .decoder
        .report_mut()
        .take_notices()
        .into_iter()
        .map(|n| (n.kind, n.text))
        .collect();
    assert_eq!(notices[0], (NoticeKind::Pong, String::new()));
    assert_eq!(notices[1], (NoticeKind::Subscribed, "books:BTC-USDT".to_owned()));
    assert!(notices[2].0 == NoticeKind::Refused && notices[2].1.contains("60018"));
    assert_eq!((notices[3].0, notices.len()), (NoticeKind::Shutdown, 4));
    assert_eq!(wire.counter("refused"), 0);
}

#[test]
fn what_is_broken_is_refused_whole_and_counted() {
    let mut wire = Wire::new();
    wire.define("BTC-USDT", 2, 8);
    let good = books(
        "snapshot",
        -1,
        100,
        r#"[["1.25","2","0","1"]]"#,
        r#"[["1.5","2","0","1"]]"#,
    );
    for cut in 0..good.len() {
        assert_eq!(wire.frame(1, &good[..cut]), [], "cut at {cut}");
    }
    assert_eq!(wire.counter("refused"), good.len() as u64);
    for (from, to) in [
        ("1.25", "1.255"),
        ("1.25", "x"),
        (r#""prevSeqId":-1,"#, ""),
        ("BTC-USDT", "ETH-USDT"),
        (r#""action":"snapshot","#, ""),
        (r#""channel":"books""#, r#""channel":"tickers""#),
    ] {
        assert_eq!(wire.frame(1, &good.replace(from, to)), [], "{from} -> {to}");
    }
    assert_eq!(wire.counter("refused"), good.len() as u64 + 6);
    assert_eq!(kinds(&wire.frame(1, &good)), [3, 4, 4, 10]);
}

/// A checksum over text levels, as the old frames carry it.
fn old(action: &str, bids: &str, asks: &str, text: &str) -> String {
    let checksum = crc32fast::hash(text.as_bytes()) as i32;
    format!(
        r#"{{"arg":{{"channel":"books","instId":"BTC-USDT"}},"action":"{action}","data":[{{"asks":{asks},"bids":{bids},"ts":"{MS}","checksum":{checksum}}}]}}"#
    )
}

#[test]
fn an_old_frame_with_another_checksum_breaks_the_book() {
    let mut wire = Wire::new();
    wire.define("BTC-USDT", 2, 2);
    let first = old(
        "snapshot",
        r#"[["1.0","2.50","0","1"]]"#,
        r#"[["2","3","0","1"]]"#,
        "1.0:2.50:2:3",
    );
    assert_eq!(state(&wire.frame(1, &first)), Some(BookState::Synced as i64));
    assert_eq!(
        state(&wire.frame(1, &old("update", r#"[["1.0","0","0","0"]]"#, "[]", "2:3"))),
        None
    );
    let wrong = old("update", r#"[["1.1","1.0","0","1"]]"#, "[]", "1.1:1:2:3");
    assert_eq!(state(&wire.frame(1, &wrong)), Some(BookState::Gap as i64));
    assert_eq!(state(&wire.frame(1, &wrong)), None);
    assert_eq!(state(&wire.frame(1, &first)), Some(BookState::Synced as i64));
}

#[test]
fn a_checkpoint_between_old_frames_changes_no_verdict() {
    let mut wire = Wire::new();
    wire.define("BTC-USDT", 2, 2);
    let first = old(
        "snapshot",
        r#"[["1.0","2.50","0","1"]]"#,
        r#"[["2","3","0","1"]]"#,
        "1.0:2.50:2:3",
    );
    wire.frame(1, &first);
    let mut restored = Wire {
        decoder: Decoder::new(),
        frame_no: wire.frame_no,
    };
    restored.decoder.restore(&wire.decoder.state()).unwrap();
    assert_eq!(restored.decoder.state(), wire.decoder.state());
    for frame in [
        old("update", "[]", r#"[["2","4","0","1"]]"#, "1.0:2.50:2:4"),
        old("update", r#"[["1.1","1.0","0","1"]]"#, "[]", "1.1:1:2:4"),
    ] {
        assert_eq!(restored.frame(1, &frame), wire.frame(1, &frame));
    }
    assert_eq!(wire.counter("gaps"), 0);
    assert_eq!(restored.counter("checksums"), 2);
    assert_eq!(restored.decoder.state(), wire.decoder.state());
}

/// Decimals of every number at `positions` 0 (price) and 1 (size) of the levels and trades of a capture.
fn scales(text: &str) -> BTreeMap<String, (u8, u8)> {
    let decimals = |value: &serde_json::Value| {
        value
            .as_str()
            .and_then(|t| t.split_once('.'))
            .map_or(0, |(_, d)| d.len() as u8)
    };
    let mut scales: BTreeMap<String, (u8, u8)> = BTreeMap::new();
    for line in text
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(_, body)| body.contains("\"data\""))
    {
        let message: serde_json::Value = serde_json::from_str(line.1).unwrap();
        let scale = scales
            .entry(message["arg"]["instId"].as_str().unwrap().to_owned())
            .or_default();
        for data in message["data"].as_array().unwrap() {
            let levels = [&data["bids"], &data["asks"]]
                .into_iter()
                .filter_map(|side| side.as_array())
                .flatten();
            let pairs = levels
                .map(|level| (&level[0], &level[1]))
                .chain([(&data["px"], &data["sz"])]);
            for (price, size) in pairs {
                *scale = (scale.0.max(decimals(price)), scale.1.max(decimals(size)));
            }
        }
    }
    scales
}

#[test]
fn all_290_recorded_checksums_match_and_the_built_book_is_that_book() {
    let Ok(captures) = std::env::var("TICKD_CAPTURES") else {
        return eprintln!("skipped: TICKD_CAPTURES is not set");
    };
    let text = std::fs::read_to_string(format!("{captures}/wire/cryptofeed/OKX.ws.1.0")).unwrap();
    let mut wire = Wire::new();
    for (symbol, (price, size)) in scales(&text) {
        wire.define(&symbol, price, size);
    }
    let mut builders: BTreeMap<u32, BookBuilder> = BTreeMap::new();
    let (mut messages, mut trades, mut states) = (0, 0, Vec::new());
    for line in text.lines().filter(|line| !line.contains(" <")) {
        let Some((_, body)) = line.split_once(": ") else {
            continue;
        };
        let events = wire.frame(1, body);
        states.extend(state(&events));
        trades += events.iter().filter(|event| event.kind == Kind::Trade as u8).count();
        if let Some(head) = events.iter().find(|event| event.kind == Kind::DepthHead as u8) {
            let builder = builders
                .entry(head.instrument)
                .or_insert_with(|| BookBuilder::new(Rule::Okx));
            messages += builder.apply(&events, head.instrument);
            assert_eq!(builder.state(), BookState::Synced);
            assert!(builder.levels().touch() == Touch::Open && builder.levels().count(Side::Bid) <= 400 + 25);
        }
    }
    assert_eq!((messages, trades, states), (290, 74, vec![BookState::Synced as i64; 3]));
    assert_eq!(
        (wire.counter("checksums"), wire.counter("acks"), wire.counter("gaps")),
        (290, 18, 0)
    );
    assert_eq!(wire.counter("refused"), 28, "the tickers");
}
