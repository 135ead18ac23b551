"""The values that stand for "undefined" in events; never 0, -1 or NaN.

Apart from `tickd/events.py` so that whoever only shows numbers need not load arrays.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ID_UNDEF", "PRICE_UNDEF", "SIZE_UNDEF", "TS_UNDEF"]

PRICE_UNDEF: Final = (1 << 63) - 1
SIZE_UNDEF: Final = (1 << 63) - 1
TS_UNDEF: Final = (1 << 63) - 1
ID_UNDEF: Final = (1 << 64) - 1
