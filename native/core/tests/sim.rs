//! The simulated market keeps the venue's rules: ids, chains, snapshots and books, for any seed and any steps of time.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test's assumptions are its assertions

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use serde_json::Value;
use tickd_core::sim::faults::FaultKind;
use tickd_core::sim::{Listing, Market, MarketConfig, MarketKind};

const START_NS: i64 = 1_700_000_000_000_000_000;

fn config(kind: MarketKind, seed: u64, count: usize) -> MarketConfig {
    MarketConfig {
        kind,
        symbols: Listing::names(kind, count),
        seed,
        start_ns: START_NS,
        rate: 20_000.0,
        mix: [70.0, 23.0, 7.0],
        depth_levels: 8.0,
        zipf: 1.0,
        branching: 0.6,
        decay_per_s: 100.0,
        log: false,
    }
}

fn market(kind: MarketKind, seed: u64, count: usize, suffixes: &[&str]) -> Market {
    let mut market = Market::new(&config(kind, seed, count)).unwrap();
    for symbol in Listing::names(kind, count) {
        for suffix in suffixes {
            assert!(
                market.subscribe(1, &format!("{}{suffix}", symbol.to_lowercase()), true),
                "{symbol}{suffix}"
            );
        }
    }
    market
}

fn take(market: &mut Market) -> Vec<Value> {
    let mut rest = market.hub().buffer(1);
    let mut messages = Vec::new();
    while rest.len() >= 2 {
        let (length, skip) = match rest[1] {
            126 => (u16::from_be_bytes([rest[2], rest[3]]) as usize, 4),
            127 => (u64::from_be_bytes(rest[2..10].try_into().unwrap()) as usize, 10),
            short => (short as usize, 2),
        };
        messages.push(serde_json::from_slice(&rest[skip..skip + length]).unwrap());
        rest = &rest[skip + length..];
    }
    assert!(rest.is_empty());
    market.hub_mut().clear(1);
    messages
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap()
}

fn snapshot(market: &Market, symbol: &str) -> Value {
    serde_json::from_slice(&market.snapshot(symbol, 5_000).unwrap()).unwrap()
}

type Sides = [BTreeMap<String, String>; 2];

fn apply(sides: &mut Sides, data: &Value, keys: [&str; 2]) {
    for (side, key) in sides.iter_mut().zip(keys) {
        for level in data[key].as_array().unwrap() {
            let (price, size) = (level[0].as_str().unwrap(), level[1].as_str().unwrap());
            if size.parse::<f64>().unwrap() == 0.0 {
                side.remove(price);
            } else {
                side.insert(price.to_owned(), size.to_owned());
            }
        }
    }
}

fn check_ids(messages: &[Value]) {
    let (mut trades, mut quotes, mut aggregates) = (HashMap::new(), HashMap::new(), HashMap::new());
    for message in messages {
        let (stream, data) = (message["stream"].as_str().unwrap().to_owned(), &message["data"]);
        if stream.ends_with("@trade") {
            let id = number(data, "t");
            if let Some(previous) = trades.insert(stream, id) {
                assert_eq!(id, previous + 1);
            }
        } else if stream.ends_with("@aggTrade") {
            let (id, first, last) = (number(data, "a"), number(data, "f"), number(data, "l"));
            assert!(first <= last);
            if let Some(previous) = aggregates.insert(stream, (id, last)) {
                assert_eq!((id, first), (previous.0 + 1, previous.1 + 1));
            }
        } else if stream.ends_with("@bookTicker") {
            let price = |key: &str| data[key].as_str().unwrap().parse::<f64>().unwrap();
            assert!(price("b") < price("a") && price("B") > 0.0 && price("A") > 0.0);
            let id = number(data, "u");
            if let Some(previous) = quotes.insert(stream, id) {
                assert!(id > previous);
            }
        }
    }
    assert!(!trades.is_empty() && !quotes.is_empty() && !aggregates.is_empty());
}

