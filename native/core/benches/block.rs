//! Blocks: one second of 150,000 trades, pushed in bursts of 64 and cut; what the cut costs beside the pushes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)] // a bench stops at a surprise

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use tickd_core::block::Assembler;
use tickd_core::event::{flag, side, Event, Kind, SEQ_INDEX_BITS};

const ROWS: u64 = 150_000;
const BURST: usize = 64;

fn trades(from: u64) -> Vec<Event> {
    let recv_ns = 1_723_161_255_030_314_667;
    let trade = |frame: u64| {
        let mut event = Event::new(Kind::Trade, frame << SEQ_INDEX_BITS, recv_ns, recv_ns + frame as i64, 7);
        (event.id, event.price, event.size, event.aux) = (frame, 6_180_030 + frame as i64 % 97, 6, 1);
        (event.side, event.flags) = (side::BID, flag::LAST);
        event
    };
    (from..from + ROWS).map(trade).collect()
}

fn push(assembler: &mut Assembler, events: &[Event]) {
    for burst in events.chunks(BURST) {
        assembler.push(black_box(burst), burst[0].frame_no(), 1);
    }
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("block");
    group.throughput(Throughput::Elements(ROWS)).sample_size(20);
    for cut_only in [false, true] {
        let mut assembler = Assembler::new(1, 0);
        let mut from = 1;
        group.bench_function(if cut_only { "cut" } else { "push" }, |b| {
            b.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let events = trades(from);
                    from += ROWS;
                    let started = Instant::now();
                    push(&mut assembler, &events);
                    let pushed = Instant::now();
                    let cut = assembler.cut();
                    spent += if cut_only { pushed.elapsed() } else { pushed - started };
                    for block in black_box(cut).blocks {
                        assembler.recycle(block.body);
                    }
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
