"""The whole daemon under load: simulated venue → loopback WebSocket → `tickd run` → raw log and
ClickHouse.

Proves that nothing was lost (messages that the venue sent = records in the raw log = rows in
ClickHouse), and prints what a message cost each process and how long it took to the bus, to the raw
log and to ClickHouse's acknowledgement. All figures are of the time between "the daemon has caught
up" and "the venue has sent everything", measured from outside: /proc, the daemon's own histograms,
the venue's own statistics. The market is the USD-M mix: 70 % quotes, 23 % trades, 7 % depth.

Run: python benchmarks/bench_daemon.py [--rate 150000 ...] [--seconds 60] [--symbols 20]
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import harness
from whole import START_TIMEOUT_S, recording

from recorder.clickhouse.endpoint import Endpoint
from recorder.embedded.key import read_key
from tickd.app.control import ask
from tickd.errors import TickdError
from tickd.native import RawLogReader

RATES = (10_000.0, 50_000.0, 150_000.0, 300_000.0)
REQUIRED_RATE = 150_000.0
# Market time before the measured stretch: the daemon's start-up and first snapshots.
WARM_UP_S = 8.0
SETTLE_TIMEOUT_S = 120.0
POLL_S = 0.25
QUANTILES = (0.5, 0.99, 0.999)
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_RECORD = re.compile(rb"^\d+ \d+ \d+ \d+ W ", re.MULTILINE)


class Moment(NamedTuple):
    """Everything at one moment; figures are differences of two."""

    venue: dict[str, Any]
    status: dict[str, Any]
    histograms: dict[str, list[int]]
    cpu_s: dict[str, float]  # by process
    threads_s: dict[str, float]  # of the daemon


class Run(NamedTuple):
    """What one rate gave."""

    rate: float
    sent: int
    recorded: int
    stored: int
    refused: int
    gaps: int
    messages: int  # in the measured stretch
    seconds: float
    cpu_s: dict[str, float]
    threads_s: dict[str, float]
    latency_us: dict[str, list[float]]  # p50, p99, p99.9
    late_ms: tuple[float, float]  # of the venue: mean, max
    pauses: int
    falls_behind: int

    @property
    def lost(self) -> int:
        return max(abs(self.sent - self.recorded), abs(self.sent - self.stored), self.gaps)


class NotReadyError(Exception):
    """The market was over before the daemon had caught up: the machine is busy."""


async def measure(rate: float, seconds: float, symbols: int) -> Run:
    """One run; a machine that is busy at the start gets longer to warm up."""
    for warm_up_s in (WARM_UP_S, 3 * WARM_UP_S):
        try:
            return await record(rate, seconds, symbols, warm_up_s)
        except NotReadyError:
            print(f"not ready within {warm_up_s:g} s of market time", file=sys.stderr)
    sys.exit("the daemon does not get ready in time")


async def record(rate: float, seconds: float, symbols: int, warm_up_s: float) -> Run:
    market = ("--rate", str(rate), "--seconds", str(seconds + warm_up_s))
    async with recording(*market, "--symbols", str(symbols)) as whole:
        look = Looker(whole.state, whole.rest_url, whole.sim, whole.daemon)
        return await watch(rate, whole.state, look, warm_up_s)


async def watch(rate: float, state: Path, look: Looker, warm_up_s: float) -> Run:
    async with asyncio.timeout(START_TIMEOUT_S):
        while not await caught_up(state):
            await asyncio.sleep(POLL_S)
    begin = await look()
    while not (now := await look()).venue["done"]:
        begin = now if now.venue["running_s"] < warm_up_s else begin
        await asyncio.sleep(2 * POLL_S)
    end = now
    if end.venue["running_s"] - begin.venue["running_s"] < 2 * POLL_S:
        raise NotReadyError
    sent = delivered(end.venue)
    async with asyncio.timeout(SETTLE_TIMEOUT_S):
        while not settled(sent, last := (await look()).status):
            await asyncio.sleep(POLL_S)
        # Rows follow the raw log by one block; they are counted by SQL, not believed.
        endpoint = Endpoint(last["sink"]["url"], password=read_key(state / "clickhouse"))
        while (stored := await rows(endpoint)) < sent:
            if not look.daemon_lives():
                break
            await asyncio.sleep(POLL_S)
    acks = int(last["decoder"].get("acks", 0))
    messages = delivered(end.venue) - delivered(begin.venue)
    return Run(
        rate=rate,
        sent=sent,
        recorded=recorded(state / "raw") - acks,
        stored=stored,
        refused=sum(v for k, v in last["decoder"].items() if k.startswith("refused_")),
        gaps=int(last["decoder"].get("gaps", 0)),
        messages=messages,
        seconds=end.venue["running_s"] - begin.venue["running_s"],
        cpu_s=difference(end.cpu_s, begin.cpu_s),
        threads_s=difference(end.threads_s, begin.threads_s),
        latency_us={
            name: quantiles(end.histograms["bounds_ns"], counts, begin.histograms[name])
            for name, counts in end.histograms.items()
            if name != "bounds_ns"
        },
        late_ms=(end.venue["late_ms_mean"], end.venue["late_ms_max"]),
        pauses=last["raw_log"]["pauses"],
        falls_behind=last["sink"]["falls_behind"],
    )


async def caught_up(state: Path) -> bool:
    try:
        status: Any = await ask(state, "status")
    except TickdError:
        return False
    return bool(status["sink"]["caught_up"] and not status["waiting_for"])


def settled(sent: int, status: dict[str, Any]) -> bool:
    decoder, raw = status["decoder"], status["raw_log"]
    return bool(decoder["frames"] >= sent and raw["written"] == raw["next_frame_no"] - 1)


class Looker:
    """Takes moments."""

    def __init__(self, state: Path, rest_url: str, sim: int, daemon: int) -> None:
        self._state = state
        self._rest_url = rest_url
        self._sim = sim
        self._daemon = daemon

    def daemon_lives(self) -> bool:
        return Path(f"/proc/{self._daemon}/stat").exists()

    async def __call__(self) -> Moment:
        venue = await asyncio.to_thread(fetch, f"{self._rest_url}/_stats")
        status: Any = await ask(self._state, "status")
        histograms: Any = await ask(self._state, "histograms")
        children = children_of(self._daemon)
        return Moment(
            venue=json.loads(venue),
            status=dict(status),
            histograms=dict(histograms),
            cpu_s={
                "venue (simulated)": cpu_of(Path(f"/proc/{self._sim}")),
                "daemon": cpu_of(Path(f"/proc/{self._daemon}")),
                "ClickHouse (embedded)": sum(cpu_of(Path(f"/proc/{pid}")) for pid in children),
            },
            threads_s=threads_of(self._daemon),
        )


def fetch(url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
    request = urllib.request.Request(url, body, headers or {})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return bytes(reply.read())


def cpu_of(process: Path) -> float:
    """CPU seconds of a process or thread so far, from its directory in /proc."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def threads_of(pid: int) -> dict[str, float]:
    spent: dict[str, float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = "event loop" if task.name == str(pid) else (task / "comm").read_text().strip()
        spent[name] = spent.get(name, 0.0) + cpu_of(task)
    return spent


def children_of(pid: int) -> list[int]:
    """Every descendant."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                fields = (process / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == pid:
                found += [int(process.name), *children_of(int(process.name))]
    return found


def delivered(venue: dict[str, Any]) -> int:
    return sum(connection["messages"] for connection in venue["connections"])


def recorded(raw: Path) -> int:
    """Text messages in the raw log, counted record by record."""
    return sum(len(_RECORD.findall(records)) for _, records in RawLogReader(str(raw)))


async def rows(endpoint: Endpoint) -> int:
    sql = (
        "SELECT (SELECT count() FROM tickd.trades) + (SELECT count() FROM tickd.quotes)"
        " + (SELECT count() FROM tickd.book WHERE previous_id != 18446744073709551615"
        " OR bitAnd(flags, 32) = 0)"
    )
    return int(await asyncio.to_thread(fetch, endpoint.url, sql.encode(), endpoint.headers))


def difference(end: dict[str, float], begin: dict[str, float]) -> dict[str, float]:
    return {name: value - begin.get(name, 0.0) for name, value in end.items()}


def quantiles(bounds_ns: list[int], end: list[int], begin: list[int]) -> list[float]:
    """Microseconds, the upper edge of the bucket; counts are per bucket, the last is beyond."""
    counts = [after - before for after, before in zip(end, begin, strict=True)]
    total = sum(counts)
    found = []
    for share in QUANTILES:
        passed = 0
        for bound, count in zip([*bounds_ns, 2**63], counts, strict=True):
            passed += count
            if passed >= share * total:
                found.append(bound / 1000)
                break
    return found


def figures(run: Run) -> list[harness.Figure]:
    name = f"daemon.{run.rate / 1000:g}k"
    required = run.rate <= REQUIRED_RATE
    million = run.messages / 1e6
    out = [
        harness.Figure(
            f"{name}.lost",
            run.lost,
            "messages",
            f"lost at {run.rate:,.0f} msg/s: venue sent {run.sent:,}, raw log has "
            f"{run.recorded:,}, ClickHouse {run.stored:,}; refused {run.refused}, "
            f"gaps {run.gaps}, pauses {run.pauses}, fell behind {run.falls_behind}",
            most=0 if required else None,
        ),
        harness.Figure(
            f"{name}.rate",
            run.messages / run.seconds,
            "msg/s",
            f"delivered over {run.seconds:.0f} s; venue late mean {run.late_ms[0]:.2f} ms, "
            f"max {run.late_ms[1]:.0f} ms",
        ),
    ]
    for process, spent in (*run.cpu_s.items(), *run.threads_s.items()):
        if spent / million >= 0.005 or process in run.cpu_s:
            where = "" if process in run.cpu_s else "  of it: "
            out.append(
                harness.Figure(
                    f"{name}.cpu.{process}",
                    spent / million,
                    "CPU-s/M",
                    f"{where}{process} ({100 * spent / run.seconds:.0f} % of a core)",
                )
            )
    for path, (p50, p99, p999) in run.latency_us.items():
        budget = 1000.0 if path == "recv_to_bus" and run.rate == REQUIRED_RATE else None
        out.append(
            harness.Figure(
                f"{name}.{path}.p99",
                p99,
                "µs p99",
                f"{path.replace('_', ' ')}; p50 {p50:,.0f}, p99.9 {p999:,.0f} µs",
                most=budget,
            )
        )
    return out


def main() -> None:
    parser = harness.arguments(__doc__)
    parser.add_argument("--rate", type=float, action="append", help="messages per second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--symbols", type=int, default=20)
    options = parser.parse_args()
    harness.refuse_debug_build()
    for rate in options.rate or RATES:
        run = asyncio.run(measure(rate, options.seconds, options.symbols))
        harness.show(figures(run), as_json=options.json)


if __name__ == "__main__":
    main()
