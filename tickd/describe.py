"""An event in people's terms: names, exact decimals as text, times in UTC. Pure.

For `tickd inspect`, text sinks and tests; never on the hot path.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from tickd.events import (
    ID_UNDEF,
    PRICE_UNDEF,
    SEQ_INDEX_BITS,
    TS_UNDEF,
    BookState,
    Flag,
    GapCause,
    Kind,
    OrderState,
)
from tickd.topics import CHANNELS
from tickd.units import mantissa_to_text

__all__ = ["describe_event", "time_text"]

# Kinds whose price (and size) are mantissas in the instrument's scales.
_SCALED: Final = {Kind.TRADE, Kind.QUOTE, Kind.DEPTH, Kind.LIQUIDATION}


def time_text(ns: int) -> str | None:
    if ns == TS_UNDEF:
        return None
    whole, rest = divmod(ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def describe_event(
    topic: str, values: Mapping[str, int], instrument: Mapping[str, Any] | None
) -> dict[str, object]:
    """Return an event's fields (`EVENT`'s names) with names and natural numbers.

    Never a float, but for what is one: the value of a signal.
    """
    kind = Kind(values["kind"])
    seq = values["seq"]
    fields: dict[str, object] = {
        "seq": seq,
        "frame_no": seq >> SEQ_INDEX_BITS,
        "index": seq & ((1 << SEQ_INDEX_BITS) - 1),
        "topic": topic,
        "kind": kind.name,
        "ts_event": time_text(values["ts_event"]),
        "ts_recv": time_text(values["ts_recv"]),
        "side": chr(values["side"]),
    }
    if kind is Kind.SIGNAL:
        (value,) = struct.unpack("<d", struct.pack("<Q", values["id"]))
        fields |= {"indicator": values["aux"], "value": value}
    elif values["id"] != ID_UNDEF:
        fields["id"] = values["id"]
    if kind is Kind.ORDER:
        fields["state"] = OrderState(values["aux"]).name
        fields |= _scaled(values["price"], values["size"], instrument)
    elif kind not in (Kind.CLOCK, Kind.SIGNAL):
        fields |= _numbers(kind, values, instrument)
    if values["flags"]:
        fields["flags"] = "|".join(str(flag.name) for flag in Flag(values["flags"]))
    return fields


def _numbers(
    kind: Kind, values: Mapping[str, int], instrument: Mapping[str, Any] | None
) -> dict[str, object]:
    price, size, aux = values["price"], values["size"], values["aux"]
    if kind in (Kind.MARK, Kind.INDEX, Kind.FUNDING):
        return {"value": mantissa_to_text(price, aux)}
    if kind in _SCALED and instrument is not None:
        return {**_scaled(price, size, instrument), "aux": aux}
    if kind is Kind.DEPTH_HEAD:
        previous = None if size == PRICE_UNDEF else size
        return {"first_id": price, "previous_id": previous, "levels": aux}
    if kind is Kind.BOOK_STATE:
        return {"state": BookState(aux).name, "expected_id": price, "received_id": size}
    if kind is Kind.GAP:
        return {
            "cause": GapCause(aux & 0xFF).name,
            "channel": CHANNELS[aux >> 8],
            "start_ns": values["ts_event"],
            "end_ns": values["ts_recv"],
            "last_missing_id": None if price == PRICE_UNDEF else price,
            "missing": None if size == PRICE_UNDEF else size,
        }
    return {"price": price, "size": size, "aux": aux}


def _scaled(price: int, size: int, instrument: Mapping[str, Any] | None) -> dict[str, object]:
    """Price and size as text, where there are any and their scales are known."""
    scaled: dict[str, object] = {}
    if instrument is not None and price != PRICE_UNDEF:
        scaled["price"] = mantissa_to_text(price, instrument["price_scale"])
    if instrument is not None and size != PRICE_UNDEF:
        scaled["size"] = mantissa_to_text(size, instrument["size_scale"])
    return scaled
