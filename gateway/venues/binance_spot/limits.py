"""Binance spot: limits as data. Source: binance-spot-api-docs @a5e0bc3 (2026-07-21)."""

from __future__ import annotations

from typing import Final

from gateway.venue import Rate, VenueLimits

EXCHANGE_INFO_WEIGHT: Final = 20

LIMITS: Final = VenueLimits(
    # 5 per second; the window is a tenth longer because the venue counts at its end of the line.
    client_messages=Rate(5, 1.1),
    connects=Rate(300, 300.0),
    rest_weight=Rate(6000, 60.0),
    streams_max=1024,
    streams_per_message_max=200,
    message_bytes_max=32_768,
    lifetime_seconds=24 * 3600.0,
    # The server pings every 20 s; three missing pings are no accident.
    heartbeat_seconds=75.0,
    client_ping_seconds=None,
    weight_header="X-MBX-USED-WEIGHT-1M",
    silence_seconds={"trade": 300.0, "aggtrade": 300.0, "quote": 120.0, "depth": 120.0},
)
