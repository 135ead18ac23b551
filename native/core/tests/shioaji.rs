//! Shioaji through the whole decoder: the documented samples, every field that becomes an event, and the arithmetic of the
//! running volume that stands in for sequence numbers.
//!
//! Method: frames are written by hand in the form of `gateway/venues/shioaji/wire.py`; the expected events were worked out by
//! hand from the documentation (2026-11-20).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use tickd_core::decode::{Decoder, NoticeKind};
use tickd_core::error::Reason;
use tickd_core::event::{flag, side, BookState, Event, GapCause, Kind, ID_UNDEF, PRICE_UNDEF, SIZE_UNDEF};
use tickd_core::record::{Record, RecordType};
use tickd_core::topic::Channel;

/// 2026-07-14 01:00:00 UTC = 09:00 in Taipei.
const NINE: i64 = 1_783_990_800_000_000_000;
const SECOND: i64 = 1_000_000_000;

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
        for (symbol, price_scale) in [
            ("2330", 2),
            ("2330-ODD", 2),
            ("2330-TRIAL", 2),
            ("2330-ODD-TRIAL", 2),
            ("TXFD6", 0),
            ("TXFF6", 2),
            ("TXFF6-TRIAL", 2),
            ("TXFH6/I6", 0),
            ("IX0001", 2),
        ] {
            wire.control(&format!(
                r#"{{"kind":"instrument","venue":"shioaji","symbol":"{symbol}","asset_class":"stock","price_scale":{price_scale},"size_scale":0,"tick":1,"lot":1,"multiplier":"1"}}"#
            ));
        }
        wire.connect(1);
        wire
    }

    fn connect(&mut self, connection: u32) {
        self.control(&format!(
            r#"{{"kind":"connect","connection":{connection},"venue":"shioaji","url":"shioaji:simulation","streams":[]}}"#
        ));
    }

    fn control(&mut self, text: &str) -> Vec<Event> {
        self.push(0, RecordType::Control, text)
    }

    fn push(&mut self, connection: u32, kind: RecordType, text: &str) -> Vec<Event> {
        self.frame_no += 1;
        self.decoder.push(&Record {
            frame_no: self.frame_no,
            recv_ns: NINE + 3600 * SECOND + self.frame_no as i64,
            mono_ns: 0,
            connection,
            kind,
            payload: text.as_bytes(),
        });
        let mut events = self.decoder.finish().events;
        events.sort_by_key(|event| event.seq);
        events
    }

    fn frame(&mut self, text: &str) -> Vec<Event> {
        self.push(1, RecordType::Text, text)
    }

    /// A trade of 2330 at `time` of 2026-07-14.
    fn tick(&mut self, connection: u32, time: &str, volume: u64, total: u64) -> Vec<Event> {
        self.tick_on("2026-07-14", connection, time, volume, total)
    }

    fn tick_on(&mut self, date: &str, connection: u32, time: &str, volume: u64, total: u64) -> Vec<Event> {
        let text = format!(
            r#"{{"v":1,"class":"TickSTKv1","exchange":"TSE","code":"2330","date":"{date}","time":"{time}","close":"101","volume":{volume},"total_volume":{total},"tick_type":1,"simtrade":false,"intraday_odd":false}}"#
        );
        self.push(connection, RecordType::Text, &text)
    }

    fn futures(&mut self, date: &str, time: &str, volume: u64, total: u64) -> Vec<Event> {
        let text = format!(
            r#"{{"v":1,"class":"TickFOPv1","exchange":"TAIFEX","code":"TXFF6","date":"{date}","time":"{time}","close":"40598","volume":{volume},"total_volume":{total},"tick_type":2,"simtrade":false}}"#
        );
        self.frame(&text)
    }

    fn refusal(&mut self) -> Reason {
        self.decoder
            .report_mut()
            .take_refusals()
            .pop()
            .expect("a refusal")
            .error
            .reason
    }

    fn counter(&self, name: &str) -> u64 {
        let counters = self.decoder.counters();
        counters
            .iter()
            .find(|(key, _)| *key == name)
            .map_or(0, |(_, count)| *count)
    }
}

