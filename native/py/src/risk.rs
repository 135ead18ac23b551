//! `GateCore`: the pre-trade gate as `risk/gate.py` drives it, in numbers alone. It decides nothing.

use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyInt;
use tickd_core::event::PRICE_UNDEF;
use tickd_core::risk::ask::{Ask, AskReplace};
use tickd_core::risk::exposure::Worth;
use tickd_core::risk::gate::{Gate, Scope, HALT_EPOCH_SHIFT};
use tickd_core::risk::limits::{AccountLimits, CellLimits, SideLimits, StrategyLimits};
use tickd_core::risk::open_orders::Open;
use tickd_core::risk::parties::{Keys, RouteCell, Steps};
use tickd_core::risk::reason::Reason;
use tickd_io::halt::Halt;

use crate::batch::EventBatch;
use crate::halt::HaltWord;
use crate::lent::Lent;

/// Flag of an order.
const REDUCE_ONLY: u32 = 1;

type SideRow = (i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64);
type CellRow = (i64, i64, i64, i64, i64, i64);
type Figures = (u64, Option<i128>, Option<i128>, Option<i128>);

fn side_limits(row: SideRow) -> SideLimits {
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
enum Source {
    /// The one that the signal handler writes.
    Atomic(Arc<Halt>),
    /// Any object that has a `word`: a test's.
    Object(Py<PyAny>),
}

impl Source {
    #[inline]
    fn load(&self, py: Python<'_>) -> PyResult<u64> {
        match self {
            Source::Atomic(halt) => Ok(halt.load()),
            Source::Object(object) => object.bind(py).getattr(intern!(py, "word"))?.extract(),
        }
    }
}

/// A price or size: none, a whole number that 64 bits hold, or something else (NaN, a fraction, True).
enum Mantissa {
    Nothing,
    Whole(i64),
    Else,
}

#[inline]
fn mantissa(object: &Bound<'_, PyAny>) -> Mantissa {
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
fn numbers(price: &Bound<'_, PyAny>, size: &Bound<'_, PyAny>) -> (Option<i64>, i64, bool) {
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

fn told(answer: Result<u64, Reason>) -> i64 {
    match answer {
        Ok(epoch) => epoch as i64,
        Err(reason) => -(reason as i64),
    }
}

/// The gate in numbers; see `risk.gate_terms.Core`.
#[pyclass(frozen, module = "tickd._native")]
pub struct GateCore {
    gate: Lent<Gate>,
    halt: Source,
}

#[pymethods]
#[allow(clippy::too_many_arguments)]
impl GateCore {
    #[new]
    fn new(halt: &Bound<'_, PyAny>, orders_max: usize) -> Self {
        GateCore {
            gate: Lent::new(Gate::new(orders_max)),
            halt: match halt.cast::<HaltWord>() {
                Ok(word) => Source::Atomic(word.get().shared()),
                Err(_) => Source::Object(halt.clone().unbind()),
            },
        }
    }

    fn settings(&self, py: Python<'_>, period_ns: i64, recent_ns: i64, ratio_ns: i64, ratio_min: i64) -> PyResult<()> {
        self.gate.lend(py)?.settings(period_ns, recent_ns, ratio_ns, ratio_min);
        Ok(())
    }

    fn instrument(
        &self,
        py: Python<'_>,
        index: usize,
        number: u32,
        tick: i64,
        lot: i64,
        num: i64,
        div: i64,
        is_linear: i64,
    ) -> PyResult<()> {
        let steps = Steps {
            tick,
            lot,
            worth: Worth { num, div },
            is_linear: is_linear != 0,
        };
        self.gate.lend(py)?.instrument(index, number, steps);
        Ok(())
    }

    fn account(&self, py: Python<'_>, index: usize, limits: (i64, i64, i64, i64, i64)) -> PyResult<()> {
        let limits = AccountLimits {
            is_missing: limits.0 != 0,
            daily_loss_max: limits.1,
            drawdown_max: limits.2,
            free_balance_min: limits.3,
            age_ns_max: limits.4,
        };
        self.gate.lend(py)?.account(index, limits);
        Ok(())
    }

    fn strategy(&self, py: Python<'_>, index: usize, limits: (i64, i64, i64, i64)) -> PyResult<()> {
        let limits = StrategyLimits {
            is_missing: limits.0 != 0,
            executions_max: limits.1,
            executions_window_ns: limits.2,
            cancel_ratio_pct_max: limits.3,
        };
        self.gate.lend(py)?.strategy(index, limits);
        Ok(())
    }

    fn venue(&self, py: Python<'_>, index: usize, orders_max: i64, cancels_max: i64, window_ns: i64) -> PyResult<()> {
        self.gate.lend(py)?.venue(index, orders_max, cancels_max, window_ns);
        Ok(())
    }

    fn route(
        &self,
        py: Python<'_>,
        index: usize,
        keys: (usize, usize, usize, usize, usize),
        buy: SideRow,
        sell: SideRow,
        cells: Vec<(u32, CellRow, CellRow)>,
    ) -> PyResult<()> {
        let (account, strategy, instrument, venue, pnl) = keys;
        let keys = Keys {
            account,
            strategy,
            instrument,
            venue,
            pnl,
        };
        let cells = cells
            .into_iter()
            .map(|(cell, buy, sell)| RouteCell::new(cell, [cell_limits(buy), cell_limits(sell)]));
        let limits = [side_limits(buy), side_limits(sell)];
        self.gate.lend(py)?.route(index, keys, limits, cells.collect());
        Ok(())
    }

    fn hours(&self, py: Python<'_>, route: usize, is_open: i64, from_ns: i64, until_ns: i64) -> PyResult<()> {
        self.gate.lend(py)?.hours(route, is_open != 0, from_ns, until_ns);
        Ok(())
    }

    fn money(&self, py: Python<'_>, account: usize, equity: i64, free: i64, mono_ns: i64) -> PyResult<()> {
        self.gate.lend(py)?.money(account, equity, free, mono_ns);
        Ok(())
    }

    fn day_pnl(&self, py: Python<'_>, account: usize, index: i64, pnl: i64) -> PyResult<()> {
        self.gate.lend(py)?.day_pnl(account, usize::try_from(index).ok(), pnl);
        Ok(())
    }

    fn halt(&self, py: Python<'_>, scope: u8, index: usize, bits: u8) -> PyResult<()> {
        self.gate.lend(py)?.halt(scope_of(scope), index, bits);
        Ok(())
    }

    fn lift(&self, py: Python<'_>, scope: u8, index: usize, bits: u8) -> PyResult<()> {
        self.gate.lend(py)?.lift(scope_of(scope), index, bits);
        Ok(())
    }

    fn enable(&self, py: Python<'_>, strategy: usize) -> PyResult<()> {
        self.gate.lend(py)?.enable(strategy);
        Ok(())
    }

    fn take(&self, batch: &Bound<'_, EventBatch>, mono_ns: i64) -> PyResult<()> {
        self.gate.lend(batch.py())?.take(batch.get().events(), mono_ns);
        Ok(())
    }

    fn quote(&self, py: Python<'_>, instrument: u32, bid: i64, ask: i64, mono_ns: i64) -> PyResult<()> {
        self.gate.lend(py)?.quote(instrument, bid, ask, mono_ns);
        Ok(())
    }

    fn reference(&self, py: Python<'_>, instrument: u32) -> PyResult<Option<i64>> {
        Ok(self.gate.lend(py)?.reference(instrument))
    }

    fn check(
        &self,
        py: Python<'_>,
        route: usize,
        number: u64,
        client_id: u64,
        side: u8,
        price: &Bound<'_, PyAny>,
        size: &Bound<'_, PyAny>,
        flags: u32,
        mono_ns: i64,
        wall_ns: i64,
    ) -> PyResult<i64> {
        let (price, size, is_finite) = numbers(price, size);
        let ask = Ask {
            route,
            number,
            client_id,
            side: side & 1,
            price,
            size,
            is_finite,
            is_reduce_only: flags & REDUCE_ONLY != 0,
            mono_ns,
            wall_ns,
        };
        Ok(told(self.gate.lend(py)?.check(self.halt.load(py)?, &ask)))
    }

    fn check_replace(
        &self,
        py: Python<'_>,
        number: u64,
        price: &Bound<'_, PyAny>,
        size: &Bound<'_, PyAny>,
        mono_ns: i64,
        wall_ns: i64,
    ) -> PyResult<i64> {
        let (price, size, is_finite) = numbers(price, size);
        let ask = AskReplace {
            number,
            price,
            size,
            is_finite,
            mono_ns,
            wall_ns,
        };
        Ok(told(self.gate.lend(py)?.check_replace(self.halt.load(py)?, &ask)))
    }

    fn check_cancel(&self, py: Python<'_>, number: u64, mono_ns: i64) -> PyResult<i64> {
        let answer = self.gate.lend(py)?.check_cancel(number, mono_ns);
        Ok(told(answer.map(|()| 0)))
    }

    fn denial(&self, py: Python<'_>) -> PyResult<Figures> {
        let gate = self.gate.lend(py)?;
        let [limit, value, reference] = gate.denial().figures;
        Ok((gate.denial().vector, limit, value, reference))
    }

    fn confirm(&self, py: Python<'_>, epoch: u64) -> PyResult<bool> {
        Ok(self.halt.load(py)? >> HALT_EPOCH_SHIFT == epoch)
    }

    fn filled(&self, py: Python<'_>, number: u64, size: i64) -> PyResult<bool> {
        Ok(self.gate.lend(py)?.filled(number, size))
    }

    fn released(&self, py: Python<'_>, number: u64) -> PyResult<bool> {
        Ok(self.gate.lend(py)?.released(number))
    }

    fn replaced(&self, py: Python<'_>, number: u64, price: Option<i64>, size: i64) -> PyResult<bool> {
        Ok(self.gate.lend(py)?.replaced(number, price, size))
    }

    fn replace_refused(&self, py: Python<'_>, number: u64) -> PyResult<bool> {
        Ok(self.gate.lend(py)?.replace_refused(number))
    }

    fn late_fill(&self, py: Python<'_>, route: usize, side: u8, size: i64) -> PyResult<()> {
        self.gate.lend(py)?.late_fill(route, side & 1, size);
        Ok(())
    }

    fn restore(
        &self,
        py: Python<'_>,
        route: u32,
        number: u64,
        client_id: u64,
        side: u8,
        price: Option<i64>,
        size: i64,
        leaves: i64,
        flags: u32,
    ) -> PyResult<bool> {
        let order = Open {
            route,
            side: side & 1,
            is_reduce_only: flags & REDUCE_ONLY != 0,
            is_pending: false,
            price,
            resting: price,
            size,
            filled: i128::from(size) - i128::from(leaves),
            reserved: leaves.into(),
        };
        Ok(self.gate.lend(py)?.restore(number, client_id, order))
    }

    fn set_position(&self, py: Python<'_>, route: usize, size: i64) -> PyResult<()> {
        self.gate.lend(py)?.set_position(route, size);
        Ok(())
    }

    fn position(&self, py: Python<'_>, route: usize) -> PyResult<(i128, i128, i128)> {
        let leaf = self.gate.lend(py)?.leaf(route);
        let [buys, sells] = leaf.open;
        Ok((leaf.position, buys, sells))
    }

    fn cell(&self, py: Python<'_>, index: usize) -> PyResult<(i128, i128, i128, u32, u32)> {
        let sum = self.gate.lend(py)?.sum(index);
        let [buys, sells] = sum.orders;
        Ok((sum.gross, sum.long, sum.short, buys, sells))
    }
}

fn scope_of(number: u8) -> Scope {
    match number {
        1 => Scope::Venue,
        2 => Scope::Account,
        3 => Scope::Strategy,
        4 => Scope::Instrument,
        _ => Scope::Global,
    }
}
