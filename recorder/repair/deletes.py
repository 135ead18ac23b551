"""Deletes in ClickHouse that are over when they return, and that cannot strike later.

A delete whose sender died, or gave up waiting, may still be on its way; behind it the rows are
inserted anew and it must not take those. So each carries the server's time after which it matches
nothing, and whoever comes later can wait for that time. Rows are masked at once (DELETE FROM), the
merge drops them; ALTER ... DELETE rewrites whole parts (docs/adr/0013). It decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.errors import ClickHouseError
from tickd.ports import Clock

__all__ = ["Deletes"]

_MARK: Final = "tickd-repair-"
_POLL_S: Final = 0.05
_POLL_S_MAX: Final = 2.0


class Deletes:
    """Deletes rows of one node's repair. Every call may raise ClickHouseError."""

    def __init__(self, clickhouse: ClickHouse, clock: Clock, *, node: int) -> None:
        self._clickhouse = clickhouse
        self._clock = clock
        self._node = node

    @property
    def mark(self) -> str:
        """A comment to begin with, by which a successor finds statements that still run."""
        return f"/* {_MARK}{self._node} */"

    async def server_s(self) -> int:
        """The server's time."""
        return int((await self._clickhouse.query("SELECT toUnixTimestamp(now())"))[0][0])

    async def rows(self, table: str, where: str, until_s: int) -> None:
        """Delete the rows of `where`, partition by partition; done when it returns.

        Without effect once the server's time is `until_s`: count what is left.
        """
        name = f"{self._clickhouse.database}.{table}"
        for (partition,) in await self._clickhouse.query(
            f"SELECT DISTINCT _partition_id FROM {name} WHERE {where}"  # noqa: S608 - own names
        ):
            await self._clickhouse.command(
                f"{self.mark} DELETE FROM {name} IN PARTITION ID '{partition}' "  # noqa: S608 - own names only
                f"WHERE {where} AND now() < toDateTime({until_s})",
                settings={"lightweight_deletes_sync": "2"},
            )

    async def settled(self, tables: Sequence[str], until_s: int) -> None:
        """Wait until nothing that was sent before can change these tables any more."""
        pause_s = _POLL_S
        while await self._in_the_air(tables, until_s):
            await self._clock.sleep(pause_s)
            pause_s = min(2 * pause_s, _POLL_S_MAX)

    async def _in_the_air(self, tables: Sequence[str], until_s: int) -> bool:
        if until_s and await self.server_s() < until_s:
            return True
        if await self._clickhouse.running(mark=self.mark):
            return True
        unfinished = await self._clickhouse.query(
            "SELECT table, any(latest_fail_reason) FROM system.mutations "
            "WHERE database = {database:String} AND NOT is_done "
            "AND has({tables:Array(String)}, table) GROUP BY table",
            {"database": self._clickhouse.database, "tables": _array(tables)},
        )
        for table, reason in unfinished:
            if reason:
                raise ClickHouseError(f"a delete in {table} cannot be finished: {reason}")
        return bool(unfinished)


def _array(names: Sequence[str]) -> str:
    return "[" + ", ".join(f"'{name}'" for name in names) + "]"
