"""Instrument definitions on their way from a venue's list to the raw log.

Turns steps into scales and a definition into its control record. The id and the registry are
native (`native/core/src/instrument.rs`); this file never computes an id.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Literal

import msgspec

AssetClass = Literal["spot", "perpetual", "future", "option", "stock", "index"]

# 10^18 is the largest power of ten in an int64 mantissa.
SCALE_MAX = 18
MANTISSA_MAX = (1 << 63) - 1
# A level may hold that many orders of the largest size before its sum no longer fits.
LEVEL_ORDERS = 1_000


class InstrumentDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """Mirror of the native `Instrument`; an event's mantissas are in these scales."""

    venue: str
    symbol: str
    asset_class: AssetClass
    price_scale: int
    size_scale: int
    tick: int  # mantissa in price_scale
    lot: int  # mantissa in size_scale
    multiplier: str  # decimal text: what one unit of size is worth
    # Whether a pattern may select it: no index, not delisted. Not part of the record.
    trading: bool = True


def scale_and_step(step: str, *, decimals: int = 0, largest: str | None = None) -> tuple[int, int]:
    """Scale and mantissa of a smallest step: `"0.00500"` -> (3, 5), `"10"` -> (0, 10).

    Args: `decimals`: what the venue prints, the scale holds them too as long as a level of
    LEVEL_ORDERS orders of `largest` still fits a mantissa.
    Raises ValueError when `step` is no positive decimal with at most 18 decimals.
    """
    value = _positive(step)
    exponent = value.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    needed = max(0, -exponent)
    if needed > SCALE_MAX or value > Decimal(10) ** (SCALE_MAX - needed):
        raise ValueError(f"step {step[:40]!r} does not fit a mantissa")
    # Without a stated maximum no headroom is taken on trust.
    top = _positive(largest) * LEVEL_ORDERS if largest else Decimal(MANTISSA_MAX)
    scale = max(needed, min(decimals, SCALE_MAX))
    while scale > needed and top.scaleb(scale) >= MANTISSA_MAX:
        scale -= 1
    return scale, int(value.scaleb(scale))


def _positive(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"step {text[:40]!r} is no decimal") from error
    if not value.is_finite() or value <= 0:
        raise ValueError(f"step {text[:40]!r} is not positive")
    return value


def control_record(definition: InstrumentDefinition) -> bytes:
    """The payload of the `instrument` control record."""
    fields = msgspec.structs.asdict(definition)
    del fields["trading"]
    return msgspec.json.encode({"kind": "instrument"} | fields)
