"""What every benchmark here shares: how a case is measured and how a figure is told.

A case is a function that does a known amount of work and returns what it cost. Cases that are
compared take turns within one run, and the least cost of all turns counts: other programs on the
machine can only add to a cost. Costs are CPU time unless a figure says otherwise. This file
measures nothing itself.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple

import structlog

import tickd.native
from tickd.app import event_loop

# Standard output is for figures: whoever runs several benchmarks reads them there.
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

# Fewer turns than this leave too much of the machine's noise in the least cost.
ROUNDS_MIN = 10


class Cost(NamedTuple):
    """CPU nanoseconds that `units` of something took."""

    ns: float
    units: int


class Figure(NamedTuple):
    """One published number. `ratio` figures compare; only those are committed and checked."""

    key: str  # stable name, `bench.what`
    value: float
    unit: str  # "x" for ratios
    text: str
    least: float | None = None  # budget: the value must be at least this
    most: float | None = None  # budget: the value must be at most this
    checked: bool = False  # compared with the committed value by --check

    @property
    def missed(self) -> bool:
        return (self.least is not None and self.value < self.least) or (
            self.most is not None and self.value > self.most
        )


Case = Callable[[], Cost]


def least(cases: Mapping[str, Case], rounds: int) -> dict[str, float]:
    """Least CPU nanoseconds per unit by case, over `rounds` interleaved turns."""
    best = dict.fromkeys(cases, float("inf"))
    for _ in range(rounds):
        for name, case in cases.items():
            gc.collect()
            gc.disable()
            try:
                cost = case()
            finally:
                gc.enable()
            best[name] = min(best[name], cost.ns / cost.units)
    return best


def rate(ns: float) -> float:
    """Units per second from nanoseconds per unit."""
    return 1e9 / ns


def arguments(text: str | None, *, rounds: int = ROUNDS_MIN) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=rounds, help="interleaved turns per case")
    parser.add_argument("--json", action="store_true", help="one JSON line per figure")
    parser.add_argument("--checked", action="store_true", help="only what run.sh --check needs")
    return parser


def refuse_debug_build() -> None:
    if tickd.native.BUILD_PROFILE != "release":
        sys.exit("refused: the native module is a debug build, its numbers mean nothing")


def show(figures: list[Figure], *, as_json: bool) -> None:
    """Print figures, for people or for `run.py`."""
    for figure in figures:
        if as_json:
            print(json.dumps(figure._asdict()), flush=True)
        else:
            print(line(figure), flush=True)


def line(figure: Figure) -> str:
    verdict = ""
    if figure.least is not None or figure.most is not None:
        bound = f"≥ {figure.least:g}" if figure.least is not None else f"≤ {figure.most:g}"
        verdict = f"  [{'MISSED' if figure.missed else 'ok'}: {bound}]"
    return f"{number(figure.value):>12} {figure.unit:<10} {figure.text}{verdict}"


def number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.4f}"


def run_loop(main: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Run a coroutine function on the loop that the daemon uses."""
    event_loop.run(main())


def captures() -> str:
    """The folder with recorded wire data; it may be absent."""
    return os.environ.get("TICKD_CAPTURES", "../shared/data")


async def stop_process(process: asyncio.subprocess.Process, timeout_s: float = 60.0) -> int:
    """Ask a child of ours to end and wait for it."""
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(timeout_s):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
    return process.returncode or 0
