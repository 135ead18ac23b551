"""SQL as the Market dashboard writes it: what every question repeats is a word with an @."""

from __future__ import annotations

import re
from typing import Final

from dashboards import queries
from dashboards.queries import Query

__all__ = ["rows", "series", "sql"]

_WORDS: Final = {
    "scope": "$__timeFilter_ms(ts_recv) AND node = ${node:raw} AND instrument IN @instruments",
    "book": "ts_recv <= $__toTime_ms AND ts_recv > $__toTime_ms - INTERVAL 1 DAY"
    " AND node = ${node:raw} AND instrument IN @instruments",
    "instruments": "(SELECT instrument FROM instruments"
    " WHERE venue = ${market:sqlstring} AND symbol = ${symbol:sqlstring})",
    "bucket": "$__timeInterval_ms(ts_recv) AS time",
    "by_time": "GROUP BY time ORDER BY time",
    # What was fetched later (BACKFILLED) says when it was fetched, not when it happened.
    "live": "NOT bitTest(flags, 10)",
    "undefined": "18446744073709551615",
}


def sql(text: str) -> str:
    """Put the words in; a word may hold others."""
    while "@" in text:
        text = re.sub(r"@(\w+)", lambda match: _WORDS[match[1]], text)
    return text


def series(text: str) -> Query:
    """Columns over time."""
    return queries.series(sql(text))


def rows(text: str) -> Query:
    """Rows as they are."""
    return queries.rows(sql(text))
