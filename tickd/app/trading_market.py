"""What an account's broker sees of the market, over the tap and the bus; it plays no market."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from tickd.app.tap import Tap
from tickd.bus import Bus
from tickd.native import EventBatch

__all__ = ["HANDLER", "SeenMarket"]

# The gate's on the bus; an account's own has its name behind.
HANDLER: Final = "risk"


@final
class SeenMarket:
    """What an account's broker sees of the market: it is told before the strategies are.

    By a handler of its own: one that fails takes nobody else's prices away.
    """

    def __init__(self, tap: Tap, bus: Bus, account: str) -> None:
        self._tap = tap
        self._bus = bus
        self._account = account

    def on_batch(self, take: Callable[[EventBatch], None]) -> None:
        self._bus.handle_bursts(take, name=f"{HANDLER} {self._account}")

    def on_definition(self, define: Callable[[int, bytes], None]) -> None:
        self._tap.on_definition(define)
