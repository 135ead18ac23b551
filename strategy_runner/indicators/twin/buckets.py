"""Buckets of equal volume and what their history says: the machine behind every VPIN twin."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

from strategy_runner.indicators.twin.snapshot import Fields

_BUCKETS_MAX = 1 << 16
BUCKETS = "a bucket volume above 0, 1 to 65,535 buckets, 1 to 65,536 ranked values"


class Ring(Fields):
    """The last `size` numbers."""

    FIELDS = (("places", "*d"), ("head", "Q"), ("seen", "Q"))

    def __init__(self, size: int) -> None:
        if not 1 <= size <= _BUCKETS_MAX:
            raise ValueError(f"too_large parameters: {BUCKETS}")
        self.places: list[float] = [0] * size
        self.head = 0
        self.seen = 0

    def push(self, x: float) -> float:
        """Returns what had to leave, 0 while there is room."""
        left = self.places[self.head]
        self.places[self.head] = x
        self.head = (self.head + 1) % len(self.places)
        self.seen += 1
        return left

    def clear(self) -> None:
        self.places = [0] * len(self.places)
        self.head = self.seen = 0

    @property
    def is_full(self) -> bool:
        return self.seen >= len(self.places)

    @property
    def newest(self) -> float:
        return self.places[self.head - 1]

    @property
    def filled(self) -> list[float]:
        return self.places[: self.seen]


class WholeRing(Ring):
    """The same in whole numbers."""

    FIELDS = (("places", "*q"), ("head", "Q"), ("seen", "Q"))


def z_of_floats(newest: float, places: list[float]) -> float:
    """Z of `newest` against all but one occurrence of itself."""
    n = float(len(places) - 1)
    if n < 2.0:
        return math.nan
    total = 0.0
    for x in places:
        total += x
    mean = (total - newest) / n
    square = 0.0
    for x in places:
        square += (x - mean) * (x - mean)
    variance = (square - (newest - mean) * (newest - mean)) / (n - 1.0)
    if variance > 0.0 and variance > 1e-24 * mean * mean:
        return (newest - mean) / math.sqrt(variance)
    return math.nan


def _parts(newest: int, places: list[int]) -> tuple[int, int, int]:
    """In whole numbers: x n - S1, n S2 - S1^2, n."""
    n = len(places) - 1
    total = sum(places) - newest
    squares = sum(x * x for x in places) - newest * newest
    return newest * n - total, n * squares - total * total, n


def z_of_integers(newest: int, places: list[int]) -> float:
    distance, spread, n = _parts(newest, places)
    if n < 2 or spread <= 0:
        return math.nan
    return float(distance) / math.sqrt((float(spread) * float(n)) / float(n - 1))


def is_beyond_three(newest: int, places: list[int]) -> bool:
    distance, spread, n = _parts(newest, places)
    return n >= 2 and spread > 0 and distance * distance * (n - 1) > 9 * n * spread


class History(Fields):
    """Signed imbalances of the current and the n previous buckets, and VPINs for the rank."""

    FIELDS = (("imbalances", ""), ("values", ""))
    PARTS: ClassVar = {"imbalances": Ring, "values": Ring}
    RING: ClassVar[type[Ring]] = Ring

    def __init__(self, buckets: int, ranked: int) -> None:
        self.imbalances = self.RING(buckets + 1)
        self.values = Ring(ranked)

    @property
    def cdf(self) -> float:
        if self.values.seen == 0:
            return math.nan
        filled = self.values.filled
        return sum(each <= self.values.newest for each in filled) / len(filled)

    @property
    def zscore(self) -> float:
        ring = self.imbalances
        return z_of_floats(ring.newest, ring.places) if ring.is_full else math.nan

    @property
    def is_toxic(self) -> bool:
        return abs(self.zscore) > 3.0

    def clear(self) -> None:
        self.imbalances.clear()
        self.values.clear()


class WholeHistory(History):
    """The same in whole numbers: the trigger is exact."""

    PARTS: ClassVar = {"imbalances": WholeRing, "values": Ring}
    RING = WholeRing

    @property
    def _whole(self) -> list[int]:
        return [int(each) for each in self.imbalances.places]

    @property
    def zscore(self) -> float:
        if not self.imbalances.is_full:
            return math.nan
        return z_of_integers(int(self.imbalances.newest), self._whole)

    @property
    def is_toxic(self) -> bool:
        is_full = self.imbalances.is_full
        return is_full and is_beyond_three(int(self.imbalances.newest), self._whole)


Shares = Callable[[float], tuple[float, float]]


class Buckets(Fields):
    """Buckets of volume and what their imbalances sum to."""

    FIELDS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("volume", "d"),
        ("split", "?"),
        ("left", "d"),
        ("buy", "d"),
        ("sell", "d"),
        ("imbalances", ""),
        ("volumes", ""),
        ("imbalance_sum", "d"),
        ("volume_sum", "d"),
        ("total", "d"),
        ("unclassified", "d"),
        ("history", ""),
    )
    RING: ClassVar[type[Ring]] = Ring
    HISTORY: ClassVar[type[History]] = History
    PARTS: ClassVar = {"imbalances": Ring, "volumes": Ring, "history": History}

    def __init__(self, volume: float, buckets: int, ranked: int, *, split: bool) -> None:
        self.volume = volume
        self.split = split
        self.imbalances = self.RING(buckets)
        self.volumes = self.RING(buckets)
        self.history = self.HISTORY(buckets, ranked)
        self.drop_partial()
        self.imbalance_sum = self.volume_sum = self.total = self.unclassified = 0.0

    @property
    def residue(self) -> float:
        """What is left of a bucket below this is nothing."""
        return 1e-12 * self.volume

    def clear(self) -> None:
        self.drop_partial()
        self.imbalances.clear()
        self.volumes.clear()
        self.history.clear()
        self.imbalance_sum = self.volume_sum = self.total = self.unclassified = 0

    def drop_partial(self) -> None:
        self.left = self.volume
        self.buy = self.sell = 0.0

    def _close(self) -> None:
        signed = self.buy - self.sell
        imbalance, volume = (-signed if signed < 0 else signed), self.buy + self.sell
        self.imbalance_sum += imbalance - self.imbalances.push(imbalance)
        self.volume_sum += volume - self.volumes.push(volume)
        if self.imbalances.head == 0:
            self.imbalance_sum = self.volume_sum = 0
            for x, v in zip(self.imbalances.places, self.volumes.places, strict=True):
                self.imbalance_sum += x
                self.volume_sum += v
        self.history.imbalances.push(signed)
        if self.imbalances.is_full:
            self.history.values.push(self.value)
        self.drop_partial()

    @property
    def value(self) -> float:
        if not self.imbalances.is_full or self.volume_sum <= 0:
            return math.nan
        return min(max(float(self.imbalance_sum) / float(self.volume_sum), 0.0), 1.0)

    def fill(self, size: float, shares: Shares) -> bool:
        """Fill buckets with `size`, of which `shares(part)` are (buy, sell). Whether one closed."""
        self.total += size
        rest, closed = size, False
        while True:
            part = self.left if self.split and rest > self.left else rest
            buy, sell = shares(part)
            self.buy += buy
            self.sell += sell
            self.left -= part
            rest -= part
            if not self.left < self.residue:
                return closed
            self._close()
            closed = True
            if not rest >= self.residue:
                return closed


class WholeBuckets(Buckets):
    """The same in whole lots."""

    FIELDS: ClassVar[tuple[tuple[str, str], ...]] = tuple(
        (name, "q" if form == "d" else form) for name, form in Buckets.FIELDS
    )
    RING = WholeRing
    HISTORY = WholeHistory
    PARTS: ClassVar = {"imbalances": WholeRing, "volumes": WholeRing, "history": WholeHistory}

    def __init__(self, volume: int, buckets: int, ranked: int, *, split: bool) -> None:
        super().__init__(volume, buckets, ranked, split=split)
        self.imbalance_sum = self.volume_sum = self.total = self.unclassified = 0

    @property
    def residue(self) -> float:
        return 1

    def drop_partial(self) -> None:
        self.left = self.volume
        self.buy = self.sell = 0
