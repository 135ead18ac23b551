#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]
//! Nanoseconds per row of each family of indicators: one at a time, and in columns. Python's part is not in it;
//! benchmarks/bench_indicators.py compares with others.

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use tickd_core::indicators::bulk::Bulk;
use tickd_core::indicators::columns::{self, Column};
use tickd_core::indicators::flow::{Cvd, KyleLambda};
use tickd_core::indicators::formula::{Mid, Reading};
use tickd_core::indicators::hawkes::Hawkes;
use tickd_core::indicators::hawkes_bivariate::HawkesBivariate;
use tickd_core::indicators::levels::{BookReading, Shape};
use tickd_core::indicators::mlofi::Mlofi;
use tickd_core::indicators::ofi::{Ofi, Policy};
use tickd_core::indicators::returns::{Estimator, RealizedVariance, RollSpread};
use tickd_core::indicators::signing::{Rule, TradeSign};
use tickd_core::indicators::vpin::{Vpin, VpinBvc, VpinFixed};
use tickd_core::indicators::window::Span;
use tickd_core::indicators::{OnLevels, OnPrice, OnPrint, OnQuote, OnTrade, Quote, Trade};

const ROWS: usize = 20_000;
const LEVELS: usize = 10;

/// A walk of one tick a row around 100, and sizes from 1 to 49.
struct Market {
    price: Vec<f64>,
    bid: Vec<f64>,
    ask: Vec<f64>,
    size: [Vec<f64>; 3],
    side: Vec<f64>,
    times: Vec<i64>,
    books: Vec<f64>,
}

fn market() -> Market {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) % below
    };
    let mut sizes = || (0..ROWS).map(|_| 1.0 + draw(49) as f64).collect::<Vec<f64>>();
    let size = [sizes(), sizes(), sizes()];
    let side = (0..ROWS).map(|_| draw(2) as f64 * 2.0 - 1.0).collect();
    let (mut at, mut now) = (100.0, 0);
    let price: Vec<f64> = (0..ROWS)
        .map(|_| {
            at += (draw(3) as f64 - 1.0) * 0.01;
            at
        })
        .collect();
    let times = (0..ROWS)
        .map(|_| {
            now += 1 + draw(2_000_000) as i64;
            now
        })
        .collect();
    let bid: Vec<f64> = price.iter().map(|x| x - 0.01).collect();
    let ask: Vec<f64> = price.iter().map(|x| x + 0.01).collect();
    let mut books = Vec::with_capacity(4 * LEVELS * ROWS);
    for row in 0..ROWS {
        for level in 0..LEVELS {
            let away = 0.01 * level as f64;
            books.extend([bid[row] - away, size[0][row], ask[row] + away, size[1][row]]);
        }
    }
    Market {
        price,
        bid,
        ask,
        size,
        side,
        times,
        books,
    }
}

const POLICY: Policy = Policy {
    missing_is_empty: true,
    skip_crossed: false,
};

fn quotes<I: OnQuote>(group: &mut Group<'_>, name: &str, made: &I, market: &Market) {
    let Market {
        bid, ask, size, times, ..
    } = market;
    group.bench_function(format!("{name}/single"), |b| {
        b.iter(|| {
            let mut one = made.clone();
            for row in 0..ROWS {
                let quote = Quote {
                    bid_price: bid[row],
                    bid_size: size[0][row],
                    ask_price: ask[row],
                    ask_size: size[1][row],
                };
                black_box(one.quote(quote, times[row]));
            }
        });
    });
    let mut out = vec![0.0; ROWS];
    let columns = [bid, &size[0], ask, &size[1]].map(|each| Column::F64(each));
    group.bench_function(format!("{name}/columns"), |b| {
        b.iter(|| columns::quotes(&mut made.clone(), columns, Some(times), black_box(&mut out)));
    });
}

fn trades<I: OnTrade>(group: &mut Group<'_>, name: &str, made: &I, market: &Market) {
    let Market {
        price,
        size,
        side,
        times,
        ..
    } = market;
    group.bench_function(format!("{name}/single"), |b| {
        b.iter(|| {
            let mut one = made.clone();
            for row in 0..ROWS {
                let trade = Trade {
                    price: price[row],
                    size: size[2][row],
                    side: side[row],
                };
                black_box(one.trade(trade, times[row]));
            }
        });
    });
    let mut out = vec![0.0; ROWS];
    let columns = [price, &size[2], side].map(|each| Column::F64(each));
    group.bench_function(format!("{name}/columns"), |b| {
        b.iter(|| columns::trades(&mut made.clone(), columns, Some(times), black_box(&mut out)));
    });
}

