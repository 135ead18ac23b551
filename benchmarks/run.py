"""Runs every benchmark, each in a process of its own, and writes down or checks what they say.

`--check` measures only the committed ratios, fails when one fell by more than 10 % and names it.
Called by run.sh, which provides the peers' environment. It measures nothing itself.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import harness
from harness import Figure

HERE = Path(__file__).parent
RESULTS, RATIOS = HERE / "RESULTS.md", HERE / "ratios.json"
FALL_MOST = 0.10
# A machine's noise may spoil one measurement; a fall is believed when it shows again.
CHECKS_MAX = 3


class Bench(NamedTuple):
    """One benchmark file."""

    name: str
    title: str
    checked: bool = False  # has ratios for --check
    long: bool = False  # takes --seconds

    def command(self, options: argparse.Namespace, *, check: bool = False) -> list[str]:
        words = [f"benchmarks/bench_{self.name}.py"]
        if self.long:
            words += ["--seconds", f"{options.seconds:g}"]
        else:
            words += ["--rounds", str(options.rounds)]
        return [*words, "--checked"] if check else words


BENCHES = [
    Bench("decode", "Decode and publish, against cryptofeed's handlers", checked=True),
    Bench("book", "Books, against order_book and a sorted dictionary"),
    Bench("bus", "Bus, against a dictionary bus and asyncio.Queue", checked=True),
    Bench("strategy", "Strategies, against NautilusTrader and asyncio.Queue", checked=True),
    Bench("feed", "Feed of a strategy process, against the queues of Python's library"),
    Bench("strategy_warmup", "Warm-up of a strategy process"),
    Bench("paper_orders", "Orders on paper, against NautilusTrader's backtest"),
    Bench("raw_log", "Raw log, against cryptofeed's raw callback", checked=True),
    Bench("sink", "ClickHouse sink, against clickhouse-connect insert()", checked=True),
    Bench("delivery", "Drain after an outage, parallel writers, against naive loops"),
    Bench("rebuild", "Rebuild and re-drive, against naive loads of the same raw log"),
    Bench("ship", "Shipping to object storage, against boto3"),
    Bench("export", "Export, against rows in pandas and the csv module", checked=True),
    Bench("callback", "Callbacks of a broker's SDK, against one hand-over per event"),
    Bench("indicators", "Indicators, against plain Python, numba and wickra", checked=True),
    Bench("gate", "Risk gate, against its twin and a plain Python gate", checked=True),
    Bench("latency", "Idle latency, socket to handler"),
    Bench("order_path", "An order's whole way on paper, against NautilusTrader's backtest"),
    Bench("kill_latency", "Kill switch: signal to denial, against Python's handlers"),
    Bench("top", "What a watching terminal costs the daemon"),
    Bench("daemon", "Whole daemon under load", long=True),
    Bench("strategies_live", "Strategies beside the recorder at full rate", long=True),
    Bench("tracing", "Tracing of batches: off, 1 % and 100 % at 150,000 events/s"),
    Bench("containment", "What a misbehaving strategy costs the recorder"),
    Bench("scrape", "A scrape of the metrics, against prometheus_client", checked=True),
    Bench("status", "`tickd status`, cold, against an empty Python"),
    Bench("sim", "The load generator itself"),
]


def measure(bench: Bench, options: argparse.Namespace, *, check: bool = False) -> list[Figure]:
    command = [sys.executable, *bench.command(options, check=check), "--json"]
    print(f"\n{bench.title}", flush=True)
    root = HERE.parent
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    figures = []
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            figure = Figure(**json.loads(line))
            figures.append(figure)
            print("  " + harness.line(figure), flush=True)
    if process.returncode:
        sys.exit(f"{bench.name} failed with {process.returncode}")
    return figures


def publish(options: argparse.Namespace, benches: list[Bench]) -> int:
    taken = [(bench, measure(bench, options)) for bench in benches]
    every = [figure for _, figures in taken for figure in figures]
    print("\nRatios")
    for figure in every:
        if figure.unit == "x":
            print("  " + harness.line(figure))
    missed = [figure for figure in every if figure.missed]
    for figure in missed:
        print(f"missed: {harness.line(figure)}")
    if len(benches) == len(BENCHES):
        RESULTS.write_text(report(taken, options))
        ratios = {figure.key: round(figure.value, 2) for figure in every if figure.checked}
        RATIOS.write_text(json.dumps(ratios, indent=1, sort_keys=True) + "\n")
        print(f"\nwritten: {RESULTS.relative_to(HERE.parent)}, {RATIOS.relative_to(HERE.parent)}")
    return 0


def check(options: argparse.Namespace, benches: list[Bench]) -> int:
    committed: dict[str, float] = json.loads(RATIOS.read_text())
    fallen: dict[str, float] = {}
    for bench in (each for each in benches if each.checked):
        best: dict[str, float] = {}
        for _ in range(CHECKS_MAX):
            for figure in measure(bench, options, check=True):
                if figure.key in committed:
                    best[figure.key] = max(best.get(figure.key, 0.0), figure.value)
            low = {k: v for k, v in best.items() if v < committed[k] * (1 - FALL_MOST)}
            if not low:
                break
        fallen |= low
    for key, value in fallen.items():
        print(f"fell: {key} is {value:.2f}, committed {committed[key]:.2f}", file=sys.stderr)
    if not fallen:
        print("\nno committed ratio fell by more than 10 %")
    return int(bool(fallen))


def report(taken: list[tuple[Bench, list[Figure]]], options: argparse.Namespace) -> str:
    system = f"{platform.system()} {platform.release()}"
    now = dt.datetime.now(dt.UTC)
    out = [
        "# Benchmark results",
        "",
        "Written by `make bench`; every number names its command. Costs are CPU time, the least of",
        "interleaved rounds, unless the text says otherwise. Compare ratios, not rates: rates are",
        "this machine's. What the comparisons leave out stands at the head of each file.",
        "",
        f"- Date: {now:%Y-%m-%d %H:%M} UTC",
        f"- Commit: {said('git', 'rev-parse', '--short=12', 'HEAD')}",
        f"- Machine: {processor()}, {os.cpu_count()} cores, {system}",
        f"- Load at the end: {os.getloadavg()[0]:.1f} (other programs only add to costs)",
        f"- Python {platform.python_version()}, {said('rustc', '--version')}, release build",
        "",
    ]
    for bench, figures in taken:
        out += [f"## {bench.title}", "", f"`python {' '.join(bench.command(options))}`", ""]
        out += ["| | | what | budget |", "|--:|:--|:--|:--|"]
        for figure in figures:
            out.append(
                f"| {harness.number(figure.value)} | {figure.unit} | {figure.text} "
                f"| {budget(figure)} |"
            )
        out.append("")
    return "\n".join(out)


def budget(figure: Figure) -> str:
    if figure.least is None and figure.most is None:
        return ""
    bound = f"≥ {figure.least:,g}" if figure.least is not None else f"≤ {figure.most:,g}"
    return f"{bound} **missed**" if figure.missed else bound


def said(*command: str) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE)
    except (OSError, subprocess.CalledProcessError):
        return f"{command[0]} unknown"
    return answer.stdout.strip()


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when a committed ratio fell")
    parser.add_argument("--rounds", type=int, default=harness.ROUNDS_MIN)
    parser.add_argument("--seconds", type=float, default=60.0, help="per rate of the whole daemon")
    parser.add_argument(
        "names", nargs="*", help="only these: " + ", ".join(b.name for b in BENCHES)
    )
    options = parser.parse_args()
    harness.refuse_debug_build()
    benches = [each for each in BENCHES if not options.names or each.name in options.names]
    return check(options, benches) if options.check else publish(options, benches)


if __name__ == "__main__":
    sys.exit(main())