fn kinds(events: &[Event]) -> Vec<u8> {
    events.iter().map(|event| event.kind).collect()
}

/// first missing, last missing, how many, cause, channel
fn gap(event: &Event) -> (u64, i64, i64, i64, i64) {
    assert_eq!(event.kind, Kind::Gap as u8);
    (event.id, event.price, event.size, event.aux & 0xFF, event.aux >> 8)
}

const TRADES: i64 = Channel::Trade as i64;
const FULL_STOCK_TICK: &str = r#"{"v":1,"class":"TickSTKv1","exchange":"TSE","code":"2330","date":"2026-07-14","time":"09:00:01.123456","datetime":"2026-07-14T09:00:01.123456","open":"100","close":"101.5","high":"102","low":"99","avg_price":"100.5","amount":"123456.5","total_amount":"1234567.5","price_chg":"1.5","volume":3,"total_volume":100,"tick_type":1,"chg_type":2,"pct_chg":"0.16","bid_side_total_vol":10,"ask_side_total_vol":20,"bid_side_total_cnt":30,"ask_side_total_cnt":40,"closing_oddlot_shares":5,"fixed_trade_vol":0,"closing_oddlot_close":"101","closing_oddlot_amount":null,"closing_oddlot_bid_price":"100","closing_oddlot_ask_price":"102","fixed_trade_amount":"0","suspend":false,"simtrade":false,"intraday_odd":false}"#;
const FULL_STOCK_BOOK: &str = r#"{"v":1,"class":"BidAskSTKv1","exchange":"TSE","code":"2330","date":"2026/07/14","time":"09:00:00","datetime":"2026-07-14T09:00:00","bid_price":["100.5","100","99.5","99","0"],"ask_price":["101","101.5","102","102.5","103"],"bid_volume":[1,2,3,4,0],"ask_volume":[5,6,7,8,9],"diff_bid_vol":[0,0,-1,1,0],"diff_ask_vol":[1,2,3,4,5],"suspend":false,"simtrade":false,"intraday_odd":false}"#;

#[test]
fn a_stock_tick_is_a_trade_at_taiwans_time() {
    let mut wire = Wire::new();
    let events = wire.frame(FULL_STOCK_TICK);
    assert_eq!(kinds(&events), [Kind::Trade as u8]);
    let trade = events[0];
    assert_eq!(trade.ts_event, NINE + SECOND + 123_456_000);
    assert_eq!((trade.id, trade.price, trade.size, trade.aux), (100, 10_150, 3, 1));
    assert_eq!((trade.side, trade.flags), (side::BID, flag::LAST));
}

#[test]
fn a_stock_book_is_a_quote_and_a_whole_book_without_its_padding() {
    let mut wire = Wire::new();
    let events = wire.frame(FULL_STOCK_BOOK);
    let mut expected = vec![Kind::Quote as u8, Kind::Quote as u8, Kind::DepthHead as u8];
    expected.extend([Kind::Depth as u8; 9]);
    expected.push(Kind::BookState as u8);
    assert_eq!(kinds(&events), expected);
    let [bid, ask, head] = events[..3] else { panic!() };
    assert_eq!((bid.price, bid.size, bid.side, bid.flags), (10_050, 1, side::BID, 0));
    assert_eq!(
        (ask.price, ask.size, ask.side, ask.flags),
        (10_100, 5, side::ASK, flag::LAST)
    );
    assert_eq!(
        (head.id, head.price, head.size, head.aux),
        (NINE as u64, NINE, SIZE_UNDEF, 9)
    );
    assert_eq!(head.flags, flag::SNAPSHOT);
    let levels: Vec<_> = events[3..12].iter().map(|e| (e.side, e.price, e.size, e.aux)).collect();
    assert_eq!(levels[0], (side::BID, 10_050, 1, 0));
    assert_eq!(levels[3], (side::BID, 9_900, 4, 3));
    assert_eq!(levels[4], (side::ASK, 10_100, 5, 4));
    assert_eq!(levels[8], (side::ASK, 10_300, 9, 8));
    assert_eq!(events[11].flags, flag::SNAPSHOT | flag::LAST);
    assert_eq!(events[12].aux, BookState::Synced as i64);
}

