"""ClickHouse's event tables as rows in the order of the stream: a `RowSource`.

One question per stretch of time unites the wanted tables and sorts them by `seq`; the answer is
streamed. Stretches are chosen so that the server sorts a bounded amount. It writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.native_format import BlockReader
from recorder.errors import ClickHouseError
from recorder.raw.log_rows import definition_of
from tickd.native import EVENT_TABLES, table_columns
from tickd.rows import Column, Cut, Damage, Lists, SourceFacts, TableRows

__all__ = ["ClickHouseRows"]

# What the server sorts at once: rows, and price levels, which weigh about as much as a row.
_WEIGHT_MAX: Final = 1_000_000
_COMMON: Final = 8  # columns that every event table begins with
_TABLE: Final = "table_no"
_SETTINGS: Final = {
    "default_format": "Native",
    "max_block_size": "16384",
    # Where a single minute is larger than the stretch should be, the server sorts on its disk.
    "max_bytes_before_external_sort": str(256 << 20),
    # A slow reader (a full disk, a stopped process) is not a reason to end the answer.
    "http_send_timeout": "3600",
}
_KIND: Final = {"Array(Int64)": "list", "Int64": "i64", "UInt64": "u64", "UInt32": "u32"}
_DEFAULT: Final = {"Array(Int64)": "emptyArrayInt64()"}


class _Stretch(NamedTuple):
    seq_first: int
    seq_last: int
    from_ns: int
    to_ns: int
    weight: int


class _Slot(NamedTuple):
    name: str
    kind: str


class ClickHouseRows:
    """`RowSource` over one node's rows."""

    def __init__(self, clickhouse: ClickHouse, *, node: int) -> None:
        self._clickhouse = clickhouse
        self._node = node

    @property
    def name(self) -> str:
        return "clickhouse"

    async def facts(self) -> SourceFacts:
        """Return the definitions that the node stored and the span of its rows.

        Raises ClickHouseError.
        """
        names = ("instrument", "venue", "symbol", "price_scale", "size_scale", "tick", "lot")
        columns = ", ".join((*names, "multiplier"))
        rows = await self._clickhouse.query(
            f"SELECT {columns} FROM {self._clickhouse.database}.instruments FINAL "  # noqa: S608 - own names only
            "WHERE node = {node:UInt16}",
            {"node": self._node},
        )
        definitions = {
            int(row[0]): definition_of(
                int(row[0]), dict(zip((*names, "multiplier"), row, strict=True))
            )
            for row in rows
        }
        spans = " UNION ALL ".join(
            "SELECT toUnixTimestamp64Nano(min(ts_recv)) AS first, "  # noqa: S608 - own names only
            "toUnixTimestamp64Nano(max(ts_recv)) AS last, count() AS rows "
            f"FROM {self._clickhouse.database}.{table} WHERE node = {{node:UInt16}}"
            for table in EVENT_TABLES
        )
        ((first, last, count),) = await self._clickhouse.query(
            f"SELECT minIf(first, rows > 0), maxIf(last, rows > 0), sum(rows) FROM ({spans})",  # noqa: S608 - own names only
            {"node": self._node},
        )
        if not int(count):
            return SourceFacts(self._node, definitions, None, None)
        return SourceFacts(self._node, definitions, int(first), int(last))

    async def cuts(
        self, tables: Sequence[str], from_ns: int, to_ns: int, instruments: Sequence[int] | None
    ) -> AsyncIterator[Cut]:
        """Give the rows of a range in the order of the stream. Raises ClickHouseError."""
        where = _where(instruments)
        slots = _slots(tables)
        for stretch in await self._stretches(tables, from_ns, to_ns, where):
            reader = BlockReader()
            sql = _question(self._clickhouse.database, tables, slots, where)
            parameters = self._parameters(stretch.from_ns, stretch.to_ns) | {
                "seq_first": stretch.seq_first,
                "seq_last": stretch.seq_last,
            }
            answer = self._clickhouse.stream(sql, parameters=parameters, settings=_SETTINGS)
            async for piece in answer:
                for block in reader.push(piece):
                    yield _by_table(block, tables)
            reader.end()

    def damage(self) -> Sequence[Damage]:
        return ()

    def _parameters(self, from_ns: int, to_ns: int) -> dict[str, object]:
        return {"node": self._node, "from_ns": from_ns, "to_ns": to_ns}

    async def _stretches(
        self, tables: Sequence[str], from_ns: int, to_ns: int, where: str
    ) -> list[_Stretch]:
        """Minutes of the range, joined until they are heavy enough and their numbers part.

        Where the wall clock stepped back, the sequence numbers of two minutes overlap: they stay
        together, because the order of the stream is that of the numbers.
        """
        counted = " UNION ALL ".join(
            "SELECT toUnixTimestamp(toStartOfMinute(ts_recv)) AS minute, min(seq) AS first, "  # noqa: S608 - own names only
            f"max(seq) AS last, {_weight(table)} AS weight "
            f"FROM {self._clickhouse.database}.{table} WHERE {where} GROUP BY minute"
            for table in tables
        )
        rows = await self._clickhouse.query(
            "SELECT minute, min(first), max(last), sum(weight) "  # noqa: S608 - own names only
            f"FROM ({counted}) GROUP BY minute ORDER BY minute",
            self._parameters(from_ns, to_ns),
        )
        minutes = [
            _Stretch(
                int(first),
                int(last),
                max(int(minute) * 10**9, from_ns),
                min((int(minute) + 60) * 10**9, to_ns),
                int(weight),
            )
            for minute, first, last, weight in rows
        ]
        return _joined(minutes)


