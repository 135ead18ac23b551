"""What counts as standing still: each part by itself, from signs given by hand."""

from __future__ import annotations

import pytest

from tickd.app.watchdog import Progress, Signs

S = 1_000_000_000
GROUP_S = 0.25
# A pipeline in the middle of its work.
BUSY = Signs(
    mono_ns=100 * S,
    frames=1_000,
    bursts=100,
    pending_bytes=5_000,
    written=(900, 800, 70, 6),
    faulty=False,
    paused=False,
    pause_due=False,
    sink_taken=90,
    sink_waits_s=0.01,
)


def later(before: Signs, seconds: float = 3.0, **changes: object) -> Signs:
    """A look some time later; nothing but the clock moved, except `changes`."""
    values = {**before._asdict(), "mono_ns": before.mono_ns + round(seconds * S), **changes}
    return Signs(**values)


def verdict(*looks: Signs) -> str:
    progress = Progress(group_s=GROUP_S)
    return [progress.stuck(look) for look in looks][-1]


def test_first_look_finds_nothing() -> None:
    assert verdict(BUSY) == ""


def test_everything_that_moves_is_progress() -> None:
    after = later(BUSY, frames=2_000, bursts=200, written=(1_900, 1_800, 80, 7), sink_taken=190)
    assert verdict(BUSY, after) == ""


def test_quiet_market_is_no_hang() -> None:
    quiet = BUSY._replace(pending_bytes=0, sink_waits_s=0.0)
    assert verdict(quiet, later(quiet), later(quiet, 600)) == ""


def test_frames_without_a_burst_are_a_stuck_tap() -> None:
    first = later(BUSY, frames=1_001, written=(901, 800, 71, 6))
    assert verdict(BUSY, first, later(first, written=(902, 800, 72, 6))) == "tap"


def test_frame_of_this_very_turn_ends_its_burst_in_the_next() -> None:
    quiet = BUSY._replace(pending_bytes=0)
    first = later(quiet, 10.0, frames=1_001)
    assert verdict(quiet, first) == ""
    assert verdict(quiet, first, later(first, 10.0, bursts=101)) == ""


@pytest.mark.parametrize(("due", "expected"), [(False, "tap"), (True, "")])
def test_pause_without_a_reason_is_a_stuck_tap(due: bool, expected: str) -> None:
    paused = BUSY._replace(paused=True, pause_due=due, pending_bytes=0)
    assert verdict(paused, later(paused)) == expected


def test_pause_of_this_moment_is_none() -> None:
    """Between the two looks there was a reason: it may only just have gone."""
    paused = BUSY._replace(paused=True, pause_due=True, pending_bytes=0)
    assert verdict(paused, later(paused, pause_due=False)) == ""


def test_writer_that_writes_nothing_of_what_is_pending_is_stuck() -> None:
    assert verdict(BUSY, later(BUSY)) == "raw_log"


def test_writer_may_keep_a_group_for_its_time() -> None:
    short = later(BUSY, GROUP_S)
    assert verdict(BUSY, short) == ""
    assert verdict(BUSY, short, later(short, 0.5)) == ""
    assert verdict(BUSY, short, later(short, 2.0)) == "raw_log"


def test_burst_after_a_quiet_time_is_not_the_writers_fault() -> None:
    quiet = BUSY._replace(pending_bytes=0)
    assert verdict(quiet, later(quiet, 60, frames=1_001, bursts=101, pending_bytes=10)) == ""


def test_disk_that_refuses_is_known_and_no_reason_to_restart() -> None:
    full = BUSY._replace(faulty=True, paused=True, pause_due=True)
    assert verdict(full, later(full), later(full, 3_600)) == ""


def test_sync_that_gets_on_is_progress() -> None:
    assert verdict(BUSY, later(BUSY, written=(900, 850, 70, 7))) == ""


def test_sink_that_takes_nothing_for_a_whole_interval_is_stuck() -> None:
    idle = BUSY._replace(pending_bytes=0)
    assert verdict(idle, later(idle, 3.0, sink_waits_s=3.5)) == "sink"
    assert verdict(idle, later(idle, 3.0, sink_waits_s=2.5)) == ""
    assert verdict(idle, later(idle, 3.0, sink_waits_s=3.5, sink_taken=91)) == ""


def test_sink_may_wait_for_its_first_batch() -> None:
    """The embedded server may take a minute to start, or an orphan hold its lock."""
    starting = BUSY._replace(pending_bytes=0, sink_taken=0)
    assert verdict(starting, later(starting, 60.0, sink_waits_s=120.0)) == ""


def test_what_gets_on_again_is_forgiven() -> None:
    stuck = later(BUSY)
    assert verdict(BUSY, stuck, later(stuck, written=(950, 900, 75, 8))) == ""
