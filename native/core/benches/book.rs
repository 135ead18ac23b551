#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]
//! Levels per second of the book: sorted chunks against a `BTreeMap`, on a made stream and, where
//! `$TICKD_CAPTURES` is set, on the depth messages of the recorded Binance streams. Orders of the order-by-order book and
//! synchroniser steps per second beside it.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::Read;
use std::process::{Command, Stdio};

use criterion::{criterion_group, criterion_main, BatchSize, Criterion, Throughput};
use tickd_core::book::l2::{Levels, Side};
use tickd_core::book::l3::{Order, Orders};
use tickd_core::book::sync::{Rule, Synchroniser};

type Step = (Side, i64, i64);

/// A book of 1,000 levels a side, then changes near the best price: distance geometric, one in four a deletion.
fn made(count: usize) -> (Vec<Step>, Vec<Step>) {
    let mut snapshot = Vec::new();
    for distance in 0..1000 {
        snapshot.push((Side::Bid, 100_000 - distance, 5));
        snapshot.push((Side::Ask, 100_001 + distance, 5));
    }
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut steps = Vec::with_capacity(count);
    for _ in 0..count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let distance = i64::from((state | 1 << 40).trailing_zeros()) * 6 + (state >> 50) as i64 % 6;
        let size = if state >> 62 == 0 {
            0
        } else {
            (state >> 20) as i64 % 1000 + 1
        };
        let bid = state >> 61 & 1 == 0;
        steps.push(if bid {
            (Side::Bid, 100_000 - distance, size)
        } else {
            (Side::Ask, 100_001 + distance, size)
        });
    }
    (snapshot, steps)
}

/// `"61800.20"` at two or three decimals as a mantissa at four.
fn mantissa(text: &str) -> i64 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let mut value: i64 = whole.parse().unwrap();
    for place in 0..4 {
        value = value * 10 + i64::from(part.as_bytes().get(place).copied().unwrap_or(b'0') - b'0');
    }
    value
}

fn levels_of(value: &serde_json::Value, side: Side, steps: &mut Vec<Step>) {
    for level in value.as_array().into_iter().flatten() {
        steps.push((
            side,
            mantissa(level[0].as_str().unwrap()),
            mantissa(level[1].as_str().unwrap()),
        ));
    }
}

/// Snapshot and changes of a capture.
fn recorded(file: &str) -> Option<(Vec<Step>, Vec<Step>)> {
    let path = format!("{}/wire/binance/{file}.gz", std::env::var("TICKD_CAPTURES").ok()?);
    let mut child = Command::new("zcat").arg(path).stdout(Stdio::piped()).spawn().ok()?;
    let mut text = String::new();
    child.stdout.take()?.read_to_string(&mut text).ok()?;
    child.wait().ok()?;
    let (mut snapshot, mut steps) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let (_, body) = line.split_once(' ')?;
        if body.contains("\"lastUpdateId\"") {
            let value: serde_json::Value = serde_json::from_str(body).ok()?;
            levels_of(&value["bids"], Side::Bid, &mut snapshot);
            levels_of(&value["asks"], Side::Ask, &mut snapshot);
        } else if body.contains("depthUpdate") {
            let value: serde_json::Value = serde_json::from_str(body).ok()?;
            levels_of(&value["data"]["b"], Side::Bid, &mut steps);
            levels_of(&value["data"]["a"], Side::Ask, &mut steps);
        }
    }
    (!steps.is_empty()).then_some((snapshot, steps))
}

#[derive(Clone, Default)]
struct Trees {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
}

impl Trees {
    fn set(&mut self, (side, price, size): Step) {
        let tree = if side == Side::Bid {
            &mut self.bids
        } else {
            &mut self.asks
        };
        if size == 0 {
            tree.remove(&price);
        } else {
            tree.insert(price, size);
        }
    }
}

fn book(criterion: &mut Criterion) {
    let mut streams = vec![("made".to_owned(), made(100_000))];
    for file in [
        "usdm_btcusdt_20240808",
        "spot_btcusdt_20240808",
        "cm_btcusd_perp_20240808",
    ] {
        streams.extend(recorded(file).map(|stream| (file.to_owned(), stream)));
    }
    for (name, (snapshot, steps)) in streams {
        let (mut levels, mut trees) = (Levels::new(), Trees::default());
        for step in &snapshot {
            levels.set(step.0, step.1, step.2);
            trees.set(*step);
        }
        let mut group = criterion.benchmark_group(format!("book/{name}"));
        group
            .throughput(Throughput::Elements(steps.len() as u64))
            .sample_size(20);
        group.bench_function("chunks", |bencher| {
            bencher.iter_batched_ref(
                || levels.clone(),
                |levels| steps.iter().for_each(|step| levels.set(step.0, step.1, step.2)),
                BatchSize::LargeInput,
            );
        });
        group.bench_function("btree", |bencher| {
            bencher.iter_batched_ref(
                || trees.clone(),
                |trees| steps.iter().for_each(|step| trees.set(*step)),
                BatchSize::LargeInput,
            );
        });
        group.finish();
    }
}

/// A day's life in small: orders near the touch come, are executed, cancelled and changed; some 2,000 rest.
fn orders(criterion: &mut Criterion) {
    #[derive(Clone, Copy)]
    enum Step {
        Add(Order),
        Take(u64),
        Reduce(u64),
    }
    let (_, made) = made(200_000);
    let mut resting: Vec<u64> = Vec::new();
    let mut steps = Vec::new();
    for (id, (side, price, size)) in made.into_iter().enumerate() {
        let at = size as usize % resting.len().max(1);
        if resting.len() > 2000 && size % 4 == 0 {
            steps.push(Step::Reduce(resting[at]));
        } else if resting.len() > 2000 && size % 2 == 1 {
            steps.push(Step::Take(resting.swap_remove(at)));
        } else {
            resting.push(id as u64);
            let size = size + 1_000_000;
            steps.push(Step::Add(Order {
                id: id as u64,
                price,
                size,
                side,
            }));
        }
    }
    let mut group = criterion.benchmark_group("orders");
    group
        .throughput(Throughput::Elements(steps.len() as u64))
        .sample_size(20);
    group.bench_function("l3", |bencher| {
        bencher.iter_batched_ref(
            Orders::new,
            |book| {
                for step in &steps {
                    match *step {
                        Step::Add(order) => book.add(order).unwrap(),
                        Step::Take(id) => drop(book.take(id).unwrap()),
                        Step::Reduce(id) => book.reduce(id, 1).unwrap(),
                    }
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn synchroniser(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("synchroniser");
    group.throughput(Throughput::Elements(1000));
    group.bench_function("change_of_a_live_book", |bencher| {
        let mut sync = Synchroniser::new(Rule::BinanceFutures);
        sync.change(1, 1, Some(0));
        sync.snapshot(1);
        let mut id = 1;
        bencher.iter(|| {
            for _ in 0..1000 {
                black_box(sync.change(id + 1, id + 2, Some(id)));
                id += 2;
            }
        });
    });
    group.finish();
}

criterion_group!(benches, book, orders, synchroniser);
criterion_main!(benches);
