//! Sums over the past: everything, the last N values, the last h nanoseconds, or fading by half-life.
//!
//! Running sums are made anew from their ring at least once per 1,024 values (or per ring, when that is longer), so rounding
//! does not pile up and the cost stays O(1). It knows no meaning of what it sums.

use std::collections::VecDeque;

use super::elementary::{exp_decay, LN_2};
use super::state::{Reader, Saved};
use crate::error::{Error, Reason, Result};
use crate::saved_fields;

/// Most values that a window by count may hold.
pub const VALUES_MAX: u64 = 1 << 24;
/// Most rows that a window by time holds; older ones leave early and are counted.
pub const ROWS_MAX: usize = 1 << 20;
const FRESH_EVERY: u64 = 1024;

/// What a window forgets. At most one of the three is given.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Span {
    /// Keep the last so many values.
    pub window: Option<i64>,
    /// Keep what is younger than so many nanoseconds.
    pub horizon_ns: Option<i64>,
    /// Halve the weight every so many nanoseconds.
    pub half_life_ns: Option<i64>,
}

const EVERYTHING: u8 = 0;
const LAST: u8 = 1;
const HORIZON: u8 = 2;
const FADING: u8 = 3;

impl Span {
    /// The last `window` values, or everything.
    pub fn last(window: Option<i64>) -> Self {
        Span {
            window,
            ..Span::default()
        }
    }

    fn mode(self) -> Result<(u8, i64)> {
        let refused = Err(Error::new(Reason::Unsupported, 0));
        let (mode, limit, most) = match (self.window, self.horizon_ns, self.half_life_ns) {
            (None, None, None) => return Ok((EVERYTHING, 0)),
            (Some(values), None, None) => (LAST, values, VALUES_MAX as i64),
            (None, Some(ns), None) => (HORIZON, ns, i64::MAX),
            (None, None, Some(ns)) => (FADING, ns, i64::MAX),
            _ => return refused,
        };
        if limit < 1 || limit > most {
            return refused;
        }
        Ok((mode, limit))
    }
}

/// Values in order, as a snapshot writes them.
#[derive(Debug, Clone, Default)]
struct Line<T>(VecDeque<T>);

impl<T: Saved + Copy> Saved for Line<T> {
    fn save(&self, out: &mut Vec<u8>) {
        (self.0.len() as u64).save(out);
        self.0.iter().for_each(|each| each.save(out));
    }

    fn load(input: &mut Reader<'_>) -> Result<Self> {
        Ok(Line(Vec::<T>::load(input)?.into()))
    }
}

/// What moves in a window of one column that forgets by count, or nothing: kept in registers by whoever pushes many.
#[derive(Debug, Clone, Copy)]
pub struct Moving {
    sum: f64,
    head: usize,
    stale: u64,
    seen: u64,
    first_ns: i64,
    last_ns: i64,
}

impl Moving {
    /// Adds one value that is not the first; without a ring, nothing is forgotten.
    #[inline(always)]
    pub fn push(&mut self, ring: &mut [f64], value: f64, ts_ns: i64) {
        self.last_ns = self.last_ns.max(ts_ns);
        self.seen += 1;
        let Some(place) = ring.get_mut(self.head) else {
            self.sum += value;
            return;
        };
        self.sum += value - *place;
        *place = value;
        self.head += 1;
        if self.head == ring.len() {
            self.turn(ring);
        }
    }

    /// Adds many; `out` gets the sum after each. The same additions in the same order, a lap of the ring at a time.
    #[inline]
    pub fn push_many(&mut self, ring: &mut [f64], values: &[f64], times: &[i64], out: &mut [f64]) {
        self.seen += values.len() as u64;
        let (mut sum, mut last_ns) = (self.sum, self.last_ns);
        if ring.is_empty() {
            for ((slot, value), ts_ns) in out.iter_mut().zip(values).zip(times) {
                last_ns = last_ns.max(*ts_ns);
                sum += value;
                *slot = sum;
            }
            (self.sum, self.last_ns) = (sum, last_ns);
            return;
        }
        let (mut values, mut times, mut out) = (values, times, out);
        while !values.is_empty() {
            let lap = ring.get_mut(self.head..).unwrap_or_default();
            let count = lap.len().min(values.len()).min(times.len()).min(out.len());
            let (slots, others) = out.split_at_mut(count);
            for (((place, slot), value), ts_ns) in lap.iter_mut().zip(slots.iter_mut()).zip(values).zip(times) {
                last_ns = last_ns.max(*ts_ns);
                sum += value - *place;
                *place = *value;
                *slot = sum;
            }
            self.sum = sum;
            self.head += count;
            if self.head == ring.len() {
                self.turn(ring);
                sum = self.sum;
                if let Some(last) = slots.last_mut() {
                    *last = sum;
                }
            }
            values = values.get(count..).unwrap_or_default();
            times = times.get(count..).unwrap_or_default();
            out = others;
        }
        self.last_ns = last_ns;
    }

