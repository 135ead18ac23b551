"""Events by hand and a host around a strategy class of the test."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from strategy_runner.config import StrategyConfig
from strategy_runner.restarts import AsRecorded
from strategy_runner.runner import StrategyHost, owner_of
from strategy_runner.state import State
from strategy_runner.strategy import Strategy
from tickd.events import EVENT, PRICE_UNDEF, SIZE_UNDEF, Flag, Kind, OrderState, Side
from tickd.native import EventBatch
from tickd.testing.clock import ManualClock

MS = 1_000_000
START_NS = 1_795_219_199_000 * MS
BTC, ETH = 11, 22
VENUE = "binance-usdm"


def definition(symbol: str) -> bytes:
    fields = {
        "venue": VENUE,
        "symbol": symbol,
        "asset_class": "perpetual",
        "price_scale": 2,
        "size_scale": 3,
        "tick": 10,
        "lot": 5,
        "multiplier": "1",
    }
    return json.dumps(fields).encode()


class Tape:
    """Messages one after the other, a millisecond and a frame each."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.frame = 1
        self.now_ns = START_NS
        self.taken = 0

    def add(self, kind: Kind, *parts: dict[str, int], instrument: int = BTC) -> Tape:
        self.frame += 1
        self.now_ns += MS
        for index, part in enumerate(parts or ({},)):
            event = {
                "ts_event": self.now_ns,
                "ts_recv": self.now_ns,
                "seq": self.frame << 16 | index,
                "id": self.frame,
                "price": PRICE_UNDEF,
                "size": SIZE_UNDEF,
                "aux": 0,
                "instrument": instrument,
                "flags": int(Flag.LAST) if index == len(parts or ({},)) - 1 else 0,
                "kind": int(kind),
                "side": int(Side.NONE),
                **part,
            }
            self.rows.append(tuple(event[name] for name in EVENT.names or ()))
        return self

    def trade(self, price: int, size: int, side: Side = Side.BID, *, instrument: int = BTC) -> Tape:
        part = {"price": price, "size": size, "side": int(side), "aux": 1}
        return self.add(Kind.TRADE, part, instrument=instrument)

    def quote(self, bid: int, ask: int, size: int = 5, *, instrument: int = BTC) -> Tape:
        return self.add(
            Kind.QUOTE,
            {"price": bid, "size": size, "side": int(Side.BID)},
            {"price": ask, "size": size, "side": int(Side.ASK)},
            instrument=instrument,
        )

    def depth(
        self, ids: tuple[int, int, int], *levels: tuple[Side, int, int], snapshot: bool = False
    ) -> Tape:
        """(first id, last id, previous id), levels of (side, price, size)."""
        flags = int(Flag.SNAPSHOT) if snapshot else 0
        head = {"price": ids[0], "id": ids[1], "size": ids[2], "aux": len(levels), "flags": flags}
        self.add(Kind.DEPTH_HEAD, head, *({} for _ in levels))
        for index, (side, price, size) in enumerate(levels, 1):
            row = dict(zip(EVENT.names or (), self.rows[-len(levels) - 1 + index], strict=True))
            row |= {
                "kind": int(Kind.DEPTH),
                "id": ids[1],
                "price": price,
                "size": size,
                "side": int(side),
                "aux": index - 1,
                "flags": flags | (int(Flag.LAST) if index == len(levels) else 0),
            }
            self.rows[-len(levels) - 1 + index] = tuple(row[name] for name in EVENT.names or ())
        return self

    def clock(self, to_ns: int | None = None) -> Tape:
        if to_ns is not None:
            self.now_ns = to_ns - MS
        return self.add(Kind.CLOCK, {}, instrument=0)

    def order(self, client_id: int, state: OrderState, fill: tuple[int, int] | None = None) -> Tape:
        part = {"id": client_id, "aux": int(state), "side": int(Side.BID)}
        if fill is not None:
            part |= {"price": fill[0], "size": fill[1]}
        return self.add(Kind.ORDER, part)

    def take(self) -> EventBatch:
        """What was added since the last time, in order."""
        rows, self.taken = self.rows[self.taken :], len(self.rows)
        return batch(rows)

    def cut(self, size: int) -> list[EventBatch]:
        """Everything, in batches of so many messages, each grouped by topic as the decoder does."""
        frames: dict[int, list[tuple[Any, ...]]] = {}
        for row in self.rows:
            frames.setdefault(row[2] >> 16, []).append(row)
        every = list(frames.values())
        parts = [every[at : at + size] for at in range(0, len(every), size)]
        return [grouped([row for frame in part for row in frame]) for part in parts]


def batch(rows: Sequence[tuple[Any, ...]]) -> EventBatch:
    events = np.array(rows, EVENT)
    return EventBatch.from_events(events.tobytes(), [(0, 0, len(events))])


def grouped(rows: list[tuple[Any, ...]]) -> EventBatch:
    topics: dict[tuple[int, int], list[tuple[Any, ...]]] = {}
    for row in rows:
        kind = Kind.DEPTH_HEAD if row[9] == Kind.DEPTH else row[9]
        topics.setdefault((row[7], int(kind)), []).append(row)
    flat = [row for each in topics.values() for row in each]
    ranges, start = [], 0
    for number, each in enumerate(topics.values()):
        ranges.append((number, start, start + len(each)))
        start += len(each)
    return EventBatch.from_events(np.array(flat, EVENT).tobytes(), ranges)


class World:
    """A host of classes of a test; what it recorded, decided and reported."""

    def __init__(
        self,
        *kinds: type[Strategy],
        state_dir: Path | None = None,
        states: dict[str, State] | None = None,
        restarts: dict[str, AsRecorded] | None = None,
        **config: Any,
    ) -> None:
        self.records: list[dict[str, Any]] = []
        self.lines: list[bytes] = []
        self.stopped: list[tuple[str, str]] = []
        self.clock = ManualClock()
        self.configs = [
            StrategyConfig(
                name=kind.__name__.lower(), class_=f"{kind.__module__}:{kind.__name__}", **config
            )
            for kind in kinds
        ]
        for kind in kinds:  # a module is found by its name; that of a test file has none
            module = sys.modules.setdefault(kind.__module__, sys.modules[__name__])
            setattr(module, kind.__name__, kind)
        self.host = StrategyHost(
            self.configs,
            record=lambda line: self.records.append(json.loads(line)),
            clock=self.clock,
            state_dir=state_dir,
            on_stopped=lambda name, reason: self.stopped.append((name, reason)),
            on_decision=self.lines.append,
            states=states,
            restarts=restarts,
        )
        self.host.define(BTC, definition("BTCUSDT"))
        self.host.define(ETH, definition("ETHUSDT"))

    def run(self, *batches: EventBatch) -> World:
        self.host.start()
        for each in batches:
            self.host.feed(each)
        self.host.stop("done")
        return self

    def said(self, what: str) -> list[dict[str, Any]]:
        return [
            line["fields"]
            for line in map(json.loads, self.lines)
            if line["kind"] == "decide" and line["what"] == what
        ]

    def report(self, kind: type[Strategy]) -> dict[str, Any]:
        strategies: Any = self.host.report()["strategies"]
        return strategies[kind.__name__.lower()]

    def owner(self, kind: type[Strategy]) -> int:
        return owner_of(kind.__name__.lower())
