"""Orders on paper in a recorded market: each fill has its cause there, and no cut changes one.

A bid and an ask of the smallest kind are placed at the touch every 640 frames and taken back 640
frames later; every third time a market order goes along.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest

from tests.harness.paper_world import FILL, config
from tests.reference.records import CAPTURES, capture_records
from tickd.events import EVENT, SIZE_UNDEF, Kind, Side
from tickd.native import Decoder, PaperExchange

pytestmark = pytest.mark.captures
EVERY_FRAMES: Final = 640
SIZES: Final = {"binance-usdm": 5, "binance-spot": 500_000}
Told = tuple[Any, ...]


class Maker:
    """The orders, and the exchange that they are sent to."""

    def __init__(self, size: int, queue: str) -> None:
        self.exchange = PaperExchange(
            config(entry_ns=[3_000_000], response_ns=[2_000_000], queue=queue)
        )
        self.size = size
        self.instrument = 0
        self.heard: list[Told] = []
        self.sent: dict[int, tuple[str, int | None]] = {}
        self._open: list[int] = []

    def act(self, now_ns: int) -> None:
        for number in self._open:
            self.exchange.cancel(now_ns, number)
        bid, ask = self.exchange.touch(self.instrument)
        orders: list[tuple[str, int | None]] = [("B", bid), ("A", ask)]
        if len(self.sent) % 3 == 0:
            orders.append(("BA"[len(self.sent) % 2], None))
        self._open = []
        for side, price in orders:
            number = len(self.sent) + 1
            self.sent[number] = (side, price)
            self._open.append(number)
            self.exchange.submit(
                now_ns, number, self.instrument, side, price, self.size, "gtc", False
            )


def run(
    records: list[bytes], size: int, burst: int, queue: str = "risk_averse"
) -> tuple[Maker, npt.NDArray[np.void]]:
    """The orders in the market of these records, cut into bursts; and its events in order."""
    maker, decoder, seen = Maker(size, queue), Decoder(), []
    now_ns = 0
    for at in range(0, len(records), burst):
        batch = decoder.decode(b"".join(records[at : at + burst]))
        if not maker.instrument:
            ((maker.instrument, definition),) = decoder.instruments()
            maker.exchange.define(maker.instrument, definition, True)
        columns = np.frombuffer(batch, EVENT)
        now_ns = max(now_ns, int(columns["ts_recv"].max(initial=0)))
        seen.append(columns)
        maker.heard += maker.exchange.take(batch) or []
        maker.heard += maker.exchange.advance(now_ns) or []
        if (at + burst) % EVERY_FRAMES == 0:
            maker.act(now_ns)
    events = np.concatenate(seen)
    return maker, events[np.argsort(events["seq"], kind="stable")]


@pytest.fixture(scope="module", params=list(SIZES))
def recorded(request: pytest.FixtureRequest, captures: Path) -> tuple[str, list[bytes]]:
    records = list(capture_records(captures, CAPTURES[request.param]))
    return request.param, records[: len(records) // 3]


def has_cause(told: Told, side: str, limit: int | None, events: npt.NDArray[np.void]) -> bool:
    """Whether the market shows why this was traded.

    At a limit: somebody sold to it (bought from it) at that moment, or the other side was displayed
    there. At the market: the other side was displayed at the price before.
    """
    price, at_ns = told[4], told[9]
    displayed = np.isin(events["kind"], (Kind.QUOTE, Kind.DEPTH)) & (events["size"] != 0)
    displayed &= events["size"] != SIZE_UNDEF
    other = events["side"] == (Side.ASK if side == "B" else Side.BID)
    if limit is None:
        before = (events["ts_recv"] <= at_ns) & (events["ts_recv"] > at_ns - 30_000_000_000)
        return bool((displayed & other & before & (events["price"] == price)).any())
    beyond = events["price"] <= price if side == "B" else events["price"] >= price
    now = (events["ts_recv"] <= at_ns) & (events["ts_recv"] > at_ns - 3_000_000_000)
    taken = (events["kind"] == Kind.TRADE) & (events["ts_recv"] == at_ns)
    return bool((now & other & beyond & (displayed | taken)).any())


def test_every_fill_has_its_cause_and_no_cut_changes_one(recorded: tuple[str, list[bytes]]) -> None:
    name, records = recorded
    maker, events = run(records, SIZES[name], 64)
    executions = maker.exchange.executions(0)
    assert len(executions) > 40
    size: dict[int, int] = {}
    for _, side, told in executions:
        wanted, limit = maker.sent[told[1]]
        assert wanted == side
        assert has_cause(told, side, limit, events), told
        size[told[1]] = size.get(told[1], 0) + (told[5] or 0)
        assert told[6] == size[told[1]] <= SIZES[name]
        assert limit is None or (told[4] or 0) * (1 if side == "B" else -1) <= limit * (
            1 if side == "B" else -1
        )
    kinds = {maker.sent[told[1]][1] is None for _, _, told in executions}
    assert kinds == {True, False}
    heard = [each for each in maker.heard if each[0] == FILL]
    assert heard == [told for _, _, told in executions][: len(heard)]
    assert len(executions) - len(heard) <= 2  # on their way when the records end
    for burst in (8, EVERY_FRAMES):
        assert run(records, SIZES[name], burst)[0].heard == maker.heard


def test_the_averse_queue_trades_no_more_than_the_other(recorded: tuple[str, list[bytes]]) -> None:
    name, records = recorded

    def filled(queue: str) -> dict[int, int]:
        maker, _ = run(records, SIZES[name], EVERY_FRAMES, queue)
        return {row[0]: row[6] for row in maker.exchange.orders()}

    averse, likely = filled("risk_averse"), filled("prob")
    assert all(likely[number] >= size for number, size in averse.items())
    assert 0 < sum(averse.values()) <= sum(likely.values())
