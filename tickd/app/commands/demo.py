"""`tickd demo`.

A simulated market, the daemon and an embedded ClickHouse, watched live, answered by SQL, stopped.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from recorder.clickhouse.query import OutputFormat, query
from tickd.app.clickhouse_of import clickhouse_of
from tickd.app.config import load_config
from tickd.app.control import ask
from tickd.app.exit_codes import ExitCode
from tickd.app.screen import rates_of, render
from tickd.errors import TickdError

VENUE = "binance-usdm"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
REFRESH_S = 0.5
# Without a terminal the page would be noise; one line per so many seconds tells as much.
LINE_EVERY_S = 5.0
QUESTIONS = {
    "rows per symbol": (
        "SELECT symbol, count() AS trades, min(price_f) AS low, max(price_f) AS high, "
        "round(sum(size_f), 3) AS volume "
        "FROM trades GROUP BY symbol ORDER BY trades DESC LIMIT 5"
    ),
    "spread and quote rate": (
        "SELECT symbol, count() AS quotes, round(median(ask_price_f - bid_price_f), 6) AS spread "
        "FROM quotes GROUP BY symbol ORDER BY quotes DESC LIMIT 5"
    ),
    "each event exactly once": (
        "SELECT count() AS quotes, uniqExact(node, seq) AS different, "
        "(SELECT count() FROM gaps) AS gaps FROM quotes"
    ),
}


def demo(
    *, seconds: float = 0.0, rate: float = 10_000.0, symbols: int = 20, keep: Path | None = None
) -> int:
    """Record a simulated market with an embedded ClickHouse and watch it.

    Args:
        seconds: end by itself after so long; 0 = until Ctrl-C
        rate: messages per second of the market
        symbols: how many symbols
        keep: state directory to keep; otherwise a temporary one

    Example:
        tickd demo --seconds 20

    """
    with tempfile.TemporaryDirectory(prefix="tickd-demo-") as scratch:
        folder = keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        return asyncio.run(_demo(folder, seconds, rate, symbols))


async def _demo(folder: Path, seconds: float, rate: float, symbols: int) -> int:
    console = Console(soft_wrap=True)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sim_arguments = ("sim", "--rate", str(rate), "--symbols", str(symbols))
    async with _child(*sim_arguments, log=folder / "sim.log") as sim:
        assert sim.stdout is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            venue = json.loads(await sim.stdout.readline())
        config = _write_config(folder, venue)
        console.print(f"simulated venue at {venue['ws'][VENUE]}, daemon with {config}")
        async with _child("run", str(config), log=folder / "daemon.log") as daemon:
            await _watch(console, folder / "state", daemon, seconds, stop)
            await _answer(console, config)
            console.print("stopping: drain, fsync, last blocks …")
            await _end(daemon)
            code = await daemon.wait()
    if code != 0:
        console.print(f"[red]the daemon ended with {code}:[/] {_tail(folder / 'daemon.log')}")
        return ExitCode.FAILED
    console.print("[bold]verify[/]: raw log ↔ manifest ↔ ClickHouse")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tickd", "verify", str(config)
    )
    return await process.wait()


def _write_config(folder: Path, venue: dict[str, Any]) -> Path:
    config = folder / "tickd.toml"
    config.write_text(
        f"""[node]
state_dir = "{folder / "state"}"

[http]
port = 0

[[venues]]
name = "{VENUE}"
symbols = {json.dumps(venue["symbols"][VENUE])}
channels = ["trade", "quote", "depth", "mark"]
depth_interval_ms = 0
ws_url = "{venue["ws"][VENUE]}"
rest_url = "{venue["rest"][VENUE]}"
"""
    )
    return config


@asynccontextmanager
async def _child(*arguments: str, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A tickd process of our own session's making, ended with the block."""
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tickd",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,  # Ctrl-C is ours: first the answers, then the end
        )
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _watch(
    console: Console,
    state_dir: Path,
    daemon: asyncio.subprocess.Process,
    seconds: float,
    stop: asyncio.Event,
) -> None:
    """Show the daemon until the time is up, it is stopped, or it ends."""
    status = await _first_status(state_dir, daemon)
    until = time.monotonic() + seconds if seconds > 0 else float("inf")
    next_line = time.monotonic()
    before = status
    with Live(console=console, auto_refresh=False, screen=False) as live:
        while time.monotonic() < until and not stop.is_set() and daemon.returncode is None:
            try:
                async with asyncio.timeout(REFRESH_S):
                    await stop.wait()
            except TimeoutError:
                pass
            status = await _status(state_dir)
            now = time.monotonic()
            rates = rates_of(before, status)
            before = status
            if console.is_terminal:
                live.update(render(status, rates=rates), refresh=True)
            elif now >= next_line:
                next_line = now + LINE_EVERY_S
                live.console.print(_line(status, sum(rates.values())))


async def _first_status(state_dir: Path, daemon: asyncio.subprocess.Process) -> dict[str, Any]:
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            try:
                status = await _status(state_dir)
                if status["sink"]["caught_up"] and not status["waiting_for"]:
                    return status
            except TickdError as error:
                if daemon.returncode is not None:
                    raise TickdError(
                        "the daemon did not start", hint=_tail(state_dir.parent / "daemon.log")
                    ) from error
            await asyncio.sleep(REFRESH_S / 5)


async def _status(state_dir: Path) -> dict[str, Any]:
    answer: Any = await ask(state_dir, "status", topics=True)
    return dict(answer)


def _line(status: dict[str, Any], rate: float) -> str:
    raw, sink = status["raw_log"], status["sink"]
    return (
        f"{status['uptime_s']:5.0f} s  {status['state']:<10} {raw['frames']:>10,} frames  "
        f"{rate:>9,.0f} ev/s  recv→raw p99 {raw['write_p99_ms']:.0f} ms  "
        f"{sink['rows_committed']:>10,} rows in ClickHouse  "
        f"recv→ack p99 {sink['ack_p99_ms']:.0f} ms"
    )


async def _answer(console: Console, config: Path) -> None:
    """A few questions by SQL, asked while the daemon records."""
    resolved = load_config(config)
    async with clickhouse_of(resolved) as server:
        for title, sql in QUESTIONS.items():
            console.print(f"[bold]{title}[/]\n[dim]{sql}[/]")
            pieces = query(
                server,
                sql,
                output=OutputFormat.TABLE,
                color=console.is_terminal,
            )
            sys.stdout.flush()
            async for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]
