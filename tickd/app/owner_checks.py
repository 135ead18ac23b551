"""The doctor's look at whose the files in the state directory are: what a stranger left there.

A command that ran as somebody else may have made a file that the daemon cannot open any more, in a
directory that it can write well enough. Nothing is changed.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["strangers"]

# Of more the shallowest are looked at, where all that a start opens lies; a second of a slow disk.
ENTRIES_MAX: Final = 20_000


def strangers(state_dir: Path) -> list[Path]:
    """What the daemon could not open: of root's own say, the shallowest first.

    Asked by root, which opens everything: what is not of the directory's owner. Raises OSError.
    """
    uid = os.geteuid()
    owner = state_dir.stat().st_uid
    if uid == 0 and owner == 0:
        return []
    found = []
    for entry in _entries(state_dir):
        try:
            its = entry.stat(follow_symlinks=False).st_uid
        except FileNotFoundError:
            continue  # gone meanwhile
        if its == (owner if uid == 0 else uid):
            continue
        if uid == 0 or not os.access(entry, _needed(entry)):
            found.append(Path(entry))
    return found


def _needed(entry: os.DirEntry[str]) -> int:
    rights = os.R_OK | os.W_OK
    return rights | os.X_OK if entry.is_dir(follow_symlinks=False) else rights


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    """Files and directories below, level by level; of one that may not be listed only itself."""
    waiting, left = deque([str(directory)]), ENTRIES_MAX
    while waiting and left:
        try:
            with os.scandir(waiting.popleft()) as listing:
                entries = list(listing)
        except (FileNotFoundError, PermissionError):
            continue
        for entry in entries[:left]:
            if entry.is_symlink():
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            yield entry
        left -= len(entries[:left])
