"""The SDK's numbers to exact integers, and back: prices, quantities, money, time.

Pure. The SDK hands out floats (1.7.9), whose shortest text is the number that was meant; Decimals
and texts are taken just as well, so that a later version does no harm. Nothing is ever rounded.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

from risk.orders import MONEY_SCALE

__all__ = ["MalformedError", "exact", "mantissa", "money", "plain_float", "seconds_ns", "whole"]

NS_DIGITS: Final = 9


class MalformedError(ValueError):
    """A value that cannot be what the venue meant; what it belongs to is in doubt."""


def exact(value: object) -> Decimal:
    """The number as the venue wrote it."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise MalformedError(f"not a number: {type(value).__name__}")
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation as error:
        raise MalformedError(f"not a number: {str(value)[:40]!r}") from error
    if not number.is_finite():
        raise MalformedError(f"not a finite number: {number}")
    return number


def mantissa(value: object, scale: int) -> int:
    """`value` in units of 10^-scale. Raises MalformedError where it has more decimals."""
    scaled = exact(value).scaleb(scale)
    if scaled != scaled.to_integral_value():
        raise MalformedError(f"{value} has more than {scale} decimals")
    return int(scaled)


def whole(value: object) -> int:
    """A count of lots, shares or contracts."""
    return mantissa(value, 0)


def money(value: object) -> int:
    """An amount in units of 1e-8. What is finer than that is cut off: no venue pays it."""
    return int(exact(value).scaleb(MONEY_SCALE))


def seconds_ns(value: object) -> int | None:
    """Seconds since the epoch, UTC, as the venue stamps its messages; None: it said nothing."""
    if value is None:
        return None
    number = exact(value)
    return int(number.scaleb(NS_DIGITS)) if number > 0 else None


def plain_float(price: int, scale: int) -> float:
    """The one float of this border. Raises MalformedError unless it comes back as it went."""
    made = float(Decimal(price).scaleb(-scale))
    if mantissa(made, scale) != price:
        raise MalformedError(f"{price} at scale {scale} does not survive as a float")
    return made
