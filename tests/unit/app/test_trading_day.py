"""A day of a broker's allowance in virtual time: never over the cap, the lowest first, fair turns.

Method: a real callback session whose tasks do not run, under the real planning; 25 hours from the
reset at 08:00 in steps of half a minute. Every running stream costs bytes by its symbol's activity
and the time of day (a quiet night, an opening, a lull, a close, bursts by seed). The broker's
counter is read once a minute, as the session does.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.callbacks.session import CallbackSession
from gateway.config import SdkConfig, SubscriptionConfig, VenueConfig
from gateway.subscriptions.usage import UsageReading
from gateway.subscriptions.wishes import Listing, Wanted
from gateway.venue import Stream
from gateway.venues.registry import find_callback
from tests.harness.noted_tap import NotedTap
from tickd.app.config import Config, NodeConfig
from tickd.app.planning import Planning
from tickd.app.wiring import wire
from tickd.secrets import Secret
from tickd.testing.clock import ManualClock

S = 1_000_000_000
DAY_S, STEP_S, POLL_S, SLICE_S = 86_400, 30, 60, 300
LIMIT = 500 << 20
CAP = round(LIMIT * 0.95)
POLL_BYTES = 1_500  # the question for the usage itself
HIGH, MIDDLE, LOW, TURNING = 100, 50, 20, 10
SYMBOLS = {"H": 10, "M": 30, "L": 60, "T": 100}
WIDTH = 15
# Of the tail: everybody has had a turn within so many slices.
SLICES_MAX = -(-SYMBOLS["T"] // WIDTH)
# 2026-07-14 08:00 in Taiwan, a Tuesday.
MORNING_NS = 1_783_987_200 * S


@dataclass
class Day:
    """What happened, step by step."""

    session: CallbackSession
    used: list[int] = field(default_factory=list)
    paused: list[frozenset[int]] = field(default_factory=list)  # priorities
    stopped: list[bool] = field(default_factory=list)
    running_s: dict[int, int] = field(default_factory=dict)  # per priority, over its streams
    # Of the tail, in seconds in which it ran at all:
    tail_s: int = 0
    seen_s: dict[str, int] = field(default_factory=dict)  # symbol -> when it was seen last
    turns_s: dict[str, list[int]] = field(default_factory=dict)  # symbol -> how long each time
    wait_s: int = 0  # the longest that anybody was not seen

    @property
    def tap(self) -> NotedTap:
        assert isinstance(self.session.tap, NotedTap)
        return self.session.tap


def activity(second: int) -> float:
    """Over the day from 08:00: peaks at 09:00 and 13:25, a quiet night."""
    hour = second / 3600
    if hour < 0.75:
        return 0.05
    if hour < 5.75:
        opening, close = math.exp(-((hour - 1.0) ** 2) * 8), math.exp(-((hour - 5.4) ** 2) * 12)
        return 1.0 + 3.0 * opening + 2.0 * close
    return 0.25 if hour > 7 else 0.05


def session_at(clock: ManualClock, **sdk: Any) -> CallbackSession:
    """Three fixed classes and a long tail that takes turns."""
    key = Secret("0123456789ab")
    turns: dict[str, Any] = {"rotation_seconds": float(SLICE_S), "rotation_symbols": WIDTH}
    groups = tuple(
        SubscriptionConfig(
            name=kind, patterns=(f"shioaji:{kind}*@trade",), priority=priority, **more
        )
        for kind, priority, more in (
            ("H", HIGH, {}),
            ("M", MIDDLE, {}),
            ("L", LOW, {}),
            ("T", TURNING, turns),
        )
    )
    config = VenueConfig(
        name="shioaji",
        channels=("trade",),
        sdk=SdkConfig(api_key=key, secret_key=key, **sdk),
    )
    session = CallbackSession(
        find_callback("shioaji"),
        Wanted(config, groups),
        tap=NotedTap(),
        clock=clock,
        activity=dict,
        jitter=lambda: 0.5,
    )
    names = frozenset(f"{kind}{n}" for kind, count in SYMBOLS.items() for n in range(count))
    session.carried.listed(Listing(names, names), "start", strict=True)
    return session


@contextmanager
def planned(session: CallbackSession, clock: ManualClock, directory: Path) -> Iterator[Planning]:
    """The planning of a daemon that has this session alone."""
    config = Config(node=NodeConfig(state_dir=str(directory)))
    parts = wire(config)
    try:
        yield Planning(
            config,
            (session,),
            universes=parts.universes,
            bus=parts.bus,
            tap=parts.tap,
            clock=clock,
        )
    finally:
        parts.tap.finish()
        parts.tap.detach()
        parts.raw_log.close()


def running(session: CallbackSession) -> list[Stream]:
    carried = session.carried
    every = (stream for place in carried.places for stream in place.streams)
    return [stream for stream in every if not carried.paused(stream)]


def live(directory: Path, bytes_per_stream_s: float, seed: int = 1, **sdk: Any) -> Day:
    """A day and an hour; `bytes_per_stream_s`: of an average symbol at an average time."""
    dice = random.Random(seed)
    weights = {f"{k}{n}": dice.paretovariate(1.5) for k, m in SYMBOLS.items() for n in range(m)}
    clock = ManualClock(wall_ns=MORNING_NS)
    day = Day(session_at(clock, **sdk))
    day.seen_s = {f"T{n}": 0 for n in range(SYMBOLS["T"])}
    day.turns_s = {name: [] for name in day.seen_s}
    used, burst_until = 0, 0
    with planned(day.session, clock, directory) as planning:
        for second in range(0, DAY_S + 3600, STEP_S):
            if second == DAY_S:
                used = 0
            day.session.carried.advance(clock.mono_ns())
            if dice.random() < 0.002:
                burst_until = second + 120
            rate = bytes_per_stream_s * activity(second % DAY_S)
            rate *= 2.0 if second < burst_until else 1.0
            streams = running(day.session)
            used += int(sum(weights[stream.symbol] for stream in streams) * rate * STEP_S)
            clock.move(STEP_S * S)
            if second % POLL_S == 0:
                used += POLL_BYTES
                day.session.allowance.observe(
                    UsageReading(used, LIMIT), wall_ns=clock.wall_ns(), mono_ns=clock.mono_ns()
                )
            planning.look(late_ns=0)
            note(day, used, streams)
            turn(day, streams)
    return day


def turn(day: Day, streams: list[Stream]) -> None:
    """A step of the tail, if it runs at all: who is seen, and how long others have waited."""
    seen = {stream.symbol for stream in streams} & day.seen_s.keys()
    if not seen:
        return
    day.tail_s += STEP_S
    for name in seen:
        if not day.turns_s[name] or day.seen_s[name] != day.tail_s - STEP_S:
            day.turns_s[name].append(0)
        day.turns_s[name][-1] += STEP_S
        day.seen_s[name] = day.tail_s
    day.wait_s = max(day.wait_s, *(day.tail_s - each for each in day.seen_s.values()))


def note(day: Day, used: int, streams: list[Stream]) -> None:
    carried = day.session.carried
    every = [stream for place in carried.places for stream in place.streams]
    day.used.append(used)
    day.stopped.append(carried.stopped)
    day.paused.append(frozenset(carried.priority(s) for s in every if carried.paused(s)))
    for stream in streams:
        priority = carried.priority(stream)
        day.running_s[priority] = day.running_s.get(priority, 0) + STEP_S


DOWNSETS = [
    frozenset(),
    frozenset({TURNING}),
    frozenset({TURNING, LOW}),
    frozenset({TURNING, LOW, MIDDLE}),
]
EVERYTHING = frozenset({TURNING, LOW, MIDDLE, HIGH})


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("bytes_per_stream_s", [40.0, 120.0, 1_000.0])
async def test_a_day_is_never_over_the_cap_and_nothing_pauses_before_what_is_below_it(
    tmp_path: Path, seed: int, bytes_per_stream_s: float
) -> None:
    day = live(tmp_path, bytes_per_stream_s, seed)
    assert max(day.used) <= CAP
    for paused, stopped in zip(day.paused, day.stopped, strict=True):
        assert paused == EVERYTHING if stopped else paused in DOWNSETS
    assert max(map(len, day.paused)) > 0, "the day asked nothing of the throttle"
    # A whole day's work of each: the more important, the more of it was recorded.
    counts = {HIGH: 10, MIDDLE: 30, LOW: 60, TURNING: WIDTH}
    shares = [day.running_s[each] / counts[each] for each in (HIGH, MIDDLE, LOW, TURNING)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]
    assert not any(day.stopped[DAY_S // STEP_S :]), "the reset has come"


async def test_everybody_in_the_tail_has_a_turn_in_time_on_quiet_and_on_busy_days(
    tmp_path: Path,
) -> None:
    """A turn is a whole slice, also when pauses cut it; nobody's turn goes by in one."""
    for name, bytes_per_stream_s in (("quiet", 5.0), ("busy", 120.0)):
        day = live(tmp_path / name, bytes_per_stream_s)
        assert day.tail_s > 2 * SLICES_MAX * SLICE_S, "everybody has had turns"
        assert day.wait_s <= (SLICES_MAX - 1) * SLICE_S + STEP_S
        whole = [each for turns in day.turns_s.values() for each in turns[:-1]]
        assert min(whole) >= SLICE_S
        assert (TURNING in frozenset().union(*day.paused)) == (name == "busy")


