"""Strategies beside the recorder at full rate: simulated venue → `tickd run` → strategy processes.

Three strategies (the examples) get everything while the daemon records. Printed are, of the time
between "all run" and "the venue has sent everything": receipt to handler per strategy and receipt
to raw log, from the daemon's own histograms; what was dropped or merged; what each process used of
the cores, how long it stood ready and got none, and how idle the cores were. Receipt is that of the
oldest frame of a burst and counts for all of its events: never better than the truth.

The venue, the daemon, ClickHouse and the strategies share the machine's cores, and so do other
programs, whose share is printed: where it is not near none, the quantiles are theirs. Ways: "live"
as installed; "core" with `loop_core`, the venue kept off that core, too, as it runs elsewhere in
life; "bare" the same without ClickHouse (the sink has a port where nobody listens).

Run: python benchmarks/bench_strategies_live.py [--rate 66400] [--seconds 20] [--way core]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import bench_daemon
import harness
import whole
from bench_daemon import POLL_S, delivered, fetch, quantiles
from whole import START_TIMEOUT_S, recording

from tickd.app.control import ask
from tickd.errors import TickdError

# Messages per second; of this mix with 8 levels to a book change it is 150,000 events per second.
RATE = 66_400.0
EVENTS_RATE = 150_000.0
SYMBOLS = 20
P99_MOST_US = 1_000.0
# Market time before the measured stretch: start-up, snapshots, warm-up of the strategies.
WARM_UP_S = 12.0
# The core that the loop gets in the ways that give it one.
LOOP_CORE = 0
WAYS = ("live", "core", "bare")
# What a process says of itself is so old at most.
REPORT_S = 1.1
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
EXAMPLES = Path(__file__).parents[1] / "examples"
STRATEGIES = {
    "ofi": "ofi_chaser.py:OfiChaser",
    "vpin": "vpin_guard.py:VpinGuard",
    "hawkes": "hawkes_momentum.py:HawkesMomentum",
}


class Spent(NamedTuple):
    """Seconds of a process so far: on a core, and ready without one."""

    ran: float
    waited: float


class Moment(NamedTuple):
    """Everything at one moment; figures are differences of two."""

    venue: dict[str, Any]
    status: dict[str, Any]
    histograms: dict[str, list[int]]
    spent: dict[str, Spent]
    # Of all cores together, seconds so far.
    busy: float
    idle: float
    mono: float

    def ran_of(self, process: str) -> float:
        return self.spent.get(process, Spent(0, 0)).ran


class Run(NamedTuple):
    """What one run gave."""

    begin: Moment
    end: Moment

    @property
    def seconds(self) -> float:
        return self.end.mono - self.begin.mono

    def events(self) -> float:
        """Events per second on the bus."""
        return (self.end.status["bus"]["events"] - self.begin.status["bus"]["events"]) / (
            self.seconds
        )

    def latency_us(self, name: str) -> list[float]:
        """p50, p99, p99.9."""
        end = self.end.histograms
        begin = self.begin.histograms.get(name) or [0] * len(end[name])
        return quantiles(end["bounds_ns"], end[name], begin)

    def lost(self) -> dict[str, tuple[int, int]]:
        """(dropped, merged) by strategy."""
        before = {each["name"]: each for each in self.begin.status["strategies"]}
        return {
            each["name"]: (
                each["dropped"] - before[each["name"]]["dropped"],
                each["merged"] - before[each["name"]]["merged"],
            )
            for each in self.end.status["strategies"]
        }


async def record(options: argparse.Namespace, way: str) -> Run:
    market = ("--rate", str(options.rate), "--symbols", str(SYMBOLS))
    async with recording(
        *(*market, "--seconds", str(options.seconds + WARM_UP_S)),
        configure=partial(write_config, way=way),
    ) as running:
        if way != "live":
            keep_off(running.sim, LOOP_CORE)
        look = Looker(running.state, running.rest_url, running.sim, running.daemon)
        return await watch(running.state, look)


def keep_off(pid: int, core: int) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), os.sched_getaffinity(0) - {core})


def write_config(folder: Path, venue: dict[str, Any], way: str) -> Path:
    config = whole.write_config(folder, venue)
    text = config.read_text()
    if way != "live":
        text = text.replace("[node]\n", f"[node]\nloop_core = {LOOP_CORE}\n")
    if way == "bare":
        text += '\n[clickhouse]\nurl = "http://127.0.0.1:1"\n'
    for name, class_ in STRATEGIES.items():
        text += f'\n[[strategies]]\nname = "{name}"\nclass = "{EXAMPLES / class_}"\n'
    config.write_text(text)
    return config


async def watch(state: Path, look: Looker) -> Run:
    async with asyncio.timeout(START_TIMEOUT_S):
        while not await all_run(state):
            await asyncio.sleep(POLL_S)
    begin = await look()
    end = begin
    while not (now := await look()).venue["done"]:
        if now.venue["running_s"] < WARM_UP_S:
            begin = now
        end = now
        await asyncio.sleep(REPORT_S)
    if end.mono - begin.mono < 2 * REPORT_S:
        sys.exit("the strategies were not ready in time: the machine is busy")
    return Run(begin, end)


async def all_run(state: Path) -> bool:
    try:
        status: Any = await ask(state, "status")
    except TickdError:
        return False
    return all(each["events"] for each in status["strategies"])


class Looker:
    """Takes moments."""

    def __init__(self, state: Path, rest_url: str, sim: int, daemon: int) -> None:
        self._state = state
        self._rest_url = rest_url
        self._sim = sim
        self._daemon = daemon

    async def __call__(self) -> Moment:
        venue = await asyncio.to_thread(fetch, f"{self._rest_url}/_stats")
        status: Any = await ask(self._state, "status")
        histograms: Any = await ask(self._state, "histograms")
        named = {each["pid"]: each["name"] for each in status["strategies"] if each["pid"]}
        spent = {"venue (simulated)": spent_by(self._sim), "daemon": spent_by(self._daemon)}
        for pid in bench_daemon.children_of(self._daemon):
            name = f"strategy {named[pid]}" if pid in named else "ClickHouse (embedded)"
            spent[name] = spent_by(pid)
        busy, idle = all_cores()
        return Moment(
            venue=json.loads(venue),
            status=dict(status),
            histograms=dict(histograms),
            spent=spent,
            busy=busy,
            idle=idle,
            mono=asyncio.get_running_loop().time(),
        )


def all_cores() -> tuple[float, float]:
    """(busy, idle) seconds of all cores so far; waiting for a disk is idle."""
    words = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    seconds = [int(word) / TICKS_PER_S for word in words]
    idle = seconds[3] + seconds[4]
    return sum(seconds) - idle, idle


def spent_by(pid: int) -> Spent:
    """All threads of a process: nanoseconds on a core and in the queue of one, from schedstat."""
    ran = waited = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            words = (task / "schedstat").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ran, waited = ran + int(words[0]), waited + int(words[1])
    return Spent(ran / 1e9, waited / 1e9)


def figures(run: Run, name: str) -> list[harness.Figure]:
    cores = os.cpu_count() or 1
    idle = (run.end.idle - run.begin.idle) / run.seconds
    ours = sum(end.ran - run.begin.ran_of(each) for each, end in run.end.spent.items())
    others = (run.end.busy - run.begin.busy - ours) / run.seconds
    messages = delivered(run.end.venue) - delivered(run.begin.venue)
    out = [
        harness.Figure(
            f"{name}.rate",
            run.events(),
            "ev/s",
            f"on the bus over {run.seconds:.0f} s, {messages / run.seconds:,.0f} msg/s; venue "
            f"late mean {run.end.venue['late_ms_mean']:.2f} ms; of {cores} cores {idle:.2f} were "
            f"idle and {others:.2f} with other programs",
        )
    ]
    for strategy, (dropped, merged) in run.lost().items():
        lost = f"records that {strategy} did not get: {dropped} dropped, {merged} merged"
        out.append(
            harness.Figure(f"{name}.lost.{strategy}", dropped + merged, "records", lost, most=0)
        )
        p50, p99, p999 = run.latency_us(f"recv_to_strategy.{strategy}")
        out.append(
            harness.Figure(
                f"{name}.recv_to_handler.{strategy}",
                p99,
                "µs p99",
                f"receipt to handler of {strategy}; p50 {p50:,.0f}, p99.9 {p999:,.0f} µs",
                most=P99_MOST_US,
            )
        )
    for path in ("recv_to_bus", "recv_to_raw", "loop_lag"):
        p50, p99, p999 = run.latency_us(path)
        text = f"{path.replace('_', ' ')}; p50 {p50:,.0f}, p99.9 {p999:,.0f} µs"
        out.append(harness.Figure(f"{name}.{path}", p99, "µs p99", text))
    for process, end in run.end.spent.items():
        begin = run.begin.spent.get(process, Spent(0, 0))
        ran = (end.ran - begin.ran) / run.seconds
        waited = (end.waited - begin.waited) / run.seconds
        text = f"{process}; ready without a core {waited:.0%} of the time, summed over its threads"
        out.append(harness.Figure(f"{name}.cpu.{process}", 100 * ran, "% of core", text))
    return out


def main() -> None:
    parser = harness.arguments(__doc__)
    parser.add_argument("--rate", type=float, default=RATE, help="messages per second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--way", choices=WAYS, action="append", help="only this")
    options = parser.parse_args()
    harness.refuse_debug_build()
    for way in options.way or WAYS:
        run = asyncio.run(record(options, way))
        harness.show(figures(run, f"strategies_live.{way}"), as_json=options.json)


if __name__ == "__main__":
    main()
