"""Structured logs to stderr.

For journald with priorities, for people on a terminal, as JSON for collectors.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Literal

import msgspec
import structlog
from structlog.typing import EventDict, WrappedLogger

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# journald reads "<N>" at the start of a line as the syslog priority.
PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """format `auto`: console on a terminal, journald under systemd, else JSON."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json", "journald"] = "auto"


def configure_logging(config: LogConfig) -> None:
    """Send every log event of the process to stderr."""
    chosen = config.format if config.format != "auto" else _detect()
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
    ]
    if chosen == "journald":  # which stamps by itself
        processors += [structlog.processors.KeyValueRenderer(key_order=["event"]), _priority]
    elif chosen == "json":
        processors += [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ]
    else:
        processors = [
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=True),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[config.level]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, force=True)


def _detect() -> Literal["console", "json", "journald"]:
    if "JOURNAL_STREAM" in os.environ:
        return "journald"
    return "console" if sys.stderr.isatty() else "json"


def _priority(_logger: WrappedLogger, method: str, event: EventDict | str) -> str:
    return f"<{PRIORITIES.get(method, 6)}>{event}"
