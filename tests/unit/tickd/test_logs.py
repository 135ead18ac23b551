"""Logs: one line per event, secrets hidden, repeats counted, vendor text harmless."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from pathlib import Path

import pytest
import structlog

from tickd.errors import Action, TickdError
from tickd.secrets import Secret
from tickd.telemetry.logs import configure_logs
from tickd.testing.clock import ManualClock

pytestmark = pytest.mark.usefixtures("fresh_logging")


def configured(**options: object) -> tuple[io.StringIO, ManualClock]:
    stream, clock = io.StringIO(), ManualClock()
    configure_logs(mono_ns=clock.mono_ns, stream=stream, **options)  # type: ignore[arg-type]
    return stream, clock


def test_json_line_has_event_level_time_and_fields() -> None:
    stream, _ = configured(log_format="json")
    structlog.get_logger().info("connection_opened", venue="okx", key=Secret("hunter2"))
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["venue"]) == ("connection_opened", "info", "okx")
    assert line["timestamp"].endswith("Z")
    assert "hunter2" not in stream.getvalue()


def test_level_filters() -> None:
    stream, _ = configured(level="warning")
    structlog.get_logger().info("quiet_event")
    assert stream.getvalue() == ""


def test_journal_lines_carry_priorities_even_in_a_traceback() -> None:
    stream, _ = configured(journald=True)
    log = structlog.get_logger()
    log.info("part_started")
    try:
        int("boom")
    except ValueError:
        log.exception("part_failed")
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("<6>")
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines[1:])


def test_repeats_are_counted_not_printed() -> None:
    stream, clock = configured(log_format="json")
    log = structlog.get_logger()
    for _ in range(313):
        log.warning("frame_refused", venue="okx")
    log.warning("frame_refused", venue="binance-spot")
    clock.move(11_000_000_000)
    log.warning("frame_refused", venue="okx")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line.get("left_out") for line in lines] == [None, None, 312]


def test_vendor_text_is_cut_and_escaped() -> None:
    stream, _ = configured(log_format="json")
    structlog.get_logger().info("venue_refused", text="a\nb\x1b[31m", page="x" * 5000)
    line = json.loads(stream.getvalue())
    assert line["text"] == "a\\nb\\x1b[31m"
    assert line["page"].endswith("… (5000 characters)")
    assert len(line["page"]) < 600


def test_expected_fault_has_a_hint_and_no_traceback() -> None:
    stream, _ = configured(log_format="json")
    error = TickdError("disk full", action=Action.RETRY, hint="free some space")
    structlog.get_logger().error("write_failed", exc_info=error)
    line = json.loads(stream.getvalue())
    assert (line["error"], line["action"], line["hint"]) == (
        "disk full",
        "retry",
        "free some space",
    )
    assert "Traceback" not in stream.getvalue()


def test_library_messages_come_in_the_same_lines() -> None:
    stream, _ = configured(log_format="json")
    logging.getLogger("aiohttp").warning("odd %s", "thing")
    line = json.loads(stream.getvalue())
    assert (line["library"], line["message"], line["level"]) == ("aiohttp", "odd thing", "warning")


def test_a_log_that_cannot_be_written_ends_nothing() -> None:
    """stderr may be a file on the very disk that is full."""
    with Path("/dev/full").open("w") as full:
        configure_logs(mono_ns=ManualClock().mono_ns, stream=full)
        for number in range(3):
            structlog.get_logger().warning("disk_level_rose", connection=number)
        with contextlib.suppress(OSError):
            full.close()
