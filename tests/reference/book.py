"""The slow, obvious book: a dict per side, prices and sizes as `Decimal`, the documented rules.

Independent of tickd: reads the venue's JSON itself. `prices` are kept sorted for comparing only.
"""

from __future__ import annotations

import json
from bisect import bisect_left, insort
from decimal import Decimal


class ReferenceBook:
    """A book of one Binance symbol out of diffs and one snapshot."""

    def __init__(self, *, futures: bool) -> None:
        self.futures = futures
        self.levels: dict[str, dict[Decimal, Decimal]] = {"b": {}, "a": {}}
        self.prices: dict[str, list[Decimal]] = {"b": [], "a": []}  # ascending
        self.last: int | None = None  # last id of a live book
        self.snapshot: int | None = None
        self.waiting: list[dict[str, object]] = []

    @property
    def live(self) -> bool:
        return self.last is not None

    def message(self, text: bytes) -> None:
        """A diff (bare or in its envelope) or a REST snapshot."""
        body = json.loads(text)
        body = body.get("data", body)
        if "lastUpdateId" in body:
            self._take_snapshot(body)
        elif self.snapshot is None:
            self.waiting.append(body)
        else:
            self._diff(body)

    def _take_snapshot(self, body) -> None:
        assert self.snapshot is None, "one snapshot per book"
        self.snapshot = body["lastUpdateId"]
        for side, key in (("b", "bids"), ("a", "asks")):
            for price, size in body[key]:
                self._set(side, Decimal(price), Decimal(size))
        for diff in self.waiting:
            self._diff(diff)
        self.waiting.clear()

    def _diff(self, diff) -> None:
        first, last = diff["U"], diff["u"]
        if self.last is None:
            assert self.snapshot is not None
            if last < self.snapshot or (last == self.snapshot and not self.futures):
                return
            if self.futures:
                joins = first <= self.snapshot <= last or diff["pu"] == self.snapshot
            else:
                joins = first <= self.snapshot + 1 <= last
            assert joins, f"the snapshot {self.snapshot} does not join {first}..{last}"
        elif self.futures:
            assert diff["pu"] == self.last
        else:
            assert first == self.last + 1
        for side in "ba":
            for price, size in diff[side]:
                self._set(side, Decimal(price), Decimal(size))
        self.last = last

    def _set(self, side: str, price: Decimal, size: Decimal) -> None:
        levels, prices = self.levels[side], self.prices[side]
        if size == 0:
            if levels.pop(price, None) is not None:
                del prices[bisect_left(prices, price)]
            return
        if price not in levels:
            insort(prices, price)
        levels[price] = size

    def top(self, side: str, count: int | None = None) -> list[tuple[Decimal, Decimal]]:
        """The best `count` levels, or all, best first."""
        prices = self.prices[side]
        if side == "b":
            best = prices[::-1] if count is None else prices[: -count - 1 : -1]
        else:
            best = prices[:count]
        return [(price, self.levels[side][price]) for price in best]
