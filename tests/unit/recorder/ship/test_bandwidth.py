"""The token bucket: what it lets through is counted in bytes, on a clock that is moved by hand."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from recorder.ship.bandwidth import Bandwidth
from tickd.testing.clock import ManualClock

SECOND = 10**9


@given(
    st.integers(1, 10**9),
    st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 5 * SECOND)), max_size=50),
)
def test_never_more_than_the_rate_and_one_burst(rate: int, steps: list[tuple[int, int]]) -> None:
    bucket = Bandwidth(rate, ManualClock())
    start = now = 7 * SECOND
    gone = 0
    for size, pause in steps:
        now += pause
        delay = bucket.delay_ns(size, now)
        now += delay  # the caller waits before it sends
        gone += size
        # A quarter of a second is lent; rounding loses less than a byte per step.
        assert gone <= rate * (now - start + SECOND // 4) / SECOND + len(steps) + 1
    assert bucket.taken_bytes == gone


@given(st.integers(1, 10**6), st.integers(2, 30))
def test_the_rate_is_reached(rate: int, pieces: int) -> None:
    bucket = Bandwidth(rate, ManualClock())
    now = 0
    for _ in range(pieces):
        now += bucket.delay_ns(rate, now)
    assert (pieces - 1) * SECOND <= now <= pieces * SECOND


def test_no_limit_never_waits() -> None:
    assert Bandwidth(0, ManualClock()).delay_ns(1 << 60, 0) == 0


async def test_a_waiter_goes_on_when_its_bytes_are_due() -> None:
    clock = ManualClock()
    bucket = Bandwidth(1000, clock)
    sent: list[int] = []

    async def send() -> None:
        for number in range(4):
            await bucket.take(1000)
            sent.append(number)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(send(), name="send")
        await clock.advance(0.5)
        assert sent == []
        await clock.advance(1)
        assert sent == [0]
        await clock.advance(3)
    assert sent == [0, 1, 2, 3]
