"""Past ticks of a day, as the SDK's query gives them, to the raw frame that the native core reads.

Pure. Minute bars become a frame that nobody reads: evidence of a day whose ticks are gone. What
is missing the decoder finds out: it adds the volumes up to the totals that live ticks carry
(`native/core/src/decode/shioaji_ticks.rs`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Final, Protocol

import orjson

from gateway.callbacks.venue import CallbackHistory, Contract
from gateway.errors import MalformedReplyError, vendor_text
from gateway.venue import OpenGap, Rate
from gateway.venues.shioaji.hours import PERIODS, period

VERSION: Final = 1
VENUE: Final = "shioaji"
TAIWAN_SECONDS: Final = 8 * 3600
NS_PER_SECOND: Final = 1_000_000_000
# Sessions of the decoder: two per day, the second one of each is the futures' night.
SESSIONS_PER_DAY: Final = 2
DAY_SECONDS: Final = 86_400
# When a session's ticks can be asked for as a whole: an hour behind its end.
DAY_OVER_SECONDS: Final = 14 * 3600 + 45 * 60
NIGHT_OVER_SECONDS: Final = 30 * 3600


class Ticks(Protocol):
    """The columns of the SDK's `Ticks` that are read."""

    ts: Sequence[int]
    close: Sequence[object]
    volume: Sequence[int]
    tick_type: Sequence[int]


class Bars(Protocol):
    """The columns of the SDK's `KBars`."""

    ts: Sequence[int]
    Open: Sequence[object]
    High: Sequence[object]
    Low: Sequence[object]
    Close: Sequence[object]
    Volume: Sequence[int]
    Amount: Sequence[object]


@dataclass(frozen=True, slots=True)
class ShioajiHistory:
    """The `CallbackHistory` of Shioaji: `ticks` of a whole day."""

    queries: Rate
    early_queries_max: int

    def can_fill(self, gap: OpenGap) -> bool:
        """Odd lots are no part of the answers, trial matches no trades."""
        return gap.channel == "trade" and gap.session > 0 and "-" not in gap.symbol

    def date_of(self, gap: OpenGap) -> str:
        """The day in Taiwan on which the session of the gap began."""
        day = gap.session // SESSIONS_PER_DAY
        return f"{datetime.fromtimestamp(day * DAY_SECONDS, UTC):%Y-%m-%d}"

    def over_ns(self, gap: OpenGap) -> int:
        day, night = divmod(gap.session, SESSIONS_PER_DAY)
        end = NIGHT_OVER_SECONDS if night else DAY_OVER_SECONDS
        return (day * DAY_SECONDS + end - TAIWAN_SECONDS) * NS_PER_SECOND

    def trades_now(self, wall_ns: int) -> bool:
        return any(period(market, wall_ns)[0] != "closed" for market in PERIODS)

    def record(self, ticks: object, contract: Contract, date: str) -> tuple[int, bytes]:
        columns: Ticks = ticks  # type: ignore[assignment]  # else AttributeError: a changed SDK
        try:
            rows = len(columns.ts)
            stock = contract.market == "stock"
            return rows, ticks_record(columns, code=contract.code, date=date, stock=stock)
        except (AttributeError, TypeError, ValueError, ArithmeticError) as error:
            raise MalformedReplyError(
                f"{VENUE}: ticks of {contract.code}: {vendor_text(str(error))}", venue=VENUE
            ) from error

    def evidence(self, bars: object, contract: Contract, date: str) -> bytes:
        columns: Bars = bars  # type: ignore[assignment]  # as above
        try:
            body = {
                "v": VERSION,
                "class": "KBars",
                "code": contract.code,
                "ts": [int(each) for each in columns.ts],
                "open": _exact(columns.Open),
                "high": _exact(columns.High),
                "low": _exact(columns.Low),
                "close": _exact(columns.Close),
                "volume": [int(each) for each in columns.Volume],
                "amount": _exact(columns.Amount),
            }
        except (AttributeError, TypeError, ValueError, ArithmeticError) as error:
            raise MalformedReplyError(
                f"{VENUE}: bars of {contract.code}: {vendor_text(str(error))}", venue=VENUE
            ) from error
        return b"GET /kbars?code=%s&date=%s 200\n%s" % (
            contract.code.encode(),
            date.encode(),
            orjson.dumps(body),
        )


def _exact(values: Sequence[object]) -> list[str]:
    """Whatever type the SDK hands out, the shortest text that means it is exact."""
    return [format(Decimal(str(each)), "f") for each in values]


def ticks_record(ticks: Ticks, *, code: str, date: str, stock: bool) -> bytes:
    """The payload of the R record of a query of a whole day.

    Raises MalformedReplyError: columns of different length, times that go back.
    """
    columns: tuple[Sequence[object], ...] = (ticks.ts, ticks.close, ticks.volume, ticks.tick_type)
    if len({len(tuple(column)) for column in columns}) != 1:
        raise MalformedReplyError(f"{VENUE}: ticks of {code}: columns differ in length")
    times = [int(each) for each in ticks.ts]
    if any(after < before for before, after in pairwise(times)):
        raise MalformedReplyError(f"{VENUE}: ticks of {code}: times go back")
    body = {
        "v": VERSION,
        "class": "Ticks",
        "code": code,
        "stock": stock,
        "ts": times,
        "close": _exact(ticks.close),
        "volume": [int(each) for each in ticks.volume],
        "tick_type": [int(each) for each in ticks.tick_type],
    }
    return b"GET /ticks?code=%s&date=%s&query=AllDay 200\n%s" % (
        code.encode(),
        date.encode(),
        orjson.dumps(body),
    )


HISTORY: Final[CallbackHistory] = ShioajiHistory(
    # A quarter of 50 per 10 s, which all queries of market data share.
    queries=Rate(12, 10.0),
    # 10 calls in trading hours; two are left to people.
    early_queries_max=8,
)
