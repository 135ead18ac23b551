"""The raw log's lock, for commands that work on a state directory while no daemon does."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tickd.errors import Action, TickdError


@contextlib.contextmanager
def raw_lock(raw: Path) -> Iterator[None]:
    """Hold the lock that a daemon would hold. Raises TickdError(FATAL) when somebody has it."""
    if not raw.is_dir():
        raise TickdError(
            f"no raw log at {raw}", action=Action.FATAL, hint="is node.state_dir right?"
        )
    fd = os.open(raw / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            raise TickdError(
                f"process {pid or '?'} holds {raw}",
                action=Action.FATAL,
                hint="a daemon that starts or stops: try again when it runs or is gone",
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)
