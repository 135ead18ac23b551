"""The flight recorder's files: what a crash leaves, what an error dumps, how many are kept.

Method: the keeper with a real thread and a directory; where `recording()` ends all is written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tickd.app.flight import DUMPS_MAX, FlightKeeper, read_entries
from tickd.telemetry.flight import FlightRing
from tickd.testing.clock import ManualClock


@pytest.fixture(autouse=True)
def not_under_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    # The test runner has its own fault handler, which ours would switch off.
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")


def keeper(state_dir: Path) -> tuple[FlightRing, FlightKeeper, ManualClock]:
    clock = ManualClock()
    ring = FlightRing(clock.wall_ns)
    return ring, FlightKeeper(ring, state_dir, mono_ns=clock.mono_ns), clock


def events(path: Path) -> list[str]:
    return [each["event"] for each in read_entries(path)]


def dumps(state_dir: Path) -> list[Path]:
    return sorted((state_dir / "dumps").glob("flight-*.jsonl"))


def test_entries_are_in_the_file_in_their_order(tmp_path: Path) -> None:
    ring, flight, _ = keeper(tmp_path)
    with flight.recording():
        ring.note("connected", venue="okx")
        ring.note("disconnected", venue="okx")
    assert events(tmp_path / "flight" / "current.jsonl") == [
        "flight_began",
        "connected",
        "disconnected",
        "flight_ended",
    ]
    assert dumps(tmp_path) == []


def test_a_good_end_leaves_nothing_for_the_next_life(tmp_path: Path) -> None:
    for _ in range(3):
        _, flight, _ = keeper(tmp_path)
        with flight.recording():
            pass
    assert dumps(tmp_path) == []
    assert events(tmp_path / "flight" / "before.jsonl") == ["flight_began", "flight_ended"]


def test_a_sudden_end_is_found_and_kept(tmp_path: Path) -> None:
    """The file of a life that was killed, its last line cut off."""
    ring, flight, _ = keeper(tmp_path)
    with flight.recording():
        ring.note("last_words")
    current = tmp_path / "flight" / "current.jsonl"
    lines = current.read_bytes().splitlines(keepends=True)
    current.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    _, flight, _ = keeper(tmp_path)
    with flight.recording():
        pass
    (kept,) = dumps(tmp_path)
    assert kept.name.endswith("sudden-end.jsonl")
    assert events(kept) == ["flight_began", "last_words"]


def test_a_second_daemon_leaves_the_first_ones_file_alone(tmp_path: Path) -> None:
    ring, flight, _ = keeper(tmp_path)
    with flight.recording():
        other_ring, other, _ = keeper(tmp_path)
        with other.recording():
            other_ring.note("refused", "error")
        ring.note("still_here")
    names = events(tmp_path / "flight" / "current.jsonl")
    assert names == ["flight_began", "still_here", "flight_ended"]
    assert dumps(tmp_path) == []


def test_an_exception_leaves_a_dump_with_its_way(tmp_path: Path) -> None:
    _, flight, _ = keeper(tmp_path)
    with pytest.raises(ZeroDivisionError), flight.recording():
        raise ZeroDivisionError("by hand")
    (dump,) = dumps(tmp_path)
    ways = [each["exc_info"] for each in read_entries(dump) if each["event"] == "daemon_crashed"]
    assert len(ways) == 1
    assert "ZeroDivisionError: by hand" in ways[0]


def test_ctrl_c_is_no_crash(tmp_path: Path) -> None:
    _, flight, _ = keeper(tmp_path)
    with pytest.raises(KeyboardInterrupt), flight.recording():
        raise KeyboardInterrupt
    assert dumps(tmp_path) == []


def test_an_error_dumps_once_a_minute(tmp_path: Path) -> None:
    ring, flight, clock = keeper(tmp_path)
    with flight.recording():
        for _ in range(50):
            ring.note("frames_lost", "error")
        ring.note("watchdog_withheld", "error")
        clock.move(61_000_000_000)
        ring.note("frames_lost", "error")
    assert flight.dumps_total == {"frames_lost": 2, "watchdog_withheld": 1}


def test_dumps_are_bounded(tmp_path: Path) -> None:
    ring, flight, clock = keeper(tmp_path)
    with flight.recording():
        for number in range(DUMPS_MAX + 5):
            clock.move(1_000_000_000)
            ring.note(f"fault_{number}", "error")
    assert len(dumps(tmp_path)) == DUMPS_MAX


def test_a_name_makes_no_path(tmp_path: Path) -> None:
    ring, flight, _ = keeper(tmp_path)
    with flight.recording():
        ring.note("../../etc/passwd", "error")
    (dump,) = dumps(tmp_path)
    assert dump.parent == tmp_path / "dumps"


def test_a_directory_that_cannot_be_made_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    ring, flight, _ = keeper(tmp_path / "state")
    with flight.recording():
        ring.note("frames_lost", "error")
    assert flight.dumps_total == {}
    assert "flight_dump_failed" in [each["event"] for each in ring.entries()]


def test_an_entry_that_cannot_be_written_is_missed_alone(tmp_path: Path) -> None:
    """A clock beyond 64 bits makes one: neither the file nor a dump ends with it."""
    clock = ManualClock()
    walls = iter([1 << 70])
    ring = FlightRing(lambda: next(walls, clock.wall_ns()))
    ring.note("before_the_file")
    flight = FlightKeeper(ring, tmp_path, mono_ns=clock.mono_ns)
    with flight.recording():
        assert ring.listener is not None
        ring.listener(ring.entries()[0])
        ring.note("after_it", "error")
    assert events(tmp_path / "flight" / "current.jsonl")[:2] == ["flight_began", "after_it"]
    (dump,) = dumps(tmp_path)
    assert events(dump)[:2] == ["flight_began", "after_it"]
    assert flight.missed == 2


def test_the_command_shows_a_file_and_a_directory(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    ring, flight, _ = keeper(tmp_path)
    with flight.recording():
        ring.note("frames_lost", "error", count=17)
    shown = command("flight", tmp_path)
    assert shown.code == 0
    assert "frames_lost count=17" in shown.out
    (dump,) = dumps(tmp_path)
    assert command("flight", tmp_path, "--dumps").out.strip() == str(dump)
    assert '"count":17' in command("flight", dump, "--json").out
    assert command("flight", tmp_path / "dumps").code == 1
