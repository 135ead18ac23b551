"""Where universes have their figures from: our own tables, or the venue's scanner.

Asks and converts; who is in, nobody decides here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from gateway.config import UniverseConfig
from gateway.planned import PlannedSession
from gateway.venue import Figures
from recorder.clickhouse.clickhouse import ClickHouse
from tickd.app.universes import Ask, SourceNotReadyError
from tickd.ports import Clock

log = structlog.get_logger(__name__)

HOUR_S: Final = 3_600
NS_PER_S: Final = 1_000_000_000
# Two daemons with the same symbol, or trades recorded singly and aggregated, say everything twice:
# the fullest account is believed. Volatility: the deviation of hourly returns.
FIGURES: Final = """
SELECT symbol, max(lots), max(money), max(deviation), max(deals)
FROM (
    SELECT
        symbol,
        sum(volume) AS lots,
        sum(turnover) AS money,
        if(count() > 1, stddevPopIf(log(close / open), open > 0 AND close > 0), NULL) AS deviation,
        sum(trades) AS deals
    FROM {{database}}.bars_1h
    WHERE venue = {venue:String} AND hour >= toDateTime({since:Int64}, 'UTC')
    GROUP BY symbol, node, source
)
GROUP BY symbol
"""


def own_tables(clickhouse: ClickHouse, clock: Clock, *, ready: Callable[[], bool]) -> Ask:
    """What we have recorded over `lookback_hours`: symbols that were recorded, no others.

    Args: `ready`: whether the tables are there.
    """

    async def ask(config: UniverseConfig) -> Sequence[Figures]:
        if not ready():
            raise SourceNotReadyError("the tables are not there yet")
        hour_now = clock.wall_ns() // NS_PER_S // HOUR_S
        rows = await clickhouse.query(
            FIGURES.replace("{{database}}", clickhouse.database),
            {"venue": config.venue, "since": (hour_now - config.lookback_hours) * HOUR_S},
        )
        return [
            Figures(str(row[0]), *(None if value is None else float(value) for value in row[1:]))
            for row in rows
        ]

    return ask


def scanners(sessions: Sequence[PlannedSession]) -> Ask:
    """What the venues say themselves."""
    by_name: Mapping[str, PlannedSession] = {session.name: session for session in sessions}

    async def ask(config: UniverseConfig) -> Sequence[Figures]:
        session = by_name.get(config.venue)
        if session is None or not session.can_rank:
            raise SourceNotReadyError(f"{config.venue} is not up yet")
        return await session.figures(config.rank)

    return ask
