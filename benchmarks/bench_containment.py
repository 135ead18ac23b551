"""What a misbehaving strategy costs the recorder: receipt to raw log with each, and with none.

One daemon at full rate, one strategy that behaves and one process for each way to misbehave. A file
says who misbehaves now; nobody and each way take turns in the same run, because the machine changes
more from run to run than strategies can. Figures are of the daemon's own histograms, of the turns
of each way together; what the turns of nobody differ by among themselves is the noise. "Restarted"
says that the process was ended and came back.

Run: python benchmarks/bench_containment.py [--rate 66400] [--rounds 2]
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import bench_strategies_live as live
import harness
import whole
from bench_daemon import POLL_S, quantiles
from whole import START_TIMEOUT_S, recording

from tickd.app.control import ask

ROUNDS = 2
TURN_S = 1.5
NOBODY = "nobody"
COMMAND = "command"  # the file that says who misbehaves
WAYS = ("raise", "hang", "spin_50_ms", "loop", "hog", "segfault")
PATHS = ("recv_to_raw", "recv_to_bus")
# A group of 256 KiB is written whole: its first frame waits for its last. What is compared is p99.
RATIO_MOST = 1.25
BAD = Path(__file__).parents[1] / "tests" / "servers" / "misbehaving.py"


class Result(NamedTuple):
    """Counts per bucket of each path, by who misbehaved; and what the status said at the end."""

    bounds_ns: list[int]
    counts: dict[str, dict[str, list[int]]]
    alone: list[list[int]]  # receipt to raw log in each turn of nobody
    began: dict[str, dict[str, Any]]
    ended: dict[str, dict[str, Any]]


def strategies(command: Path) -> Iterator[str]:
    yield f'\n[[strategies]]\nname = "good"\nclass = "{BAD}:Counting"\n'
    for way in WAYS:
        hangs = way == "hang"
        params = (
            f'{{ file = "{command}" }}' if hangs else f'{{ what = "{way}", file = "{command}" }}'
        )
        yield (
            f'\n[[strategies]]\nname = "{way}"\n'
            f'class = "{BAD}:{"CommandedToHang" if hangs else "Commanded"}"\n'
            f'params = {params}\ntopics = ["trade.*.BTCUSDT"]\nrestart = "on_failure"\n'
            f"hang_ms_max = 500\ncallback_timeout_ms = 500\nmemory_bytes_max = {400 << 20}\n"
            "warmup_seconds = 0\n"
        )


def write_config(folder: Path, venue: dict[str, Any]) -> Path:
    command = folder / COMMAND
    give(command, NOBODY)
    config = whole.write_config(folder, venue)
    config.write_text(config.read_text() + "".join(strategies(command)))
    return config


async def measure(options: argparse.Namespace) -> Result:
    market = ("--rate", str(options.rate), "--symbols", str(live.SYMBOLS))
    async with recording(*market, configure=write_config) as running:
        return await take_turns(running.state, running.folder / COMMAND, options.rounds)


async def take_turns(state: Path, command: Path, rounds: int) -> Result:
    async with asyncio.timeout(START_TIMEOUT_S):
        while not await live.all_run(state):
            await asyncio.sleep(POLL_S)
    began: Any = await ask(state, "status")
    counts: dict[str, dict[str, list[int]]] = {}
    alone: list[list[int]] = []
    bounds: list[int] = []
    # Nobody as often as two ways: both in what comes before and behind.
    turns = [each for pair in zip(WAYS[::2], WAYS[1::2], strict=True) for each in (NOBODY, *pair)]
    for who in turns * rounds:
        give(command, who)
        begin: Any = await ask(state, "histograms")
        await asyncio.sleep(TURN_S)
        end: Any = await ask(state, "histograms")
        bounds = end["bounds_ns"]
        sums = counts.setdefault(who, {path: [0] * (len(bounds) + 1) for path in PATHS})
        for path in PATHS:
            turn = [after - before for after, before in zip(end[path], begin[path], strict=True)]
            sums[path] = [total + one for total, one in zip(sums[path], turn, strict=True)]
            if (who, path) == (NOBODY, "recv_to_raw"):
                alone.append(turn)
    ended: Any = await ask(state, "status")
    return Result(bounds, counts, alone, by_name(began), by_name(ended))


def give(command: Path, who: str) -> None:
    command.write_text(who)


def by_name(status: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in status["strategies"]}


def figures(result: Result) -> list[harness.Figure]:
    p99 = {}
    out = []
    for who, paths in result.counts.items():
        for path, counts in paths.items():
            p50, p99[who, path], p999 = quantiles(result.bounds_ns, counts, [0] * len(counts))
            text = (
                f"{path.replace('_', ' ')}, {who} misbehaves; p50 {p50:,.0f}, p99.9 {p999:,.0f} µs"
            )
            out.append(harness.Figure(f"containment.{path}.{who}", p99[who, path], "µs p99", text))
    for way in WAYS:
        ratio = p99[way, "recv_to_raw"] / p99[NOBODY, "recv_to_raw"]
        restarts = result.ended[way]["restarts"]
        text = (
            f"p99 receipt to raw log while {way} misbehaves, against nobody; restarted {restarts}"
        )
        out.append(harness.Figure(f"containment.ratio.{way}", ratio, "x", text, most=RATIO_MOST))
    alone = sorted(quantiles(result.bounds_ns, each, [0] * len(each))[1] for each in result.alone)
    text = f"p99 of the worst of {len(alone)} turns of nobody against the best: the noise"
    out.append(harness.Figure("containment.ratio.noise", alone[-1] / alone[0], "x", text))
    good, before = result.ended["good"], result.began["good"]
    text = f"records that the one that behaves did not get; {good['events']:,} came"
    lost = sum(good[what] - before[what] for what in ("dropped", "merged"))
    return [*out, harness.Figure("containment.lost", lost, "records", text, most=0)]


def main() -> None:
    parser = harness.arguments(__doc__, rounds=ROUNDS)
    parser.add_argument("--rate", type=float, default=live.RATE, help="messages per second")
    options = parser.parse_args()
    harness.refuse_debug_build()
    harness.show(figures(asyncio.run(measure(options))), as_json=options.json)


if __name__ == "__main__":
    main()