/// Follows Binance's guide to a local book from a snapshot taken at `cut_ms`; the books are compared whenever a message
/// ends at the market's own last update.
fn check_book(kind: MarketKind, seed: u64, suffix: &str, cut_ms: i64) {
    let mut market = market(kind, seed, 2, &[suffix]);
    market.set_rate(400.0).unwrap();
    let symbol = market.symbols().next().unwrap().to_owned();
    let stream = format!("{}{suffix}", symbol.to_lowercase());
    market.advance(START_NS + cut_ms * 1_000_000);
    let start = snapshot(&market, &symbol);
    let last = number(&start, "lastUpdateId");
    let (mut sides, mut joined, mut previous, mut compared) = (Sides::default(), false, None, 0);
    apply(&mut sides, &start, ["bids", "asks"]);
    for step in 1..=2_000 {
        market.advance(START_NS + cut_ms * 1_000_000 + step * 1_000_000);
        let messages = take(&mut market);
        let mut end = 0;
        for data in messages
            .iter()
            .filter(|m| m["stream"] == stream.as_str())
            .map(|m| &m["data"])
        {
            let first = number(data, "U");
            end = number(data, "u");
            assert!(first <= end);
            if let Some(previous) = previous {
                let chained = if kind == MarketKind::Spot {
                    first == previous + 1
                } else {
                    number(data, "pu") == previous
                };
                assert!(chained, "{data} after {previous}");
            }
            previous = Some(end);
            if end <= last {
                continue;
            }
            let overlaps = first <= last + u64::from(kind == MarketKind::Spot);
            assert!(
                joined || overlaps || number(data, "pu") == last,
                "{data} does not join {last}"
            );
            joined = true;
            apply(&mut sides, data, ["b", "a"]);
        }
        if end == 0 {
            continue;
        }
        let now = snapshot(&market, &symbol);
        if joined && number(&now, "lastUpdateId") == end {
            let mut truth = Sides::default();
            apply(&mut truth, &now, ["bids", "asks"]);
            assert_eq!(sides, truth);
            compared += 1;
        }
    }
    assert!(compared > 0, "never comparable: {suffix}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn test_the_bytes_depend_on_the_seed_only_not_on_the_steps(
        seed: u64, steps in prop::collection::vec(1i64..40_000_000, 1..30)
    ) {
        let suffixes = ["@trade", "@bookTicker", "@depth@0ms", "@depth@100ms", "@aggTrade", "@markPrice@1s"];
        let mut whole = market(MarketKind::Usdm, seed, 3, &suffixes);
        let mut stepped = market(MarketKind::Usdm, seed, 3, &suffixes);
        whole.advance(START_NS + steps.iter().sum::<i64>());
        let mut at = START_NS;
        for step in steps {
            at += step;
            stepped.advance(at);
        }
        prop_assert!(whole.hub().buffer(1) == stepped.hub().buffer(1));
        prop_assert_eq!(whole.now_ns(), stepped.now_ns());
    }

    #[test]
    fn test_ids_follow_the_rules(
        seed: u64, kind in prop::sample::select(vec![MarketKind::Spot, MarketKind::Usdm, MarketKind::Coinm])
    ) {
        let mut market = market(kind, seed, 4, &["@trade", "@bookTicker", "@aggTrade", "@depth@100ms"]);
        market.advance(START_NS + 500_000_000);
        check_ids(&take(&mut market));
    }

    #[test]
    fn test_a_snapshot_and_its_diffs_make_the_book(seed: u64, cut_ms in 0i64..2_000) {
        check_book(MarketKind::Usdm, seed, "@depth@0ms", cut_ms);
        check_book(MarketKind::Coinm, seed, "@depth@100ms", cut_ms);
        check_book(MarketKind::Spot, seed, "@depth@100ms", cut_ms);
    }
}

#[test]
fn test_slower_depth_streams_make_the_same_book() {
    check_book(MarketKind::Usdm, 5, "@depth", 130);
    check_book(MarketKind::Usdm, 5, "@depth@500ms", 0);
    check_book(MarketKind::Spot, 5, "@depth", 700);
}

#[test]
fn test_mix_rate_and_sizes_are_as_ordered() {
    let mut market = market(MarketKind::Usdm, 4, 20, &["@trade", "@bookTicker", "@depth@0ms"]);
    market.advance(START_NS + 25_000_000_000);
    let totals: HashMap<_, _> = market.totals().into_iter().collect();
    let all = market.hub().messages() as f64;
    assert!((all / 500_000.0 - 1.0).abs() < 0.05, "{all}");
    for (name, share) in [("@bookTicker", 0.70), ("@trade", 0.23), ("@depth@0ms", 0.07)] {
        assert!(
            (totals[name] as f64 / all - share).abs() < 0.01,
            "{name}: {}",
            totals[name] as f64 / all
        );
    }
    let (mut levels, mut depths, mut quote_bytes, mut quotes) = (0, 0, 0, 0);
    for message in take(&mut market) {
        if message["data"]["e"] == "depthUpdate" {
            depths += 1;
            levels += message["data"]["b"].as_array().unwrap().len() + message["data"]["a"].as_array().unwrap().len();
        } else if message["data"]["e"] == "bookTicker" {
            quotes += 1;
            quote_bytes += message.to_string().len();
        }
    }
    let mean = levels as f64 / f64::from(depths);
    assert!((7.0..9.0).contains(&mean), "{mean}");
    assert!((160..200).contains(&(quote_bytes / quotes)), "{}", quote_bytes / quotes);
}

