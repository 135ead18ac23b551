"""`tickd sim`: a simulated venue on loopback."""

from __future__ import annotations

from gateway.servers.config import Market, SimServerConfig
from gateway.servers.sim import serve_sim
from tickd.app.serving import ORDINARY_WIRE, WireOptions, run_server


def sim(
    *,
    market: tuple[Market, ...] = ("usdm",),
    symbols: int = 20,
    rate: float = 10_000.0,
    seed: int = 1,
    seconds: float = 0.0,
    fault: tuple[str, ...] = (),
    exit_when_done: bool = False,
    lifetime_s: float = 86_400.0,
    ping_interval_s: float | None = None,
    depth_levels: float = 8.0,
    tick_ms: float = 2.0,
    start_at_once: bool = False,
    remembered_trades: int = 0,
    wire: WireOptions = ORDINARY_WIRE,
) -> int:
    """Serve a simulated venue that speaks Binance's protocol, on loopback.

    Prints one JSON line with the ports. The market starts at the first subscription; the same seed
    gives the same market.

    Args:
        market: usdm, spot or coinm; may be given more than once
        symbols: how many symbols, with Zipf activity
        rate: messages per second of one market over all symbols
        seed: of everything random
        seconds: length of the market; 0 = until stopped
        fault: e.g. "gap@t=5,symbol=BTCUSDT,channel=trade,count=3"; may be given more than once;
            also duplicate, reorder, truncated, non_utf8, oversized, skew, disconnect, stall,
            shutdown, rest_down
        exit_when_done: end after the last message
        lifetime_s: the venue ends a connection after so long
        ping_interval_s: the venue pings this often; otherwise as Binance documents it
        depth_levels: mean number of levels of a depth message
        tick_ms: the market advances in steps of this length
        start_at_once: do not wait for the first subscription
        remembered_trades: per symbol, to be asked for again (historicalTrades)
        wire: what every loopback venue has

    Example:
        tickd sim --symbols 20 --rate 20000 --fault "disconnect@t=10"

    """
    config = SimServerConfig(
        markets=market,
        symbols=symbols,
        rate=rate,
        seed=seed,
        seconds=seconds,
        faults=fault,
        exit_when_done=exit_when_done,
        depth_levels=depth_levels,
        tick_ms=tick_ms,
        remembered_trades=remembered_trades,
        start_on_subscribe=not start_at_once,
        protocol=wire.protocol(lifetime_s=lifetime_s, ping_interval_s=ping_interval_s),
    )
    return run_server(lambda clock, on_start: serve_sim(config, clock, on_start))
