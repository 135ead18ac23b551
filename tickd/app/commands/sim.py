"""`tickd sim`: a simulated venue on loopback."""

from __future__ import annotations

from pathlib import Path

from gateway.servers.config import Market, ProtocolConfig, SimServerConfig
from gateway.servers.sim import serve_sim
from tickd.app.serving import run_server


def sim(
    *,
    market: tuple[Market, ...] = ("usdm",),
    symbols: int = 20,
    rate: float = 10_000.0,
    seed: int = 1,
    seconds: float = 0.0,
    fault: tuple[str, ...] = (),
    exit_when_done: bool = False,
    sent_log: Path | None = None,
    ws_port: int = 0,
    rest_port: int = 0,
    lifetime_s: float = 86_400.0,
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
        fault: e.g. "gap@t=5,symbol=BTCUSDT,channel=trade,count=3"; also duplicate, reorder,
            truncated, non_utf8, oversized, skew, disconnect, stall, shutdown, rest_down
        exit_when_done: end after the last message
        sent_log: write every message sent: "connection stream json" per line
        ws_port: WebSocket port; 0 = the kernel picks
        rest_port: REST port; 0 = the kernel picks
        lifetime_s: the venue ends a connection after so long

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
        protocol=ProtocolConfig(
            ws_port=ws_port,
            rest_port=rest_port,
            sent_log=str(sent_log) if sent_log else None,
            lifetime_s=lifetime_s,
        ),
    )
    return run_server(lambda clock, on_start: serve_sim(config, clock, on_start))
