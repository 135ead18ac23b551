"""A damaged outbox: its file is kept, and nothing is armed before a person has looked.

What stood behind the damage, open orders perhaps, nobody here knows any more. The kept file holds
up arming under its name, over restarts, too, until it is acknowledged. It reads no record.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final, final

from tickd.durable import sync_directory
from tickd.ports import Clock

__all__ = ["OutboxDamage"]

SUFFIX: Final = ".damaged"
# Names in a sentence.
NAMES_MAX: Final = 3


@final
class OutboxDamage:
    """Of the outbox in one folder."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder: Final = folder
        self._clock: Final = clock
        # Files that nobody has looked at; also where the disk took no copy of one.
        self._kept: list[Path] = []

    def look(self, unreadable: Iterable[Path]) -> None:
        """Find what earlier lives kept; keep `unreadable` under other names. Raises OSError."""
        self._kept = sorted(self._folder.glob(f"*{SUFFIX}"))
        for path in unreadable:
            path.rename(self._keep(path))

    def copy(self, path: Path) -> None:
        """Keep a file that goes on up to its damage as it is. Raises OSError."""
        shutil.copyfile(path, self._keep(path))

    def _keep(self, path: Path) -> Path:
        """Return the name for what is kept of `path`; from here on it holds up arming."""
        aside = path.with_suffix(SUFFIX)
        if aside.exists():  # of an earlier damage
            aside = aside.with_name(f"{path.stem}-{self._clock.wall_ns()}{SUFFIX}")
        self._kept.append(aside)
        return aside

    def problems(self) -> list[str]:
        """What stands against arming, for people."""
        if not self._kept:
            return []
        names = ", ".join(path.name for path in self._kept[:NAMES_MAX])
        words = (
            f"the outbox was damaged and is kept as {self._folder / names}: orders and executions "
            "behind the damage are not known here; compare orders and positions with the venue, "
            "then tickd risk acknowledge --operator NAME --reason TEXT"
        )
        return [words]

    def acknowledge(self) -> None:
        """Take a person's word that the venue's orders and positions have been looked at.

        The files are kept under names that hold up nobody. Raises OSError: one cannot be renamed,
        and holds up arming still.
        """
        while self._kept:
            path = self._kept[0]
            if path.exists():  # a disk that was full took no copy
                path.rename(path.with_name(f"{path.name}-{self._clock.wall_ns()}"))
                sync_directory(self._folder)
            del self._kept[0]
