"""A small made-up market as recorded lines: trades, quotes, and a book that joins its snapshot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

START_NS = 1_795_219_199_000_000_000
SYMBOL = "BTCUSDT"


def lines(seed: int, messages: int) -> Iterator[tuple[int, bytes]]:
    """(receive ns, payload) in time order; the third line is the REST snapshot."""
    dice = Random(seed)
    now_ns, price, update = START_NS, 60_000.0, 100
    for number in range(messages):
        now_ns += dice.randrange(1, 20_000_000)
        price += dice.choice((-0.1, 0.0, 0.1))
        stamp = now_ns // 1_000_000 - 1
        bid, ask = f"{price:.1f}", f"{price + 0.1:.1f}"
        size = f"{dice.randrange(1, 3000) / 1000:.3f}"
        head = {"E": stamp, "T": stamp, "s": SYMBOL}
        if number == 2:
            side = [[f"{price - level / 10:.1f}", "1.000"] for level in range(20)]
            other = [[f"{price + 0.1 + level / 10:.1f}", "1.000"] for level in range(20)]
            snapshot = {"lastUpdateId": update, **head, "bids": side, "asks": other}
            snapshot = {"lastUpdateId": update, "E": stamp, "T": stamp, "symbol": SYMBOL}
            yield now_ns, packed({**snapshot, "bids": side, "asks": other})
            continue
        kind = dice.randrange(10)
        if kind < 3:
            maker = dice.random() < 0.5
            data = {"e": "trade", **head, "t": number, "p": bid if maker else ask, "q": size}
            yield now_ns, stream("trade", {**data, "X": "MARKET", "m": maker})
        elif kind < 8:
            data = {"e": "bookTicker", "u": number, **head, "b": bid, "B": size, "a": ask}
            yield now_ns, stream("bookTicker", {**data, "A": "0.500"})
        else:
            ids = {"U": update + 1, "u": update + 3, "pu": update}
            update += 3
            changes = {"b": [[bid, size]], "a": [[ask, "0.000" if kind == 8 else size]]}
            yield now_ns, stream("depth@100ms", {"e": "depthUpdate", **head, **ids, **changes})


def stream(name: str, data: dict[str, object]) -> bytes:
    return packed({"stream": f"{SYMBOL.lower()}@{name}", "data": data})


def packed(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def write_capture(path: Path, seed: int, messages: int) -> Path:
    path.write_bytes(b"".join(b"%d %s\n" % line for line in lines(seed, messages)))
    return path
