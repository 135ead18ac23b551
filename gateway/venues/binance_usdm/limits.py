"""Binance USD-M: limits as data. Sources: README.md, section Limits."""

from __future__ import annotations

from typing import Final

from gateway.venue import Rate, VenueLimits

EXCHANGE_INFO_WEIGHT: Final = 1

LIMITS: Final = VenueLimits(
    # 10 per second; the window is a tenth longer because the venue counts at its end of the line.
    client_messages=Rate(10, 1.1),
    connects=Rate(300, 300.0),
    rest_weight=Rate(2400, 60.0),
    streams_max=1024,
    streams_per_message_max=200,
    message_bytes_max=32_768,
    lifetime_seconds=24 * 3600.0,
    # The server pings every 3 min and waits 10 min; three missing pings are no accident.
    heartbeat_seconds=600.0,
    client_ping_seconds=None,
    weight_header="X-MBX-USED-WEIGHT-1M",
    key_header="X-MBX-APIKEY",
    # Liquidations may be silent for ever.
    silence_seconds={
        "trade": 300.0,
        "aggtrade": 300.0,
        "quote": 120.0,
        "depth": 120.0,
        "mark": 30.0,
        "index": 30.0,
    },
)
