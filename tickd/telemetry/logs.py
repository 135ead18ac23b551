"""Logs: one line per event of the program, to stderr, for people (console) or machines (JSON).

Events are `noun_verb` with fields. Repeats are counted, not printed; vendor text is cut and
escaped; an expected fault (TickdError) has no traceback. It decides nothing by the environment:
`tickd/app` passes what it found there.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Any, Final, Literal, TextIO, cast

import structlog

from tickd.errors import TickdError
from tickd.telemetry.flight import FlightRing

__all__ = ["LogFormat", "RepeatLimit", "configure_logs"]

LogFormat = Literal["console", "json"]
EventDict = MutableMapping[str, Any]

# A venue's HTML error page must not fill the journal.
TEXT_CHARACTERS_MAX: Final = 512
# The same event with the same fields is printed once in this time; then comes the number left out.
REPEAT_SECONDS: Final = 10.0
# Different events remembered for that; the oldest are forgotten.
REPEAT_KEYS_MAX: Final = 256
# syslog's numbers: error, warning, info, debug.
_PRIORITY: Final = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}


class RepeatLimit:
    """Lets an event through once per period and tells afterwards how many were left out."""

    def __init__(self, mono_ns: Callable[[], int], period_s: float = REPEAT_SECONDS) -> None:
        self._mono_ns = mono_ns
        self._period_ns = round(period_s * 1e9)
        # (event, level, venue) -> [begin of the period, left out since]
        self._seen: dict[tuple[object, ...], list[int]] = {}

    def __call__(self, _logger: object, method: str, event: EventDict) -> EventDict:
        key = (event.get("event"), method, event.get("venue"), event.get("connection"))
        now_ns = self._mono_ns()
        entry = self._seen.get(key)
        if entry is not None and now_ns - entry[0] < self._period_ns:
            entry[1] += 1
            raise structlog.DropEvent
        if entry is not None and entry[1]:
            event["left_out"] = entry[1]
        self._seen.pop(key, None)
        self._seen[key] = [now_ns, 0]
        if len(self._seen) > REPEAT_KEYS_MAX:
            del self._seen[next(iter(self._seen))]
        return event


class _Tolerant:
    """A stream whose failures end nothing: a log on a full disk, a pipe whose reader has gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            return 0

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


class _LibraryHandler(logging.Handler):
    """Brings the standard library's log records (asyncio, aiohttp) into the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        fields: dict[str, Any] = {"library": record.name, "message": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            fields["exc_info"] = record.exc_info[1]
        log.log(record.levelno, "library_spoke", **fields)


def configure_logs(
    *,
    level: str = "info",
    log_format: LogFormat = "console",
    mono_ns: Callable[[], int],
    journald: bool = False,
    colors: bool = False,
    stream: TextIO | None = None,
    flight: FlightRing | None = None,
) -> None:
    """Set up structlog and the standard library's logging, once, at start-up.

    Args: `journald`: prefix lines with `<priority>` and leave the time to the journal. `flight`
    gets every event from `info` on, also those that `level` leaves out.
    """
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        RepeatLimit(mono_ns),
        structlog.processors.add_log_level,
        _explain_error,
        _cut_text,
    ]
    number = logging.getLevelNamesMapping()[level.upper()]
    least = number
    if flight is not None:
        processors += [flight, partial(_drop_below, number)]
        least = min(number, logging.INFO)
    if not journald:
        processors.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
    processors.append(structlog.processors.format_exc_info)
    if log_format == "json":
        processors.append(structlog.processors.JSONRenderer())
    else:
        processors.append(structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0))
    if journald:
        processors[-1] = _with_priority(processors[-1])
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.WriteLoggerFactory(
            file=cast("TextIO", _Tolerant(stream or sys.stderr))
        ),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        handlers=[_LibraryHandler()], level=max(number, logging.WARNING), force=True
    )


def _drop_below(number: int, _logger: object, method: str, event: EventDict) -> EventDict:
    if structlog.processors.NAME_TO_LEVEL.get(method, number) < number:
        raise structlog.DropEvent
    return event


def _explain_error(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Replace an expected fault's traceback by what it says."""
    error = event.get("exc_info")
    if error is True:
        error = sys.exc_info()[1]
    if not isinstance(error, TickdError):
        return event
    del event["exc_info"]
    event["error"] = str(error)
    event["action"] = error.action.value
    if error.hint is not None:
        event["hint"] = error.hint
    return event


def _cut_text(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Cut and escape long or unprintable text: vendor text is data, not lines of ours."""
    for key, value in event.items():
        if not isinstance(value, str):
            continue
        text = value
        if len(text) > TEXT_CHARACTERS_MAX:
            text = f"{text[:TEXT_CHARACTERS_MAX]}… ({len(text)} characters)"
        if not text.isprintable():
            text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
        event[key] = text
    return event


def _with_priority(render: Callable[..., str | bytes]) -> Callable[..., str]:
    def rendered(logger: object, method: str, event: EventDict) -> str:
        level = event.get("level", method)
        prefix = f"<{_PRIORITY.get(level, 6)}>"
        lines = str(render(logger, method, event)).splitlines()
        # Every line needs its own prefix, or journald files the rest of a traceback as information.
        return "\n".join(prefix + line for line in lines)

    return rendered
