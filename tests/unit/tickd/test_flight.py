"""The flight recorder's ring: bounded, plain values, every level, also from other threads."""

from __future__ import annotations

import io
import json
import threading

import orjson
import pytest
import structlog

from tickd.secrets import Secret
from tickd.telemetry.flight import FlightRing
from tickd.telemetry.logs import configure_logs
from tickd.testing.clock import ManualClock

pytestmark = pytest.mark.usefixtures("fresh_logging")


def ring_behind(level: str) -> tuple[FlightRing, io.StringIO]:
    clock, stream = ManualClock(), io.StringIO()
    ring = FlightRing(clock.wall_ns)
    configure_logs(
        level=level, log_format="json", mono_ns=clock.mono_ns, stream=stream, flight=ring
    )
    return ring, stream


def test_the_oldest_make_room() -> None:
    ring = FlightRing(lambda: 7, entries_max=3)
    for number in range(5):
        ring.note("tick", number=number)
    assert [each["number"] for each in ring.entries()] == [2, 3, 4]
    assert [each["no"] for each in ring.entries()] == [3, 4, 5]


def test_the_ring_has_what_the_log_level_leaves_out() -> None:
    ring, stream = ring_behind("error")
    log = structlog.get_logger()
    log.info("connection_opened", venue="okx")
    log.warning("frame_refused")
    log.error("frames_lost")
    log.debug("nothing")
    assert [each["event"] for each in ring.entries()] == [
        "connection_opened",
        "frame_refused",
        "frames_lost",
    ]
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["frames_lost"]


def test_a_level_that_shows_debug_still_does() -> None:
    _, stream = ring_behind("debug")
    structlog.get_logger().debug("fine_detail")
    assert "fine_detail" in stream.getvalue()


def test_a_secret_and_a_vendors_page_come_as_they_print() -> None:
    ring, _ = ring_behind("info")
    structlog.get_logger().info("key_read", key=Secret("hunter2"), page="x" * 9_999, big=1 << 70)
    (entry,) = ring.entries()
    assert entry["key"] == "***"
    assert len(entry["page"]) < 600
    assert entry["big"] == str(1 << 70)


def test_an_exception_is_kept_with_its_way() -> None:
    ring, _ = ring_behind("info")
    try:
        int("boom")
    except ValueError:
        structlog.get_logger().exception("part_failed")
    (entry,) = ring.entries()
    assert entry["level"] == "error"
    ring.note("crashed", exc_info=ValueError("boom"))
    assert "ValueError: boom" in ring.entries()[-1]["exc_info"]


def test_threads_may_add_at_once() -> None:
    ring = FlightRing(lambda: 0, entries_max=100_000)
    threads = [
        threading.Thread(target=lambda: [ring.note("e") for _ in range(2_000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each["no"] for each in ring.entries()] == list(range(1, 8_001))


def test_every_value_becomes_one_that_can_be_written() -> None:
    """Half a character, an integer beyond any text, an object that does not print."""

    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    ring = FlightRing(lambda: 7)
    ring.note("a\udc80b", n=2**20_000, m=-(2**70), of=[2**20_000], mute=Mute(), **{"\udc80": 1})
    ring.note("failed", exc_info=ValueError("\udcff"))
    entry, failed = ring.entries()
    assert json.loads(orjson.dumps(entry)) == {
        "no": 1,
        "wall_ns": 7,
        "event": "a?b",
        "level": "info",
        "n": "an integer of 20001 bits",
        "m": str(-(2**70)),
        "of": "a list that does not print",
        "mute": "a Mute that does not print",
        "?": 1,
    }
    assert b"ValueError: ?" in orjson.dumps(failed)
