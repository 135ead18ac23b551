//! One check of the gate, clock and halt word passed in: a new order approved and released, one refused, a replace, a
//! cancel; on a desk with the keys that a real one has (everything, account, strategy, instrument) and every limit given.
//!
//! `cargo bench -p tickd-core --bench gate`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{criterion_group, criterion_main, Criterion};
use tickd_core::event::{side, Event, Kind};
use tickd_core::risk::ask::{Ask, AskReplace};
use tickd_core::risk::exposure::Worth;
use tickd_core::risk::gate::Gate;
use tickd_core::risk::limits::{AccountLimits, CellLimits, SideLimits, StrategyLimits, NONE};
use tickd_core::risk::parties::{Keys, SideCell, Steps};
use tickd_core::risk::step::Step;

const SECOND: i64 = 1_000_000_000;
const PRICE: i64 = 10_000;
const MUCH: i64 = 1 << 60;

/// A route under five keys: that of account and instrument, and four with limits of their own.
fn gate() -> Gate {
    let mut gate = Gate::new(1 << 14);
    // Contents are kept as long as the longest duplicate window.
    gate.settings(10 * SECOND, SECOND / 1_000, 60 * SECOND, 20);
    let steps = Steps {
        tick: Step::new(5),
        lot: Step::new(1),
        worth: Worth { num: 1, div: 100 },
        is_linear: true,
    };
    gate.instrument(0, 77, steps);
    gate.account(
        0,
        AccountLimits {
            is_missing: false,
            daily_loss_max: MUCH,
            drawdown_max: MUCH,
            free_balance_min: 0,
            age_ns_max: MUCH,
        },
    );
    gate.strategy(
        0,
        StrategyLimits {
            is_missing: false,
            executions_max: 1_000,
            executions_window_ns: SECOND,
            cancel_ratio_pct_max: 10_000,
        },
    );
    gate.venue(0, 1_000_000_000, 200_000_000, SECOND);
    let side = SideLimits {
        is_missing: false,
        is_tradable: true,
        is_restricted: false,
        denies_self_trade: true,
        order_qty_max: 1_000,
        order_notional_max: MUCH,
        collar_bps: 100,
        period_collar_bps: 500,
        reference_age_ns_max: MUCH,
        duplicate_window_ns: SECOND / 1_000,
        margin_pct: 100,
        strategy_loss_max: NONE,
    };
    let sums = CellLimits {
        position_max: NONE,
        gross_max: MUCH,
        net_max: MUCH,
        open_orders_max: 10_000,
        orders_max: 1_000_000_000,
        orders_window_ns: SECOND,
    };
    let sizes = CellLimits {
        position_max: MUCH,
        gross_max: NONE,
        net_max: NONE,
        open_orders_max: NONE,
        orders_max: NONE,
        orders_window_ns: 0,
    };
    let cells: Vec<_> = [sizes, sums, sums, sums, sizes]
        .iter()
        .zip(0..)
        .map(|(limits, cell)| SideCell::new(cell, *limits))
        .collect();
    gate.route(0, Keys::default(), [side; 2], [cells.clone(), cells]);
    gate.hours(0, true, 0, MUCH);
    gate.money(0, MUCH, MUCH, 0);
    gate.day_pnl(0, None, 0);
    let mut quote = [Event::new(Kind::Quote, 1, 1, 1, 77); 2];
    for (event, side) in quote.iter_mut().zip([side::BID, side::ASK]) {
        (event.price, event.side) = (PRICE, side);
    }
    gate.take(&quote, SECOND);
    gate
}

/// The order number `number`: times and prices move, so that no two are the same within a window.
fn ask(number: u64, price: i64) -> Ask {
    Ask {
        route: 0,
        number,
        client_id: number,
        side: 0,
        price: Some(price + (number % 10) as i64 * 5),
        size: 1,
        is_finite: true,
        is_reduce_only: false,
        mono_ns: SECOND + number as i64 * 200_000,
        wall_ns: 1,
    }
}

/// What one call costs when nobody takes the core away: the least of batches that are far shorter than a time slice.
fn least(rounds: u64, mut batch: impl FnMut(u64) -> Duration) -> Duration {
    let fewest = (0..rounds.div_ceil(BATCH).max(20)).map(|_| batch(BATCH)).min();
    fewest.unwrap_or_default().mul_f64(rounds as f64 / BATCH as f64)
}

/// Orders of a batch: 50 microseconds of work or so.
const BATCH: u64 = 400;

fn timed(mut each: impl FnMut()) -> impl FnMut(u64) -> Duration {
    move |count| {
        let start = Instant::now();
        for _ in 0..count {
            each();
        }
        start.elapsed()
    }
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gate");
    let (mut desk, mut number) = (gate(), 0);
    // 400 others are open.
    for _ in 0..400 {
        number += 1;
        desk.check(1 << 8, &ask(number, PRICE))
            .expect("a benchmark's order passes");
    }
    group.bench_function("approved", |bench| {
        bench.iter_custom(|rounds| {
            least(rounds, |count| {
                let first = number + 1;
                let start = Instant::now();
                for _ in 0..count {
                    number += 1;
                    black_box(desk.check(black_box(1 << 8), &ask(number, PRICE)).is_ok());
                }
                let spent = start.elapsed();
                for done in first..=number {
                    assert!(desk.released(done), "a benchmark's order passes");
                }
                spent
            })
        })
    });
    group.bench_function("halted", |bench| {
        bench.iter_custom(|rounds| {
            least(
                rounds,
                timed(|| {
                    number += 1;
                    black_box(desk.check(black_box(1 << 8 | 1), &ask(number, PRICE)).is_err());
                }),
            )
        })
    });
    group.bench_function("refused by the collar", |bench| {
        bench.iter_custom(|rounds| {
            least(
                rounds,
                timed(|| {
                    number += 1;
                    black_box(desk.check(black_box(1 << 8), &ask(number, 2 * PRICE)).is_err());
                }),
            )
        })
    });
    let kept = 5;
    group.bench_function("replaced, and refused by the venue", |bench| {
        bench.iter_custom(|rounds| {
            least(
                rounds,
                timed(|| {
                    number += 1;
                    let replace = AskReplace {
                        number: kept,
                        price: Some(PRICE),
                        size: 2,
                        is_finite: true,
                        mono_ns: SECOND + number as i64 * 200_000,
                        wall_ns: 1,
                    };
                    let answer = desk.check_replace(black_box(1 << 8), &replace);
                    desk.replace_refused(kept);
                    black_box(answer.is_ok());
                }),
            )
        })
    });
    group.bench_function("cancelled", |bench| {
        bench.iter_custom(|rounds| {
            least(
                rounds,
                timed(|| {
                    number += 1;
                    black_box(desk.check_cancel(kept, SECOND + number as i64 * 200_000).is_ok());
                }),
            )
        })
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots();
    targets = bench
}
criterion_main!(benches);
