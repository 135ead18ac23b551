"""Text at the edges: mantissas and decimals, durations, sizes.

Pure, exact, slow: for configuration, command line and screens, never for the data plane, which
keeps integers.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from tickd.errors import TickdError
from tickd.events import PRICE_UNDEF

__all__ = [
    "decimal_to_mantissa",
    "duration_ms",
    "format_bytes",
    "format_duration",
    "mantissa_to_decimal",
    "mantissa_to_text",
    "size_bytes",
    "time_ns",
]

INT64_MAX: Final = (1 << 63) - 1
SCALE_MAX: Final = 18
CHARACTERS_MAX: Final = 256  # of a number in text

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_DURATION_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|KiB|MB|MiB|GB|GiB|TB|TiB)")
_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?=$|[.Z+-]))?)?)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?"
)
_SIZE_BYTES: Final = {
    "B": 1,
    "kB": 10**3,
    "KiB": 1 << 10,
    "MB": 10**6,
    "MiB": 1 << 20,
    "GB": 10**9,
    "GiB": 1 << 30,
    "TB": 10**12,
    "TiB": 1 << 40,
}


def mantissa_to_decimal(mantissa: int, scale: int) -> Decimal | None:
    """Return mantissa x 10^-scale exactly; None for the undefined sentinel."""
    if mantissa == PRICE_UNDEF:
        return None
    return Decimal(mantissa).scaleb(-scale)


def mantissa_to_text(mantissa: int, scale: int) -> str:
    """Return the value with exactly `scale` decimals, never in exponent form; `-` for undefined."""
    value = mantissa_to_decimal(mantissa, scale)
    return "-" if value is None else f"{value:.{scale}f}"


def decimal_to_mantissa(text: str, scale: int) -> int:
    """Return the mantissa of a decimal number.

    Raises TickdError(FATAL): not a number, more non-zero decimals than `scale`, outside int64.
    """
    if not re.fullmatch(r"[+-]?\d+(\.\d+)?", text):
        raise TickdError(f"not a decimal number: {text[:CHARACTERS_MAX]!r}")
    if len(text) > CHARACTERS_MAX:
        # Python refuses to make a number of thousands of digits, in words of its own.
        raise TickdError(f"a number of {len(text)} characters does not fit 64 bits")
    if not 0 <= scale <= SCALE_MAX:
        raise TickdError(f"scale {scale} is outside 0..{SCALE_MAX}")
    sign, digits, exponent = Decimal(text).as_tuple()
    number = int("".join(map(str, digits)))
    shift = int(exponent) + scale
    if shift < 0:
        number, rest = divmod(number, int(10**-shift))
        if rest:
            raise TickdError(f"{text!r} has more than {scale} decimals")
    else:
        number *= int(10**shift)
    number = -number if sign else number
    if abs(number) >= INT64_MAX:
        raise TickdError(f"{text!r} at scale {scale} does not fit 64 bits")
    return number


def duration_ms(text: str) -> int:
    """Return whole milliseconds of `250ms`, `1.5s`, `10m`, `2h`, `1d`. Raises TickdError(FATAL)."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise TickdError(f"not a duration: {text!r}", hint="a number and ms, s, m, h or d")
    value = Decimal(match[1]) * _DURATION_MS[match[2]]
    if value != int(value):
        raise TickdError(f"{text!r} is not a whole number of milliseconds")
    return int(value)


def size_bytes(text: str) -> int:
    """Return whole bytes of `512MiB`, `1.5GB`, `64KiB`, `10B`. Raises TickdError(FATAL)."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise TickdError(f"not a size: {text!r}", hint="a number and " + ", ".join(_SIZE_BYTES))
    value = Decimal(match[1]) * _SIZE_BYTES[match[2]]
    if value != int(value):
        raise TickdError(f"{text!r} is not a whole number of bytes")
    return int(value)


def time_ns(text: str) -> int:
    """Return ns since the Unix epoch of `2026-11-20`, `2026-11-20T12:30[:05[.123456789]][Z]`.

    Without an offset it is UTC; 16 digits or more are nanoseconds themselves. Raises
    TickdError(FATAL).
    """
    given = text.strip()
    if re.fullmatch(r"\d{16,19}", given):
        return int(given)
    match = _TIME.fullmatch(given)
    hint = "2026-11-20, 2026-11-20T12:30:05.5Z or nanoseconds"
    if match is None:
        raise TickdError(f"not a time: {text!r}", hint=hint)
    try:
        moment = datetime.fromisoformat(match[1] + (match[3] or ""))
    except ValueError as error:
        raise TickdError(f"not a time: {text!r}", hint=hint) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    fraction = int((match[2] or "").ljust(9, "0"))
    return (since.days * 86_400 + since.seconds) * 10**9 + fraction


def format_bytes(count: int) -> str:
    """Return `count` for people: three figures at most, binary units."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{count} B" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def format_duration(seconds: float) -> str:
    """Return a duration for people in its two largest units: `3d 4h`, `12m 5s`, `45 ms`."""
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = int(seconds)
    days, hours, minutes = whole // 86_400, whole // 3_600 % 24, whole // 60 % 60
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {whole % 60}s"
