"""Twins of the indicators of ranked levels: MLOFI, integrated OFI, imbalance, prices, slope."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import numpy as np

from strategy_runner.indicators.twin.quotes import EMPTY, Quote, cleaned, flow, missing_is_empty
from strategy_runner.indicators.twin.snapshot import (
    Floats,
    Reader,
    Refused,
    Times,
    Twin,
    output,
    row_refused,
    times_of,
)
from strategy_runner.indicators.twin.window import SPANS, Rows

LEVELS_MAX = 1000
Book = Sequence[float] | Floats


class BookTwin(Twin):
    """Takes books. Subclasses say what one means in `_take`, and how many `levels` one has."""

    levels: int

    def _take(self, now: list[Quote], ts_ns: int) -> float:
        raise NotImplementedError

    def update(self, flat_levels: Book, ts_ns: int = 0) -> float:
        if isinstance(flat_levels, np.ndarray) and flat_levels.dtype not in (np.float64, np.int64):
            raise TypeError("a book is a flat buffer of float64 or int64")
        numbers = (
            flat_levels.ravel().tolist() if isinstance(flat_levels, np.ndarray) else flat_levels
        )
        if len(numbers) != 4 * self.levels:
            raise ValueError(f"a book of {len(numbers)} numbers, not {4 * self.levels}")
        now: list[Quote] = []
        for at in range(0, len(numbers), 4):
            quote = cleaned(*(float(each) for each in numbers[at : at + 4]))
            if quote is None:
                return self._skip()
            now.append(quote)
        return self._take(now, ts_ns)

    def peek(self, flat_levels: Book, ts_ns: int = 0) -> float:
        try:
            return self.copy().update(flat_levels, ts_ns)
        except Refused:
            return math.nan

    def _books(
        self, flat_levels: Floats, ts_ns: Times | None, each: Callable[[int, float], None]
    ) -> None:
        books = self._checked(flat_levels)
        times = times_of(ts_ns, len(books))
        for i, (book, ts) in enumerate(zip(books, times, strict=True)):
            try:
                each(i, self.update(book, ts))
            except Refused:
                raise row_refused(i) from None

    def _checked(self, flat_levels: Floats) -> Floats:
        is_array = isinstance(flat_levels, np.ndarray)
        if not is_array or flat_levels.dtype != np.float64 or not flat_levels.flags.c_contiguous:
            raise TypeError("books must be float64")
        width = 4 * self.levels
        if flat_levels.size % width:
            raise ValueError(f"{flat_levels.size} numbers are no whole books of {width}")
        return flat_levels.reshape(-1, width)

    def update_many(
        self, flat_levels: Floats, ts_ns: Times | None = None, out: Floats | None = None
    ) -> Floats:
        values = output(out, (len(self._checked(flat_levels)),))
        self._books(flat_levels, ts_ns, values.__setitem__)
        return values

    @classmethod
    def batch(cls, flat_levels: Floats, ts_ns: Times | None = None, **params: object) -> Floats:
        return cls._made(params).update_many(flat_levels, ts_ns)


class _MlofiTwin(BookTwin):
    """OFI per level, however its value is made."""

    FIELDS = (
        ("missing_is_empty", "?"),
        ("skip_crossed", "?"),
        ("weights", "*d"),
        ("is_integrated", "?"),
    )

    def __init__(
        self, weights: list[float], window: Rows, *, missing: str, strict: bool, skip_crossed: bool
    ) -> None:
        super().__init__(strict=strict)
        self.missing_is_empty = missing_is_empty(missing)
        self.skip_crossed = skip_crossed
        self.weights = weights
        self.is_integrated = False
        self.levels = len(weights)
        self.window = window
        self._forget()

    def save(self, out: bytearray) -> None:
        super().save(out)
        out += len(self.before).to_bytes(8, "little")
        out += array("d", [x for quote in self.before for x in quote]).tobytes()
        out += bytes([self.has_before]) + len(self.row).to_bytes(8, "little")
        out += array("d", [*self.row, self._value]).tobytes()
        self.window.save(out)

    @classmethod
    def load(cls, reader: Reader) -> Self:
        made = super().load(reader)
        made.levels = len(made.weights)
        length = int(reader.take("<Q")[0])
        if length != made.levels:
            raise ValueError(f"state refused: malformed at byte {reader.at}")
        made.before = [Quote(*map(float, reader.take("<4d"))) for _ in range(length)]
        made.has_before = bool(reader.take("<?")[0])
        length = int(reader.take("<Q")[0])
        if length != made.levels + 2:
            raise ValueError(f"state refused: malformed at byte {reader.at}")
        made.row = [float(x) for x in reader.take(f"<{length}d")]
        made.restore_value(float(reader.take("<d")[0]))
        made.window = Rows.load(reader)
        return made

    def _forget(self) -> None:
        self.window.clear()
        self.before = [EMPTY] * self.levels
        self.has_before = False
        self.row = [math.nan] * (self.levels + 2)  # e of each level, size at all levels, 1

    @property
    def is_ready(self) -> bool:
        return self.window.is_full

    @property
    def warmup(self) -> int:
        return self.window.warmup + 1

    @property
    def n_early(self) -> int:
        return self.window.early

    @property
    def events(self) -> list[float]:
        return self.row[: self.levels]

    @property
    def sums(self) -> list[float]:
        return self.window.sums[: self.levels]

    def take(self) -> list[float]:
        sums = self.sums
        self.window.clear()
        self._value = math.nan
        return sums

    def _evaluate(self) -> float:
        # Two chains of additions, as the native one has.
        chains = [0.0, 0.0]
        if self.levels % 2:
            chains[0] = self.weights[-1] * self.window.sums[self.levels - 1]
        for m in range(self.levels - self.levels % 2):
            chains[m % 2] += self.weights[m] * self.window.sums[m]
        total = chains[0] + chains[1]
        if not self.is_integrated:
            return total
        *_, sizes, events = self.window.sums
        shown = sizes / (2.0 * self.levels * events)
        return total / shown if shown > 0.0 else math.nan

    def _take(self, now: list[Quote], ts_ns: int) -> float:
        if now[0].is_crossed:
            self.n_crossed += 1
            if self.skip_crossed:
                return self._skip()
        self.count += 1
        if not self.missing_is_empty and not all(quote.is_whole for quote in now):
            return self._value
        if not self.has_before:
            self.has_before = True
            self.before = now
            return math.nan
        shown = 0.0
        for level, (before, quote) in enumerate(zip(self.before, now, strict=True)):
            self.row[level] = flow(before, quote)
            shown += quote.bid_size + quote.ask_size
        self.before = now
        self.row[-2:] = shown, 1.0
        self.window.push(self.row, ts_ns)
        if self.window.is_full:
            self._value = self._evaluate()
        return self._value

    def update_matrix(
        self, flat_levels: Floats, ts_ns: Times | None = None, out: Floats | None = None
    ) -> Floats:
        values = output(out, (len(self._checked(flat_levels)), self.levels))

        def keep(i: int, _value: float) -> None:
            values[i] = math.nan if math.isnan(self._value) else self.sums

        self._books(flat_levels, ts_ns, keep)
        return values


class Mlofi(_MlofiTwin):
    """OFI per ranked level; the value is the mean, or the sum with given weights."""

    KIND = 2

    def __init__(
        self,
        levels: int,
        window: int | None = None,
        horizon_ns: int | None = None,
        half_life_ns: int | None = None,
        missing: str = "empty",
        strict: bool = False,
        *,
        weights: Sequence[float] | None = None,
        skip_crossed: bool = False,
    ) -> None:
        if not 1 <= levels <= LEVELS_MAX:
            raise ValueError(f"too_large parameters: {SPANS}")
        used = [1.0 / levels] * levels if weights is None else [float(w) for w in weights]
        if len(used) != levels or not all(math.isfinite(weight) for weight in used):
            raise ValueError(f"malformed parameters: {SPANS}")
        rows = Rows(levels + 2, window, horizon_ns, half_life_ns)
        super().__init__(used, rows, missing=missing, strict=strict, skip_crossed=skip_crossed)


class IntegratedOfi(_MlofiTwin):
    """OFI per level over the mean size shown, projected on fitted, frozen weights."""

    KIND = 3

    def __init__(
        self,
        weights: Sequence[float],
        window: int | None = None,
        horizon_ns: int | None = None,
        half_life_ns: int | None = None,
        missing: str = "empty",
        strict: bool = False,
        *,
        skip_crossed: bool = False,
    ) -> None:
        norm = 0.0
        for weight in weights:
            norm += abs(float(weight))
        if not 0.0 < norm < math.inf:
            raise ValueError(f"malformed parameters: {SPANS}")
        if len(weights) > LEVELS_MAX:
            raise ValueError(f"too_large parameters: {SPANS}")
        scaled = [float(weight) / norm for weight in weights]
        rows = Rows(len(scaled) + 2, window, horizon_ns, half_life_ns)
        super().__init__(scaled, rows, missing=missing, strict=strict, skip_crossed=skip_crossed)
        self.is_integrated = True


def _over(part: float, whole: float) -> float:
    return part / whole if 0.0 < whole < math.inf else math.nan


class _Reading(BookTwin):
    """The last value of one book."""

    FIELDS = (("shape", "B"), ("levels", "Q"), ("_value", "d"))
    SHAPE: ClassVar[int] = 0

    def __init__(self, levels: int, strict: bool = False) -> None:
        super().__init__(strict=strict)
        if not 1 <= levels <= LEVELS_MAX:
            raise ValueError("too_large parameters: 1 to 1,000 levels")
        self.levels = levels
        self.shape = self.SHAPE

    def _take(self, now: list[Quote], ts_ns: int) -> float:
        bids = asks = cross = cross_size = same = last_bid = last_ask = 0.0
        for q in now:
            bids += q.bid_size
            asks += q.ask_size
            if q.bid_size > 0.0:
                same += q.bid_price * q.bid_size
                last_bid = q.bid_price
            if q.ask_size > 0.0:
                same += q.ask_price * q.ask_size
                last_ask = q.ask_price
            if q.is_whole:
                cross += q.bid_price * q.ask_size + q.ask_price * q.bid_size
                cross_size += q.bid_size + q.ask_size
        self.n_crossed += now[0].is_crossed
        self.count += 1
        mid = (now[0].bid_price + now[0].ask_price) / 2.0
        bid, ask = _over(bids, mid - last_bid), _over(asks, last_ask - mid)
        self._value = (
            _over(bids - asks, bids + asks),
            _over(cross, cross_size),
            _over(same, bids + asks),
            (bid + ask) / 2.0 if not math.isnan(bid + ask) else math.nan,
            bid,
            ask,
        )[self.shape]
        return self._value


class DepthImbalance(_Reading):
    KIND = 40
    SHAPE = 0


class Vamp(_Reading):
    KIND = 41
    SHAPE = 1


class WeightedDepthPrice(_Reading):
    KIND = 42
    SHAPE = 2


class BookSlope(_Reading):
    """Depth over the distance of the last level from the mid."""

    KIND = 43
    SIDES: ClassVar = {"both": 3, "bid": 4, "ask": 5}

    def __init__(self, levels: int, side: str = "both", strict: bool = False) -> None:
        super().__init__(levels, strict)
        if side not in self.SIDES:
            raise ValueError(f"side is \"{side}\", not 'both', 'bid' or 'ask'")
        self.shape = self.SIDES[side]
