//! Rows and numbers of Python as the gate's core has them. It decides nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyInt;
use tickd_core::event::PRICE_UNDEF;
use tickd_core::risk::answers::Scope;
use tickd_core::risk::limits::{AccountLimits, CellLimits, SideLimits, StrategyLimits};
use tickd_core::risk::parties::SideCell;
use tickd_core::risk::reason::Reason;
use tickd_io::halt::Halt;

use crate::halt::HaltWord;

/// Flag of an order.
pub const REDUCE_ONLY: u32 = 1;

/// `SideLimits`, as Python has it.
pub type SideRow = (i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64);
/// `AccountLimits`, as Python has it.
pub type AccountRow = (i64, i64, i64, i64, i64);
/// `StrategyLimits`, as Python has it.
pub type StrategyRow = (i64, i64, i64, i64);
/// `CellLimits`, as Python has it.
pub type CellRow = (i64, i64, i64, i64, i64, i64);
/// Vector, limit, value, reference.
pub type Figures = (u64, Option<i128>, Option<i128>, Option<i128>);

/// The limits of a row.
pub fn account_limits(row: AccountRow) -> AccountLimits {
    AccountLimits {
        is_missing: row.0 != 0,
        daily_loss_max: row.1,
        drawdown_max: row.2,
        free_balance_min: row.3,
        age_ns_max: row.4,
    }
}

/// The limits of a row.
pub fn strategy_limits(row: StrategyRow) -> StrategyLimits {
    StrategyLimits {
        is_missing: row.0 != 0,
        executions_max: row.1,
        executions_window_ns: row.2,
        cancel_ratio_pct_max: row.3,
    }
}

/// A sum: mostly of 64 bits, which cost a fraction of what 128 do.
#[derive(IntoPyObject)]
pub enum Amount {
    Small(i64),
    Large(i128),
}

impl Amount {
    pub fn of(sum: i128) -> Self {
        i64::try_from(sum).map_or(Amount::Large(sum), Amount::Small)
    }
}

/// The limits of a row.
pub fn side_limits(row: SideRow) -> SideLimits {
    SideLimits {
        is_missing: row.0 != 0,
        is_tradable: row.1 != 0,
        is_restricted: row.2 != 0,
        denies_self_trade: row.3 != 0,
        order_qty_max: row.4,
        order_notional_max: row.5,
        collar_bps: row.6,
        period_collar_bps: row.7,
        reference_age_ns_max: row.8,
        duplicate_window_ns: row.9,
        margin_pct: row.10,
        strategy_loss_max: row.11,
    }
}

/// The keys of a route: of buys, of sells.
pub fn side_cells(rows: Vec<(u32, CellRow, CellRow)>) -> [Vec<SideCell>; 2] {
    let made = |cell, row| SideCell::new(cell, cell_limits(row));
    rows.into_iter()
        .map(|(cell, buy, sell)| (made(cell, buy), made(cell, sell)))
        .unzip::<_, _, Vec<_>, Vec<_>>()
        .into()
}

fn cell_limits(row: CellRow) -> CellLimits {
    CellLimits {
        position_max: row.0,
        gross_max: row.1,
        net_max: row.2,
        open_orders_max: row.3,
        orders_max: row.4,
        orders_window_ns: row.5,
    }
}

/// Where the halt word is.
pub enum Source {
    /// The one that the signal handler writes.
    Atomic(Arc<Halt>),
    /// Any object that has a `word`: a test's.
    Object(Py<PyAny>),
}

impl Source {
    /// The atomic of a native halt word, or whatever else has a `word`.
    pub fn of(halt: &Bound<'_, PyAny>) -> Self {
        match halt.cast::<HaltWord>() {
            Ok(word) => Source::Atomic(word.get().shared()),
            Err(_) => Source::Object(halt.clone().unbind()),
        }
    }

    /// The word as it is now.
    #[inline]
    pub fn load(&self, py: Python<'_>) -> PyResult<u64> {
        match self {
            Source::Atomic(halt) => Ok(halt.load()),
            Source::Object(object) => object.bind(py).getattr(intern!(py, "word"))?.extract(),
        }
    }
}

/// Halts of a scope so far. With the word's epoch they stamp approvals: neither goes back, so their sum is the same only
/// while both are.
#[derive(Default)]
pub struct ScopeHalts(AtomicU64);

impl ScopeHalts {
    /// Counts a halt that stops more than was stopped.
    pub fn count(&self, is_more: bool) {
        self.0.fetch_add(u64::from(is_more), Ordering::Release);
    }

    /// What an approval under `epoch` carries.
    pub fn stamp(&self, epoch: u64) -> u64 {
        epoch.saturating_add(self.0.load(Ordering::Acquire))
    }

    /// The stamp of an approval, or minus the reason.
    pub fn told(&self, answer: Result<u64, Reason>) -> i64 {
        told(answer.map(|epoch| self.stamp(epoch)))
    }
}

/// A price or size: none, a whole number that 64 bits hold, or something else (NaN, a fraction, True).
pub enum Mantissa {
    Nothing,
    Whole(i64),
    Else,
}

#[inline]
/// What an object is as a price or size.
pub fn mantissa(object: &Bound<'_, PyAny>) -> Mantissa {
    if object.is_none() {
        return Mantissa::Nothing;
    }
    let whole = object.cast_exact::<PyInt>().ok().and_then(|whole| whole.extract().ok());
    match whole {
        Some(whole) if (-PRICE_UNDEF..PRICE_UNDEF).contains(&whole) => Mantissa::Whole(whole),
        _ => Mantissa::Else,
    }
}

/// Price, size, and whether they are numbers at all.
#[inline]
pub fn numbers(price: &Bound<'_, PyAny>, size: &Bound<'_, PyAny>) -> (Option<i64>, i64, bool) {
    let (price, has_price) = match mantissa(price) {
        Mantissa::Nothing => (None, true),
        Mantissa::Whole(price) => (Some(price), true),
        Mantissa::Else => (None, false),
    };
    match mantissa(size) {
        Mantissa::Whole(size) => (price, size, has_price),
        _ => (price, 0, false),
    }
}

/// The epoch, or minus the reason.
pub fn told(answer: Result<u64, Reason>) -> i64 {
    match answer {
        Ok(epoch) => epoch as i64,
        Err(reason) => -(reason as i64),
    }
}

/// The scope of a number of `risk.gate_terms`.
pub fn scope_of(number: u8) -> Scope {
    match number {
        1 => Scope::Venue,
        2 => Scope::Account,
        3 => Scope::Strategy,
        4 => Scope::Instrument,
        _ => Scope::Global,
    }
}
