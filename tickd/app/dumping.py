"""What SIGUSR2 leaves: the daemon's picture and its tasks, in a file for people.

The newest are kept. It reads and writes a file; it never halts, arms or changes anything.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from tickd.app.encoding import encode

__all__ = ["DUMPS_MAX", "write_dump"]

DUMPS_MAX: Final = 10
_FRAMES_MAX: Final = 20


def write_dump(directory: Path, picture: dict[str, Any], *, wall_ns: int) -> Path:
    """Return the new file; on a running loop. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    moment = datetime.fromtimestamp(wall_ns // 1_000_000_000, UTC)
    path = directory / f"{moment:%Y%m%dT%H%M%S}-{wall_ns % 1_000_000_000:09d}.json"
    content = {"status": picture, "tasks": _tasks()}
    path.write_bytes(msgspec.json.format(encode(content, default=str), indent=2))
    for old in sorted(directory.glob("*.json"))[:-DUMPS_MAX]:
        old.unlink(missing_ok=True)
    return path


def _tasks() -> dict[str, list[str]]:
    """By name: where each task waits, the innermost last."""
    return {
        task.get_name(): [
            f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
            for frame in task.get_stack(limit=_FRAMES_MAX)
        ]
        for task in asyncio.all_tasks()
    }