    /// Back to the first place of the ring; now and then the sum is made anew.
    #[inline(always)]
    fn turn(&mut self, ring: &[f64]) {
        self.head = 0;
        self.stale += ring.len() as u64;
        if self.stale >= FRESH_EVERY {
            (self.stale, self.sum) = (0, total(ring));
        }
    }

    /// The sum.
    #[inline(always)]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Values ever.
    #[inline(always)]
    pub fn seen(&self) -> u64 {
        self.seen
    }
}

/// Takes what leaves from the sums and gives them what comes. A function, so that the slices are known to be apart.
#[inline]
fn slide(sums: &mut [f64], place: &mut [f64], row: &[f64]) {
    for ((sum, old), value) in sums.iter_mut().zip(place).zip(row) {
        *sum += value - *old;
        *old = *value;
    }
}

#[cold]
fn total(ring: &[f64]) -> f64 {
    let mut sum = 0.0;
    for value in ring {
        sum += value;
    }
    sum
}

/// A windowed sum of rows of `width` numbers.
#[derive(Debug, Clone)]
pub struct Rows {
    mode: u8,
    limit: i64,
    width: u64,
    sums: Vec<f64>,
    ring: Vec<f64>,   // by count: rows, the oldest at `head` once full
    line: Line<f64>,  // by time: rows in order
    times: Line<i64>, // by time: their times
    head: u64,        // next place in the ring, in rows
    stale: u64,       // rows that left since the sums were made anew
    seen: u64,        // rows ever
    first_ns: i64,    // time of the first row
    last_ns: i64,     // time of the last row
    early: u64,       // rows that left before their time
}

saved_fields!(Rows { mode, limit, width, sums, ring, line, times, head, stale, seen, first_ns, last_ns, early } is_sound);

impl Rows {
    /// An empty window.
    pub fn new(span: Span, width: usize) -> Result<Self> {
        let (mode, limit) = span.mode()?;
        let rows = if mode == LAST { limit as usize } else { 0 };
        if rows.saturating_mul(width) > VALUES_MAX as usize {
            return Err(Error::new(Reason::TooLarge, 0));
        }
        Ok(Rows {
            mode,
            limit,
            width: width as u64,
            sums: vec![0.0; width],
            ring: vec![0.0; rows * width],
            line: Line::default(),
            times: Line::default(),
            head: 0,
            stale: 0,
            seen: 0,
            first_ns: 0,
            last_ns: 0,
            early: 0,
        })
    }

    fn is_sound(&self) -> bool {
        let width = self.width as usize;
        let rows = if self.mode == LAST { self.limit as u64 } else { 0 };
        self.mode <= FADING
            && (1..=VALUES_MAX).contains(&self.width)
            && (self.limit > 0) == (self.mode != EVERYTHING)
            && self.sums.len() == width
            && self.ring.len() as u64 == rows.saturating_mul(self.width)
            && (self.head == 0 || self.head < rows)
            && self.line.0.len() == self.times.0.len().saturating_mul(width)
            && self.times.0.len() <= ROWS_MAX
            && (self.times.0.is_empty() || self.mode == HORIZON)
    }

    /// What it forgets.
    pub fn span(&self) -> Span {
        let given = |mode| (self.mode == mode).then_some(self.limit);
        Span {
            window: given(LAST),
            horizon_ns: given(HORIZON),
            half_life_ns: given(FADING),
        }
    }

    /// Forgets every row, keeps the span.
    pub fn clear(&mut self) {
        self.sums.fill(0.0);
        self.ring.fill(0.0);
        self.line.0.clear();
        self.times.0.clear();
        (self.head, self.stale, self.seen) = (0, 0, 0);
        (self.first_ns, self.last_ns, self.early) = (0, 0, 0);
    }

    /// Adds a row of the declared width at a time; time that runs backward counts as standing still.
    #[inline]
    pub fn push(&mut self, row: &[f64], ts_ns: i64) {
        if let ([value], true) = (row, self.mode <= LAST) {
            let mut moving = self.moving();
            if moving.seen == 0 {
                (moving.first_ns, moving.last_ns) = (ts_ns, ts_ns);
            }
            moving.push(&mut self.ring, *value, ts_ns);
            return self.set_moving(moving);
        }
        let now = if self.seen == 0 {
            self.first_ns = ts_ns;
            ts_ns
        } else {
            ts_ns.max(self.last_ns)
        };
        match self.mode {
            LAST => self.push_last(row),
            HORIZON => self.push_horizon(row, now),
            FADING => {
                let keep = self.fade(now);
                for (sum, value) in self.sums.iter_mut().zip(row) {
                    *sum = *sum * keep + value;
                }
            }
            _ => add(&mut self.sums, row),
        }
        self.last_ns = now;
        self.seen += 1;
    }

