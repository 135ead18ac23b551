//! Decode: records of one shape, in bursts of 64, through the whole decoder (record header to grouped batch).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)] // a bench stops at a surprise

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use tickd_core::decode::Decoder;
use tickd_core::record::{write_record, Record, RecordType};

/// Name, payload by number, elements that count per message.
type Shape = (&'static str, fn(u64) -> String, u64);

/// Records per burst, and bursts before the ids begin again.
const BURST: u64 = 64;
const BURSTS: u64 = 200;

fn burst(number: u64, payload: fn(u64) -> String) -> Vec<u8> {
    let mut out = Vec::new();
    for at in number * BURST..(number + 1) * BURST {
        record(&mut out, 3 + at, RecordType::Text, &payload(at));
    }
    out
}

fn record(out: &mut Vec<u8>, frame_no: u64, kind: RecordType, payload: &str) {
    let (recv_ns, mono_ns) = (1_723_161_255_030_314_667, 8_112_345_678_901);
    let connection = if kind == RecordType::Control { 0 } else { 7 };
    write_record(
        out,
        &Record {
            frame_no,
            recv_ns,
            mono_ns,
            connection,
            kind,
            payload: payload.as_bytes(),
        },
    );
}

fn trade(at: u64) -> String {
    let id = 5_266_583_935 + at;
    format!(
        r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":1723161256322,"T":1723161256322,"s":"BTCUSDT","t":{id},"p":"61800.30","q":"0.006","X":"MARKET","m":false}}}}"#
    )
}

fn quote(at: u64) -> String {
    let id = 5_123_107_839_020 + at;
    format!(
        r#"{{"stream":"btcusdt@bookTicker","data":{{"e":"bookTicker","u":{id},"s":"BTCUSDT","b":"61800.20","B":"2.507","a":"61800.30","A":"2.510","T":1723161256313,"E":1723161256313}}}}"#
    )
}

fn depth(at: u64, levels: u64) -> String {
    let last = 5_123_107_837_557 + at * 100;
    let previous = last - 100;
    let side = |from: u64| {
        let levels: Vec<String> = (0..levels / 2)
            .map(|level| {
                format!(
                    r#"["{}.{}0","{}.{:03}"]"#,
                    from + level,
                    level % 10,
                    level % 40,
                    level * 37 % 1000
                )
            })
            .collect();
        levels.join(",")
    };
    format!(
        r#"{{"stream":"btcusdt@depth@0ms","data":{{"e":"depthUpdate","E":1723161256299,"T":1723161256298,"s":"BTCUSDT","U":{},"u":{last},"pu":{previous},"b":[{}],"a":[{}]}}}}"#,
        previous + 7,
        side(58_710),
        side(61_800)
    )
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    let shapes: [Shape; 5] = [
        ("trade", trade, 1),
        ("quote", quote, 1),
        ("depth_8", |at| depth(at, 8), 1),
        ("depth_100", |at| depth(at, 100), 1),
        ("depth_100_levels", |at| depth(at, 100), 100),
    ];
    for (name, payload, per_message) in shapes {
        let mut setup = Vec::new();
        record(
            &mut setup,
            1,
            RecordType::Control,
            r#"{"kind":"instrument","venue":"binance-usdm","symbol":"BTCUSDT","asset_class":"perpetual","price_scale":2,"size_scale":3,"tick":10,"lot":1,"multiplier":"1"}"#,
        );
        record(
            &mut setup,
            2,
            RecordType::Control,
            r#"{"kind":"connect","connection":7,"venue":"binance-usdm"}"#,
        );
        let mut decoder = Decoder::new();
        decoder.push_all(&setup).unwrap();
        let known = decoder.state();
        let bursts: Vec<Vec<u8>> = (0..BURSTS).map(|number| burst(number, payload)).collect();
        group.throughput(Throughput::Elements(BURST * per_message));
        group.bench_function(name, |b| {
            let mut next = 0;
            b.iter(|| {
                if next == bursts.len() {
                    // From the start again: otherwise every id would be a repeat. Costs nothing over so many bursts.
                    decoder.restore(&known).unwrap();
                    next = 0;
                }
                decoder.push_all(black_box(&bursts[next])).unwrap();
                next += 1;
                black_box(decoder.finish())
            });
        });
        assert!(!decoder
            .counters()
            .iter()
            .any(|(counter, _)| *counter == "refused" || *counter == "gaps"));
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
