"""The program's logs, each format in a process of its own: logging belongs to the whole process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

PROGRAM = """
import sys, structlog
from tickd.app.logs import LogConfig, configure_logging
configure_logging(LogConfig(level="info", format=sys.argv[1]))
log = structlog.get_logger()
log.debug("frame_seen")
log.warning("sockets_paused", pending_bytes=7)
"""


def said(form: str, **environment: str) -> str:
    known = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, form],
        capture_output=True,
        text=True,
        check=True,
        env={**known, **environment},
    )
    assert done.stdout == ""
    assert "frame_seen" not in done.stderr
    return done.stderr


def test_json_has_one_object_per_line_with_a_time() -> None:
    event = json.loads(said("auto"))
    assert (event["event"], event["level"], event["pending_bytes"]) == (
        "sockets_paused", "warning", 7,
    )  # fmt: skip
    assert event["timestamp"].endswith("Z")


def test_journald_gets_a_priority_and_no_time() -> None:
    line = said("auto", JOURNAL_STREAM="8:1")
    assert line.startswith("<4>[warning")
    assert "pending_bytes=7" in line


def test_console_is_for_people() -> None:
    line = said("console")
    assert "sockets_paused" in line
    assert "pending_bytes" in line
