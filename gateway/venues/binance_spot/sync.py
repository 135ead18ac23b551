"""Binance spot: `U == previous u + 1`, snapshot by REST. The rule itself is native."""

from __future__ import annotations

from typing import Final

from gateway.venue import Sync
from gateway.venues.binance import BinanceSync

# 1000 levels cost 50, 5000 would cost 250 of 6000 per minute (binance-spot-api-docs @a5e0bc3):
# 120 books a minute after a reconnect instead of 24.
SYNC: Final[Sync] = BinanceSync(
    rule="binance-spot", depth_path="/api/v3/depth", depth_levels=1000, depth_weight=50
)
