//! What the decoder concludes: gaps, repeats of another leg, losses of connections, books.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use support::{decode, Stream};
use tickd_core::decode::Decoder;
use tickd_core::event::{flag, BookState, Event, GapCause, Kind, ID_UNDEF, PRICE_UNDEF, SIZE_UNDEF, TS_UNDEF};
use tickd_core::record::RecordType;
use tickd_core::topic::Channel;

fn usdm() -> Stream {
    let mut stream = Stream::new();
    stream.connect(1, "binance-usdm");
    stream.connect(2, "binance-usdm");
    stream
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

fn trades(events: &[Event]) -> Vec<u64> {
    of(events, Kind::Trade).iter().map(|event| event.id).collect()
}

fn gap_aux(cause: GapCause, channel: Channel) -> i64 {
    cause as i64 | (channel as i64) << 8
}

fn count(decoder: &Decoder, name: &str) -> u64 {
    decoder
        .counters()
        .iter()
        .find(|(known, _)| *known == name)
        .map_or(0, |(_, count)| *count)
}

#[test]
fn a_hole_in_the_trade_ids_is_a_gap_with_its_exact_range() {
    let mut stream = usdm();
    stream.trade(1, 10);
    let frame = stream.trade(1, 14);
    let (_, events) = run(&stream);
    assert_eq!(trades(&events), [10, 14]);
    let gaps = of(&events, Kind::Gap);
    assert_eq!(gaps.len(), 1);
    let gap = gaps[0];
    assert_eq!((gap.id, gap.price, gap.size), (11, 13, 3));
    assert_eq!(gap.aux, gap_aux(GapCause::Sequence, Channel::Trade));
    assert_eq!(gap.seq, frame << 16 | 1, "conclusions follow the data of their frame");
    let recv = |frame_no: u64| {
        stream
            .records
            .iter()
            .find(|record| record.frame_no == frame_no)
            .unwrap()
            .recv_ns
    };
    assert_eq!((gap.ts_event, gap.ts_recv), (recv(frame - 1), recv(frame)));
    assert_eq!(gap.flags, flag::SYNTHETIC | flag::LAST);
}

#[test]
fn what_another_leg_brought_is_dropped_and_a_late_arrival_is_kept() {
    let mut stream = usdm();
    for (leg, id) in [
        (1, 10),
        (1, 11),
        (2, 11),
        (2, 12),
        (1, 12),
        (1, 15),
        (2, 13),
        (2, 13),
        (2, 14),
        (2, 15),
        (2, 16),
    ] {
        stream.trade(leg, id);
    }
    let (decoder, events) = run(&stream);
    assert_eq!(trades(&events), [10, 11, 12, 15, 13, 14, 16]);
    assert_eq!(count(&decoder, "duplicates"), 4);
    let closed: Vec<_> = of(&events, Kind::Gap)
        .iter()
        .map(|gap| gap.flags & flag::BACKFILLED != 0)
        .collect();
    assert_eq!(closed, [false, true], "one gap, and its end by the last late arrival");
}

#[test]
fn repeats_on_the_same_connection_are_what_the_venue_said() {
    let mut stream = usdm();
    for id in [10, 10, 11, 9, 12] {
        stream.trade(1, id);
    }
    let (_, events) = run(&stream);
    assert_eq!(trades(&events), [10, 10, 11, 9, 12]);
    assert!(of(&events, Kind::Gap).is_empty());
}

#[test]
fn after_a_disconnect_the_first_trade_says_what_is_missing() {
    let mut stream = usdm();
    let last = stream.trade(1, 10);
    stream.disconnect(1);
    stream.connect(3, "binance-usdm");
    let first = stream.trade(3, 15);
    stream.trade(3, 16);
    let (_, events) = run(&stream);
    let gaps = of(&events, Kind::Gap);
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].id, gaps[0].price, gaps[0].size), (11, 14, 4));
    assert_eq!(gaps[0].aux, gap_aux(GapCause::Disconnect, Channel::Trade));
    assert_eq!(gaps[0].ts_recv - gaps[0].ts_event, (first - last) as i64 * 1_000_000);
}

#[test]
fn a_reconnect_that_proves_it_missed_nothing_is_no_gap() {
    let mut stream = usdm();
    stream.trade(1, 10);
    stream.depth(1, 5, 8, 4);
    stream.disconnect(1);
    stream.disconnect(2);
    stream.connect(3, "binance-usdm");
    stream.trade(3, 11);
    stream.depth(3, 11, 14, 8);
    let (_, events) = run(&stream);
    assert_eq!(trades(&events), [10, 11]);
    assert!(of(&events, Kind::Gap).is_empty());
}

