"""When an instrument may be traded: windows of a week in a named time zone.

Pure: the wall time comes in, the verdict goes out together with the interval in which it holds, so
that the gate compares two integers per order and asks again only when a window opens or closes.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["ALWAYS", "Hours", "Verdict", "parse_hours"]

ALWAYS: Final = "always"
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW: Final = re.compile(
    r"(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))? (?P<start>\d\d:\d\d)-(?P<stop>\d\d:\d\d)"
)
_DAY_NS: Final = 86_400_000_000_000
# Windows that begin within so many days of the moment decide about it; the next change is looked
# for as far, and asked for again after that.
_DAYS_AROUND: Final = 2
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Verdict(NamedTuple):
    """Whether trading is open, for wall times in [from_ns, until_ns)."""

    is_open: bool
    from_ns: int
    until_ns: int


class _Window(NamedTuple):
    days: frozenset[int]
    start: time
    stop: time  # not after `start`: on the next day


class Hours(NamedTuple):
    """Windows of one zone; none of them: always."""

    zone: ZoneInfo
    windows: tuple[_Window, ...]

    def at(self, wall_ns: int) -> Verdict:
        """Return whether `wall_ns` lies in a window, and how long that stays so."""
        first, last = wall_ns - _DAYS_AROUND * _DAY_NS, wall_ns + _DAYS_AROUND * _DAY_NS
        if not self.windows:
            return Verdict(True, first, last)
        today = (_EPOCH + timedelta(microseconds=wall_ns // 1000)).astimezone(self.zone).date()
        is_open = False
        for days in range(-_DAYS_AROUND - 1, _DAYS_AROUND + 2):
            for start, stop in self._spans(today + timedelta(days=days)):
                is_open |= start <= wall_ns < stop
                for edge in (start, stop):
                    if edge <= wall_ns:
                        first = max(first, edge)
                    else:
                        last = min(last, edge)
        return Verdict(is_open, first, last)

    def _spans(self, day: date) -> list[tuple[int, int]]:
        """UTC intervals of the windows that begin on a local day."""
        spans = []
        for window in self.windows:
            if day.weekday() in window.days:
                ends = day + timedelta(days=window.stop <= window.start)
                spans.append((self._ns(day, window.start), self._ns(ends, window.stop)))
        return spans

    def _ns(self, day: date, at: time) -> int:
        since = datetime.combine(day, at, self.zone).astimezone(UTC) - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000_000

    def minutes(self) -> frozenset[int]:
        """The minutes of a local week in which it is open, to compare two sets of windows."""
        week = 7 * 1440
        if not self.windows:
            return frozenset(range(week))
        found: set[int] = set()
        for window in self.windows:
            start = window.start.hour * 60 + window.start.minute
            stop = window.stop.hour * 60 + window.stop.minute
            length = stop - start if stop > start else stop - start + 1440
            for day in window.days:
                begin = day * 1440 + start
                found.update(minute % week for minute in range(begin, begin + length))
        return frozenset(found)


def parse_hours(texts: tuple[str, ...], zone: str) -> Hours:
    """Return the windows of `mon-fri 08:45-13:45` in a zone (`UTC`, `Asia/Taipei`).

    `always` alone stands for no window. A window that stops not after it starts ends on the next
    day. Raises ValueError: neither of these, no such zone.
    """
    try:
        found = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"no time zone {zone!r}") from error
    if texts == (ALWAYS,):
        return Hours(found, ())
    if not texts:
        raise ValueError(f"hours name no window; {ALWAYS!r} is written")
    return Hours(found, tuple(_window(text) for text in texts))


def _window(text: str) -> _Window:
    match = _WINDOW.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"hours {text!r} are not like 'mon-fri 08:45-13:45'")
    try:
        first = _DAYS.index(match["first"])
        last = _DAYS.index(match["last"] or match["first"])
        start, stop = time.fromisoformat(match["start"]), time.fromisoformat(match["stop"])
    except ValueError as error:
        raise ValueError(f"hours {text!r}: no such day or time") from error
    days = frozenset((first + each) % 7 for each in range((last - first) % 7 + 1))
    return _Window(days, start, stop)