def _joined(minutes: Sequence[_Stretch]) -> list[_Stretch]:
    found: list[_Stretch] = []
    for minute in minutes:
        while found:
            before = found[-1]
            overlap = minute.seq_first <= before.seq_last
            if not overlap and before.weight + minute.weight > _WEIGHT_MAX:
                break
            minute = _Stretch(  # noqa: PLW2901 - it grows backwards
                min(before.seq_first, minute.seq_first),
                max(before.seq_last, minute.seq_last),
                before.from_ns,
                minute.to_ns,
                before.weight + minute.weight,
            )
            found.pop()
        found.append(minute)
    return found


def _where(instruments: Sequence[int] | None) -> str:
    chosen = "" if instruments is None else f" AND instrument IN ({_numbers(instruments)})"
    return (
        "node = {node:UInt16} AND ts_recv >= fromUnixTimestamp64Nano({from_ns:Int64}, 'UTC') "
        f"AND ts_recv < fromUnixTimestamp64Nano({{to_ns:Int64}}, 'UTC'){chosen}"
    )


def _numbers(instruments: Sequence[int]) -> str:
    return ", ".join(str(int(each)) for each in instruments) or "NULL"


def _weight(table: str) -> str:
    levels = " + sum(length(bid_price) + length(ask_price))" if table == "book" else ""
    return f"count(){levels}"


def _own(table: str) -> list[tuple[str, str, _Slot]]:
    """The table's own columns: name, type as the union carries it, slot.

    Tables have columns of one name and different types, so the union names them by type and place.
    """
    seen: dict[str, int] = {}
    found = []
    for name, kind in table_columns(table)[_COMMON:]:
        carried = "Int8" if kind.startswith("Enum8") else kind
        place = seen[carried] = seen.get(carried, 0) + 1
        label = _KIND.get(carried) or re.sub(r"\W.*", "", carried).lower()
        found.append((name, carried, _Slot(f"{label}_{place}", carried)))
    return found


def _slots(tables: Sequence[str]) -> list[_Slot]:
    slots = {slot.name: slot for table in tables for _, _, slot in _own(table)}
    return list(slots.values())


def _question(database: str, tables: Sequence[str], slots: Sequence[_Slot], where: str) -> str:
    common = [name for name, _ in table_columns(tables[0])[:_COMMON]]
    parts = []
    for number, table in enumerate(tables):
        own = {slot.name: (name, kind) for name, kind, slot in _own(table)}
        columns = [f"toUInt8({number}) AS {_TABLE}", *common]
        for slot in slots:
            if slot.name in own:
                name, kind = own[slot.name]
                columns.append(f"CAST({name}, '{_quoted(kind)}') AS {slot.name}")
            else:
                default = _DEFAULT.get(slot.kind) or f"CAST(0, '{_quoted(slot.kind)}')"
                columns.append(f"{default} AS {slot.name}")
        parts.append(
            f"SELECT {', '.join(columns)} FROM {database}.{table} "  # noqa: S608 - own names only
            f"WHERE {where} AND seq BETWEEN {{seq_first:UInt64}} AND {{seq_last:UInt64}}"
        )
    return f"SELECT * FROM ({' UNION ALL '.join(parts)}) ORDER BY seq"  # noqa: S608 - own names only


def _quoted(kind: str) -> str:
    return kind.replace("'", "\\'")


def _by_table(block: Mapping[str, Column], tables: Sequence[str]) -> Cut:
    numbers = block[_TABLE]
    if isinstance(numbers, Lists):
        raise ClickHouseError(f"{_TABLE} came back as lists")
    cut = []
    for number, table in enumerate(tables):
        mask = numbers == number
        if not mask.any():
            continue
        common = [(name, name) for name, _ in table_columns(table)[:_COMMON]]
        own = [(name, slot.name) for name, _, slot in _own(table)]
        columns: dict[str, Column] = {name: block[slot] for name, slot in common + own}
        rows = TableRows(table, columns).take(np.asarray(mask))
        cut.append(rows)
    return cut
