"""A day of a metered venue in virtual time: the lowest first, a stop before the cap, a new day.

Method: a real session whose tasks do not run; every minute the broker's counter grows by what its
running streams cost, and the rations are drawn again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.callbacks.session import CallbackSession
from gateway.config import SdkConfig, SubscriptionConfig, VenueConfig
from gateway.subscriptions.usage import UsageReading
from gateway.subscriptions.wishes import Wanted
from gateway.venues.registry import find_callback
from gateway.venues.shioaji.hours import usage_reset
from tests.harness.noted_tap import NotedTap
from tickd.app.rationing import Ration, Rationing
from tickd.secrets import Secret
from tickd.testing.clock import ManualClock

KEY = Secret("0123456789ab")
LIMIT = 500 << 20
MINUTE_NS = 60_000_000_000
DAY_MINUTES = 24 * 60
# 2026-07-14 08:00 in Taiwan, a Tuesday.
MORNING_NS = 1_783_987_200_000_000_000
HIGH, MIDDLE, LOW = 100, 50, 10
COUNTS = {HIGH: 4, MIDDLE: 6, LOW: 10}


def session_at(clock: ManualClock, **sdk: Any) -> CallbackSession:
    groups = tuple(
        SubscriptionConfig(
            name=str(priority),
            priority=priority,
            patterns=tuple(f"shioaji:{priority * 100 + number}@trade" for number in range(count)),
        )
        for priority, count in COUNTS.items()
    )
    config = VenueConfig(
        name="shioaji",
        channels=("trade",),
        sdk=SdkConfig(api_key=KEY, secret_key=KEY, usage_pauses="streams", **sdk),
    )
    session = CallbackSession(
        find_callback("shioaji"),
        Wanted(config, groups),
        tap=NotedTap(),
        clock=clock,
        activity=dict,
        jitter=lambda: 0.5,
    )
    session.carried.listed(None, "start")
    return session


@dataclass
class Day:
    """What happened, by minute."""

    used: list[int] = field(default_factory=list)
    rations: list[Ration] = field(default_factory=list)
    running: list[dict[int, int]] = field(default_factory=list)


def live(bytes_per_stream: int, *, burst: int = 1) -> tuple[Day, CallbackSession]:
    """A day and an hour; `bytes_per_stream`: a minute, `burst` times that in the afternoon."""
    clock = ManualClock(wall_ns=MORNING_NS)
    session = session_at(clock)
    rationing = Rationing((session,), clock=clock)
    day, used = Day(), 0
    for minute in range(DAY_MINUTES + 60):
        if minute == DAY_MINUTES:
            used = 0
        streams = [stream for place in session.carried.places for stream in place.streams]
        running = [stream for stream in streams if not session.carried.paused(stream)]
        busy = burst if 300 <= minute < 330 else 1
        used += len(running) * bytes_per_stream * busy
        clock.move(MINUTE_NS)
        session.allowance.observe(
            UsageReading(used, LIMIT), wall_ns=clock.wall_ns(), mono_ns=clock.mono_ns()
        )
        rationing.look()
        ration = rationing.of("shioaji")
        session.pause_below(ration.floor, "usage", stopped=ration.stopped)
        day.used.append(used)
        day.rations.append(ration)
        day.running.append(
            {each: sum(session.carried.priority(s) == each for s in running) for each in COUNTS}
        )
    return day, session


@pytest.mark.parametrize("bytes_per_stream", [1_000, 20_000, 100_000, 1_000_000])
@pytest.mark.parametrize("burst", [1, 3])
def test_a_day_stays_below_the_cap_and_pauses_the_lowest_first(
    bytes_per_stream: int, burst: int
) -> None:
    day, _ = live(bytes_per_stream, burst=burst)
    assert max(day.used) <= LIMIT * 0.95
    for running in day.running:
        shares = [running[each] / COUNTS[each] for each in (LOW, MIDDLE, HIGH)]
        assert shares == sorted(shares), "a higher priority went before a lower one"
    if bytes_per_stream == 1_000:
        assert set(day.rations) == {Ration()}
    else:
        assert set(day.rations) > {Ration()}
    if bytes_per_stream == 1_000_000:
        assert day.rations[DAY_MINUTES // 2].stopped
        assert not day.rations[-1].stopped, "the reset has come"


def test_pauses_and_stops_are_on_record_with_their_cause() -> None:
    _, session = live(1_000_000)
    tap = session.tap
    assert isinstance(tap, NotedTap)
    throttles = tap.of("throttle")
    assert {each["cause"] for each in throttles} == {"usage"}
    assert any(each["stopped"] for each in throttles)
    assert session.counters.throttles == len(throttles)


def test_streams_that_cost_nothing_are_not_paused_for_it() -> None:
    clock = ManualClock(wall_ns=MORNING_NS)
    session = CallbackSession(
        find_callback("shioaji"),
        VenueConfig(name="shioaji", symbols=("2330",), sdk=SdkConfig(api_key=KEY, secret_key=KEY)),
        tap=NotedTap(),
        clock=clock,
        activity=dict,
        jitter=lambda: 0.5,
    )
    rationing = Rationing((session,), clock=clock)
    session.allowance.observe(
        UsageReading(LIMIT, LIMIT), wall_ns=clock.wall_ns(), mono_ns=clock.mono_ns()
    )
    assert not rationing.look()
    assert rationing.of("shioaji") == Ration()
    assert session.status().sdk is not None
    assert session.status().sdk.usage_stopped, "queries are"


def test_the_allowance_begins_anew_at_eight_on_weekdays() -> None:
    hour = 60 * MINUTE_NS
    assert usage_reset(MORNING_NS - 1) == MORNING_NS
    assert usage_reset(MORNING_NS) == MORNING_NS + 24 * hour
    friday = MORNING_NS + 3 * 24 * hour
    assert usage_reset(friday) == friday + 3 * 24 * hour
    assert usage_reset(friday + 30 * hour) == friday + 3 * 24 * hour
