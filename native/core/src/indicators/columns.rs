//! Columns of input through an indicator, row by row: the same steps as one at a time, without a call per row.

use super::hawkes::Hawkes;
use super::hawkes_bivariate::HawkesBivariate;
use super::{OnLevels, OnPrice, OnPrint, OnQuote, OnTrade, Quote, Trade};

/// Rows that are converted, checked and computed at once.
pub const CHUNK: usize = 256;
/// A number for each of them.
pub type Chunk = [f64; CHUNK];
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

fn times_of(times: Option<&[i64]>, start: usize, rows: usize) -> &[i64] {
    let found = match times {
        Some(all) => all.get(start..start + rows),
        None => NO_TIMES.get(..rows),
    };
    found.unwrap_or_default()
}

/// Up to `CHUNK` quotes; the columns are equally long.
#[derive(Debug, Clone, Copy)]
pub struct Quotes<'a> {
    /// Best bids.
    pub bid_price: &'a [f64],
    /// Sizes at them.
    pub bid_size: &'a [f64],
    /// Best asks.
    pub ask_price: &'a [f64],
    /// Sizes at them.
    pub ask_size: &'a [f64],
    /// Times.
    pub ts_ns: &'a [i64],
}

impl<'a> Quotes<'a> {
    /// Quote by quote.
    #[inline(always)]
    pub fn each(&self) -> impl Iterator<Item = (Quote, i64)> + 'a {
        let sides = self.bid_price.iter().zip(self.bid_size).zip(self.ask_price);
        let rows = sides.zip(self.ask_size).zip(self.ts_ns);
        rows.map(|((((bid_price, bid_size), ask_price), ask_size), ts_ns)| {
            let quote = Quote {
                bid_price: *bid_price,
                bid_size: *bid_size,
                ask_price: *ask_price,
                ask_size: *ask_size,
            };
            (quote, *ts_ns)
        })
    }

    /// The last quote.
    pub fn last(&self) -> Option<Quote> {
        Some(Quote {
            bid_price: *self.bid_price.last()?,
            bid_size: *self.bid_size.last()?,
            ask_price: *self.ask_price.last()?,
            ask_size: *self.ask_size.last()?,
        })
    }

    /// The quotes from this one on.
    pub fn from(&self, row: usize) -> Self {
        Quotes {
            bid_price: self.bid_price.get(row..).unwrap_or_default(),
            bid_size: self.bid_size.get(row..).unwrap_or_default(),
            ask_price: self.ask_price.get(row..).unwrap_or_default(),
            ask_size: self.ask_size.get(row..).unwrap_or_default(),
            ts_ns: self.ts_ns.get(row..).unwrap_or_default(),
        }
    }
}

/// Up to `CHUNK` trades; the columns are equally long.
#[derive(Debug, Clone, Copy)]
pub struct Trades<'a> {
    /// Prices.
    pub price: &'a [f64],
    /// Sizes.
    pub size: &'a [f64],
    /// Aggressors.
    pub side: &'a [f64],
    /// Times.
    pub ts_ns: &'a [i64],
}

impl<'a> Trades<'a> {
    /// Trade by trade.
    #[inline(always)]
    pub fn each(&self) -> impl Iterator<Item = (Trade, i64)> + 'a {
        let rows = self.price.iter().zip(self.size).zip(self.side).zip(self.ts_ns);
        rows.map(|(((price, size), side), ts_ns)| {
            let trade = Trade {
                price: *price,
                size: *size,
                side: *side,
            };
            (trade, *ts_ns)
        })
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
    let (mut scratch, mut room) = ([[0.0; CHUNK]; 4], [0.0; CHUNK]);
    let [s0, s1, s2, s3] = &mut scratch;
    let [c0, c1, c2, c3] = columns;
    for (chunk, out) in out.chunks_mut(CHUNK).enumerate() {
        let start = chunk * CHUNK;
        let rows = Quotes {
            bid_price: c0.floats(start, s0),
            bid_size: c1.floats(start, s1),
            ask_price: c2.floats(start, s2),
            ask_size: c3.floats(start, s3),
            ts_ns: times_of(times, start, out.len()),
        };
        if let Some(row) = indicator.quotes(&rows, &mut room, out) {
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
        let rows = Trades {
            price: c0.floats(start, s0),
            size: c1.floats(start, s1),
            side: c2.floats(start, s2),
            ts_ns: times_of(times, start, out.len()),
        };
        if let Some(row) = indicator.trades(&rows, out) {
            return Some(start + row);
        }
    }
    None
}

/// Prices.
pub fn prices<I: OnPrice>(indicator: &mut I, column: Column<'_>, times: Option<&[i64]>, out: &mut [f64]) -> Refused {
    let mut scratch = [0.0; CHUNK];
    for (chunk, out) in out.chunks_mut(CHUNK).enumerate() {
        let start = chunk * CHUNK;
        let rows = column
            .floats(start, &mut scratch)
            .iter()
            .zip(times_of(times, start, out.len()));
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
    for (chunk, (out, times)) in out.chunks_mut(CHUNK).zip(times.chunks(CHUNK)).enumerate() {
        if let Some(row) = hawkes.events(times, out) {
            return Some(chunk * CHUNK + row);
        }
    }
    None
}

/// Events of two streams; `out` holds (buy, sell) per row.
pub fn sided_events(hawkes: &mut HawkesBivariate, times: &[i64], sides: Column<'_>, out: &mut [f64]) -> Refused {
    let mut scratch = [0.0; CHUNK];
    for (chunk, out) in out.chunks_mut(2 * CHUNK).enumerate() {
        let start = chunk * CHUNK;
        let times = times_of(Some(times), start, out.len() / 2);
        if let Some(row) = hawkes.events(times, sides.floats(start, &mut scratch), out) {
            return Some(start + row);
        }
    }
    None
}
