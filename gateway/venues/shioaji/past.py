"""Past ticks of a day, as the SDK's query gives them, to the raw frame that the native core reads.

Pure. What is missing the decoder finds out: it adds the volumes up to the totals that live ticks
carry (`native/core/src/decode/shioaji_ticks.rs`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Final, Protocol

import orjson

from gateway.errors import MalformedReplyError
from gateway.venue import OpenGap

VERSION: Final = 1
VENUE: Final = "shioaji"
TAIWAN_SECONDS: Final = 8 * 3600
NS_PER_SECOND: Final = 1_000_000_000
# Counts of the decoder: two per day, the second one of each is the futures' night.
COUNTS_PER_DAY: Final = 2
DAY_SECONDS: Final = 86_400


class Ticks(Protocol):
    """The columns of the SDK's `Ticks` that are read."""

    ts: Sequence[int]
    close: Sequence[object]
    volume: Sequence[int]
    tick_type: Sequence[int]


def date_of(gap: OpenGap) -> str:
    """The day in Taiwan on which the session of a gap began, as the query wants it."""
    day = gap.count // COUNTS_PER_DAY
    return f"{datetime.fromtimestamp(day * DAY_SECONDS, UTC):%Y-%m-%d}"


def begun_ns(gap: OpenGap) -> int:
    """The first moment of that day, wall ns."""
    return (gap.count // COUNTS_PER_DAY * DAY_SECONDS - TAIWAN_SECONDS) * NS_PER_SECOND


def ticks_record(ticks: Ticks, *, code: str, date: str, stock: bool) -> bytes:
    """The payload of the R record of a query of a whole day.

    Raises MalformedReplyError: columns of different length, times that go back.
    """
    columns = [list(ticks.ts), list(ticks.close), list(ticks.volume), list(ticks.tick_type)]
    if len({len(column) for column in columns}) != 1:
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
        # Whatever type the SDK hands out, the shortest text that means it is exact.
        "close": [format(Decimal(str(each)), "f") for each in ticks.close],
        "volume": [int(each) for each in ticks.volume],
        "tick_type": [int(each) for each in ticks.tick_type],
    }
    return b"GET /ticks?code=%s&date=%s&query=AllDay 200\n%s" % (
        code.encode(),
        date.encode(),
        orjson.dumps(body),
    )
