"""`tickd flight`: what the flight recorder kept, of a daemon at work or of one that has ended."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
from cyclopts import Parameter

from tickd.app.asking import state_dir_of
from tickd.app.exit_codes import ExitCode
from tickd.app.flight import read_entries
from tickd.errors import ConfigError, TickdError


def flight(
    config: Path,
    *,
    last: int = 200,
    dumps: Annotated[bool, Parameter(negative=())] = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> ExitCode:
    """Show the last internal events of a daemon, also after its end: connects, gaps, halts, stalls.

    No market data; what is logged, and what the log's level left out, and marks that no log has.
    kill -USR2 PID leaves a copy in STATE_DIR/dumps, and so does every event of level error.

    Args:
        config: the daemon's config file, its state directory, or a file of dumps
        last: so many entries
        dumps: list the dumps instead, the newest last
        as_json: one JSON object per line

    Examples:
        tickd flight tickd.toml
        tickd flight /var/lib/tickd --dumps
        tickd flight /var/lib/tickd/dumps/flight-20261120T031502-000000000-daemon_crashed.jsonl

    """
    if last < 1:
        raise ConfigError("--last is at least 1")
    if config.suffix == ".jsonl":
        entries = read_entries(config)
    else:
        state_dir = state_dir_of(config)
        if dumps:
            for path in sorted((state_dir / "dumps").glob("*")):
                sys.stdout.write(f"{path}\n")
            return ExitCode.OK
        entries = [
            entry
            for name in ("before.jsonl", "current.jsonl")
            for entry in read_entries(state_dir / "flight" / name)
        ]
    if not entries:
        raise TickdError(f"{config}: nothing was recorded here", hint="tickd run CONFIG does so")
    for entry in entries[-last:]:
        sys.stdout.write((orjson.dumps(entry).decode() if as_json else worded(entry)) + "\n")
    return ExitCode.OK


def worded(entry: dict[str, Any]) -> str:
    """A line for people."""
    ns = entry.get("wall_ns", 0)
    moment = f"{datetime.fromtimestamp(ns // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S}"
    skip = {"no", "wall_ns", "event", "level", "exc_info", "timestamp"}
    fields = "".join(f" {key}={value}" for key, value in entry.items() if key not in skip)
    line = f"{moment}.{ns // 1_000_000 % 1_000:03d} {entry.get('level', ''):<8} "
    line += f"{entry.get('event', '')}{fields}"
    return line if "exc_info" not in entry else f"{line}\n{entry['exc_info']}"
