"""Whether several servers hold the same tables, asked of each before its first insert.

A token protects a repeat only where the first attempt is known: on the same table, or on a replica
of it. Two independent servers would both store the rows. It sends no row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from recorder.clickhouse.endpoint import Endpoint
from recorder.config import ClickHouseConfig
from recorder.errors import AccessRefusedError
from tickd.native import EVENT_TABLES

__all__ = ["SameTables"]

Ask = Callable[[Endpoint, str], Awaitable[list[tuple[Any, ...]]]]

_NAMES: Final = ", ".join(f"'{table}'" for table in EVENT_TABLES)


class SameTables:
    """What the servers of one configuration have said about their tables."""

    def __init__(self, config: ClickHouseConfig) -> None:
        self._several = len(config.urls) > 1
        self._sql = (
            "SELECT toString(uuid) FROM system.tables"  # noqa: S608 - own names only
            f" WHERE database = '{config.database}' AND name IN ({_NAMES})"
            " AND NOT match(engine, '^(Replicated|Shared)')"
        )
        self._checked: set[str] = set()
        # Tables that nobody replicates, and the server on which they were seen first.
        self._alone: frozenset[str] = frozenset()
        self._first = ""

    async def check(self, endpoint: Endpoint, ask: Ask) -> None:
        """Raise AccessRefusedError when inserts at `endpoint` would not be the others' inserts."""
        if not self._several or endpoint.url in self._checked:
            return
        alone = frozenset(str(row[0]) for row in await ask(endpoint, self._sql))
        if alone and self._first and alone != self._alone:
            raise AccessRefusedError(
                f"{endpoint.url} and {self._first} are independent servers: an insert of unknown"
                " outcome would be stored on both",
                hint="name one server in clickhouse.url, or make its tables replicated",
                outcome="refused",
            )
        if alone and not self._first:
            self._alone, self._first = alone, endpoint.url
        self._checked.add(endpoint.url)