async def test_low_priorities_pause_long_before_the_stop_and_most_of_the_allowance_is_used(
    tmp_path: Path,
) -> None:
    day = live(tmp_path, 120.0)
    first = next(step for step, paused in enumerate(day.paused) if paused)
    assert day.used[first] < 0.5 * CAP, "the forecast knew it"
    assert max(day.used) > 0.5 * CAP, "the throttle leaves most of the allowance unused"
    assert day.running_s[HIGH] > 0.8 * 10 * DAY_S
    assert frozenset() in day.paused[DAY_S // STEP_S :], "after the reset everything comes back"


async def test_where_pushed_data_does_not_count_nothing_is_ever_paused(tmp_path: Path) -> None:
    """The counter says so itself: only the questions for it make it grow."""
    day = live(tmp_path, 0.0)
    assert set(day.paused) == {frozenset()}
    assert not any(day.stopped)
    assert day.tap.of("throttle") == []


async def test_the_stop_is_on_record_with_its_cause_and_ends_at_the_reset(tmp_path: Path) -> None:
    day = live(tmp_path, 1_000.0)
    steps = DAY_S // STEP_S
    assert day.stopped[steps // 2]
    assert not any(day.stopped[steps:])
    throttles = day.tap.of("throttle")
    assert {each["cause"] for each in throttles} == {"usage"}
    assert any(each["stopped"] for each in throttles)
    assert day.session.counters.throttles == len(throttles)


async def test_who_knows_that_only_queries_count_may_say_so(tmp_path: Path) -> None:
    """Somebody else's program uses the allowance up: streams that cost nothing go on."""
    day = live(tmp_path, 1_000.0, usage_pauses="queries")
    assert max(day.used) > LIMIT
    assert set(day.paused) == {frozenset()}
    assert day.session.client is None
