"""The raw log's lock, for commands that work on a state directory while no daemon does."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tickd.errors import Action, TickdError
from tickd.ownership import act_as_owner


@contextlib.contextmanager
def raw_lock(raw: Path) -> Iterator[None]:
    """Hold the lock that a daemon would hold. Raises TickdError(FATAL) when somebody has it.

    Root is the owner of the state directory from here on: what is written is the daemon's to open.
    """
    if not raw.is_dir():
        raise TickdError(
            f"no raw log at {raw}", action=Action.FATAL, hint="is node.state_dir right?"
        )
    act_as_owner(raw.parent)
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