    fn fade(&self, now: i64) -> f64 {
        let passed = now.saturating_sub(self.last_ns) as f64;
        exp_decay(-passed * (LN_2 / self.limit as f64))
    }

    /// The moving part of a window of one column.
    #[inline(always)]
    pub fn moving(&self) -> Moving {
        Moving {
            sum: self.sum(0),
            head: self.head as usize,
            stale: self.stale,
            seen: self.seen,
            first_ns: self.first_ns,
            last_ns: self.last_ns,
        }
    }

    /// Puts it back.
    #[inline(always)]
    pub fn set_moving(&mut self, moving: Moving) {
        if let Some(sum) = self.sums.first_mut() {
            *sum = moving.sum;
        }
        (self.head, self.stale, self.seen) = (moving.head as u64, moving.stale, moving.seen);
        (self.first_ns, self.last_ns) = (moving.first_ns, moving.last_ns);
    }

    /// The values behind it.
    #[inline(always)]
    pub fn ring_mut(&mut self) -> &mut Vec<f64> {
        &mut self.ring
    }

    /// Whether it forgets by count, or nothing.
    #[inline(always)]
    pub fn is_by_count(&self) -> bool {
        self.mode <= LAST
    }

    #[inline]
    fn push_last(&mut self, row: &[f64]) {
        let (width, at) = (self.width as usize, self.head as usize * self.width as usize);
        let Some(place) = self.ring.get_mut(at..at + width) else {
            return;
        };
        slide(&mut self.sums, place, row);
        self.head += 1;
        if self.head == self.limit as u64 {
            self.head = 0;
            self.stale += self.limit as u64;
            if self.stale >= FRESH_EVERY {
                self.freshen();
            }
        }
    }

    fn push_horizon(&mut self, row: &[f64], now: i64) {
        while let Some(oldest) = self.times.0.front() {
            let is_over = now.saturating_sub(*oldest) >= self.limit;
            if !is_over && self.times.0.len() < ROWS_MAX {
                break;
            }
            self.early += u64::from(!is_over);
            self.times.0.pop_front();
            for (sum, old) in self.sums.iter_mut().zip(self.line.0.drain(..self.width as usize)) {
                *sum -= old;
            }
            self.stale += 1;
        }
        if self.times.0.is_empty() {
            self.sums.fill(0.0);
        }
        add(&mut self.sums, row);
        self.line.0.extend(row);
        self.times.0.push_back(now);
        if self.stale >= FRESH_EVERY.max(self.times.0.len() as u64) {
            self.freshen();
        }
    }

    /// The sums again, from the rows in the order in which they stand in the ring.
    #[cold]
    fn freshen(&mut self) {
        self.stale = 0;
        self.sums.fill(0.0);
        let width = self.width as usize;
        for row in self.ring.chunks_exact(width) {
            add(&mut self.sums, row);
        }
        for row in self.line.0.make_contiguous().chunks_exact(width) {
            add(&mut self.sums, row);
        }
    }

    /// The sums.
    #[inline]
    pub fn sums(&self) -> &[f64] {
        &self.sums
    }

    /// One of the sums.
    #[inline]
    pub fn sum(&self, column: usize) -> f64 {
        self.sums.get(column).copied().unwrap_or(f64::NAN)
    }

    /// Rows in the window; what fades stays.
    pub fn len(&self) -> u64 {
        match self.mode {
            LAST => self.seen.min(self.limit as u64),
            HORIZON => self.times.0.len() as u64,
            _ => self.seen,
        }
    }

    /// Whether nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// Whether the window has seen as much as it spans.
    #[inline]
    pub fn is_full(&self) -> bool {
        match self.mode {
            LAST => self.seen >= self.limit as u64,
            HORIZON => self.seen > 0 && self.last_ns.saturating_sub(self.first_ns) >= self.limit,
            _ => self.seen > 0,
        }
    }

    /// Rows until it is full; by time: rows until the clock starts.
    pub fn warmup(&self) -> u64 {
        if self.mode == LAST {
            self.limit as u64
        } else {
            1
        }
    }

    /// Rows that had to leave before their time because the window held too many.
    pub fn early(&self) -> u64 {
        self.early
    }
}

#[inline]
fn add(sums: &mut [f64], row: &[f64]) {
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum += value;
    }
}
