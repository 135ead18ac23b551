"""Sums over the past, as native/core/src/indicators/window.rs has them, addition by addition."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from strategy_runner.indicators.twin.elementary import LN_2, exp_decay
from strategy_runner.indicators.twin.snapshot import Fields

VALUES_MAX = 1 << 24
ROWS_MAX = 1 << 20
_FRESH_EVERY = 1024
_EVERYTHING, _LAST, _HORIZON, _FADING = range(4)
I64_MAX = (1 << 63) - 1
SPANS = "give at most one of window, horizon_ns and half_life_ns, from 1"


class Rows(Fields):
    """A windowed sum of rows of `width` numbers."""

    FIELDS = (
        ("mode", "B"),
        ("limit", "q"),
        ("width", "Q"),
        ("sums", "*d"),
        ("ring", "*d"),
        ("line", "*d"),
        ("times", "*q"),
        ("head", "Q"),
        ("stale", "Q"),
        ("seen", "Q"),
        ("first_ns", "q"),
        ("last_ns", "q"),
        ("early", "Q"),
    )

    def __init__(
        self,
        width: int,
        window: int | None = None,
        horizon_ns: int | None = None,
        half_life_ns: int | None = None,
    ) -> None:
        given = [
            (mode, limit)
            for mode, limit in ((_LAST, window), (_HORIZON, horizon_ns), (_FADING, half_life_ns))
            if limit is not None
        ]
        if len(given) > 1:
            raise ValueError(f"unsupported parameters: {SPANS}")
        self.mode, self.limit = given[0] if given else (_EVERYTHING, 0)
        most = VALUES_MAX if self.mode == _LAST else I64_MAX
        if given and not 1 <= self.limit <= most:
            raise ValueError(f"unsupported parameters: {SPANS}")
        rows = self.limit if self.mode == _LAST else 0
        if rows * width > VALUES_MAX:
            raise ValueError(f"too_large parameters: {SPANS}")
        self.width = width
        self.sums = [0.0] * width
        self.ring = [0.0] * (rows * width)  # by count: rows, the oldest at `head` once full
        self.line: deque[float] = deque()  # by time: rows in order
        self.times: deque[int] = deque()
        self.head = 0
        self.stale = 0  # rows that left since the sums were made anew
        self.seen = 0
        self.first_ns = 0
        self.last_ns = 0
        self.early = 0

    def clear(self) -> None:
        self.sums = [0.0] * self.width
        self.ring = [0.0] * len(self.ring)
        self.line.clear()
        self.times.clear()
        self.head = self.stale = self.seen = 0
        self.first_ns = self.last_ns = self.early = 0

    def push(self, row: Sequence[float], ts_ns: int) -> None:
        if self.seen == 0:
            self.first_ns = now = ts_ns
        else:
            now = max(ts_ns, self.last_ns)
        if self.mode == _LAST:
            self._push_last(row)
        elif self.mode == _HORIZON:
            self._push_horizon(row, now)
        elif self.mode == _FADING:
            passed = float(min(now - self.last_ns, I64_MAX))
            keep = exp_decay(-passed * (LN_2 / self.limit))
            self.sums = [total * keep + x for total, x in zip(self.sums, row, strict=True)]
        else:
            self._add(row)
        self.last_ns = now
        self.seen += 1

    def _add(self, row: Sequence[float]) -> None:
        self.sums = [total + x for total, x in zip(self.sums, row, strict=True)]

    def _push_last(self, row: Sequence[float]) -> None:
        at = self.head * self.width
        for i, x in enumerate(row):
            self.sums[i] += x - self.ring[at + i]
            self.ring[at + i] = x
        self.head += 1
        if self.head == self.limit:
            self.head = 0
            self.stale += self.limit
            if self.stale >= _FRESH_EVERY:
                self._freshen(self.ring)

    def _push_horizon(self, row: Sequence[float], now: int) -> None:
        while self.times:
            is_over = min(now - self.times[0], I64_MAX) >= self.limit
            if not is_over and len(self.times) < ROWS_MAX:
                break
            self.early += not is_over
            self.times.popleft()
            for i in range(self.width):
                self.sums[i] -= self.line.popleft()
            self.stale += 1
        if not self.times:
            self.sums = [0.0] * self.width
        self._add(row)
        self.line.extend(row)
        self.times.append(now)
        if self.stale >= max(_FRESH_EVERY, len(self.times)):
            self._freshen(list(self.line))

    def _freshen(self, rows: list[float]) -> None:
        self.stale = 0
        self.sums = [0.0] * self.width
        for at in range(0, len(rows), self.width):
            self._add(rows[at : at + self.width])

    @property
    def length(self) -> int:
        if self.mode == _LAST:
            return min(self.seen, self.limit)
        return len(self.times) if self.mode == _HORIZON else self.seen

    @property
    def is_full(self) -> bool:
        if self.mode == _LAST:
            return self.seen >= self.limit
        if self.mode == _HORIZON:
            passed = min(self.last_ns - self.first_ns, I64_MAX)
            return self.seen > 0 and passed >= self.limit
        return self.seen > 0

    @property
    def warmup(self) -> int:
        return self.limit if self.mode == _LAST else 1
