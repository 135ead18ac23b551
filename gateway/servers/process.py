"""What a server says when it stands: where it listens and what it lists.

`tickd sim` and `tickd serve-replay` run the servers as processes; tests run them in their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec


class Addresses(msgspec.Struct, frozen=True):
    """Where the markets listen and what they list, by venue.

    `{"binance-usdm": "ws://127.0.0.1:4711"}`.
    """

    ws: Mapping[str, str]
    rest: Mapping[str, str]
    symbols: Mapping[str, Sequence[str]]