#[test]
fn the_documented_sample_of_a_futures_tick_decodes() {
    let mut wire = Wire::new();
    let events = wire.frame(
        r#"{"v":1,"class":"TickFOPv1","code":"TXFD6","date":"2026-04-01","time":"18:33:18.084000","open":"33601","close":"33438","high":"33728","low":"33317","volume":1,"total_volume":21748,"tick_type":0,"price_chg":"49","simtrade":false}"#,
    );
    assert_eq!(kinds(&events), [Kind::Trade as u8]);
    // 2026-04-01 10:33:18.084 UTC
    assert_eq!(events[0].ts_event, 1_775_039_598_084_000_000);
    assert_eq!(
        (events[0].id, events[0].price, events[0].size, events[0].side),
        (21_748, 33_438, 1, side::NONE)
    );
}

#[test]
fn the_documented_sample_of_a_combinations_book_decodes() {
    let mut wire = Wire::new();
    let events = wire.frame(
        r#"{"v":1,"class":"BidAskFOPv1","code":"TXFH6/I6","date":"2026-08-12","time":"15:59:43.034000","bid_total_vol":30,"ask_total_vol":50,"bid_price":["169","168","167","166","165"],"bid_volume":[5,3,7,12,3],"diff_bid_vol":[0,0,0,0,-13],"ask_price":["173","174","175","176","177"],"ask_volume":[5,11,12,10,12],"diff_ask_vol":[0,0,0,0,0],"first_derived_bid_price":"0","first_derived_ask_price":"0","first_derived_bid_vol":0,"first_derived_ask_vol":0,"underlying_price":"45518.07","simtrade":false}"#,
    );
    assert_eq!(events.len(), 2 + 1 + 10 + 1);
    assert_eq!((events[0].price, events[0].size), (169, 5));
    assert_eq!((events[1].price, events[1].size), (173, 5));
    assert_eq!(
        (events[12].side, events[12].price, events[12].size),
        (side::ASK, 177, 12)
    );
    assert_eq!(
        wire.frame(
            r#"{"v":1,"class":"Heartbeat","type":"heartbeat","timestamp":"2026-03-31T01:00:30Z","connection_id":"42"}"#
        ),
        []
    );
    assert_eq!(wire.counter("heartbeats"), 1);
}

#[test]
fn a_futures_tick_tells_its_underlying_too() {
    let mut wire = Wire::new();
    let events = wire.frame(
        r#"{"v":1,"class":"TickFOPv1","exchange":"TAIFEX","code":"TXFF6","date":"2026-05-20","time":"19:15:01.284000","datetime":"2026-05-20T19:15:01.284000","open":"40270","underlying_price":"40020.82","avg_price":"40465.465254","close":"40598","high":"40650","low":"40221","amount":"40598","total_amount":"572990988","price_chg":"474","pct_chg":"1.181338","bid_side_total_vol":7711,"ask_side_total_vol":6109,"volume":1,"total_volume":14160,"tick_type":2,"chg_type":2,"simtrade":false}"#,
    );
    assert_eq!(kinds(&events), [Kind::Trade as u8, Kind::Index as u8]);
    assert_eq!((events[0].price, events[0].side), (4_059_800, side::ASK));
    assert_eq!((events[1].price, events[1].aux), (4_002_082, 2));
}

#[test]
fn summaries_give_a_book_and_no_trade() {
    let mut wire = Wire::new();
    let stock = r#"{"v":1,"class":"QuoteSTKv1","exchange":"TSE","code":"2330","date":"2026-07-14","time":"09:00:01.123456","open":"100","close":"101","high":"102","low":"99","volume":0,"total_volume":100,"tick_type":1,"bid_price":["100.5"],"ask_price":["101"],"bid_volume":[1],"ask_volume":[2],"avail_borrowing":7,"suspend":true,"simtrade":false}"#;
    let events = wire.frame(stock);
    assert_eq!(kinds(&events)[..5], [2, 2, 3, 4, 4]);
    assert_eq!(wire.counter("suspended"), 1);
    let futures = stock
        .replace("QuoteSTKv1", "QuoteFOPv1")
        .replace("2330", "TXFF6")
        .replace(
            r#""open""#,
            r#""underlying_price":"40020.82","first_derived_bid_price":"0","open""#,
        );
    assert_eq!(kinds(&wire.frame(&futures))[..6], [2, 2, 3, 4, 4, Kind::Index as u8]);
}

