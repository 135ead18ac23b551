//! `GateCore`: the pre-trade gate as `risk/gate.py` drives it, in numbers alone. It decides nothing.

use pyo3::prelude::*;
use tickd_core::risk::ask::{Ask, AskReplace};
use tickd_core::risk::exposure::Worth;
use tickd_core::risk::gate::{Gate, HALT_EPOCH_SHIFT};
use tickd_core::risk::open_orders::Open;
use tickd_core::risk::parties::{Keys, Steps};
use tickd_core::risk::step::Step;

use crate::batch::EventBatch;
use crate::lent::Lent;
use crate::risk_numbers::{
    account_limits, numbers, scope_of, side_cells, side_limits, strategy_limits, told, AccountRow, Amount, CellRow,
    Figures, ScopeHalts, SideRow, Source, StrategyRow, REDUCE_ONLY,
};

/// The gate in numbers; see `risk.gate_terms.Core`.
#[pyclass(frozen, module = "tickd._native")]
pub struct GateCore {
    gate: Lent<Gate>,
    halt: Source,
    halts: ScopeHalts,
}

impl GateCore {
    /// The stamp of the approval, or minus the reason.
    #[inline]
    pub fn ask(&self, py: Python<'_>, ask: &Ask) -> PyResult<i64> {
        let answer = self.gate.lend(py)?.check(self.halt.load(py)?, ask);
        Ok(self.halts.told(answer))
    }
}

#[pymethods]
#[allow(clippy::too_many_arguments)]
impl GateCore {
    #[new]
    fn new(halt: &Bound<'_, PyAny>, orders_max: usize) -> Self {
        GateCore {
            gate: Lent::new(Gate::new(orders_max)),
            halt: Source::of(halt),
            halts: ScopeHalts::default(),
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
            tick: Step::new(tick),
            lot: Step::new(lot),
            worth: Worth { num, div },
            is_linear: is_linear != 0,
        };
        self.gate.lend(py)?.instrument(index, number, steps);
        Ok(())
    }

    fn account(&self, py: Python<'_>, index: usize, limits: AccountRow) -> PyResult<()> {
        self.gate.lend(py)?.account(index, account_limits(limits));
        Ok(())
    }

    fn strategy(&self, py: Python<'_>, index: usize, limits: StrategyRow) -> PyResult<()> {
        self.gate.lend(py)?.strategy(index, strategy_limits(limits));
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
        let limits = [side_limits(buy), side_limits(sell)];
        self.gate.lend(py)?.route(index, keys, limits, side_cells(cells));
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

    fn peak(&self, py: Python<'_>, account: usize) -> PyResult<Option<i64>> {
        Ok(self.gate.lend(py)?.peak(account))
    }

    fn set_peak(&self, py: Python<'_>, account: usize, peak: i64) -> PyResult<()> {
        self.gate.lend(py)?.set_peak(account, peak);
        Ok(())
    }

    fn day_pnl(&self, py: Python<'_>, account: usize, index: i64, pnl: i64) -> PyResult<()> {
        self.gate.lend(py)?.day_pnl(account, usize::try_from(index).ok(), pnl);
        Ok(())
    }

    fn halt(&self, py: Python<'_>, scope: u8, index: usize, bits: u8) -> PyResult<()> {
        self.halts.count(self.gate.lend(py)?.halt(scope_of(scope), index, bits));
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

    fn is_stopped(&self, py: Python<'_>, strategy: usize) -> PyResult<bool> {
        Ok(self.gate.lend(py)?.is_stopped(strategy))
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
        self.ask(py, &ask)
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
        let answer = self.gate.lend(py)?.check_replace(self.halt.load(py)?, &ask);
        Ok(self.halts.told(answer))
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

    /// Does not borrow the gate: another thread asks, too.
    fn confirm(&self, py: Python<'_>, approval: u64) -> PyResult<bool> {
        Ok(self.halts.stamp(self.halt.load(py)? >> HALT_EPOCH_SHIFT) == approval)
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

    fn position(&self, py: Python<'_>, route: usize) -> PyResult<(Amount, Amount, Amount)> {
        let leaf = self.gate.lend(py)?.leaf(route);
        let [buys, sells] = leaf.open;
        Ok((Amount::of(leaf.position), Amount::of(buys), Amount::of(sells)))
    }

    fn cell(&self, py: Python<'_>, index: usize) -> PyResult<(i128, i128, i128, u32, u32)> {
        let sum = self.gate.lend(py)?.sum(index);
        let [buys, sells] = sum.orders;
        Ok((sum.gross, sum.long, sum.short, buys, sells))
    }
}
