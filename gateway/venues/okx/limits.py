"""OKX v5: limits as data. Sources: README.md, section Limits."""

from __future__ import annotations

from typing import Final

from gateway.venue import Rate, VenueLimits

INSTRUMENTS_WEIGHT: Final = 1

LIMITS: Final = VenueLimits(
    # Subscribe, unsubscribe and login per connection; pings count here too, which is on the
    # careful side: one each 20 s of silence is 180 an hour.
    client_messages=Rate(480, 3600.0),
    # 3 per second; the window is a tenth longer because the venue counts at its end of the line.
    connects=Rate(3, 1.1),
    # 20 requests per 2 s for public/instruments, the only request we make.
    rest_weight=Rate(20, 2.0),
    # The advice is fewer than 30 *book* channels on a connection; counting every stream keeps to
    # it whatever the mix.
    streams_max=29,
    streams_per_message_max=29,
    # 64 KB is the venue's bound for the whole request.
    message_bytes_max=65_536,
    lifetime_seconds=None,
    # Silent for 30 s is cut by the venue; a ping of ours after 20 s is answered long before 45.
    heartbeat_seconds=45.0,
    client_ping_seconds=20.0,
    weight_header=None,
    # A book without changes repeats its id about every 60 s: longer silence is no quiet market.
    silence_seconds={
        "trade": 300.0,
        "aggtrade": 300.0,
        "quote": 300.0,
        "depth": 150.0,
        "mark": 60.0,
        "index": 60.0,
        "funding": 300.0,
    },
)
