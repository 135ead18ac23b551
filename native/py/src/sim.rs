//! `SimMarket`: the simulated market for the server that gives it sockets and a clock.

use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use tickd_core::sim::faults::FaultKind;
use tickd_core::sim::{Listing, Market, MarketConfig, MarketKind};

use crate::errors::to_py;

/// How many symbols, or which.
#[derive(FromPyObject)]
enum Symbols {
    Count(usize),
    Names(Vec<String>),
}

/// One simulated Binance market; time is an argument.
#[pyclass(module = "tickd._native")]
pub struct SimMarket {
    market: Market,
}

#[pymethods]
impl SimMarket {
    #[new]
    #[pyo3(signature = (seed, symbols, rate, start_ns, *, market="usdm", mix=(70.0, 23.0, 7.0), depth_levels=8.0,
        zipf=1.0, branching=0.6, decay_per_s=100.0, log=false))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        seed: u64,
        symbols: Symbols,
        rate: f64,
        start_ns: i64,
        market: &str,
        mix: (f64, f64, f64),
        depth_levels: f64,
        zipf: f64,
        branching: f64,
        decay_per_s: f64,
        log: bool,
    ) -> PyResult<Self> {
        let kind = MarketKind::from_name(market)
            .ok_or_else(|| PyValueError::new_err(format!("market {market:?} is not spot, usdm or coinm")))?;
        let symbols = match symbols {
            Symbols::Count(count) => Listing::names(kind, count),
            Symbols::Names(names) => names,
        };
        let mix = [mix.0, mix.1, mix.2];
        let config = MarketConfig {
            kind,
            symbols,
            seed,
            start_ns,
            rate,
            mix,
            depth_levels,
            zipf,
            branching,
            decay_per_s,
            log,
        };
        let market = Market::new(&config).map_err(|error| to_py(error, "simulated market"))?;
        Ok(SimMarket { market })
    }

    /// Subscribes a connection, which exists from its first subscription on; False for an unknown stream.
    #[pyo3(signature = (connection, stream, combined=true))]
    fn subscribe(&mut self, connection: u32, stream: &str, combined: bool) -> bool {
        self.market.subscribe(connection, stream, combined)
    }

    /// Whether the connection had the stream, which it now has not.
    fn unsubscribe(&mut self, connection: u32, stream: &str) -> bool {
        self.market.unsubscribe(connection, stream)
    }

    /// Forgets a connection and what it has not taken.
    fn drop(&mut self, connection: u32) {
        self.market.drop_connection(connection);
    }

    /// Whether the market has the stream.
    fn knows(&self, stream: &str) -> bool {
        self.market.hub().find(stream).is_some()
    }

    /// Lets everything happen up to `until_ns`; the number of messages made. Releases the GIL.
    fn advance(&mut self, py: Python<'_>, until_ns: i64) -> u64 {
        let market = &mut self.market;
        py.detach(|| market.advance(until_ns))
    }

    /// Leaps to `now_ns`: nothing happens in between.
    fn leap(&mut self, now_ns: i64) {
        self.market.leap(now_ns);
    }

    /// Everything a connection has not taken: WebSocket frames, ready for the socket.
    fn take<'py>(&mut self, py: Python<'py>, connection: u32) -> Bound<'py, PyBytes> {
        let bytes = PyBytes::new(py, self.market.hub().buffer(connection));
        self.market.hub_mut().clear(connection);
        bytes
    }

    /// The sent-log's new lines `connection stream payload`; empty without `log`.
    fn take_log<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.market.hub_mut().take_log())
    }

    /// Bytes a connection has not taken.
    fn pending_bytes(&self, connection: u32) -> usize {
        self.market.hub().buffer(connection).len()
    }

    /// Messages made for a connection, taken or not.
    fn delivered(&self, connection: u32) -> u64 {
        self.market.hub().delivered(connection)
    }

    /// The REST reply `depth`; None for an unknown symbol.
    fn snapshot<'py>(&self, py: Python<'py>, symbol: &str, limit: usize) -> Option<Bound<'py, PyBytes>> {
        self.market.snapshot(symbol, limit).map(|body| PyBytes::new(py, &body))
    }

    /// Remembers the last `trades_max` trades of each symbol from here on.
    fn remember(&mut self, trades_max: usize) {
        self.market.remember(trades_max);
    }

    /// The REST reply `historicalTrades`, the newest without `from_id`; None for an unknown symbol.
    #[pyo3(signature = (symbol, from_id, limit))]
    fn past_trades<'py>(
        &self,
        py: Python<'py>,
        symbol: &str,
        from_id: Option<u64>,
        limit: usize,
    ) -> Option<Bound<'py, PyBytes>> {
        let body = self.market.past_trades(symbol, from_id, limit);
        body.map(|body| PyBytes::new(py, &body))
    }

    /// The REST reply `exchangeInfo`.
    fn exchange_info<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.market.exchange_info())
    }

    /// The symbols, the busiest first.
    fn symbols(&self) -> Vec<String> {
        self.market.symbols().map(str::to_owned).collect()
    }

    /// Messages made per kind of stream.
    fn totals<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let totals = PyDict::new(py);
        for (name, count) in self.market.totals() {
            totals.set_item(name, count)?;
        }
        Ok(totals)
    }

    /// Messages per second from now on.
    fn set_rate(&mut self, rate: f64) -> PyResult<()> {
        self.market.set_rate(rate).map_err(|error| to_py(error, "rate"))
    }

    /// Orders a fault for the next `count` messages of a stream; its number in the ledger.
    #[pyo3(signature = (kind, stream, count=1, argument=0))]
    fn inject(&mut self, kind: &str, stream: &str, count: u32, argument: i64) -> PyResult<u64> {
        let kind =
            FaultKind::from_name(kind).ok_or_else(|| PyValueError::new_err(format!("unknown fault {kind:?}")))?;
        self.market
            .inject(stream, kind, count, argument)
            .ok_or_else(|| PyKeyError::new_err(format!("unknown stream {stream:?}")))
    }

    /// Every fault so far, a JSON array.
    fn ledger<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let text =
            serde_json::to_vec(self.market.ledger()).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(PyBytes::new(py, &text))
    }

    #[getter]
    fn now_ns(&self) -> i64 {
        self.market.now_ns()
    }

    #[getter]
    fn messages(&self) -> u64 {
        self.market.hub().messages()
    }
}