fn prices<I: OnPrice>(group: &mut Group<'_>, name: &str, made: &I, market: &Market) {
    let mut out = vec![0.0; ROWS];
    let column = Column::F64(&market.price);
    group.bench_function(format!("{name}/columns"), |b| {
        b.iter(|| columns::prices(&mut made.clone(), column, Some(&market.times), black_box(&mut out)));
    });
}

fn books<I: OnLevels>(group: &mut Group<'_>, name: &str, made: &I, market: &Market) {
    let mut out = vec![0.0; ROWS];
    group.bench_function(format!("{name}/columns"), |b| {
        b.iter(|| {
            columns::books(
                &mut made.clone(),
                &market.books,
                Some(&market.times),
                black_box(&mut out),
                |_, _| (),
            )
        });
    });
}

fn prints<I: OnPrint>(group: &mut Group<'_>, name: &str, made: &I, market: &Market) {
    let mut out = vec![0.0; ROWS];
    let columns = [&market.price, &market.bid, &market.ask].map(|each| Column::F64(each));
    group.bench_function(format!("{name}/columns"), |b| {
        b.iter(|| columns::prints(&mut made.clone(), columns, black_box(&mut out)));
    });
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn hawkes(group: &mut Group<'_>, market: &Market) {
    let times = &market.times;
    let one = Hawkes::new(1.0, 2.0, 5.0, false).unwrap();
    let pair = HawkesBivariate::new([1.0, 1.2], [[0.5, 0.2], [0.2, 0.5]], [[5.0; 2]; 2], false).unwrap();
    group.bench_function("hawkes/single", |b| {
        b.iter(|| {
            let mut one = one.clone();
            for ts_ns in times {
                black_box(one.event(*ts_ns, 1.0));
            }
        });
    });
    group.bench_function("hawkes_bivariate/single", |b| {
        b.iter(|| {
            let mut pair = pair.clone();
            for (ts_ns, side) in times.iter().zip(&market.side) {
                black_box(pair.event(*ts_ns, *side));
            }
        });
    });
    let mut out = vec![0.0; 2 * ROWS];
    group.bench_function("hawkes/columns", |b| {
        b.iter(|| columns::events(&mut one.clone(), times, black_box(&mut out[..ROWS])));
    });
    let sides = Column::F64(&market.side);
    group.bench_function("hawkes_bivariate/columns", |b| {
        b.iter(|| columns::sided_events(&mut pair.clone(), times, sides, black_box(&mut out)));
    });
}

fn indicators(criterion: &mut Criterion) {
    let market = market();
    let mut group = criterion.benchmark_group("indicators");
    group.throughput(Throughput::Elements(ROWS as u64));
    let last = Span::last(Some(100));
    let bulk = || Bulk::new(Some(0.01), 0.99, false).unwrap();
    quotes(&mut group, "ofi", &Ofi::new(last, POLICY, false).unwrap(), &market);
    quotes(&mut group, "mid", &Reading::<Mid>::new(false, false), &market);
    let mlofi = Mlofi::new(LEVELS as i64, None, last, POLICY, false).unwrap();
    books(&mut group, "mlofi", &mlofi, &market);
    let imbalance = BookReading::new(Shape::Imbalance, LEVELS as i64, false).unwrap();
    books(&mut group, "depth_imbalance", &imbalance, &market);
    let vpin = Vpin::new(1000.0, 50, true, 1000, false).unwrap();
    trades(&mut group, "vpin", &vpin, &market);
    let fixed = VpinFixed::new(1000, 50, true, 1000, false).unwrap();
    trades(&mut group, "vpin_fixed", &fixed, &market);
    let classified = VpinBvc::new(1000.0, 50, bulk(), true, 1000, false).unwrap();
    trades(&mut group, "vpin_bvc", &classified, &market);
    trades(&mut group, "cvd", &Cvd::new(false), &market);
    let kyle = KyleLambda::new(Some(100), false).unwrap();
    trades(&mut group, "kyle_lambda", &kyle, &market);
    let realized = RealizedVariance::new(Estimator::Realized, Some(100), false).unwrap();
    prices(&mut group, "realized_variance", &realized, &market);
    prices(
        &mut group,
        "roll_spread",
        &RollSpread::new(Some(100), false).unwrap(),
        &market,
    );
    prints(&mut group, "lee_ready", &TradeSign::new(Rule::LeeReady, false), &market);
    hawkes(&mut group, &market);
    group.finish();
}

criterion_group!(benches, indicators);
criterion_main!(benches);
