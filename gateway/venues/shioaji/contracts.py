"""Contracts of the SDK to instrument definitions. Pure; reads attributes, imports no SDK.

Two families of objects say the same with different names (`FuturesInfo`, and the older `Future`):
what an object does not have counts as not said.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from gateway.callbacks.venue import Contract
from gateway.instruments import SCALE_MAX, AssetClass, InstrumentDefinition
from gateway.venues.shioaji.wire import ODD_SUFFIX, TRIAL_SUFFIX, VENUE

_MARKETS: Final = {
    "STK": "stock",
    "WRT": "stock",
    "FUT": "futures",
    "OPT": "option",
    "IND": "index",
}
_CLASSES: Final[dict[str, AssetClass]] = {
    "stock": "stock",
    "odd": "stock",
    "futures": "future",
    "option": "option",
    "index": "index",
}
# The smallest tick of the exchange's stock bands is 0.01; dearer stocks have coarser ones, which
# change with the price and so are no part of a definition.
STOCK_SCALE: Final = 2
LOT_SHARES: Final = "1000"
# Contracts on foreign indices and currencies have up to four decimals.
UNKNOWN_SCALE: Final = 4
INDEX_SCALE: Final = 8  # an index's events carry their own decimals


def contract_of(symbol: str, info: object) -> Contract | None:
    """What depends on the SDK's `info` of a configured symbol; None for an unknown kind."""
    market = _MARKETS.get(_said(info, "security_type"))
    if market is None:
        return None
    code = _said(info, "target_code") or _said(info, "code")
    if symbol.endswith(ODD_SUFFIX):
        if market != "stock":
            return None
        market = "odd"
    name = code + (ODD_SUFFIX if market == "odd" else "")
    definition = _definition(name, market, info)
    trial = msgspec.structs.replace(definition, symbol=name + TRIAL_SUFFIX)
    return Contract(
        symbol=symbol,
        code=code,
        market=market,
        exchange=_said(info, "exchange"),
        definitions=(definition,) if market == "index" else (definition, trial),
        handle=info,
    )


def _definition(name: str, market: str, info: object) -> InstrumentDefinition:
    match market:
        case "stock":
            scale, tick, multiplier = STOCK_SCALE, 1, _number(info, "unit") or LOT_SHARES
        case "odd":
            scale, tick, multiplier = STOCK_SCALE, 1, "1"
        case "index":
            scale, tick, multiplier = INDEX_SCALE, 1, "1"
        case _:
            scale, tick = _steps(info)
            multiplier = _number(info, "multiplier") or _number(info, "contract_size") or "1"
    return InstrumentDefinition(
        venue=VENUE,
        symbol=name,
        asset_class=_CLASSES[market],
        price_scale=scale,
        size_scale=0,  # lots, shares or contracts
        tick=tick,
        lot=1,
        multiplier=multiplier,
    )


def _steps(info: object) -> tuple[int, int]:
    """Scale and tick of a contract. Options have a finer tick below, and it is the one that says.

    `decimal_locator` is the number of decimals that the exchange's own messages have.
    """
    decimals = getattr(info, "decimal_locator", None)
    least = decimals if isinstance(decimals, int) and 0 <= decimals <= SCALE_MAX else 0
    text = _number(info, "tick")
    if text is None:
        scale = max(least, UNKNOWN_SCALE)
        return scale, 1
    tick = Decimal(text)
    exponent = tick.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    scale = max(least, -exponent, STOCK_SCALE)
    return scale, int(tick.scaleb(scale))


def _number(info: object, name: str) -> str | None:
    """A positive number as plain text; the SDK has floats, whose shortest text is what it read."""
    value = getattr(info, name, None)
    if not isinstance(value, int | float | Decimal) or isinstance(value, bool) or value <= 0:
        return None
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return f"{exact.normalize():f}" if exact.is_finite() else None


def _said(info: object, name: str) -> str:
    value = getattr(info, name, None)
    if value is None:
        return ""
    return str(getattr(value, "value", value))
