"""How this process logs: what the config file says, and what kind of stderr it found.

The lines themselves are made in `tickd/telemetry/logs.py`.
"""

from __future__ import annotations

import os
import sys
from typing import Literal

import msgspec

from tickd.clock import SystemClock
from tickd.telemetry.flight import FlightRing
from tickd.telemetry.logs import configure_logs


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """format `auto`: console on a terminal, journald under systemd, else JSON."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json", "journald"] = "auto"


def configure_logging(config: LogConfig, flight: FlightRing | None = None) -> None:
    """Send every log event of the process to stderr, and to the flight recorder."""
    chosen = config.format if config.format != "auto" else _detect()
    configure_logs(
        level=config.level,
        log_format="json" if chosen == "json" else "console",
        mono_ns=SystemClock().mono_ns,
        journald=chosen == "journald",
        colors=chosen == "console" and sys.stderr.isatty() and "NO_COLOR" not in os.environ,
        flight=flight,
    )


def _detect() -> Literal["console", "json", "journald"]:
    if "JOURNAL_STREAM" in os.environ:
        return "journald"
    return "console" if sys.stderr.isatty() else "json"
