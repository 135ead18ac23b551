"""Shioaji: limits as data. Sources: README.md, section Limits."""

from __future__ import annotations

from typing import Final

from gateway.callbacks.venue import CallbackLimits
from gateway.venue import Rate

LIMITS: Final = CallbackLimits(
    # The official page's number. A third party counted about 254 topics on one session.
    subscriptions_max=200,
    # 50 per 5 s; the window is a tenth longer because the venue counts at its end of the line.
    subscribes=Rate(50, 5.5),
    logins=Rate(1000, 86_400.0),
    login_seconds_min=5.0,
    # "Log in again after one minute": a login during the suspension prolongs it.
    suspended_seconds=90.0,
    refused_seconds=900.0,
    # Only while a market trades. A book of a listed name changes within minutes, if at all; a
    # trade may not come for an hour, which says nothing.
    silence_seconds={"quote": 600.0, "depth": 600.0, "index": 120.0},
)
