"""tickd's side of a peer that runs in the benchmark environment: starts it, asks it, ends it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import harness

PEER = Path(__file__).with_name("peer_cryptofeed.py")


def environment() -> Path:
    """The virtual environment with the peers; `run.sh` makes it."""
    return Path(os.environ.get("TICKD_BENCH_VENV", ".bench-venv"))


class Cryptofeed:
    """cryptofeed in a child process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def load(self, snapshot: bytes, shapes: Mapping[str, list[bytes]]) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            texts = {name: [each.decode() for each in lines] for name, lines in shapes.items()}
            json.dump({"snapshot": [snapshot.decode()], **texts}, file)
            file.flush()
            self._ask(load=file.name)

    def handle(self, shape: str) -> harness.Cost:
        """Its message handler over every message of a shape."""
        return self._cost(self._ask(run=shape))

    def record(self, shape: str) -> harness.Cost:
        """Its raw callback over every message of a shape."""
        return self._cost(self._ask(raw=shape))

    def _ask(self, **order: object) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("cryptofeed's process ended; see above")
        return dict(json.loads(line))

    def _cost(self, answer: dict[str, float]) -> harness.Cost:
        return harness.Cost(answer["ns"], int(answer["units"]))


@contextmanager
def cryptofeed() -> Iterator[Cryptofeed]:
    python = environment() / "bin/python"
    if not python.exists():
        raise SystemExit(f"no {python}: run benchmarks/run.sh, or set TICKD_BENCH_VENV")
    with subprocess.Popen(
        [python, PEER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    ) as process:
        try:
            yield Cryptofeed(process)
        finally:
            process.terminate()
