"""The slow tables: instrument definitions, segments of the raw log, lag of topics.

Rows as JSON, a few at a time, with tokens that make a repeat harmless. Events do not come here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from recorder.clickhouse.clickhouse import ClickHouse
from tickd.native import xxh3_hex

__all__ = [
    "store_indicators",
    "store_instruments",
    "store_segments",
    "store_topic_lag",
    "time_text",
]

_NS: Final = 10**9
_SHIPMENTS: Final = frozenset({"shipped", "verified", "removed", "restored"})
_SEGMENTS: Final = "segments/"
_INSTRUMENT_FIELDS: Final = (
    "venue",
    "symbol",
    "asset_class",
    "price_scale",
    "size_scale",
    "tick",
    "lot",
    "multiplier",
)


async def store_instruments(
    clickhouse: ClickHouse,
    *,
    node: int,
    definitions: Iterable[tuple[int, bytes]],
    valid_from_ns: int,
) -> None:
    """Store (id, JSON definition) pairs; a definition stored again replaces itself.

    Raises ClickHouseError.
    """
    rows: list[dict[str, object]] = []
    for instrument, definition in definitions:
        fields: dict[str, Any] = msgspec.json.decode(definition)
        row: dict[str, object] = {"node": node, "instrument": instrument}
        row |= {name: fields[name] for name in _INSTRUMENT_FIELDS}
        rows.append(row | {"valid_from": time_text(valid_from_ns)})
    await _store(clickhouse, "instruments", node, rows)


async def store_indicators(
    clickhouse: ClickHouse,
    *,
    node: int,
    definitions: Iterable[tuple[int, Mapping[str, object]]],
    valid_from_ns: int,
) -> None:
    """Store (number, name, kind and params) of indicators; one stored again replaces itself.

    Raises ClickHouseError.
    """
    stamp = time_text(valid_from_ns)
    rows = [
        {"node": node, "indicator": number} | dict(fields) | {"valid_from": stamp}
        for number, fields in definitions
    ]
    await _store(clickhouse, "indicators", node, rows)


async def store_segments(
    clickhouse: ClickHouse, *, node: int, manifest: Sequence[Mapping[str, Any]], new_from: int = 0
) -> None:
    """Store the segments of a manifest as they are by its end; a row stored again replaces itself.

    Args: `manifest`: all of it; `new_from`: only those that a line from this one on speaks of.
    Raises ClickHouseError.
    """
    sealed: dict[str, Mapping[str, Any]] = {}
    states: dict[str, str] = {}
    new: dict[str, None] = {}
    for number, line in enumerate(manifest):
        kind = line.get("kind")
        if kind == "sealed":
            name = str(line["segment"])
            sealed[name] = line
            states[name] = "suspect" if line.get("suspect") else "sealed"
        elif kind in _SHIPMENTS and str(line["file"]).startswith(_SEGMENTS):
            name = str(line["file"]).removeprefix(_SEGMENTS)
            states[name] = str(kind)
        else:
            continue
        if number >= new_from:
            new[name] = None
    rows: list[dict[str, object]] = [
        {
            "node": node,
            "segment": name,
            "first_frame": line["frame_first"],
            "last_frame": line["frame_last"],
            "first_recv": time_text(line["recv_first"]),
            "last_recv": time_text(line["recv_last"]),
            "records": line["records"],
            "bytes": line["bytes"],
            "hash": line["hash"],
            "state": states[name],
        }
        for name, line in ((name, sealed[name]) for name in new if name in sealed)
    ]
    await _store(clickhouse, "segments", node, rows)


async def store_topic_lag(
    clickhouse: ClickHouse, *, node: int, ts_ns: int, rows: Sequence[Mapping[str, object]]
) -> None:
    """Store one sample per topic (topic, depth, high_water, oldest_age_s, dropped, events).

    Raises ClickHouseError.
    """
    stamp = time_text(ts_ns // 1_000_000 * 1_000_000)[:23]
    await _store(
        clickhouse, "topic_lag", node, [{"ts": stamp, "node": node} | dict(row) for row in rows]
    )


async def _store(
    clickhouse: ClickHouse, table: str, node: int, rows: Sequence[Mapping[str, object]]
) -> None:
    if rows:
        token = f"{table}-{node}-{xxh3_hex(msgspec.json.encode(rows))}"
        await clickhouse.insert_rows(table, rows, token)


def time_text(ns: int) -> str:
    """Return a time as text: a bare JSON number means ticks to one version, seconds to another."""
    whole = datetime.fromtimestamp(ns // _NS, tz=UTC)
    return f"{whole:%Y-%m-%d %H:%M:%S}.{ns % _NS:09}"