#[test]
fn an_index_is_read_with_either_spelling_of_its_keys() {
    let mut wire = Wire::new();
    for keys in [
        r#""date":"2026-07-14","time":"09:00:05","close":"23456.78","open":"1","reference":"2","amount_sum":null"#,
        r#""Date":"2026/07/14","Time":"09:00:05","Close":"23456.78","Open":"1","Reference":"2""#,
    ] {
        let events = wire.frame(&format!(
            r#"{{"v":1,"class":"QuoteIdxV1","exchange":"TSE","code":"IX0001",{keys}}}"#
        ));
        assert_eq!(kinds(&events), [Kind::Index as u8]);
        assert_eq!(
            (events[0].price, events[0].aux, events[0].ts_event),
            (2_345_678, 2, NINE + 5 * SECOND)
        );
    }
}

#[test]
fn odd_lots_and_trial_matches_are_instruments_of_their_own() {
    let mut wire = Wire::new();
    let odd = FULL_STOCK_TICK.replace(r#""intraday_odd":false"#, r#""intraday_odd":true"#);
    let trial = FULL_STOCK_TICK.replace(r#""simtrade":false"#, r#""simtrade":true"#);
    let both = odd.replace(r#""simtrade":false"#, r#""simtrade":true"#);
    let plain = wire.frame(FULL_STOCK_TICK)[0];
    let mut instruments = vec![plain.instrument];
    for (text, flags) in [
        (&odd, flag::ODD_LOT),
        (&trial, flag::TRIAL),
        (&both, flag::ODD_LOT | flag::TRIAL),
    ] {
        let events = wire.frame(text);
        assert_eq!(kinds(&events), [Kind::Trade as u8]);
        assert_eq!(events[0].flags, flags | flag::LAST);
        instruments.push(events[0].instrument);
    }
    instruments.sort_unstable();
    instruments.dedup();
    assert_eq!(instruments.len(), 4);
    let book = FULL_STOCK_BOOK.replace(r#""simtrade":false"#, r#""simtrade":true"#);
    let marked = wire.frame(&book);
    assert!(marked[..12].iter().all(|event| event.flags & flag::TRIAL != 0));
}

#[test]
fn trial_matches_are_no_part_of_the_arithmetic() {
    let mut wire = Wire::new();
    wire.tick(1, "13:24:59", 10, 1000);
    let trial = r#"{"v":1,"class":"TickSTKv1","exchange":"TSE","code":"2330","date":"2026-07-14","time":"13:25:05","close":"102","volume":777,"total_volume":1000,"tick_type":0,"simtrade":true,"intraday_odd":false}"#;
    for _ in 0..3 {
        let events = wire.frame(trial);
        assert_eq!((events.len(), events[0].id, events[0].size), (1, ID_UNDEF, 777));
    }
    let events = wire.tick(1, "13:30:00", 500, 1500);
    assert_eq!(kinds(&events), [Kind::Trade as u8]);
    assert_eq!(wire.counter("gaps"), 0);
}

#[test]
fn a_jump_of_the_volume_is_a_gap_of_exactly_what_is_missing() {
    let mut wire = Wire::new();
    wire.tick(1, "09:00:01", 3, 100);
    let events = wire.tick(1, "09:00:02", 5, 125);
    assert_eq!(kinds(&events), [Kind::Trade as u8, Kind::Gap as u8]);
    assert_eq!(gap(&events[1]), (101, 120, 20, GapCause::Sequence as i64, TRADES));
    assert_eq!(kinds(&wire.tick(1, "09:00:03", 1, 126)), [Kind::Trade as u8]);
    // What was late fills the hole, and is its end; it is no repeat.
    let late = wire.tick(1, "09:00:01.5", 20, 120);
    assert_eq!(kinds(&late), [Kind::Trade as u8, Kind::Gap as u8]);
    assert_eq!(gap(&late[1]), (101, 120, 0, GapCause::Sequence as i64, TRADES));
}

#[test]
fn a_repeat_is_dropped_and_a_second_login_brings_nothing_twice() {
    let mut wire = Wire::new();
    wire.connect(2);
    for (time, total) in [("09:00:01", 3), ("09:00:02", 6), ("09:00:03", 9)] {
        assert_eq!(wire.tick(1, time, 3, total).len(), 1);
        assert_eq!(wire.tick(2, time, 3, total).len(), 0);
        assert_eq!(wire.tick(1, time, 3, total).len(), 0);
    }
    assert_eq!((wire.counter("duplicates"), wire.counter("gaps")), (6, 0));
}

#[test]
fn a_count_that_begins_anew_without_a_session_is_followed() {
    let mut wire = Wire::new();
    wire.tick(1, "09:00:01", 3, 1000);
    let events = wire.tick(1, "09:00:02", 2, 2);
    assert_eq!(kinds(&events), [Kind::Trade as u8, Kind::Gap as u8]);
    assert_eq!(gap(&events[1]).3, GapCause::Sequence as i64);
    assert_eq!(wire.tick(1, "09:00:03", 2, 4).len(), 1);
}

#[test]
fn a_new_session_begins_at_nothing_and_misses_only_its_own_beginning() {
    let mut wire = Wire::new();
    wire.futures("2026-05-20", "13:44:59", 1, 90_000);
    assert_eq!(
        kinds(&wire.futures("2026-05-20", "15:00:00", 7, 7)),
        [Kind::Trade as u8]
    );
    assert_eq!(
        kinds(&wire.futures("2026-05-21", "04:59:59", 1, 8)),
        [Kind::Trade as u8]
    );
    let events = wire.futures("2026-05-21", "08:45:10", 2, 12);
    assert_eq!(gap(&events[1]), (1, 10, 10, GapCause::Sequence as i64, TRADES));
    // A count that goes on over the change of session misses nothing.
    assert_eq!(
        kinds(&wire.futures("2026-05-21", "15:00:00", 3, 15)),
        [Kind::Trade as u8]
    );
}

#[test]
fn a_lost_connection_is_a_gap_only_where_volume_is_missing() {
    let mut wire = Wire::new();
    wire.tick(1, "09:00:01", 3, 100);
    wire.control(r#"{"kind":"disconnect","connection":1,"reason":"session down"}"#);
    wire.connect(2);
    assert_eq!(kinds(&wire.tick(2, "09:00:09", 4, 104)), [Kind::Trade as u8]);
    wire.control(r#"{"kind":"disconnect","connection":2,"reason":"session down"}"#);
    wire.connect(3);
    let events = wire.tick(3, "09:01:09", 4, 208);
    assert_eq!(gap(&events[1]), (105, 204, 100, GapCause::Disconnect as i64, TRADES));
}

#[test]
fn a_connection_lost_over_the_end_of_a_session_keeps_its_gap() {
    let mut wire = Wire::new();
    wire.tick(1, "13:00:00", 3, 100);
    wire.control(r#"{"kind":"disconnect","connection":1,"reason":"session down"}"#);
    wire.connect(2);
    let events = wire.tick_on("2026-07-15", 2, "09:00:00", 50, 50);
    assert_eq!(
        gap(&events[1]),
        (ID_UNDEF, PRICE_UNDEF, SIZE_UNDEF, GapCause::Disconnect as i64, TRADES)
    );
}

#[test]
fn what_a_full_queue_let_go_is_a_gap_with_that_cause() {
    let mut wire = Wire::new();
    wire.tick(1, "09:00:01", 3, 100);
    wire.frame(FULL_STOCK_BOOK);
    let closed = wire.control(r#"{"kind":"loss","connection":1,"cause":"overflow","count":7}"#);
    assert_eq!(
        closed.iter().map(|e| (e.kind, e.aux)).collect::<Vec<_>>(),
        [(Kind::BookState as u8, BookState::Gap as i64)]
    );
    let events = wire.tick(1, "09:00:02", 5, 125);
    assert_eq!(gap(&events[1]), (101, 120, 20, GapCause::Overflow as i64, TRADES));
    let books = wire.frame(&FULL_STOCK_BOOK.replace("09:00:00", "09:00:03"));
    let causes: Vec<_> = books
        .iter()
        .filter(|e| e.kind == Kind::Gap as u8)
        .map(|e| gap(e).3)
        .collect();
    assert_eq!(causes, [GapCause::Overflow as i64; 2]); // of the quotes and of the book
    assert_eq!(books.last().unwrap().aux, BookState::Synced as i64);
    assert_eq!(wire.counter("losses"), 1);
}

#[test]
fn session_events_are_counted_and_told() {
    let mut wire = Wire::new();
    let event = |code: u32, info: &str| {
        format!(
            r#"{{"v":1,"class":"SessionEvent","resp_code":200,"event_code":{code},"info":"{info}","event":"words"}}"#
        )
    };
    for code in [0, 1, 2, 12, 13, 5, 99] {
        assert_eq!(wire.frame(&event(code, "")), []);
    }
    wire.frame(&event(16, "TIC/v1/STK/*/TSE/2890"));
    wire.frame(&event(4, "TIC/v1/STK/*/TSE/2891"));
    let notices = wire.decoder.report_mut().take_notices();
    let told: Vec<_> = notices.iter().map(|n| (n.kind, n.text.as_str())).collect();
    assert_eq!(
        told,
        [
            (NoticeKind::Subscribed, "TIC/v1/STK/*/TSE/2890"),
            (NoticeKind::Refused, "TIC/v1/STK/*/TSE/2891")
        ]
    );
    for (name, count) in [
        ("sessions_up", 2),
        ("sessions_down", 1),
        ("connects_failed", 1),
        ("reconnecting", 1),
        ("messages_discarded", 1),
        ("acks", 1),
        ("events_ignored", 1),
    ] {
        assert_eq!(wire.counter(name), count, "{name}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_its_reason() {
    let mut wire = Wire::new();
    let tick = FULL_STOCK_TICK;
    for (text, reason) in [
        (tick.replace(r#""v":1"#, r#""v":2"#), Reason::Unsupported),
        (tick.replace("TickSTKv1", "TickSTKv9"), Reason::UnknownMessage),
        (tick.replace(r#""2330""#, r#""9999""#), Reason::UnknownInstrument),
        (tick.replace("2026-07-14", "2000-01-01"), Reason::Malformed),
        (tick.replace("09:00:01.123456", "24:00:01"), Reason::Malformed),
        (tick.replace("09:00:01.123456", "09:00:01."), Reason::Malformed),
        (tick.replace(r#""101.5""#, r#""101.555""#), Reason::ScaleExceeded),
        (tick.replace(r#""101.5""#, "null"), Reason::NotANumber),
        (tick.replace(r#""total_volume":100,"#, ""), Reason::MissingField),
        (FULL_STOCK_BOOK.replace("[5,6,7,8,9]", "[5,6,7,8]"), Reason::Malformed),
        (
            FULL_STOCK_BOOK.replace("[5,6,7,8,9]", "[5,6,7,8,-9]"),
            Reason::Malformed,
        ),
        (tick[..200].to_owned(), Reason::Truncated),
    ] {
        assert_eq!(wire.frame(&text), [], "{text}");
        assert_eq!(wire.refusal(), reason, "{text}");
    }
    // Numbers in place of text are as exact.
    let events = wire.frame(&tick.replace(r#""101.5""#, "101.5"));
    assert_eq!(events[0].price, 10_150);
    // A tick without volume is no trade.
    assert_eq!(wire.frame(&tick.replace(r#""volume":3"#, r#""volume":0"#)), []);
}

#[test]
fn a_checkpoint_carries_the_count() {
    let mut wire = Wire::new();
    wire.tick(1, "09:00:05", 3, 100);
    let state = wire.decoder.state();
    let mut restored = Decoder::new();
    restored.restore(&state).unwrap();
    assert_eq!(restored.state(), state);
    wire.decoder = restored;
    assert_eq!(wire.tick(1, "09:00:05", 3, 100).len(), 0); // a repeat is known
    assert_eq!(
        kinds(&wire.tick(1, "09:00:06", 3, 3)),
        [Kind::Trade as u8, Kind::Gap as u8]
    );
}

#[test]
fn one_wrong_tick_does_not_silence_the_good_ones_after_it() {
    for (date, time, total) in [
        ("2026-07-14", "09:00:02", 999_999), // a wrong total
        ("2026-07-15", "09:00:02", 5),       // a wrong day: another count
        ("2062-07-14", "09:00:02", 999_999), // both, far away
    ] {
        let mut wire = Wire::new();
        wire.tick(1, "09:00:01", 3, 100);
        wire.tick_on(date, 1, time, 5, total);
        for (time, total) in [("09:00:03", 105), ("09:00:04", 110), ("09:00:05", 115)] {
            assert_eq!(
                kinds(&wire.tick(1, time, 5, total))[0],
                Kind::Trade as u8,
                "{date} {total}"
            );
        }
        assert_eq!(wire.counter("duplicates"), 0);
        assert!(wire.counter("gaps") > 0, "it is not passed over in silence");
    }
}

/// Ticks of 2330 on 2026-07-14: (seconds since nine, volume).
fn past(ticks: &[(i64, u64)]) -> String {
    let local = NINE + 8 * 3600 * SECOND;
    let column = |each: &dyn Fn(&(i64, u64)) -> String| ticks.iter().map(each).collect::<Vec<_>>().join(",");
    format!(
        "GET /ticks?code=2330&date=2026-07-14&query=AllDay 200\n{{\"v\":1,\"class\":\"Ticks\",\"code\":\"2330\",\"stock\":true,\"ts\":[{}],\"close\":[{}],\"volume\":[{}],\"tick_type\":[{}]}}",
        column(&|(second, _)| (local + second * SECOND).to_string()),
        column(&|_| "\"101.5\"".to_owned()),
        column(&|(_, volume)| volume.to_string()),
        column(&|_| "1".to_owned()),
    )
}

#[test]
fn a_jump_of_the_volume_is_filled_by_the_ticks_of_the_day_whose_totals_are_missing() {
    let mut wire = Wire::new();
    wire.tick(1, "09:00:01", 100, 100);
    wire.tick(1, "09:00:05", 3, 123); // 101 to 120 are missing
    wire.control(
        r#"{"kind":"connect","connection":9,"venue":"shioaji","url":"shioaji:ticks","streams":[],"backfill":true}"#,
    );
    let whole = [(1, 60), (1, 40), (2, 5), (3, 0), (4, 15), (5, 3), (9, 7)];
    let events = wire.push(9, RecordType::Rest, &past(&whole));
    assert_eq!(kinds(&events), [Kind::Trade as u8, Kind::Trade as u8, Kind::Gap as u8]);
    let totals: Vec<_> = events.iter().take(2).map(|event| (event.id, event.size)).collect();
    assert_eq!(totals, [(105, 5), (120, 15)]);
    assert!(events.iter().all(|event| event.flags & flag::BACKFILLED != 0));
    assert_eq!(gap(&events[2]), (101, 120, 0, GapCause::Sequence as i64, TRADES));
    assert!(wire.decoder.gaps().next().is_none());
    assert_eq!(
        kinds(&wire.tick(1, "09:00:09", 7, 130)),
        [Kind::Trade as u8],
        "live goes on as if nothing had been"
    );
}

#[test]
fn a_day_that_counts_otherwise_fills_nothing() {
    let mut wire = Wire::new();
    wire.tick(1, "09:00:01", 100, 100);
    wire.tick(1, "09:00:05", 3, 123);
    wire.control(
        r#"{"kind":"connect","connection":9,"venue":"shioaji","url":"shioaji:ticks","streams":[],"backfill":true}"#,
    );
    let events = wire.push(9, RecordType::Rest, &past(&[(1, 99), (2, 5), (4, 18)]));
    // 100 to 104 lies across the border; 105 to 122 does too.
    assert_eq!(kinds(&events), [] as [u8; 0]);
    assert_eq!(wire.decoder.gaps().map(|view| view.gap.missing()).sum::<u64>(), 20);
}
