"""From the kill signal to the first look at the halt word that denies, against Python's handlers.

A native thread sends SIGUSR1 to this process and loads the word as the gate does, until it is
halted; then it opens the word again and goes on at another moment of the measured program's turn.
The measured program is the main thread: an idle loop; a loop of 5 ms and of 50 ms callbacks; pure
Python without a loop; C calls that keep the GIL for 100 ms each; the recorder's way at 150,000
messages a second. Three mechanisms trip the same word: tickd's native handler, a Python handler
(`signal.signal`), a callback of the loop (`add_signal_handler`). Slow ones have fewer shots, so
their p99 is their maximum. The sender looks without a pause, so it is kept on a core of its own.

Run: python benchmarks/bench_kill_latency.py [--rounds 10]
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import harness
import messages
from harness import Figure

from tickd.app.tap import Tap
from tickd.bus import Bus
from tickd.clock import SystemClock
from tickd.native import Decoder, EventBatch, HaltProbe, RawLog

NATIVE, PYTHON, LOOP = "native", "signal.signal", "add_signal_handler"
SHOTS_PER_ROUND = 20
CORES = os.sched_getaffinity(0)
NATIVE_P99_US_MOST = 1_000.0
MS = 0.001
MESSAGES_PER_MS = 150
# An iteration in C that looks at nothing: it keeps the GIL to its end.
C_CALL_S = 0.1


class Series:
    """The shots at one mechanism. It begins when the measured program is under way."""

    def __init__(self, mechanism: str, shots: int, gap_us: int) -> None:
        self.mechanism = mechanism
        self._shots = shots
        self._gap_us = gap_us
        self._probe: HaltProbe | None = None
        if mechanism == PYTHON:
            signal.signal(signal.SIGUSR1, self.on_signal)

    def start(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        if self.mechanism == LOOP:
            assert loop is not None
            loop.add_signal_handler(signal.SIGUSR1, self.on_signal)
        # A thread inherits its maker's cores: the probe gets one, the measured program another.
        first, *others = sorted(CORES)
        os.sched_setaffinity(0, {first})
        self._probe = HaltProbe(self._shots, self._gap_us, native=self.mechanism == NATIVE)
        os.sched_setaffinity(0, set(others) or {first})

    def on_signal(self, *_: object) -> None:
        assert self._probe is not None
        self._probe.trip()

    @property
    def is_done(self) -> bool:
        return self._probe is not None and self._probe.is_done

    def end(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.mechanism == LOOP:
            loop.remove_signal_handler(signal.SIGUSR1)

    def finish(self) -> list[float]:
        """Microseconds of each shot, in order of size."""
        assert self._probe is not None
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        os.sched_setaffinity(0, CORES)
        return sorted(ns / 1e3 for ns in self._probe.finish())


class Row(NamedTuple):
    """One state of the main thread. `gap_us`: between two shots, at least."""

    name: str
    run: Callable[[Series], None]
    gap_us: int
    mechanisms: dict[str, float]  # -> share of the full number of shots


def spin(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def c_call(seconds: float) -> None:
    sum(range(int(seconds * PER_SECOND)))


def _c_rate() -> float:
    """Iterations of `c_call` per second, on this machine."""
    count = 2_000_000
    began = time.perf_counter()
    sum(range(count))
    return count / (time.perf_counter() - began)


PER_SECOND = _c_rate()


def on_loop(work: Callable[[], None] | None) -> Callable[[Series], None]:
    """A loop that does nothing, or `work` in one callback after the other."""

    async def main(series: Series) -> None:
        loop = asyncio.get_running_loop()
        stopped = False

        def again() -> None:
            assert work is not None
            work()
            if not stopped:
                loop.call_soon(again)

        if work is not None:
            loop.call_soon(again)
        series.start(loop)
        while not series.is_done:
            await asyncio.sleep(0.05)
        stopped = True
        series.end(loop)

    return lambda series: harness.run_loop(lambda: main(series))


def without_loop(work: Callable[[], None]) -> Callable[[Series], None]:
    def run(series: Series) -> None:
        series.start()
        while not series.is_done:
            work()

    return run


class _Leg:
    """The one connection of the load; its socket is never paused."""

    def on_notice(self, notice: object) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def under_load(series: Series) -> None:
    """Frames into the raw log, decoder and bus, every millisecond those that are due."""

    async def main() -> None:
        loop, clock = asyncio.get_running_loop(), SystemClock()
        trades = {each.name: each for each in messages.shapes(messages.load())}["trade"].messages
        events = 0

        def handler(_topic: str, batch: EventBatch) -> None:
            nonlocal events
            events += len(batch)

        with tempfile.TemporaryDirectory() as directory:
            raw, decoder = RawLog(directory, node=1), Decoder()
            raw.restore_decoder(decoder)
            bus = Bus(decoder.topic_name, clock)
            bus.handle("*", handler, name="handler")
            tap = Tap(raw, decoder, bus, clock=clock)
            connection = tap.open(venue="binance-usdm", url="", streams=(), leg=_Leg())
            tap.record(connection, "C", messages.INSTRUMENT)
            series.start(loop)
            began, sent, frame = time.perf_counter(), 0, tap.frame
            while not series.is_done:
                due = int((time.perf_counter() - began) / MS * MESSAGES_PER_MS)
                for number in range(sent, due):
                    frame(connection, trades[number % len(trades)])
                sent = max(sent, due)
                await asyncio.sleep(MS)
            seconds = time.perf_counter() - began
            series.end(loop)
            tap.finish()
            tap.detach()
            raw.close()
        LOAD_RATES.append(events / seconds)

    harness.run_loop(main)


LOAD_RATES: list[float] = []
ALL = {NATIVE: 1.0, PYTHON: 1.0, LOOP: 1.0}
ROWS = [
    Row("idle loop", on_loop(None), 1_500, ALL),
    Row("5 ms callbacks", on_loop(lambda: spin(5 * MS)), 5_000, {**ALL, LOOP: 0.5}),
    Row("50 ms callbacks", on_loop(lambda: spin(50 * MS)), 5_000, {**ALL, LOOP: 0.15}),
    Row("Python without a loop", without_loop(lambda: spin(5 * MS)), 3_000, {NATIVE: 1, PYTHON: 1}),
    Row(
        "100 ms C calls with the GIL",
        on_loop(lambda: c_call(C_CALL_S)),
        5_000,
        {NATIVE: 1.0, PYTHON: 0.15, LOOP: 0.1},
    ),
    Row("150,000 messages/s", under_load, 3_000, ALL),
]


def quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def figures(rounds: int) -> list[Figure]:
    found: list[Figure] = []
    for row in ROWS:
        key = "".join(c if c.isalnum() else "_" for c in row.name.lower())
        p50: dict[str, float] = {}
        for mechanism, share in row.mechanisms.items():
            shots = max(1, round(rounds * SHOTS_PER_ROUND * share))
            series = Series(mechanism, shots, row.gap_us)
            row.run(series)
            took = series.finish()
            p50[mechanism] = quantile(took, 0.5)
            text = f"{row.name}, {mechanism}: p50 {p50[mechanism]:,.0f}, max {took[-1]:,.0f} µs"
            found.append(
                Figure(
                    f"kill_latency.{key}.{mechanism}",
                    quantile(took, 0.99),
                    "µs p99",
                    f"{text}; {len(took)} of {shots} shots",
                    most=NATIVE_P99_US_MOST if mechanism == NATIVE else None,
                )
            )
        for other in (PYTHON, LOOP):
            if other in p50:
                found.append(
                    Figure(
                        f"kill_latency.{key}.ratio.{other}",
                        p50[other] / p50[NATIVE],
                        "x",
                        f"{row.name}: p50 of {other} against the native handler",
                    )
                )
    if LOAD_RATES:
        least = min(LOAD_RATES)
        found.append(
            Figure("kill_latency.load", least, "ev/s", "to the bus meanwhile, the least of three")
        )
    return found


if __name__ == "__main__":
    given = harness.arguments(__doc__).parse_args()
    harness.refuse_debug_build()
    harness.show(figures(given.rounds), as_json=given.json)
