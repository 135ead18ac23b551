"""tickd's side of a peer that runs in the benchmark environment: starts it, asks it, ends it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import harness

HERE = Path(__file__).parent


def environment() -> Path:
    """The virtual environment with the peers; `run.sh` makes it."""
    return Path(os.environ.get("TICKD_BENCH_VENV", ".bench-venv"))


class Peer:
    """A program in a child process: one JSON object a line, both ways."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def give(self, inputs: Mapping[str, object]) -> None:
        """What it shall work on."""
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(inputs, file)
            file.flush()
            self.ask(load=file.name)

    def cost(self, **order: object) -> harness.Cost:
        """What it says an order cost."""
        answer = self.ask(**order)
        return harness.Cost(answer["ns"], int(answer["units"]))

    def ask(self, **order: object) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the peer's process ended; see above")
        return dict(json.loads(line))


class Cryptofeed:
    """cryptofeed's own code."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def load(self, snapshot: bytes, shapes: Mapping[str, list[bytes]]) -> None:
        texts = {name: [each.decode() for each in lines] for name, lines in shapes.items()}
        self._peer.give({"snapshot": [snapshot.decode()], **texts})

    def handle(self, shape: str) -> harness.Cost:
        """Its message handler over every message of a shape."""
        return self._peer.cost(run=shape)

    def record(self, shape: str) -> harness.Cost:
        """Its raw callback over every message of a shape."""
        return self._peer.cost(raw=shape)


@contextmanager
def cryptofeed() -> Iterator[Cryptofeed]:
    """cryptofeed in a child process."""
    with started("peer_cryptofeed.py") as peer:
        yield Cryptofeed(peer)


@contextmanager
def nautilus(ticks: int) -> Iterator[Callable[[], harness.Cost]]:
    """So many ticks through NautilusTrader's live data path, in a child process."""
    with started("peer_nautilus.py") as peer:
        yield lambda: peer.cost(ticks=ticks)


@contextmanager
def nautilus_orders(pairs: int) -> Iterator[Callable[[], harness.Cost]]:
    """So many orders through NautilusTrader's backtest, each cancelled, in a child process."""
    with started("peer_nautilus_orders.py") as peer:
        yield lambda: peer.cost(pairs=pairs)


@contextmanager
def started(file: str) -> Iterator[Peer]:
    """A peer's file, run by the environment that has it installed."""
    python = environment() / "bin/python"
    if not python.exists():
        raise SystemExit(f"no {python}: run benchmarks/run.sh, or set TICKD_BENCH_VENV")
    with subprocess.Popen(
        [python, HERE / file],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    ) as process:
        try:
            yield Peer(process)
        finally:
            process.terminate()