#[test]
fn a_reconnect_of_spot_depth_is_proved_by_its_first_id() {
    for (first, gaps) in [(9, 0), (7, 0), (10, 1)] {
        let mut stream = Stream::new();
        let depth = |first: u64, last: u64| {
            format!(r#"{{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":{first},"u":{last},"b":[],"a":[]}}"#)
        };
        stream.connect(1, "binance-spot");
        stream.text(1, &depth(5, 8));
        stream.disconnect(1);
        stream.connect(2, "binance-spot");
        stream.text(2, &depth(first, 12));
        let (_, events) = run(&stream);
        assert_eq!(of(&events, Kind::Gap).len(), gaps, "first id {first}");
    }
}

#[test]
fn a_reconnect_that_breaks_the_chain_of_depth_names_the_ids_in_question() {
    let mut stream = usdm();
    stream.depth(1, 5, 8, 4);
    stream.disconnect(1);
    stream.connect(3, "binance-usdm");
    stream.depth(3, 15, 20, 14);
    let (_, events) = run(&stream);
    let gaps = of(&events, Kind::Gap);
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].id, gaps[0].price, gaps[0].size), (9, 14, SIZE_UNDEF));
    assert_eq!(gaps[0].aux, gap_aux(GapCause::Disconnect, Channel::Depth));
}

#[test]
fn depth_that_the_slower_leg_brings_late_is_kept() {
    let mut stream = usdm();
    stream.depth(1, 5, 8, 4);
    stream.snapshot(1, 8);
    for (leg, first, last, previous) in [
        (2, 15, 20, 14),
        (1, 9, 12, 8),
        (1, 13, 14, 12),
        (1, 15, 20, 14),
        (2, 21, 22, 20),
        (1, 21, 22, 20),
    ] {
        stream.depth(leg, first, last, previous);
    }
    let (decoder, events) = run(&stream);
    let mut ids: Vec<u64> = of(&events, Kind::DepthHead).iter().map(|event| event.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [8, 8, 12, 14, 20, 22], "the snapshot and every change once");
    assert_eq!(count(&decoder, "duplicates"), 2);
}

#[test]
fn the_other_leg_covers_a_disconnect() {
    let mut stream = usdm();
    for (leg, id) in [(1, 10), (2, 10), (1, 11)] {
        stream.trade(leg, id);
    }
    stream.disconnect(1);
    stream.trade(2, 11);
    stream.trade(2, 12);
    let (decoder, events) = run(&stream);
    assert_eq!(trades(&events), [10, 11, 12]);
    assert!(of(&events, Kind::Gap).is_empty());
    assert_eq!(count(&decoder, "duplicates"), 2);
}

