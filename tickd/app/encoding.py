"""JSON of the daemon's own making: control records, answers, dumps.

One step that cannot fail for a number's size. It reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import orjson

__all__ = ["encode"]

# Python writes no integer of more than 4,300 digits; long before that it is no figure.
_BITS_MAX: Final = 4_096


def encode(fields: object, *, default: Callable[[Any], Any] | None = None) -> bytes:
    """Return one line of JSON; `default`: as of `orjson.dumps`. Raises TypeError: no JSON at all.

    orjson, which is the quick one, raises for integers beyond 64 bits: a figure that somebody made
    up must not end a daemon, so those are written in all their digits by another encoder.
    """
    try:
        return orjson.dumps(fields, default=default)
    except TypeError:
        return msgspec.json.encode(_writable(fields), enc_hook=default)


def _writable(value: object) -> object:
    """The same, an integer that has no decimal text as words."""
    if isinstance(value, int) and value.bit_length() > _BITS_MAX:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, dict):
        return {key: _writable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_writable(each) for each in value]
    return value
