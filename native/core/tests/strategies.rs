//! What strategies leave in the log: the clock and the news of orders are events, the rest is passed over.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[allow(dead_code)]
mod support;

use support::{decode, Stream};
use tickd_core::decode::Decoder;
use tickd_core::event::{side, Kind, OrderState, PRICE_UNDEF, SEQ_INDEX_BITS};
use tickd_core::topic::Channel;

#[test]
fn clock_and_orders_are_events_of_their_own_topics() {
    let mut log = Stream::default();
    let clock = log.control(r#"{"kind":"clock"}"#);
    log.control(r#"{"kind":"intent","strategy":"a","client_id":7}"#);
    let refused = log.control(
        r#"{"kind":"order","strategy":"a","client_id":7,"state":"refused","reason":"no gate","venue":"okx","symbol":"BTC-USDT","instrument":9}"#,
    );
    log.control(
        r#"{"kind":"order","client_id":7,"state":"partly_filled","venue":"okx","symbol":"A.B","side":"A","price":5,"size":2}"#,
    );
    for kind in [
        "strategy",
        "state",
        "warm",
        "failure",
        "restart",
        "decisions",
        "conflated",
        "cancel",
    ] {
        log.control(&format!(r#"{{"kind":"{kind}"}}"#));
    }
    let mut decoder = Decoder::new();
    let events = decode(&mut decoder, &log.records);
    assert_eq!(events.len(), 3);
    let [tick, first, second] = events[..] else { return };
    assert_eq!((tick.kind, tick.seq), (Kind::Clock as u8, clock << SEQ_INDEX_BITS));
    assert_eq!(tick.ts_event, tick.ts_recv);
    assert_eq!((first.kind, first.seq), (Kind::Order as u8, refused << SEQ_INDEX_BITS));
    assert_eq!(
        (first.id, first.aux, first.instrument),
        (7, OrderState::Rejected as i64, 9)
    );
    assert_eq!((first.price, first.side), (PRICE_UNDEF, side::NONE));
    assert_eq!((second.price, second.size, second.side), (5, 2, side::ASK));
    assert_eq!(second.aux, OrderState::PartlyFilled as i64);
    assert_eq!(Channel::of_event(&first), Channel::Order);
    let names: Vec<_> = (0..3).filter_map(|topic| decoder.topic_name(topic)).collect();
    assert_eq!(names, ["clock.node.tick", "order.okx.BTC-USDT", "order.okx.A.B"]);
    let counters: std::collections::HashMap<_, _> = decoder.counters().into_iter().collect();
    assert_eq!(
        (
            counters["intents"],
            counters["strategy_changes"],
            counters["conflations"]
        ),
        (2, 6, 1)
    );
    assert!(!counters.contains_key("unknown_control") && !counters.contains_key("refused"));
}

#[test]
fn what_gate_router_and_brokers_leave_is_counted_and_their_states_are_read() {
    let mut log = Stream::default();
    for kind in ["risk", "execution", "account", "audit"] {
        log.control(&format!(r#"{{"kind":"{kind}"}}"#));
    }
    let states = [
        ("refused", 2),
        ("rejected", 2),
        ("denied", 9),
        ("pending_cancel", 10),
        ("pending_replace", 11),
        ("pending_new", 12),
    ];
    for (state, _) in states {
        log.control(&format!(
            r#"{{"kind":"order","client_id":7,"state":"{state}","venue":"okx","symbol":"A","number":3,"order_price":5}}"#
        ));
    }
    // The last news of an order that was over: a fill that came late.
    log.control(r#"{"kind":"order","client_id":7,"state":"cancelled","venue":"okx","symbol":"A","side":"B","price":5,"size":2}"#);
    let mut decoder = Decoder::new();
    let events = decode(&mut decoder, &log.records);
    let numbers: Vec<_> = events.iter().map(|event| event.aux).collect();
    assert_eq!(numbers, [2, 2, 9, 10, 11, 12, OrderState::Cancelled as i64]);
    assert!(states
        .iter()
        .all(|(state, number)| OrderState::parse(state).map(|each| each as i64) == Some(*number)));
    assert_eq!(events[4].price, PRICE_UNDEF);
    assert_eq!((events[6].price, events[6].size), (5, 2));
    let counters: std::collections::HashMap<_, _> = decoder.counters().into_iter().collect();
    let counted = ["risk_decisions", "executions", "account_snapshots", "audits"].map(|name| counters[name]);
    assert_eq!(counted, [1; 4]);
    assert!(!counters.contains_key("unknown_control"));
}

#[test]
fn news_of_orders_that_make_no_sense_are_refused_with_nothing_left_behind() {
    let good = r#"{"kind":"order","client_id":7,"state":"sent","venue":"okx","symbol":"A","side":"B"}"#;
    for (from, to) in [
        ("sent", "dreamt"),
        ("\"B\"", "\"X\""),
        ("okx", "o.kx"),
        ("okx", ""),
        ("\"A\"", "\"\""),
        ("\"A\"", "\"a b\""),
        ("7", "-7"),
        ("client_id", "id"),
    ] {
        let mut log = Stream::default();
        log.control(&good.replace(from, to));
        let mut decoder = Decoder::new();
        assert!(decode(&mut decoder, &log.records).is_empty(), "{from} {to}");
        assert_eq!(decoder.report_mut().take_refusals().len(), 1, "{from} {to}");
    }
}
