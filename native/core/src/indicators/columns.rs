//! Columns of input through an indicator, row by row: the same steps as one at a time, without a call per row.

use super::hawkes::Hawkes;
use super::hawkes_bivariate::HawkesBivariate;
use super::Indicator;
use super::{OnLevels, OnPrice, OnPrint, OnQuote, OnTrade, Quote, Trade};

/// Rows that are converted at once.
const CHUNK: usize = 512;
static NO_TIMES: [i64; CHUNK] = [0; CHUNK];

/// Numbers of one kind, one per row.
#[derive(Debug, Clone, Copy)]
pub enum Column<'a> {
    /// As they are.
    F64(&'a [f64]),
    /// Mantissas or sides.
    I64(&'a [i64]),
    /// Sides.
    I8(&'a [i8]),
}

impl<'a> Column<'a> {
    /// How many rows.
    pub fn len(&self) -> usize {
        match self {
            Column::F64(values) => values.len(),
            Column::I64(values) => values.len(),
            Column::I8(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Up to `CHUNK` rows from `start` as floats.
    #[inline]
    fn floats<'b>(&self, start: usize, scratch: &'b mut [f64; CHUNK]) -> &'b [f64]
    where
        'a: 'b,
    {
        let end = self.len().min(start + CHUNK);
        match self {
            Column::F64(values) => values.get(start..end).unwrap_or_default(),
            Column::I64(values) => convert(values.get(start..end).unwrap_or_default(), scratch, |x| x as f64),
            Column::I8(values) => convert(values.get(start..end).unwrap_or_default(), scratch, f64::from),
        }
    }
}

fn convert<'b, T: Copy>(values: &[T], scratch: &'b mut [f64; CHUNK], float: impl Fn(T) -> f64) -> &'b [f64] {
    for (slot, value) in scratch.iter_mut().zip(values) {
        *slot = float(*value);
    }
    scratch.get(..values.len()).unwrap_or_default()
}

fn times_of(times: Option<&[i64]>, start: usize) -> &[i64] {
    match times {
        Some(all) => all.get(start..all.len().min(start + CHUNK)).unwrap_or_default(),
        None => &NO_TIMES,
    }
}

/// The row that a strict indicator refused.
pub type Refused = Option<usize>;

/// Writes an answer down; the end when the indicator refused the row.
macro_rules! answer {
    ($indicator:ident, $slot:ident, $row:expr, $value:expr) => {
        *$slot = $value;
        if $indicator.tally().refused {
            return Some($row);
        }
    };
}

/// Quotes.
pub fn quotes<I: OnQuote>(
    indicator: &mut I,
    columns: [Column<'_>; 4],
    times: Option<&[i64]>,
    out: &mut [f64],
) -> Refused {
    let mut scratch = [[0.0; CHUNK]; 4];
    let [s0, s1, s2, s3] = &mut scratch;
    let [c0, c1, c2, c3] = columns;
    for (chunk, out) in out.chunks_mut(CHUNK).enumerate() {
        let start = chunk * CHUNK;
        let (a, b) = (c0.floats(start, s0), c1.floats(start, s1));
        let (c, d) = (c2.floats(start, s2), c3.floats(start, s3));
        let rows = a.iter().zip(b).zip(c).zip(d).zip(times_of(times, start));
        let quotes = rows.map(|((((bid_price, bid_size), ask_price), ask_size), ts)| {
            let quote = Quote {
                bid_price: *bid_price,
                bid_size: *bid_size,
                ask_price: *ask_price,
                ask_size: *ask_size,
            };
            (quote, *ts)
        });
        if let Some(row) = indicator.quotes(quotes, out) {
            return Some(start + row);
        }
    }
    None
}

/// Trades.
pub fn trades<I: OnTrade>(
    indicator: &mut I,
    columns: [Column<'_>; 3],
    times: Option<&[i64]>,
    out: &mut [f64],
) -> Refused {
    let mut scratch = [[0.0; CHUNK]; 3];
    let [s0, s1, s2] = &mut scratch;
    let [c0, c1, c2] = columns;
    for (chunk, out) in out.chunks_mut(CHUNK).enumerate() {
        let start = chunk * CHUNK;
        let (a, b, c) = (c0.floats(start, s0), c1.floats(start, s1), c2.floats(start, s2));
        let rows = a.iter().zip(b).zip(c).zip(times_of(times, start));
        for (i, (slot, (((price, size), side), ts))) in out.iter_mut().zip(rows).enumerate() {
            let trade = Trade {
                price: *price,
                size: *size,
                side: *side,
            };
            answer!(indicator, slot, start + i, indicator.trade(trade, *ts));
        }
    }
    None
}

/// Prices.
pub fn prices<I: OnPrice>(indicator: &mut I, column: Column<'_>, times: Option<&[i64]>, out: &mut [f64]) -> Refused {
    let mut scratch = [0.0; CHUNK];
    for (chunk, out) in out.chunks_mut(CHUNK).enumerate() {
        let start = chunk * CHUNK;
        let rows = column.floats(start, &mut scratch).iter().zip(times_of(times, start));
        for (i, (slot, (price, ts))) in out.iter_mut().zip(rows).enumerate() {
            answer!(indicator, slot, start + i, indicator.price(*price, *ts));
        }
    }
    None
}

/// Prints.
pub fn prints<I: OnPrint>(indicator: &mut I, columns: [Column<'_>; 3], out: &mut [f64]) -> Refused {
    let mut scratch = [[0.0; CHUNK]; 3];
    let [s0, s1, s2] = &mut scratch;
    let [c0, c1, c2] = columns;
    for (chunk, out) in out.chunks_mut(CHUNK).enumerate() {
        let start = chunk * CHUNK;
        let (a, b, c) = (c0.floats(start, s0), c1.floats(start, s1), c2.floats(start, s2));
        let rows = a.iter().zip(b).zip(c);
        for (i, (slot, ((price, bid), ask))) in out.iter_mut().zip(rows).enumerate() {
            answer!(indicator, slot, start + i, indicator.print(*price, *bid, *ask));
        }
    }
    None
}

/// Books: rows of `4 * levels` numbers. `each` sees the indicator after each row.
pub fn books<I: OnLevels>(
    indicator: &mut I,
    flat: &[f64],
    times: Option<&[i64]>,
    out: &mut [f64],
    mut each: impl FnMut(&I, usize),
) -> Refused {
    let width = 4 * indicator.levels();
    for (i, (slot, book)) in out.iter_mut().zip(flat.chunks_exact(width)).enumerate() {
        let ts = times.and_then(|all| all.get(i)).copied().unwrap_or(0);
        answer!(indicator, slot, i, indicator.book(book, ts));
        each(indicator, i);
    }
    None
}

/// Events of one stream.
pub fn events(hawkes: &mut Hawkes, times: &[i64], out: &mut [f64]) -> Refused {
    // A copy without an address outside lives in registers.
    let mut local = hawkes.clone();
    let mut refused = None;
    for (i, (slot, ts)) in out.iter_mut().zip(times).enumerate() {
        *slot = local.event(*ts, 1.0);
        if local.tally().refused {
            refused = Some(i);
            break;
        }
    }
    *hawkes = local;
    refused
}

/// Events of two streams; `out` holds (buy, sell) per row.
pub fn sided_events(hawkes: &mut HawkesBivariate, times: &[i64], sides: Column<'_>, out: &mut [f64]) -> Refused {
    let mut scratch = [0.0; CHUNK];
    for (chunk, out) in out.chunks_mut(2 * CHUNK).enumerate() {
        let start = chunk * CHUNK;
        let rows = times_of(Some(times), start)
            .iter()
            .zip(sides.floats(start, &mut scratch));
        if let Some(row) = hawkes.events(rows.map(|(ts, side)| (*ts, *side)), out) {
            return Some(start + row);
        }
    }
    None
}
