"""When Taiwan's markets trade. Pure: wall time comes in, the session's beginning goes out.

It knows weekdays, no holidays: on a holiday streams are subscribed again now and then, with growing
patience, and nothing else happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from gateway.limits import NS_PER_SECOND

# UTC+8 all year since 1979; the SDK says times without a zone.
TAIWAN_SECONDS: Final = 8 * 3600
DAY_SECONDS: Final = 86_400
RESET_SECOND: Final = 8 * 3600
_THURSDAY: Final = 3  # 1970-01-01, when Monday is 0

Phase = Literal["closed", "auction", "day", "night"]


class Period(NamedTuple):
    """A part of a weekday, seconds since midnight in Taiwan; beyond 86,400 it is the next day."""

    phase: Phase
    begin: int
    end: int


def _at(hour: int, minute: int = 0) -> int:
    return hour * 3600 + minute * 60


# Call auctions collect orders and publish trial matches (`simtrade`), which are not trades.
_STOCKS: Final = (
    Period("auction", _at(8, 30), _at(9)),
    Period("day", _at(9), _at(13, 25)),
    Period("auction", _at(13, 25), _at(13, 30)),
)
_FUTURES: Final = (
    Period("auction", _at(8, 30), _at(8, 45)),
    Period("day", _at(8, 45), _at(13, 45)),
    Period("auction", _at(14, 50), _at(15)),
    Period("night", _at(15), _at(24 + 5)),
)
PERIODS: Final[Mapping[str, tuple[Period, ...]]] = {
    "stock": _STOCKS,
    # Odd lots are matched by auctions of their own, the first one at 09:10.
    "odd": (Period("auction", _at(9), _at(9, 10)), Period("day", _at(9, 10), _at(13, 30))),
    "futures": _FUTURES,
    "option": _FUTURES,
    "index": (Period("day", _at(9), _at(13, 30)),),
}


def period(market: str, wall_ns: int) -> tuple[Phase, int]:
    """The phase of `market` and the wall ns at which it began; `closed` begins at 0."""
    local = wall_ns // NS_PER_SECOND + TAIWAN_SECONDS
    today, second = divmod(local, DAY_SECONDS)
    # A night session belongs to the weekday on which it began.
    for day, now in ((today, second), (today - 1, second + DAY_SECONDS)):
        if (day + _THURSDAY) % 7 >= 5:
            continue
        for each in PERIODS[market]:
            if each.begin <= now < each.end:
                began = day * DAY_SECONDS + each.begin - TAIWAN_SECONDS
                return each.phase, began * NS_PER_SECOND
    return "closed", 0


def usage_reset(wall_ns: int) -> int:
    """When the allowance of queries begins anew, wall ns: 08:00 on weekdays.

    After a holiday it comes later than this says; the first reading then shows that it has not.
    """
    local = wall_ns // NS_PER_SECOND + TAIWAN_SECONDS
    day, second = divmod(local, DAY_SECONDS)
    if second >= RESET_SECOND:
        day += 1
    while (day + _THURSDAY) % 7 >= 5:
        day += 1
    return (day * DAY_SECONDS + RESET_SECOND - TAIWAN_SECONDS) * NS_PER_SECOND


def open_since(market: str, wall_ns: int) -> int | None:
    """Since when continuous trading runs, wall ns; None in auctions and when it is closed."""
    phase, began_ns = period(market, wall_ns)
    return began_ns if phase in ("day", "night") else None
