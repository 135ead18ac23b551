"""What an exported row must say, in plain Python, and the content hash from its document alone.

Independent of the exporter: rows come from `native_block.read_block`, sentinels and scales from
docs/formats, the hash from docs/how-to/export.md.
"""

from __future__ import annotations

import hashlib
import struct
from decimal import Decimal

UNDEFINED, NO_ID, NO_EVENT_TIME = (1 << 63) - 1, (1 << 64) - 1, 0x2000
CHANNELS = ["trade", "aggtrade", "quote", "depth", "mark", "index", "funding", "open_interest"]
CHANNELS += ["liquidation", "book_state", "status", "gap"]
PRICES = {"price", "bid_price", "ask_price", "average_price"}
SIZES = {"size", "bid_size", "ask_size"}
IDS = {"id", "first_id", "last_id", "previous_id", "expected_id", "received_id"}
IDS |= {"from_id", "to_id", "missing"}
HIDDEN = {"price_scale", "size_scale"}
WIDTHS = {"UInt8": "B", "UInt16": "H", "UInt32": "I", "UInt64": "Q", "Int32": "i", "Int64": "q"}


def number(mantissa: int, scale: int) -> Decimal | None:
    return None if mantissa == UNDEFINED else Decimal(mantissa).scaleb(-scale)


def natural(row: dict, definitions: dict) -> dict:
    """An exported row as values: Decimal, int nanoseconds, text, None."""
    known = definitions[row["instrument"]]
    out = {}
    for name, value in row.items():
        if name in HIDDEN:
            continue
        if name == "instrument":
            out["venue"], out["symbol"] = known.venue, known.symbol
        out[name] = natural_value(name, value, row)
    return out


def natural_value(name: str, value, row: dict):
    if name == "ts_event" and row["flags"] & NO_EVENT_TIME:
        return None
    if name == "next_ts":
        return value or None
    if name in IDS:
        return None if value == NO_ID else value
    if name == "channel":
        return CHANNELS[value]
    if name == "value":
        return number(value, row["value_scale"])
    if name in PRICES | SIZES:
        scale = row["price_scale" if name in PRICES else "size_scale"]
        return (
            [number(v, scale) for v in value] if isinstance(value, list) else number(value, scale)
        )
    return value


def levels(row: dict) -> list[dict]:
    """A natural book row as one row per level."""
    sides = [("B", *pair) for pair in zip(row["bid_price"], row["bid_size"], strict=True)]
    asks = [("A", *pair) for pair in zip(row["ask_price"], row["ask_size"], strict=True)]
    message = {name: value for name, value in row.items() if name[4:] not in ("price", "size")}
    flat = []
    for place, (side, price, size) in enumerate(sides + asks):
        level = place - len(sides) if side == "A" else place
        flat.append(message | {"level": level, "side": side, "price": price, "size": size})
    return flat or [message | {"level": 0, "side": "N", "price": None, "size": None}]


def table_hash(rows: list[dict], columns: list[tuple[str, str]]) -> str:
    """SHA-256 of a table by the document; `rows` and `columns` as `read_block` gives them."""
    lines = []
    for name, kind in columns:
        values = [row[name] for row in rows]
        if kind.startswith("Array"):
            lengths = b"".join(struct.pack("<Q", len(value)) for value in values)
            lines.append((f"{name}.lengths", lengths))
            values = [each for value in values for each in value]
        if kind.startswith("Enum8"):
            codes = {
                part.split("'")[1]: int(part.split("=")[1].rstrip(") ")) for part in kind.split(",")
            }
            data = b"".join(struct.pack("<b", codes[value]) for value in values)
        else:
            data = b"".join(struct.pack("<" + WIDTHS.get(kind, "q"), value) for value in values)
        lines.append((name, data))
    text = "".join(f"{name} {hashlib.sha256(data).hexdigest()}\n" for name, data in lines)
    return hashlib.sha256(text.encode()).hexdigest()


def export_hash(tables: dict[str, tuple[int, str]]) -> str:
    """SHA-256 of an export from the (rows, hash) of each table that has rows."""
    lines = "".join(f"{name} {rows} {digest}\n" for name, (rows, digest) in sorted(tables.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
