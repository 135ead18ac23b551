"""A day of a broker's allowance in virtual time: never over the cap, fair, the important last.

Method: a day of 24 hours in steps of half a minute. Every active stream costs bytes by its
symbol's activity and the time of day (an opening, a lull, a close, bursts by seed). The usage is
read once a minute and forecast to the reset; load pauses by priority; the long tail takes turns.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import msgspec
import pytest

from gateway.config import SubscriptionConfig, VenueConfig
from gateway.subscriptions.carried import Carried
from gateway.subscriptions.throttle import Throttle
from gateway.subscriptions.usage import UsageGuard, UsageReading
from gateway.subscriptions.wishes import Listing, Wanted
from gateway.venue import Stream
from gateway.venues.registry import find

S = 1_000_000_000
DAY_S, STEP_S, POLL_S, SLICE_S = 86_400, 30, 60, 300
LIMIT = 500 << 20
WIDTH, TAIL = 15, 100
HIGH, MIDDLE, LOW, TURNING = 100, 50, 20, 10


@dataclass
class Day:
    """What happened."""

    used: list[int] = field(default_factory=list)
    paused: list[frozenset[int]] = field(default_factory=list)  # priorities, at each change
    stopped_s: int = 0
    tail_waits: dict[str, float] = field(default_factory=dict)  # the longest, in slices
    running_s: dict[int, int] = field(default_factory=dict)  # per priority


def profile(second: int) -> float:
    """Activity over the day from 08:00: peaks at 09:00 and 13:25, a quiet night."""
    hour = second / 3600
    if hour < 0.75:
        return 0.05
    if hour < 5.75:
        return (
            1.0
            + 3.0 * math.exp(-((hour - 1.0) ** 2) * 8)
            + 2.0 * math.exp(-((hour - 5.4) ** 2) * 12)
        )
    return 0.25 if hour > 7 else 0.05


def plan() -> Carried:
    """Three fixed classes and a long tail."""
    groups = [
        {"name": "high", "patterns": ["binance-usdm:H*@trade"], "priority": HIGH},
        {"name": "middle", "patterns": ["binance-usdm:M*@trade"], "priority": MIDDLE},
        {"name": "low", "patterns": ["binance-usdm:L*@trade"], "priority": LOW},
        {
            "name": "tail",
            "patterns": ["binance-usdm:T*@trade"],
            "priority": TURNING,
            "rotation_seconds": float(SLICE_S),
            "rotation_symbols": WIDTH,
        },
    ]
    parsed = msgspec.convert(groups, tuple[SubscriptionConfig, ...])
    symbols = frozenset(
        [f"H{n}" for n in range(10)]
        + [f"M{n}" for n in range(30)]
        + [f"L{n}" for n in range(60)]
        + [f"T{n}" for n in range(TAIL)]
    )
    carried = Carried(find("binance-usdm"), Wanted(VenueConfig(name="binance-usdm"), parsed))
    carried.listed(Listing(symbols, symbols), "start", strict=True)
    return carried


def active(carried: Carried) -> list[Stream]:
    return [
        stream for place in carried.places for stream in place.streams if not carried.paused(stream)
    ]


def live(seed: int, bytes_per_stream_s: float) -> Day:
    """A day; `bytes_per_stream_s`: of an average symbol at an average time."""
    dice = random.Random(seed)
    carried, guard, day = plan(), UsageGuard(), Day()
    throttle = Throttle(resume_load=0.7, step_seconds=60.0, hold_seconds=600.0)
    weights = {f"{kind}{n}": dice.paretovariate(1.5) for kind in "HMLT" for n in range(TAIL)}
    last_turn: dict[str, int] = {f"T{n}": 0 for n in range(TAIL)}
    turns, burst_until, used = 0, 0, 0
    for second in range(0, DAY_S, STEP_S):
        now_ns = second * S
        if carried.advance(now_ns):
            turns += 1
        for name in carried.turning["tail"]:
            waited = turns - last_turn[name]
            day.tail_waits[name] = max(day.tail_waits.get(name, 0), waited)
            last_turn[name] = turns
        if dice.random() < 0.002:
            burst_until = second + 120
        rate = bytes_per_stream_s * profile(second) * (2.0 if second < burst_until else 1.0)
        used += int(sum(weights[stream.symbol] for stream in active(carried)) * rate * STEP_S)
        for stream in active(carried):
            priority = carried.priority(stream)
            day.running_s[priority] = day.running_s.get(priority, 0) + STEP_S
        if second % POLL_S == 0:
            guard.observe(UsageReading(used, LIMIT), now_ns)
            day.used.append(used)
        carried.stopped = guard.must_stop(now_ns)
        day.stopped_s += STEP_S * carried.stopped
        priorities = carried.wishes.priorities
        if throttle.observe(guard.load(now_ns, DAY_S * S), priorities, now_ns):
            day.paused.append(throttle.paused(priorities))
        carried.floor = throttle.floor
    day.used.append(used)
    return day


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("bytes_per_stream_s", [5.0, 40.0, 120.0, 1_000.0])
def test_a_day_never_ends_over_the_cap(seed: int, bytes_per_stream_s: float) -> None:
    day = live(seed, bytes_per_stream_s)
    assert max(day.used) <= LIMIT
    downsets = [set(), {TURNING}, {TURNING, LOW}, {TURNING, LOW, MIDDLE}]
    assert all(paused in downsets for paused in day.paused), "a higher one went before a lower one"
    bound = -(-TAIL // WIDTH)
    assert max(day.tail_waits.values()) <= bound, "somebody in the tail waited too long"


def test_a_quiet_day_pauses_nothing_and_everybody_has_a_turn_every_seven_slices() -> None:
    day = live(1, 5.0)
    assert day.paused == []
    assert day.stopped_s == 0
    assert set(day.tail_waits) == {f"T{n}" for n in range(TAIL)}


def test_a_busy_day_spends_the_allowance_on_what_is_important() -> None:
    day = live(1, 120.0)
    assert day.paused != []
    assert max(day.used) > 0.5 * LIMIT, "the throttle leaves most of the allowance unused"
    share = {
        priority: day.running_s[priority] / count / DAY_S
        for priority, count in ((HIGH, 10), (MIDDLE, 30), (LOW, 60), (TURNING, WIDTH))
    }
    assert share[HIGH] >= share[MIDDLE] >= share[LOW] >= share[TURNING]
    assert share[HIGH] > share[LOW]
