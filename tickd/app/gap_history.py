"""Gaps of the past, as ClickHouse has them: when, of what, why, and what became of each."""

from __future__ import annotations

from typing import Any, Final

from tickd.app.clickhouse_of import clickhouse_of
from tickd.app.partial_config import TablesConfig
from tickd.topics import CHANNELS

__all__ = ["gap_history"]

ROWS_MAX: Final = 10_000
_FILLED: Final = ("trade", "aggtrade")
# What `from_id` says where nobody knows an id.
_UNKNOWN: Final = 2**64 - 1
# A gap that is open no more has a second row of the same bounds with the flag BACKFILLED (bit 10).
_SQL: Final = """
SELECT toString(g.ts_event), g.duration_s, g.channel, g.venue, g.symbol, toString(g.cause),
    toString(g.from_id), toString(g.to_id), toString(g.missing), c.closed, toString(c.left)
FROM {database}.gaps AS g
LEFT JOIN
(
    SELECT node, instrument, channel, ts_event, from_id, to_id,
        1 AS closed, min(missing) AS left
    FROM {database}.gaps
    WHERE bitTest(flags, 10)
    GROUP BY node, instrument, channel, ts_event, from_id, to_id
) AS c USING (node, instrument, channel, ts_event, from_id, to_id)
WHERE NOT bitTest(g.flags, 10) AND g.ts_recv > now64(9) - toIntervalSecond({{seconds:UInt64}})
ORDER BY g.ts_event DESC
LIMIT {rows}
"""


async def gap_history(config: TablesConfig, hours: float) -> list[dict[str, Any]]:
    """Gaps that ended within so many hours, the newest first. Raises ClickHouseError."""
    sql = _SQL.format(database=config.clickhouse.database, rows=ROWS_MAX)
    async with clickhouse_of(config) as server:
        rows = await server.query(sql, {"seconds": max(0, round(hours * 3_600))})
    return [_row(*row) for row in rows]


def _row(  # noqa: PLR0917 - a row of the question above
    since: str,
    seconds: float,
    channel: int,
    venue: str,
    symbol: str,
    cause: str,
    first: str,
    last: str,
    missing: str,
    closed: int,
    left: str,
) -> dict[str, Any]:
    """`state`: closed, open (ids of trades are known), or unknown: nobody can ask for it again."""
    name = CHANNELS[channel]
    known = name in _FILLED and int(first) != _UNKNOWN
    return {
        "since": since,
        "seconds": seconds,
        "topic": f"{name}.{venue}.{symbol}" if venue else "node",
        "cause": cause,
        "first": int(first) if known else None,
        "last": int(last) if known else None,
        "missing": int(left if closed else missing) if known or closed else None,
        "state": "closed" if closed else "open" if known else "unknown",
    }
