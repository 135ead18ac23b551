"""`tickd status`, cold: a process from its start to its end, against an empty Python.

The daemon is not measured: a stand-in answers on the control socket with what a real one drew, so
that nothing else uses the machine. Wall time is the least of interleaved turns; other programs only
add to it. CPU time is what is left of it on a machine of one's own.

Run: python benchmarks/bench_status.py [--rounds 10]
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import harness
import orjson
from bench_scrape import config, feed
from harness import Figure

from tickd.app.daemon import Daemon
from tickd.app.wiring import wire

BUDGET_MS = 100.0
ROUNDS_MIN = 20


class Took(NamedTuple):
    """Of one process, ms."""

    wall: float
    cpu: float


async def drawn(state_dir: Path) -> bytes:
    """The answer of a daemon of four venues with 1,000 symbols each, an account and a strategy."""
    daemon = Daemon(wire(config(state_dir)))
    try:
        feed(daemon)
        return orjson.dumps({"result": daemon.picture.draw(topics=False)}) + b"\n"
    finally:
        await daemon.parts.put_away()


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """Answer every question on a control socket."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            while True:
                try:
                    line, _ = server.accept()
                except OSError:
                    return
                with line:
                    line.recv(1 << 16)
                    line.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def run(arguments: list[str]) -> Took:
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, code, used = os.wait4(process.pid, 0)
    took = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(code)
    if process.returncode:
        sys.exit(f"{arguments} ended with {process.returncode}")
    return Took(took * 1e3, (used.ru_utime + used.ru_stime) * 1e3)


def measure(rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as scratch:
        state_dir = Path(scratch) / "state"
        state_dir.mkdir()
        answer = asyncio.run(drawn(state_dir))
        file = Path(scratch) / "tickd.toml"
        file.write_text(f'[node]\nstate_dir = "{state_dir}"\n')
        cases = {
            "pass": ["-c", "pass"],
            "status": ["-m", "tickd", "status", str(file)],
            "json": ["-m", "tickd", "status", str(file), "--json"],
        }
        best = dict.fromkeys(cases, Took(float("inf"), float("inf")))
        with answering(state_dir / "control.sock", answer):
            for _ in range(max(rounds, ROUNDS_MIN)):
                for name, arguments in cases.items():
                    took = run(arguments)
                    best[name] = Took(*map(min, best[name], took))
    ratio = best["status"].cpu / best["pass"].cpu
    return [
        Figure("status.wall", best["status"].wall, "ms", "`tickd status`, cold", most=BUDGET_MS),
        Figure("status.cpu", best["status"].cpu, "ms", "of it, CPU"),
        Figure("status.json", best["json"].wall, "ms", "`tickd status --json`, cold"),
        Figure("status.python", best["pass"].wall, "ms", "`python -c pass`"),
        Figure("status.ratio", ratio, "x", "CPU of `tickd status`, of an empty Python's"),
    ]


def main() -> None:
    options = harness.arguments(__doc__).parse_args()
    harness.refuse_debug_build()
    harness.show(measure(options.rounds), as_json=options.json)


if __name__ == "__main__":
    main()
