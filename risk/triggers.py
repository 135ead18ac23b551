"""When trading halts by itself: rules over values and times that others measure.

Pure: each question returns the reason to halt, or None. Windows are bounded and run on the
monotonic clock. It halts nothing; who asks does.
"""

from __future__ import annotations

from collections import deque

from risk.config import TriggersConfig

__all__ = ["Triggers"]

_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000


class Triggers:
    """The triggers of one daemon. A limit of 0 switches its rule off."""

    def __init__(self, config: TriggersConfig) -> None:
        self._config = config
        # Monotonic times of the last rejects per account: as many as make a storm, no more.
        self._rejects: dict[str, deque[int]] = {}
        # (wall, monotonic) of the last look at the clocks.
        self._clocks: tuple[int, int] | None = None
        # Since when the recorder was not durable; None: it is.
        self._undurable_ns: int | None = None
        # Since when each feed lags by too much.
        self._late_ns: dict[str, int] = {}

    def daily_loss(self, account: str, pnl: int) -> str | None:
        """Args: `pnl`: of the day, realised and unrealised, 1e-8 of the account's currency."""
        limit = self._config.daily_loss_max
        if limit and pnl <= -limit:
            return f"daily loss: account {account} lost {-pnl} (1e-8), at most {limit}"
        return None

    def rejected(self, account: str, mono_ns: int) -> str | None:
        """A venue refused an order of `account`."""
        most = self._config.rejects_max
        if not most:
            return None
        times = self._rejects.setdefault(account, deque(maxlen=most))
        times.append(mono_ns)
        within_s = self._config.rejects_window_s
        if len(times) == most and times[-1] - times[0] <= within_s * _NS_PER_S:
            return f"reject storm: {most} orders of account {account} refused within {within_s:g} s"
        return None

    def lag(self, feed: str, lag_ms: float, mono_ns: int) -> str | None:
        """How late the newest data of a feed is."""
        config = self._config
        if not config.lag_ms_max or lag_ms <= config.lag_ms_max:
            self._late_ns.pop(feed, None)
            return None
        since = self._late_ns.setdefault(feed, mono_ns)
        if mono_ns - since >= config.lag_hold_ms * _NS_PER_MS:
            return f"lag: {feed} is {lag_ms:.0f} ms late, at most {config.lag_ms_max}"
        return None

    def gap(self, book: str, since_ns: int, mono_ns: int) -> str | None:
        """Args: `since_ns`: since when the book of an instrument in use is not whole, monotonic."""
        most = self._config.gap_ms_max
        late_ms = (mono_ns - since_ns) // _NS_PER_MS
        if most and late_ms >= most:
            return f"gap: the book of {book} is not whole since {late_ms} ms, at most {most}"
        return None

    def clock(self, wall_ns: int, mono_ns: int) -> str | None:
        """Both clocks at one moment; they must have gone on by the same since the last call."""
        before, self._clocks = self._clocks, (wall_ns, mono_ns)
        most = self._config.clock_jump_ms_max
        if before is None or not most:
            return None
        jump_ns = (wall_ns - before[0]) - (mono_ns - before[1])
        if abs(jump_ns) > most * _NS_PER_MS:
            return f"clock jump: the wall clock went {jump_ns / _NS_PER_MS:+.0f} ms by itself"
        return None

    def recorder(self, fault: str | None, mono_ns: int) -> str | None:
        """Why the raw log is not durable now, None when it is."""
        hold_ms = self._config.undurable_ms_max
        if not fault or not hold_ms:
            self._undurable_ns = None
            return None
        if self._undurable_ns is None:
            self._undurable_ns = mono_ns
        if mono_ns - self._undurable_ns >= hold_ms * _NS_PER_MS:
            return f"recorder not durable: {fault}"
        return None
