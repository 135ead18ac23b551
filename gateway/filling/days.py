"""Which day of which symbol is asked for next, where a venue sells its past by the day.

Pure, as `schedule.py`: tries and waiting times only; what is missing is the decoder's ledger. One
answer serves every gap of the symbol on that day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.config import FillConfig
from gateway.filling.schedule import Closed, GiveUp, Outcome, Wait
from gateway.limits import NS_PER_SECOND
from gateway.venue import OpenGap

__all__ = ["AskDay", "Days"]

RETRY_CAP_SECONDS: Final = 3600.0
EXPONENT_MAX: Final = 16


class AskDay(NamedTuple):
    """Ask the venue for everything that was traded in `symbol` on `date`."""

    symbol: str
    date: str


@dataclass(slots=True)
class _Day:
    gaps: dict[int, OpenGap]
    tries: int = 0  # answers in vain
    asked: int = 0
    not_before_ns: int = 0  # monotonic
    hurried: bool = False
    outcome: Outcome | None = None  # what is left cannot be had


class Days:
    """The gaps of one venue by symbol and day.

    Args: `date_of`: the day whose answer fills a gap; `over_ns`: wall ns from which on that answer
    is complete.
    """

    def __init__(
        self,
        config: FillConfig,
        *,
        date_of: Callable[[OpenGap], str],
        over_ns: Callable[[OpenGap], int],
    ) -> None:
        self._config = config
        self._date_of = date_of
        self._over_ns = over_ns
        self._days: dict[AskDay, _Day] = {}

    @property
    def gaps(self) -> tuple[OpenGap, ...]:
        """What was open when it looked last."""
        return tuple(gap for day in self._days.values() for gap in day.gaps.values())

    @property
    def asked_for(self) -> tuple[OpenGap, ...]:
        """All of them: `asks_for`."""
        return self.gaps

    def see(self, gaps: Iterable[OpenGap], wall_ns: int) -> tuple[Closed, ...]:
        """Take the ledger's gaps of this moment; those that have gone since the last time."""
        now = {gap.seq: gap for gap in gaps}
        closed: list[Closed] = []
        for day in self._days.values():
            for seq in [seq for seq in day.gaps if seq not in now]:
                gap = day.gaps.pop(seq)
                seconds = max(0.0, (wall_ns - gap.until_ns) / NS_PER_SECOND)
                closed.append(Closed(gap, seconds, asked=day.asked > 0))
        for gap in now.values():
            key = AskDay(gap.symbol, self._date_of(gap))
            day = self._days.setdefault(key, _Day({}))
            if gap.seq not in day.gaps:  # it may be had although older ones could not
                day.outcome, day.tries = None, 0
            day.gaps[gap.seq] = gap
        self._days = {key: day for key, day in self._days.items() if day.gaps}
        return tuple(closed)

    def next(self, wall_ns: int, mono_ns: int) -> AskDay | GiveUp | Wait:
        """The next step: what is given up, else the day that waits longest."""
        due_ns: int | None = None
        ready: list[tuple[int, AskDay]] = []
        for key, day in self._days.items():
            first = min(day.gaps.values())
            if day.outcome is not None:
                return GiveUp(first, day.outcome)
            over_ns = max(self._over_ns(gap) for gap in day.gaps.values())
            wait_ns = 0 if day.hurried else max(0, over_ns - wall_ns)
            at_ns = max(day.not_before_ns, mono_ns + wait_ns)
            if at_ns <= mono_ns:
                ready.append((first.seq, key))
            else:
                due_ns = at_ns if due_ns is None else min(due_ns, at_ns)
        if ready:
            return min(ready)[1]
        return Wait(None if due_ns is None else (due_ns - mono_ns) / NS_PER_SECOND)

    def sent(self, key: AskDay) -> None:
        """The query goes out now."""
        if key in self._days:
            self._days[key].asked += 1

    def answered(self, key: AskDay, rows: int, wall_ns: int, mono_ns: int) -> None:
        """The answer has been decoded, and `see` was told what is left now.

        An answer without rows proves nothing: over its limit the venue says nothing, too.
        """
        day = self._days.get(key)
        if day is None:
            return  # everything is filled
        over = all(self._over_ns(gap) <= wall_ns for gap in day.gaps.values())
        day.hurried = False
        if not over:  # asked early, on order: the whole day comes later
            return
        day.tries += 1
        if rows or day.tries >= self._config.tries_max:
            day.outcome = "misfit" if rows else "gone"
            return
        seconds = self._config.retry_seconds * 2.0 ** min(day.tries - 1, EXPONENT_MAX)
        seconds = min(seconds, max(RETRY_CAP_SECONDS, self._config.retry_seconds))
        day.not_before_ns = mono_ns + round(seconds * NS_PER_SECOND)

    def asks_for(self, gap: OpenGap) -> bool:
        """Whether the venue can be asked for `gap`: there is no login without a key."""
        del gap
        return True

    def hurry(self, seqs: Sequence[int]) -> int:
        """Ask again at once, day over or not; how many gaps that concerns. Empty: for all."""
        count = 0
        for day in self._days.values():
            chosen = set(day.gaps) & set(seqs) if seqs else set(day.gaps)
            if chosen:
                day.hurried, day.not_before_ns, day.tries = True, 0, 0
                count += len(chosen)
        return count
