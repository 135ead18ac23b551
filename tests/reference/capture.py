"""An independent reader of recorded Binance captures: stdlib json and Decimal, nothing of tickd.

Grammar of a line: `recv_ns SP json`; json is a combined-stream message or a REST depth snapshot.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any


@dataclass
class Totals:
    """What SQL must give for one channel of one symbol."""

    rows: int = 0
    price: Decimal = Decimal(0)
    size: Decimal = Decimal(0)
    id_min: int | None = None
    id_max: int | None = None

    def add(self, venue_id: int, *levels: tuple[str, str]) -> None:
        self.rows += 1
        self.id_min = venue_id if self.id_min is None else min(self.id_min, venue_id)
        self.id_max = venue_id if self.id_max is None else max(self.id_max, venue_id)
        for price, size in levels:
            self.price += Decimal(price)
            self.size += Decimal(size)


@dataclass
class Capture:
    """Totals per channel, and the raw JSON per stream in file order."""

    trades: Totals = field(default_factory=Totals)
    quotes: Totals = field(default_factory=Totals)
    depth: Totals = field(default_factory=Totals)
    snapshots: int = 0
    messages: int = 0


def lines(path: Path) -> Iterator[tuple[int, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            recv_ns, _, text = line.rstrip("\n").partition(" ")
            yield int(recv_ns), text


def read(path: Path) -> Capture:
    capture = Capture()
    for _, text in lines(path):
        message: dict[str, Any] = json.loads(text)
        if "stream" not in message:
            capture.snapshots += 1
            continue
        capture.messages += 1
        data = message["data"]
        channel = message["stream"].split("@")[1]
        if channel == "trade":
            capture.trades.add(data["t"], (data["p"], data["q"]))
        elif channel == "bookTicker":
            capture.quotes.add(data["u"], (data["b"], data["B"]), (data["a"], data["A"]))
        elif channel == "depth":
            capture.depth.add(data["u"], *((p, q) for p, q in data["b"] + data["a"]))
        else:
            raise ValueError(f"unexpected stream {message['stream']}")
    return capture
