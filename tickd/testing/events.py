"""Random but plausible batches of every kind of event, for tests that need rows and no venue.

Everything follows from the generator's seed. It imitates shapes (pairs, heads with levels, gaps),
not markets.
"""

from __future__ import annotations

import json
from random import Random
from typing import Final

import numpy as np
import numpy.typing as npt

from tickd.events import (
    EVENT,
    ID_UNDEF,
    PRICE_UNDEF,
    SEQ_INDEX_BITS,
    SIZE_UNDEF,
    TS_UNDEF,
    Flag,
    Kind,
    Side,
)
from tickd.native import EventBatch

__all__ = ["EPOCH_NS", "EventStream"]

# 2026-11-20T23:59:59Z: a stream crosses midnight UTC after a second.
EPOCH_NS: Final = 1_795_219_199_000_000_000
_KINDS: Final = (
    *("quote",) * 8,
    *("trade",) * 6,
    *("depth",) * 3,
    "mark",
    "funding",
    "interest",
    "liquidation",
    "state",
    "gap",
    "clear",
)


class EventStream:
    """Batches with consecutive frame numbers; `rows` counts, per table, what they must become."""

    def __init__(
        self, seed: int, *, frame_no: int = 1, instruments: int = 3, step_ns: int = 1_000_000
    ) -> None:
        self._random = Random(seed)  # noqa: S311 - a test's dice
        self._frame_no = frame_no
        self._step_ns = step_ns
        self.ts_recv = EPOCH_NS
        self.rows: dict[str, int] = {}
        self.definitions = [
            {
                "kind": "instrument",
                "venue": "sim",
                "symbol": f"SYM{number}",
                "asset_class": "spot",
                "price_scale": 2 + number,
                "size_scale": 3,
                "tick": 1,
                "lot": 1,
                "multiplier": "1",
            }
            for number in range(instruments)
        ]

    @property
    def frame_next(self) -> int:
        return self._frame_no

    def definition_bytes(self) -> list[bytes]:
        return [json.dumps(definition).encode() for definition in self.definitions]

    def batch(self, frames: int, instruments: list[int] | None = None) -> EventBatch:
        """Return the next `frames` frames, grouped by instrument as the decoder groups by topic."""
        ids = instruments or [11, 22, 33]
        by_topic: dict[tuple[int, int], list[tuple[object, ...]]] = {}
        for _ in range(frames):
            self.ts_recv += self._random.randrange(self._step_ns)
            instrument = self._random.choice(ids)
            message = self._message(self._random.choice(_KINDS), instrument)
            by_topic.setdefault((instrument, int(str(message[0][9]))), []).extend(message)
            self._frame_no += 1
        flat = [event for events in by_topic.values() for event in events]
        events: npt.NDArray[np.void] = np.array(flat, dtype=EVENT)
        return EventBatch.from_events(events.tobytes(), [(0, 0, len(events))])

    def _count(self, table: str) -> None:
        self.rows[table] = self.rows.get(table, 0) + 1

    def _message(  # noqa: C901, PLR0911 - a table of shapes
        self, kind: str, instrument: int
    ) -> list[tuple[object, ...]]:
        random, recv = self._random, self.ts_recv
        seq = self._frame_no << SEQ_INDEX_BITS
        event_ns = recv - random.randrange(5_000_000) if random.random() < 0.9 else TS_UNDEF
        price, size, number = random.randrange(1, 10**9), random.randrange(10**6), seq ^ 5
        side = random.choice((Side.BID, Side.ASK))
        last = int(Flag.LAST)

        def event(
            index: int,
            event_kind: Kind,
            *,
            id_: int = number,
            price_: int = price,
            size_: int = size,
            aux: int = 0,
            flags: int = last,
            side_: int = int(Side.NONE),
        ) -> tuple[object, ...]:
            head = (event_ns, recv, seq + index, id_, price_, size_, aux)
            return (*head, instrument, flags, int(event_kind), side_)

        match kind:
            case "quote":
                self._count("quotes")
                bid = event(0, Kind.QUOTE, flags=0, side_=Side.BID)
                return [bid, event(1, Kind.QUOTE, price_=price + 1, side_=Side.ASK)]
            case "trade":
                self._count("trades")
                return [event(0, Kind.TRADE, aux=random.randrange(1, 9), side_=side)]
            case "depth":
                self._count("book")
                levels = random.randrange(9)
                flags = random.choice((0, int(Flag.SNAPSHOT)))
                previous = random.choice((SIZE_UNDEF, number - 9))
                head = event(
                    0,
                    Kind.DEPTH_HEAD,
                    price_=number - 3,
                    size_=previous,
                    aux=levels,
                    flags=flags | (0 if levels else last),
                )
                return [
                    head,
                    *(
                        event(
                            1 + level,
                            Kind.DEPTH,
                            price_=price + level,
                            size_=random.randrange(3),
                            aux=level,
                            flags=flags | (last if level == levels - 1 else 0),
                            side_=random.choice((Side.BID, Side.ASK)),
                        )
                        for level in range(levels)
                    ),
                ]
            case "mark":
                self._count("marks")
                return [event(0, random.choice((Kind.MARK, Kind.INDEX)), aux=8, size_=SIZE_UNDEF)]
            case "funding":
                self._count("marks")
                due = random.choice((ID_UNDEF, recv + 3_600_000_000_000))
                return [event(0, Kind.FUNDING, id_=due, price_=-price, aux=8)]
            case "interest":
                self._count("marks")
                return [event(0, Kind.OPEN_INTEREST, price_=PRICE_UNDEF)]
            case "liquidation":
                self._count("liquidations")
                return [event(0, Kind.LIQUIDATION, aux=price + 7, side_=side)]
            case "state":
                self._count("states")
                return [event(0, Kind.BOOK_STATE, aux=random.randrange(4), price_=PRICE_UNDEF)]
            case "gap":
                self._count("gaps")
                cause = random.randrange(1, 8)
                return [event(0, Kind.GAP, aux=cause | 2 << 8, price_=number + 4, size_=SIZE_UNDEF)]
            case _:
                self._count("book")
                return [event(0, Kind.CLEAR)]
