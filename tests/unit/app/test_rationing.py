"""Rations of venues that meter bytes: whose streams give way, and whose do not."""

from __future__ import annotations

from typing import Any

from gateway.callbacks.session import CallbackSession
from gateway.config import SdkConfig, SubscriptionConfig, VenueConfig
from gateway.subscriptions.usage import UsageReading
from gateway.subscriptions.wishes import Wanted
from gateway.venues.registry import find_callback
from tests.harness.noted_tap import NotedTap
from tickd.app.rationing import Ration, Rationing
from tickd.secrets import Secret
from tickd.testing.clock import ManualClock

KEY = Secret("0123456789ab")
LIMIT = 500 << 20
MINUTE_NS = 60_000_000_000
# 2026-07-14 08:00 in Taiwan, a Tuesday.
MORNING_NS = 1_783_987_200_000_000_000


def session_at(clock: ManualClock, **sdk: Any) -> CallbackSession:
    low = SubscriptionConfig(name="low", patterns=("shioaji:2317@trade",), priority=10)
    config = VenueConfig(
        name="shioaji",
        symbols=("2330",),
        channels=("trade",),
        sdk=SdkConfig(api_key=KEY, secret_key=KEY, **sdk),
    )
    session = CallbackSession(
        find_callback("shioaji"),
        Wanted(config, (low,)),
        tap=NotedTap(),
        clock=clock,
        activity=dict,
        jitter=lambda: 0.5,
    )
    session.carried.listed(None, "start")
    return session


def read(session: CallbackSession, clock: ManualClock, used: int) -> None:
    clock.move(MINUTE_NS)
    session.allowance.observe(
        UsageReading(used, LIMIT), wall_ns=clock.wall_ns(), mono_ns=clock.mono_ns()
    )


def test_a_forecast_beyond_the_cap_pauses_low_streams_unless_it_is_said_otherwise() -> None:
    for sdk, ration in (({}, Ration(100)), ({"usage_pauses": "queries"}, Ration())):
        clock = ManualClock(wall_ns=MORNING_NS)
        session = session_at(clock, **sdk)
        rationing = Rationing((session,), clock=clock)
        rationing.look()
        assert rationing.of("shioaji") == Ration(), "nothing is known"
        for minute in range(3):
            read(session, clock, minute * LIMIT // 100)
        assert rationing.look() == (ration != Ration())
        assert rationing.of("shioaji") == ration
        assert rationing.of("binance-usdm") == Ration()


def test_an_allowance_that_is_gone_stops_all_streams_unless_it_is_said_otherwise() -> None:
    for sdk, stopped in (({}, True), ({"usage_pauses": "queries"}, False)):
        clock = ManualClock(wall_ns=MORNING_NS)
        session = session_at(clock, **sdk)
        rationing = Rationing((session,), clock=clock)
        read(session, clock, LIMIT)
        rationing.look()
        assert rationing.of("shioaji").stopped == stopped
        status = session.status().sdk
        assert status is not None
        assert (status.usage_stopped, status.usage_queries_left) == (True, 0), "queries are"
