"""Raw log to files of each format, against what one would write in an afternoon.

Each case is a process of its own, from start to exit, so that its peak of memory is its own. The
naive way decodes the same log, makes a dictionary with Decimals per row, and lets pandas write
Parquet, or the csv module write lines; it knows no order over tables, hash, gap or null. Both write
trades and quotes, hftbacktest trades and book. CPU time of all threads from start to exit, imports
included on both sides. The market is simulated, 20 symbols.

Run: python benchmarks/bench_export.py [--rounds 2] [--messages 1000000]
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import harness
import recorded
from harness import Figure, rate

FORMATS = ("parquet", "arrow", "csv", "jsonl", "hftbacktest")
NAIVE = ("parquet", "csv")
TABLES = "trade.*.*,quote.*.*"
TOPICS = dict.fromkeys(FORMATS, TABLES) | {"hftbacktest": "trade.*.*,depth.*.*"}
SYMBOLS, MARKET_RATE = 20, 100_000.0
# A case takes seconds; more rounds than this tell nothing new.
ROUNDS_MAX = 2
RATIO_LEAST = {"parquet": 3.0, "csv": 2.0}
RSS_MOST_MIB = 256.0


class Run(NamedTuple):
    """What one process cost."""

    ns_per_row: float
    rss_mib: float
    rows: int


def run(command: Sequence[str], rows_of: Path) -> Run:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed: {said.decode()}")
    rows = sum(json.loads(rows_of.read_text())["rows"].values())
    return Run((usage.ru_utime + usage.ru_stime) * 1e9 / rows, usage.ru_maxrss / 1024, rows)


def export(state: Path, name: str, out: Path) -> Run:
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "tickd", "export", str(state), "-f", name, "--out", str(out)]
    # A machine whose clock was set back while the log was written is no reason to measure nothing.
    skew = ["--clock-skew", "shift"] if name == "hftbacktest" else []
    return run([*command, "--topics", TOPICS[name], *skew], out / "manifest.json")


def naive(state: Path, name: str, out: Path) -> Run:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    script = Path(__file__).with_name("naive_export.py")
    return run([sys.executable, str(script), str(state), name, str(out)], out / "manifest.json")


def measure(state: Path, rounds: int, *, checked: bool) -> list[Figure]:
    cases = {f"tickd {name}": (export, name) for name in FORMATS}
    if checked:
        cases = {key: case for key, case in cases.items() if case[1] in NAIVE}
    cases |= {f"naive {name}": (naive, name) for name in NAIVE}
    best: dict[str, Run] = {}
    for _ in range(rounds):
        for key, (case, name) in cases.items():
            found = case(state, name, state / "out")
            best[key] = min(best.get(key, found), found)
    figures = []
    for key, least in best.items():
        who, name = key.split()
        text = f"{who} {name}: rows per CPU second, of {least.rows:,} rows"
        figures.append(Figure(f"export.{who}.{name}.rate", rate(least.ns_per_row), "rows/s", text))
        most = RSS_MOST_MIB if who == "tickd" else None
        text = f"{who} {name}: peak memory of the process"
        figures.append(Figure(f"export.{who}.{name}.rss", least.rss_mib, "MiB", text, most=most))
    for name in NAIVE:
        ours, theirs = best[f"tickd {name}"], best[f"naive {name}"]
        text = f"{name}: CPU per row, the naive way / tickd"
        ratio = theirs.ns_per_row / ours.ns_per_row
        figures.append(
            Figure(f"export.{name}.cpu", ratio, "x", text, least=RATIO_LEAST[name], checked=True)
        )
    return figures


def main() -> None:
    parser = harness.arguments(__doc__, rounds=ROUNDS_MAX)
    parser.add_argument("--messages", type=int, default=1_000_000, help="size of the log")
    options = parser.parse_args()
    harness.refuse_debug_build()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        recorded.record(state / "raw", messages=options.messages, symbols=SYMBOLS, rate=MARKET_RATE)
        figures = measure(state, min(options.rounds, ROUNDS_MAX), checked=options.checked)
    harness.show(figures, as_json=options.json)


if __name__ == "__main__":
    main()
