//! What is fetched later: only what is missing becomes events, and nothing live is moved by it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, dead_code)]

mod support;

use support::{decode, Stream};
use tickd_core::decode::Decoder;
use tickd_core::event::{flag, Event, GapCause, Kind};
use tickd_core::record::RecordType;
use tickd_core::topic::Channel;

const LIVE: u32 = 1;
const FILL: u32 = 9;

fn usdm() -> Stream {
    let mut stream = Stream::new();
    stream.connect(LIVE, "binance-usdm");
    stream
}

fn connect_fill(stream: &mut Stream, venue: &str) {
    stream.control(&format!(
        r#"{{"kind":"connect","connection":{FILL},"venue":"{venue}","url":"https://x","streams":[],"backfill":true}}"#
    ));
}

fn past(ids: impl IntoIterator<Item = u64>) -> String {
    let trades: Vec<_> = ids
        .into_iter()
        .map(|id| format!(r#"{{"id":{id},"price":"61800.30","qty":"0.006","quoteQty":"370.80","time":1700000000000,"isBuyerMaker":true}}"#))
        .collect();
    format!(
        "GET /fapi/v1/historicalTrades?symbol=BTCUSDT&fromId=1&limit=500 200\n[{}]",
        trades.join(",")
    )
}

fn fill(stream: &mut Stream, ids: impl IntoIterator<Item = u64>) -> u64 {
    stream.push(FILL, RecordType::Rest, past(ids))
}

fn run(stream: &Stream) -> (Decoder, Vec<Event>) {
    let mut decoder = Decoder::new();
    let events = decode(&mut decoder, &stream.records);
    (decoder, events)
}

fn of(events: &[Event], kind: Kind) -> Vec<Event> {
    events
        .iter()
        .copied()
        .filter(|event| event.kind == kind as u8)
        .collect()
}

fn filled(events: &[Event]) -> Vec<u64> {
    let late = |event: &&Event| event.flags & flag::BACKFILLED != 0;
    of(events, Kind::Trade)
        .iter()
        .filter(late)
        .map(|event| event.id)
        .collect()
}

fn left(decoder: &Decoder) -> Vec<(u64, u64)> {
    decoder.gaps().flat_map(|view| view.told().2).collect()
}

fn count(decoder: &Decoder, name: &str) -> u64 {
    let counters = decoder.counters();
    counters
        .iter()
        .find(|(known, _)| *known == name)
        .map_or(0, |(_, count)| *count)
}

/// 10, then 14: 11 to 13 are missing.
fn with_a_gap() -> (Stream, u64) {
    let mut stream = usdm();
    stream.trade(LIVE, 10);
    let frame = stream.trade(LIVE, 14);
    (stream, frame << 16 | 1)
}

#[test]
fn a_gap_with_ids_is_in_the_ledger_under_the_number_of_its_event() {
    let (stream, seq) = with_a_gap();
    let (decoder, _) = run(&stream);
    let gaps: Vec<_> = decoder.gaps().collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!(
        (gaps[0].venue, gaps[0].symbol, gaps[0].channel),
        ("binance-usdm", "BTCUSDT", Channel::Trade)
    );
    assert_eq!((gaps[0].gap.seq, gaps[0].gap.cause), (seq, GapCause::Sequence as i64));
    assert_eq!(left(&decoder), [(11, 13)]);
}

#[test]
fn exactly_what_is_missing_is_kept_and_the_last_of_it_closes_the_gap() {
    let (mut stream, _) = with_a_gap();
    connect_fill(&mut stream, "binance-usdm");
    fill(&mut stream, [9, 10, 11]);
    let closing_frame = fill(&mut stream, 11..=15);
    stream.trade(LIVE, 15);
    let (mut decoder, events) = run(&stream);
    assert_eq!(filled(&events), [11, 12, 13]);
    assert_eq!(count(&decoder, "backfill_repeats"), 5);
    assert_eq!(count(&decoder, "duplicates"), 0);
    let gaps = of(&events, Kind::Gap);
    assert_eq!(gaps.len(), 2);
    let (opened, closed) = (gaps[0], gaps[1]);
    assert_eq!((closed.id, closed.price, closed.size), (11, 13, 0));
    assert_eq!((closed.ts_event, closed.aux), (opened.ts_event, opened.aux));
    assert_eq!(closed.frame_no(), closing_frame);
    assert_eq!(closed.flags, flag::SYNTHETIC | flag::LAST | flag::BACKFILLED);
    assert_eq!(count(&decoder, "gaps"), 1);
    assert!(left(&decoder).is_empty());
    assert!(decoder.report_mut().take_refusals().is_empty());
}

#[test]
fn what_is_filled_has_a_topic_of_its_own() {
    let (mut stream, _) = with_a_gap();
    connect_fill(&mut stream, "binance-usdm");
    fill(&mut stream, 11..=13);
    let (decoder, _) = run(&stream);
    let of_topic = |name: &str| {
        let number = (0..decoder.topic_count() as u32).find(|topic| decoder.topic_name(*topic) == Some(name));
        number.and_then(|number| decoder.topic_stats().find(|(topic, _, _)| *topic == number))
    };
    assert_eq!(
        of_topic("trade.binance-usdm.BTCUSDT").map(|(_, events, _)| events),
        Some(2)
    );
    assert_eq!(
        of_topic("gap.binance-usdm.BTCUSDT").map(|(_, events, _)| events),
        Some(1)
    );
    assert_eq!(
        of_topic("backfill.binance-usdm.BTCUSDT").map(|(_, events, _)| events),
        Some(4)
    );
}

#[test]
fn live_events_are_the_same_bytes_with_and_without_a_fill() {
    let (mut with, _) = with_a_gap();
    let (mut without, _) = with_a_gap();
    connect_fill(&mut with, "binance-usdm");
    without.control(r#"{"kind":"pause"}"#);
    fill(&mut with, 9..=20);
    without.control(r#"{"kind":"pause"}"#);
    for stream in [&mut with, &mut without] {
        stream.trade(LIVE, 12); // late, behind its fill: live is not disturbed
        stream.trade(LIVE, 15);
        stream.trade(LIVE, 18);
        stream.disconnect(LIVE);
    }
    let live = |stream: &Stream| -> Vec<Event> {
        let (_, events) = run(stream);
        events
            .into_iter()
            .filter(|event| event.flags & flag::BACKFILLED == 0)
            .collect()
    };
    assert_eq!(live(&with), live(&without));
}

#[test]
fn a_late_live_trade_is_not_filled_again() {
    let (mut stream, _) = with_a_gap();
    stream.trade(LIVE, 12);
    connect_fill(&mut stream, "binance-usdm");
    fill(&mut stream, 11..=13);
    let (decoder, events) = run(&stream);
    assert_eq!(filled(&events), [11, 13]);
    assert!(left(&decoder).is_empty());
}

#[test]
fn a_gap_that_is_given_up_says_how_many_ids_stay_missing() {
    let (mut stream, seq) = with_a_gap();
    connect_fill(&mut stream, "binance-usdm");
    fill(&mut stream, [11]);
    stream.control(&format!(r#"{{"kind":"fill","gap":{seq},"outcome":"gone"}}"#));
    stream.control(r#"{"kind":"fill","gap":1,"outcome":"gone"}"#);
    fill(&mut stream, [12]);
    let (decoder, events) = run(&stream);
    assert_eq!(filled(&events), [11]);
    let closed = *of(&events, Kind::Gap).last().unwrap();
    assert_eq!((closed.id, closed.price, closed.size), (11, 13, 2));
    assert!(decoder.gaps().next().is_none());
    assert_eq!(count(&decoder, "fills_unknown"), 1);
}

#[test]
fn a_restart_at_any_record_in_mid_fill_goes_on_with_the_same_events() {
    let (mut stream, _) = with_a_gap();
    connect_fill(&mut stream, "binance-usdm");
    fill(&mut stream, [11]);
    stream.trade(LIVE, 15);
    fill(&mut stream, [11, 12]);
    fill(&mut stream, [12, 13]);
    let (_, whole) = run(&stream);
    for cut in 0..=stream.records.len() {
        let mut before = Decoder::new();
        let mut events = decode(&mut before, &stream.records[..cut]);
        let mut after = Decoder::new();
        after.restore(&before.state()).unwrap();
        assert_eq!(after.state(), before.state());
        events.extend(decode(&mut after, &stream.records[cut..]));
        assert_eq!(events, whole, "cut at {cut}");
    }
}

#[test]
fn a_reply_without_a_trade_is_counted_as_that() {
    let (mut stream, _) = with_a_gap();
    connect_fill(&mut stream, "binance-usdm");
    fill(&mut stream, []);
    fill(&mut stream, [9]);
    let (decoder, _) = run(&stream);
    assert_eq!(
        (count(&decoder, "past_empty"), count(&decoder, "backfill_repeats")),
        (1, 1)
    );
}

#[test]
fn a_live_trade_behind_its_fill_is_emitted_and_counted() {
    let (mut stream, _) = with_a_gap();
    connect_fill(&mut stream, "binance-usdm");
    fill(&mut stream, 11..=13);
    stream.trade(LIVE, 12);
    stream.trade(LIVE, 15);
    let (decoder, events) = run(&stream);
    let live: Vec<_> = of(&events, Kind::Trade)
        .iter()
        .filter(|event| event.flags & flag::BACKFILLED == 0)
        .map(|event| event.id)
        .collect();
    assert_eq!(live, [10, 14, 12, 15]);
    assert_eq!(count(&decoder, "filled_then_live"), 1);
}

#[test]
fn a_log_that_is_older_than_the_ledger_is_read_as_it_was_written() {
    let mut stream = usdm();
    stream.trade(LIVE, 10);
    let (decoder, _) = run(&stream);
    let state = String::from_utf8(decoder.state()).unwrap();
    let old = state.replace("\"ledger\":true,", "");
    assert_ne!(old, state);

    let mut log = Stream::default();
    log.push(0, RecordType::Checkpoint, old);
    log.trade(LIVE, 14);
    log.trade(LIVE, 12); // late: its build said nothing of it
    let (mut decoder, events) = run(&log);
    assert_eq!(of(&events, Kind::Gap).len(), 1);
    assert!(left(&decoder).is_empty());
    // What it would have written itself at this place.
    let written = decoder.state();
    assert!(!String::from_utf8(written.clone()).unwrap().contains("ledger"));
    let mut next = Stream::default();
    next.push(0, RecordType::Checkpoint, String::from_utf8(written).unwrap());
    decode(&mut decoder, &next.records);
    assert_eq!(count(&decoder, "checkpoint_mismatch"), 0);

    // A daemon of this build goes on with the log.
    log.control(r#"{"kind":"start","ledger":true}"#);
    log.connect(LIVE, "binance-usdm");
    log.trade(LIVE, 20);
    let (decoder, _) = run(&log);
    assert_eq!(left(&decoder), [(15, 19)]);
    assert!(String::from_utf8(decoder.state()).unwrap().contains("\"ledger\":true"));
}

#[test]
fn merged_trades_of_okx_are_filled_by_their_fills() {
    let mut stream = Stream::new();
    stream.instrument("okx", "BTC-USDT", 1, 8);
    stream.connect(LIVE, "okx");
    let trade = |id: u64, fills: u64| {
        format!(
            r#"{{"arg":{{"channel":"trades","instId":"BTC-USDT"}},"data":[{{"instId":"BTC-USDT","tradeId":"{id}","px":"42219.9","sz":"0.1","side":"buy","ts":"1700000000000","count":"{fills}"}}]}}"#
        )
    };
    stream.text(LIVE, &trade(10, 1));
    stream.text(LIVE, &trade(15, 2)); // 14 and 15: 11 to 13 are missing
    connect_fill(&mut stream, "okx");
    let past = |id: u64| {
        format!(
            r#"{{"instId":"BTC-USDT","tradeId":"{id}","px":"42219.9","sz":"0.1","side":"sell","ts":"1700000000000"}}"#
        )
    };
    let reply = |code: &str, data: String| {
        format!("GET /api/v5/market/history-trades?instId=BTC-USDT&type=1&after=14&limit=100 200\n{{\"code\":\"{code}\",\"msg\":\"\",\"data\":[{data}]}}")
    };
    stream.push(FILL, RecordType::Rest, reply("50011", String::new()));
    let data: Vec<_> = (9..=13).rev().map(past).collect();
    stream.push(FILL, RecordType::Rest, reply("0", data.join(",")));
    let (decoder, events) = run(&stream);
    let flags = flag::BACKFILLED | flag::AGGREGATE;
    let kept: Vec<_> = of(&events, Kind::Trade)
        .into_iter()
        .filter(|event| event.flags & flags == flags)
        .collect();
    assert_eq!(kept.iter().map(|event| event.id).collect::<Vec<_>>(), [13, 12, 11]);
    assert!(left(&decoder).is_empty());
    assert_eq!(count(&decoder, "venue_refusals"), 1);
}
