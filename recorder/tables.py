"""The slow tables: instrument definitions, segments of the raw log, lag of topics.

Rows as JSON, a few at a time, with tokens that make a repeat harmless. Events do not come here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from recorder.clickhouse import ClickHouse
from tickd.native import xxh3_hex

__all__ = ["store_instruments", "store_segments", "store_topic_lag"]

_NS: Final = 10**9
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
        rows.append(row | {"valid_from": _text(valid_from_ns)})
    await _store(clickhouse, "instruments", node, rows)


async def store_segments(
    clickhouse: ClickHouse, *, node: int, manifest: Iterable[Mapping[str, Any]]
) -> None:
    """Store the sealed segments among lines of the manifest. Raises ClickHouseError."""
    rows: list[dict[str, object]] = [
        {
            "node": node,
            "segment": line["segment"],
            "first_frame": line["frame_first"],
            "last_frame": line["frame_last"],
            "first_recv": _text(line["recv_first"]),
            "last_recv": _text(line["recv_last"]),
            "records": line["records"],
            "bytes": line["bytes"],
            "hash": line["hash"],
            "state": "suspect" if line.get("suspect") else "sealed",
        }
        for line in manifest
        if line.get("kind") == "sealed"
    ]
    await _store(clickhouse, "segments", node, rows)


async def store_topic_lag(
    clickhouse: ClickHouse, *, node: int, ts_ns: int, rows: Sequence[Mapping[str, object]]
) -> None:
    """Store one sample per topic (topic, depth, high_water, oldest_age_s, dropped, events).

    Raises ClickHouseError.
    """
    stamp = _text(ts_ns // 1_000_000 * 1_000_000)[:23]
    await _store(
        clickhouse, "topic_lag", node, [{"ts": stamp, "node": node} | dict(row) for row in rows]
    )


async def _store(
    clickhouse: ClickHouse, table: str, node: int, rows: Sequence[Mapping[str, object]]
) -> None:
    if rows:
        token = f"{table}-{node}-{xxh3_hex(msgspec.json.encode(rows))}"
        await clickhouse.insert_rows(table, rows, token)


def _text(ns: int) -> str:
    """Return a time as text: a bare JSON number means ticks to one version, seconds to another."""
    whole = datetime.fromtimestamp(ns // _NS, tz=UTC)
    return f"{whole:%Y-%m-%d %H:%M:%S}.{ns % _NS:09}"