#[test]
fn test_a_gap_leaves_exactly_the_hole_its_ledger_names() {
    let mut market = market(MarketKind::Usdm, 6, 1, &["@trade", "@depth@0ms"]);
    assert!(market.inject("nosuch@trade", FaultKind::Gap, 1, 0).is_none());
    market.inject("btcusdt@trade", FaultKind::Gap, 3, 0).unwrap();
    market.advance(START_NS + 20_000_000);
    market.inject("btcusdt@depth@0ms", FaultKind::Gap, 2, 0).unwrap();
    market.advance(START_NS + 100_000_000);
    let messages = take(&mut market);
    let first_trade = number(
        &messages.iter().find(|m| m["data"]["e"] == "trade").unwrap()["data"],
        "t",
    );
    let depths: Vec<&Value> = messages
        .iter()
        .map(|m| &m["data"])
        .filter(|d| d["e"] == "depthUpdate")
        .collect();
    let broken: Vec<(u64, u64)> = depths
        .windows(2)
        .filter(|pair| pair[1]["pu"] != pair[0]["u"])
        .map(|pair| (number(pair[0], "u"), number(pair[1], "pu")))
        .collect();
    let ledger = market.ledger();
    assert_eq!((ledger[0].ids.len(), ledger[0].ids[2].1 + 1), (3, first_trade));
    assert_eq!(broken.len(), 1);
    assert_eq!(ledger[1].ids.last().unwrap().1, broken[0].1);
    assert!(ledger[1].ids[0].0 > broken[0].0 && ledger.iter().all(|entry| entry.done));
}

#[test]
fn test_timed_streams_speak_at_their_pace() {
    let mut market = market(MarketKind::Coinm, 8, 1, &["@markPrice@1s", "@markPrice"]);
    assert!(market.subscribe(1, "btcusd@indexPrice@1s", true));
    market.advance(START_NS + 30_000_000_000);
    let totals: HashMap<_, _> = market.totals().into_iter().collect();
    assert_eq!(
        (totals["@markPrice@1s"], totals["@markPrice"], totals["@indexPrice@1s"]),
        (30, 10, 30)
    );
    assert!(!market.subscribe(1, "btcusd_perp@nosuch", true) && !market.subscribe(1, "nosuch@trade", true));
}

#[test]
fn test_liquidations_are_rare_valid_and_have_their_trades() {
    let mut market = market(MarketKind::Usdm, 3, 1, &["@forceOrder"]);
    market.advance(START_NS + 20_000_000_000);
    let messages = take(&mut market);
    assert!((3..60).contains(&messages.len()), "{}", messages.len());
    assert!(messages
        .iter()
        .all(|m| m["data"]["o"]["s"] == "BTCUSDT" && m["data"]["o"]["q"] == m["data"]["o"]["z"]));
}

#[test]
fn test_what_cannot_be_simulated_is_refused() {
    let good = config(MarketKind::Usdm, 1, 1);
    for bad in [
        MarketConfig {
            rate: 0.0,
            ..good.clone()
        },
        MarketConfig {
            rate: f64::NAN,
            ..good.clone()
        },
        MarketConfig {
            mix: [0.0; 3],
            ..good.clone()
        },
        MarketConfig {
            mix: [-1.0, 1.0, 1.0],
            ..good.clone()
        },
        MarketConfig {
            branching: 1.0,
            ..good.clone()
        },
        MarketConfig {
            symbols: Vec::new(),
            ..good.clone()
        },
        MarketConfig {
            symbols: vec!["btc\"usdt".to_owned()],
            ..good.clone()
        },
        MarketConfig {
            start_ns: 0,
            ..good.clone()
        },
    ] {
        assert!(Market::new(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn test_a_leap_moves_time_and_nothing_else() {
    const AN_HOUR_NS: i64 = 3_600_000_000_000;
    let mut here = market(MarketKind::Usdm, 2, 2, &["@trade"]);
    let mut there = market(MarketKind::Usdm, 2, 2, &["@trade"]);
    there.leap(START_NS + AN_HOUR_NS);
    there.leap(START_NS);
    assert_eq!(there.now_ns(), START_NS + AN_HOUR_NS);
    here.advance(START_NS + 50_000_000);
    there.advance(START_NS + AN_HOUR_NS + 50_000_000);
    let (here, there) = (take(&mut here), take(&mut there));
    assert_eq!(here.len(), there.len());
    for (early, late) in here.iter().zip(&there) {
        assert_eq!(number(&early["data"], "t"), number(&late["data"], "t"));
        assert_eq!(
            number(&early["data"], "E") + AN_HOUR_NS as u64 / 1_000_000,
            number(&late["data"], "E")
        );
    }
}
