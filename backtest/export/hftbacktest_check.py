"""A validator of hftbacktest files, stricter than the library's own.

hftbacktest 2.4.4 itself accepts rows of neither order and negative latency. The rules: flags, side
and code known; received after it happened; prices finite and on the grid, sizes not negative; a
snapshot is CLEAR rows and then SNAPSHOT rows; both orders ascend, over the files of an instrument
as well; the array is `data`, C-contiguous, of exactly the event type. It reads a file in pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from backtest.export.errors import ExportError
from backtest.export.hftbacktest_rows import (
    BUY,
    CLEAR,
    DEPTH,
    DEPTH_BBO,
    EXCH,
    LOCAL,
    ROW,
    SELL,
    SNAPSHOT,
    TRADE,
    Rows,
    prices,
)
from backtest.export.npz import read_npz
from tickd.rows import Mask

__all__ = ["Grid", "Problem", "check_files"]

_CODES: Final = (DEPTH, TRADE, CLEAR, SNAPSHOT, DEPTH_BBO)
_KNOWN_BITS: Final = EXCH | LOCAL | BUY | SELL | 0xFF
_LEAST: Final = np.iinfo(np.int64).min


class Grid(NamedTuple):
    """Where prices may lie: multiples of `tick` x 10^-scale."""

    tick: int
    scale: int


class Problem(NamedTuple):
    """A rule that a row breaks; the first row of each rule in a file, and how many there are."""

    file: str
    row: int
    rule: str
    rows: int


def check_files(paths: Sequence[Path], grid: Grid) -> list[Problem]:
    """Return what is wrong with the files of one instrument, in the order of their days.

    Raises OSError.
    """
    problems: list[Problem] = []
    orders = (_Order("exch_ts", EXCH), _Order("local_ts", LOCAL))
    for path in paths:
        found: dict[str, tuple[int, int]] = {}
        start = 0
        try:
            for rows in read_npz(path, "data", ROW):
                for rule, broken in _broken(rows, grid, orders):
                    count = int(np.count_nonzero(broken))
                    if count:
                        first, before = found.get(rule, (start + int(np.argmax(broken)), 0))
                        found[rule] = (first, before + count)
                start += len(rows)
        except ExportError as error:
            problems.append(Problem(path.name, start, str(error), 1))
        problems += [Problem(path.name, row, rule, n) for rule, (row, n) in found.items()]
    return problems


class _Order:
    """One of the two orders, followed over pieces and files."""

    def __init__(self, stamp: str, flag: int) -> None:
        self._stamp, self._flag = stamp, flag
        self._last_ts = _LEAST
        self._last_code = 0

    def broken(self, rows: Rows) -> Iterator[tuple[str, Mask]]:
        places = np.flatnonzero((rows["ev"] & self._flag) != 0)
        stamps = rows[self._stamp][places]
        codes = (rows["ev"][places] & 0xFF).astype(np.int64)
        stamps_before = np.concatenate((np.array([self._last_ts]), stamps))[:-1]
        codes_before = np.concatenate((np.array([self._last_code]), codes))[:-1]
        yield f"{self._stamp} descends", _at(rows, places, stamps < stamps_before)
        begun = ((codes_before == CLEAR) | (codes_before == SNAPSHOT)) & (stamps_before == stamps)
        yield (
            f"a snapshot row without a clear row before it, by {self._stamp}",
            _at(rows, places, (codes == SNAPSHOT) & ~begun),
        )
        if len(places):
            self._last_ts, self._last_code = int(stamps[-1]), int(codes[-1])


def _at(rows: Rows, places: npt.NDArray[np.intp], broken: Mask) -> Mask:
    found = np.zeros(len(rows), np.bool_)
    found[places[broken]] = True
    return found


def _broken(rows: Rows, grid: Grid, orders: Sequence[_Order]) -> Iterator[tuple[str, Mask]]:
    ev = rows["ev"]
    yield "neither EXCH nor LOCAL", (ev & (EXCH | LOCAL)) == 0
    sides = ev & (BUY | SELL)
    yield "not exactly one side", (sides != BUY) & (sides != SELL)
    yield "unknown code", ~np.isin(ev & 0xFF, _CODES)
    yield "unknown flags", (ev & ~np.uint64(_KNOWN_BITS)) != 0
    yield "local_ts is not after exch_ts", rows["local_ts"] <= rows["exch_ts"]
    finite = np.isfinite(rows["px"])
    yield "px is not finite", ~finite
    yield "qty is negative or not finite", ~np.isfinite(rows["qty"]) | ~(rows["qty"] >= 0)
    px = np.where(finite, rows["px"], 0.0)
    steps = np.rint(px * 10.0**grid.scale / grid.tick)
    fits = np.abs(steps) < 2.0**62 / grid.tick
    nearest = prices(np.where(fits, steps, 0).astype(np.int64) * grid.tick, grid.scale)
    yield "px is not on the tick grid", finite & ((nearest != px) | ~fits)
    for order in orders:
        yield from order.broken(rows)
