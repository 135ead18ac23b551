"""Shioaji: limits as data. Sources: README.md, section Limits."""

from __future__ import annotations

from typing import Final

from gateway.callbacks.venue import LoginRests
from gateway.venue import Rate, VenueLimits

LIMITS: Final = VenueLimits(
    # Subscribe and unsubscribe calls of one login: 50 per 5 s; the window is a tenth longer because
    # the venue counts at its end of the line.
    client_messages=Rate(50, 5.5),
    connects=Rate(1000, 86_400.0),  # logins, per person
    rest_weight=Rate(50, 11.0),  # queries; 50 per 10 s
    # A third party counted about 254 topics on one session; each subscription is one. The official
    # page says 200, which is what `streams_per_connection` allows unless it is raised.
    streams_max=250,
    streams_per_message_max=1,
    message_bytes_max=1 << 16,  # no messages of ours
    lifetime_seconds=None,
    heartbeat_seconds=None,
    client_ping_seconds=None,
    weight_header=None,
    # Only while a market trades. A book of a listed name changes within minutes, if at all; a
    # trade may not come for an hour, which says nothing.
    silence_seconds={"quote": 600.0, "depth": 600.0, "index": 120.0},
    # Per person. The plan leaves one for a login whose predecessor the broker still counts.
    connections_max=5,
)
RESTS: Final = LoginRests(
    seconds_min=5.0,
    # "Log in again after one minute": a login during the suspension prolongs it.
    suspended_seconds=90.0,
    refused_seconds=900.0,
)
