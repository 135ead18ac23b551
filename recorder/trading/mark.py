"""How far the sink of trading rows had come: where the next start begins to read the raw log.

A hint that saves reading, never a promise: what ClickHouse holds is asked of ClickHouse. It may be
lost or old. Every function blocks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import structlog

from tickd.durable import replace_file, sync_directory

__all__ = ["MARK_FILE", "Mark", "read_mark", "write_mark"]

# Beside the plan of the sink of events.
MARK_FILE: Final = "trading.json"
_log = structlog.get_logger(__name__)


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Everything below `frame` is stored; then these were the highest numbers of the tables."""

    node: int
    database: str
    frame: int
    stored: dict[str, int]

    def start_of(self, table: str, stored: int) -> int | None:
        """Return the frame from which rows of a table may be missing that has `stored` now.

        None: it has lost rows since, or is another one.
        """
        return self.frame if stored >= self.stored.get(table, 0) else None


def read_mark(path: Path, *, node: int, database: str) -> Mark | None:
    """Return the mark, None where there is none of this node and database that makes sense."""
    try:
        mark = msgspec.json.decode(path.read_bytes(), type=Mark)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        _log.warning("trading_mark_unusable", path=str(path), fault=str(error))
        return None
    return mark if (mark.node, mark.database) == (node, database) else None


def write_mark(path: Path, mark: Mark) -> None:
    """Put a new mark in the place of the old one; a failure costs the next start some reading."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, msgspec.json.encode(mark))
        sync_directory(path.parent)
    except OSError as error:
        _log.warning("trading_mark_failed", path=str(path), fault=str(error))
