"""The whole thing for benchmarks: a simulated venue, and a daemon that records it, as processes.

Both work in a folder that is gone afterwards. It measures nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import harness

from tickd.errors import TickdError

VENUE = "binance-usdm"
START_TIMEOUT_S = 60.0
LOG_SHOWN = 2_000  # characters, of its end


class Whole(NamedTuple):
    """What runs: where the daemon works, what the venue said of itself, their processes."""

    folder: Path
    venue: dict[str, Any]
    sim: int
    daemon: int

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def rest_url(self) -> str:
        return str(self.venue["rest"][VENUE])


def write_config(folder: Path, venue: dict[str, Any]) -> Path:
    config = folder / "tickd.toml"
    config.write_text(
        f"""[node]
state_dir = "{folder / "state"}"

[http]
port = 0

[[venues]]
name = "{VENUE}"
symbols = {json.dumps(venue["symbols"][VENUE])}
channels = ["trade", "quote", "depth"]
depth_interval_ms = 0
ws_url = "{venue["ws"][VENUE]}"
rest_url = "{venue["rest"][VENUE]}"
"""
    )
    return config


@asynccontextmanager
async def recording(
    *market: str, configure: Callable[[Path, dict[str, Any]], Path] = write_config
) -> AsyncIterator[Whole]:
    """Start both, and end both; a TickdError within ends this program with the daemon's log.

    Args: `market`: options of `tickd sim`; `configure`: writes the file in the folder.
    """
    with tempfile.TemporaryDirectory(prefix="tickd-bench-") as scratch:
        folder = Path(scratch)
        log = folder / "daemon.log"
        sim = await _child("sim", *market, log=folder / "sim.log")
        try:
            assert sim.stdout is not None
            async with asyncio.timeout(START_TIMEOUT_S):
                venue = json.loads(await sim.stdout.readline())
            daemon = await _child("run", str(configure(folder, venue)), log=log)
            try:
                yield Whole(folder, venue, sim.pid, daemon.pid)
            except TickdError as error:
                sys.exit(f"{error}\n{_end(log)}")
            finally:
                if await harness.stop_process(daemon):
                    print(_end(log), file=sys.stderr)
        finally:
            await harness.stop_process(sim)


async def _child(*arguments: str, log: Path) -> asyncio.subprocess.Process:
    with log.open("wb") as stderr:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tickd", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )


def _end(log: Path) -> str:
    return log.read_text(errors="replace")[-LOG_SHOWN:]