#[test]
fn a_restart_explains_the_loss_of_everything() {
    let mut stream = usdm();
    stream.trade(1, 10);
    stream.disconnect(1);
    stream.control(r#"{"kind":"stop","version":"0","node":1}"#);
    stream.control(r#"{"kind":"start","version":"0","node":1}"#);
    stream.connect(3, "binance-usdm");
    stream.trade(3, 12);
    let (_, events) = run(&stream);
    let gap = of(&events, Kind::Gap)[0];
    assert_eq!((gap.id, gap.price, gap.size), (11, 11, 1));
    assert_eq!(gap.aux, gap_aux(GapCause::Restart, Channel::Trade));
}

#[test]
fn missing_frames_are_a_gap_of_the_node_and_of_every_channel() {
    let mut stream = usdm();
    stream.trade(1, 10);
    stream.control(r#"{"kind":"gap","cause":"quarantine","from_frame":8,"to_frame":11,"from_ns":50,"to_ns":90}"#);
    stream.trade(1, 12);
    let (_, events) = run(&stream);
    let gaps = of(&events, Kind::Gap);
    assert_eq!(gaps.len(), 2);
    let (node, trade) = (gaps[0], gaps[1]);
    assert_eq!((node.instrument, node.id, node.price, node.size), (0, 8, 11, 4));
    assert_eq!((node.ts_event, node.ts_recv), (50, 90));
    assert_eq!(node.aux, gap_aux(GapCause::Quarantine, Channel::Gap));
    assert_eq!((trade.id, trade.price, trade.ts_event), (11, 11, 50));
    assert_eq!(trade.aux, gap_aux(GapCause::Quarantine, Channel::Trade));
}

#[test]
fn quotes_have_no_gapless_ids_but_lose_their_connection_too() {
    let mut stream = usdm();
    let quote = |id: u64| {
        format!(r#"{{"u":{id},"e":"bookTicker","s":"BTCUSDT","b":"1.20","B":"2","a":"1.30","A":"3","T":1,"E":2}}"#)
    };
    for (leg, id) in [(1, 100), (2, 90), (1, 170)] {
        stream.text(leg, &quote(id));
    }
    stream.disconnect(1);
    stream.disconnect(2);
    stream.connect(3, "binance-usdm");
    stream.text(3, &quote(500));
    let (_, events) = run(&stream);
    assert_eq!(of(&events, Kind::Quote).len(), 6);
    let gaps = of(&events, Kind::Gap);
    assert_eq!(gaps.len(), 1);
    assert_eq!(
        (gaps[0].id, gaps[0].price, gaps[0].size),
        (ID_UNDEF, PRICE_UNDEF, SIZE_UNDEF)
    );
    assert_eq!(gaps[0].aux, gap_aux(GapCause::Disconnect, Channel::Quote));
}

#[test]
fn a_book_is_synchronised_broken_and_asked_for() {
    let mut stream = usdm();
    stream.depth(1, 5, 8, 4);
    stream.snapshot(1, 8);
    stream.depth(1, 9, 12, 8);
    stream.depth(1, 15, 20, 14);
    let (mut decoder, events) = run(&stream);
    let states: Vec<i64> = of(&events, Kind::BookState).iter().map(|event| event.aux).collect();
    assert_eq!(states.first(), Some(&(BookState::Buffering as i64)));
    assert!(states.contains(&(BookState::Synced as i64)) && states.contains(&(BookState::Gap as i64)));
    let gap = of(&events, Kind::Gap)[0];
    assert_eq!((gap.id, gap.price, gap.size), (13, 14, SIZE_UNDEF));
    assert_eq!(gap.aux, gap_aux(GapCause::Sequence, Channel::Depth));
    let wanted: Vec<_> = decoder.report_mut().take_notices();
    assert!(wanted
        .iter()
        .all(|notice| notice.kind.name() == "snapshot_wanted" && notice.text == "BTCUSDT"));
    assert_eq!(wanted.len(), 2);
}

#[test]
fn a_lost_connection_closes_its_book() {
    let mut stream = usdm();
    stream.depth(1, 5, 8, 4);
    stream.snapshot(1, 8);
    stream.depth(1, 9, 12, 8);
    let frame = stream.disconnect(1);
    let (_, events) = run(&stream);
    let closed = *of(&events, Kind::BookState).last().unwrap();
    assert_eq!((closed.seq, closed.id), (frame << 16, 12));
    assert_eq!(
        (closed.ts_event, closed.flags & flag::NO_EVENT_TIME),
        (TS_UNDEF, flag::NO_EVENT_TIME)
    );
}

#[test]
fn a_snapshot_is_a_depth_message_of_its_own() {
    let mut stream = usdm();
    let frame = stream.snapshot(1, 77);
    let (_, events) = run(&stream);
    let head = events[0];
    assert_eq!(
        (head.kind, head.id, head.price, head.size, head.aux),
        (Kind::DepthHead as u8, 77, 77, SIZE_UNDEF, 1)
    );
    assert_eq!((head.seq, head.flags & flag::SNAPSHOT), (frame << 16, flag::SNAPSHOT));
    assert_eq!(
        (events[1].price, events[1].size, events[1].side, events[1].aux),
        (10_010, 2_500, b'B', 0)
    );
    assert_eq!(
        events[1].flags & (flag::SNAPSHOT | flag::LAST),
        flag::SNAPSHOT | flag::LAST
    );
}

#[test]
fn a_new_scale_is_a_new_instrument_and_starts_the_book_again() {
    let mut stream = usdm();
    stream.depth(1, 5, 8, 4);
    stream.snapshot(1, 8);
    stream.depth(1, 9, 12, 8);
    stream.instrument("binance-usdm", "BTCUSDT", 4, 3);
    stream.depth(1, 13, 14, 12);
    let (_, events) = run(&stream);
    let depth = of(&events, Kind::Depth);
    assert_ne!(depth.first().unwrap().instrument, depth.last().unwrap().instrument);
    assert_eq!(depth.last().unwrap().price, 587_102_000);
    let states: Vec<i64> = of(&events, Kind::BookState).iter().map(|event| event.aux).collect();
    assert_eq!(states.last(), Some(&(BookState::Buffering as i64)));
}

#[test]
fn a_rest_reply_from_before_any_connection_is_kept_and_gives_nothing() {
    let mut stream = usdm();
    stream.push(0, RecordType::Rest, b"GET /fapi/v1/exchangeInfo 200\n{}".to_vec());
    let (mut decoder, events) = run(&stream);
    assert_eq!(events, []);
    assert_eq!(count(&decoder, "rest_ignored"), 1);
    assert_eq!(decoder.report_mut().take_refusals(), []);
}

#[test]
fn a_frame_of_an_unknown_connection_is_refused() {
    let mut stream = Stream::new();
    stream.trade(9, 1);
    let (mut decoder, events) = run(&stream);
    assert!(events.is_empty());
    assert_eq!(count(&decoder, "unknown_connection"), 1);
    assert_eq!(decoder.report_mut().take_refusals()[0].connection, 9);
}

#[test]
fn levels_are_found_wherever_they_stand_and_bids_come_first() {
    let mut stream = usdm();
    stream.text(
        1,
        r#" { "a":[["2.00","1"],["3.00","0"]] , "b":[["1.00","5"]], "s":"BTCUSDT","new":{"x":[1,{}]}, "pu":3,"u":9,"U":4,"T":7,"E":8,"e":"depthUpdate" } "#,
    );
    stream.text(
        1,
        r#"{"e":"depthUpdate","E":8,"T":7,"s":"BTCUSDT","U":10,"u":19,"pu":9,"b":[["1.00","5"]],"a":[["2.00","1"],["3.00","0"]]}"#,
    );
    let (_, events) = run(&stream);
    let shape = |event: &Event| {
        (
            event.kind,
            event.side,
            event.price,
            event.size,
            event.aux,
            event.ts_event,
            event.flags,
        )
    };
    let messages: Vec<Vec<_>> = [9, 19]
        .iter()
        .map(|id| {
            events
                .iter()
                .filter(|event| event.id == *id && event.kind == Kind::Depth as u8)
                .map(shape)
                .collect()
        })
        .collect();
    assert_eq!(messages[0].len(), 3);
    assert_eq!(messages[0], messages[1]);
    assert_eq!(messages[0][0].1, b'B');
}

#[test]
fn a_send_time_that_no_one_needs_refuses_nothing_wherever_it_stands() {
    let mut stream = usdm();
    let far = "18752821646475992";
    stream.text(
        1,
        &format!(r#"{{"e":"depthUpdate","E":{far},"s":"BTCUSDT","U":1,"u":2,"b":[["1.00","5"]],"a":[],"T":7}}"#),
    );
    stream.text(
        1,
        &format!(r#"{{"e":"depthUpdate","T":7,"E":{far},"s":"BTCUSDT","U":3,"u":4,"b":[["1.00","5"]],"a":[]}}"#),
    );
    let (mut decoder, events) = run(&stream);
    assert!(decoder.report_mut().take_refusals().is_empty());
    assert_eq!(
        of(&events, Kind::Depth)
            .iter()
            .map(|event| event.ts_event)
            .collect::<Vec<_>>(),
        [7_000_000; 2]
    );
}

fn shed(stream: &mut Stream, kind: &str, connection: u32) {
    stream.control(&format!(
        r#"{{"kind":"{kind}","connection":{connection},"channels":["depth"],"cause":"disk"}}"#
    ));
}

#[test]
fn a_channel_that_was_shed_comes_back_behind_a_gap_that_says_so_and_the_others_go_on() {
    let mut stream = usdm();
    stream.trade(1, 10);
    let last = stream.depth(1, 5, 8, 4);
    shed(&mut stream, "shed", 1);
    stream.trade(1, 11);
    shed(&mut stream, "restore", 1);
    stream.trade(1, 12);
    let first = stream.depth(1, 15, 20, 14);
    let (decoder, events) = run(&stream);
    let gaps = of(&events, Kind::Gap);
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].aux, gap_aux(GapCause::Shed, Channel::Depth));
    assert_eq!((gaps[0].id, gaps[0].price), (9, 14));
    assert_eq!(gaps[0].ts_recv - gaps[0].ts_event, (first - last) as i64 * 1_000_000);
    assert_eq!(trades(&events), [10, 11, 12]);
    assert_eq!(count(&decoder, "unknown_control"), 0);
}

#[test]
fn what_still_arrives_after_a_shed_is_kept_and_the_loss_behind_it_is_a_shed_too() {
    let mut stream = usdm();
    stream.depth(1, 5, 8, 4);
    shed(&mut stream, "shed", 1);
    stream.depth(1, 9, 12, 8);
    shed(&mut stream, "restore", 1);
    stream.depth(1, 25, 30, 24);
    let (_, events) = run(&stream);
    assert_eq!(of(&events, Kind::DepthHead).len(), 3);
    let gaps = of(&events, Kind::Gap);
    assert_eq!(gaps.len(), 1, "nothing was lost before the late message");
    assert_eq!((gaps[0].id, gaps[0].price), (13, 24));
    assert_eq!(gaps[0].aux, gap_aux(GapCause::Shed, Channel::Depth));
}

#[test]
fn a_shed_closes_the_book_unless_another_leg_still_brings_it() {
    for (both, closed) in [(false, 1), (true, 0)] {
        let mut stream = usdm();
        stream.depth(1, 5, 8, 4);
        stream.snapshot(1, 8);
        stream.depth(1, 9, 12, 8);
        if both {
            stream.depth(2, 9, 12, 8);
        }
        shed(&mut stream, "shed", 1);
        stream.trade(1, 10);
        let (_, events) = run(&stream);
        let gone = |event: &&Event| event.aux == BookState::Gap as i64;
        assert_eq!(
            of(&events, Kind::BookState).iter().filter(gone).count(),
            closed,
            "both {both}"
        );
    }
}

#[test]
fn a_loss_of_the_connection_while_shed_is_still_a_shed() {
    let mut stream = usdm();
    stream.depth(1, 5, 8, 4);
    shed(&mut stream, "shed", 1);
    stream.disconnect(1);
    stream.connect(3, "binance-usdm");
    stream.depth(3, 15, 20, 14);
    let (_, events) = run(&stream);
    let gaps = of(&events, Kind::Gap);
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].aux, gap_aux(GapCause::Shed, Channel::Depth));
}

#[test]
fn a_shed_of_named_topics_leaves_the_other_symbols_and_channels_alone() {
    let mut stream = usdm();
    stream.trade(1, 10);
    stream.depth(1, 5, 8, 4);
    for kind in ["shed", "restore"] {
        stream.control(&format!(
            r#"{{"kind":"{kind}","connection":1,"channels":["trade"],"topics":["trade.binance-usdm.BTCUSDT","trade.binance-usdm.NEVERSEEN","nonsense"],"cause":"rotation"}}"#
        ));
    }
    stream.depth(1, 9, 12, 8);
    stream.trade(1, 15);
    let (decoder, events) = run(&stream);
    let gaps = of(&events, Kind::Gap);
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].aux, gap_aux(GapCause::Shed, Channel::Trade));
    assert_eq!((gaps[0].id, gaps[0].price), (11, 14));
    assert_eq!(count(&decoder, "refused"), 0);
    assert_eq!(trades(&events), [10, 15]);
}

#[test]
fn a_topic_that_moves_to_another_connection_before_it_is_shed_has_no_gap() {
    let mut stream = usdm();
    stream.trade(1, 10);
    stream.trade(2, 11);
    stream.trade(1, 11);
    stream.control(
        r#"{"kind":"shed","connection":1,"channels":["trade"],"topics":["trade.binance-usdm.BTCUSDT"],"cause":"moved"}"#,
    );
    stream.trade(2, 12);
    let (_, events) = run(&stream);
    assert_eq!(of(&events, Kind::Gap).len(), 0);
    assert_eq!(trades(&events), [10, 11, 12]);
}

#[test]
fn changes_of_the_plan_are_known_records() {
    let mut stream = usdm();
    stream.control(r#"{"kind":"plan","venue":"binance-usdm","cause":"reload","added":[],"removed":[]}"#);
    stream.control(r#"{"kind":"throttle","cause":"lag","paused":[]}"#);
    let (decoder, _) = run(&stream);
    assert_eq!(count(&decoder, "unknown_control"), 0);
    assert_eq!(count(&decoder, "plan_changes"), 2);
}
