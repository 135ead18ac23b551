"""Positions on disk: their shape, and what becomes of a file that cannot be read.

Such a file is set aside, never written over: what was earned on the day is in it and nowhere else.
While it lies there under its name orders are not armed, over restarts, too, until a person has
looked. It folds no execution.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from tickd.durable import sync_directory

__all__ = ["Day", "Kept", "KeptRow", "acknowledge", "damaged_path", "set_aside"]

_MEMBERS_MIN: Final = 2  # a day's number and what there was before


class KeptRow(msgspec.Struct, frozen=True, array_like=True):
    """A position on disk; cost and realised_value as text, for they may pass 64 bits."""

    account: str
    strategy: str
    instrument: int
    size: int
    cost: str
    realised_value: str
    fees: int
    fills: int
    mark: int | None


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """All positions on disk; days: number, total before and peak by account.

    Builds differ in how much they say of a day: see `Day.of`.
    """

    rows: list[KeptRow]
    days: dict[str, list[int]]
    before: list[tuple[str, str, int]]


class Day(msgspec.Struct):
    """What an account had when its day began, and the most it had since."""

    number: int
    before: int
    peak: int

    @classmethod
    def of(cls, said: Sequence[int]) -> Day:
        """Read a day of any build: without its peak it begins there anew, what is more is passed.

        Raises ValueError: it does not say what the account had when the day began.
        """
        if len(said) < _MEMBERS_MIN:
            raise ValueError(f"a day of {len(said)} members")
        number, before = said[:2]
        return cls(number, before, said[2] if len(said) > _MEMBERS_MIN else before)


def damaged_path(path: Path) -> Path:
    """Where the first damaged file lies that nobody has looked at."""
    return path.with_name(path.name + ".damaged")


def set_aside(path: Path, *, wall_ns: int) -> Path:
    """Give a file that cannot be read another name; the first one keeps its. Raises OSError."""
    aside = damaged_path(path)
    if aside.exists():
        aside = aside.with_name(f"{aside.name}-{wall_ns}")
    path.rename(aside)
    sync_directory(path.parent)
    return aside


def acknowledge(path: Path, *, wall_ns: int) -> None:
    """Keep the damaged file under a name that holds up nobody. Raises OSError."""
    aside = damaged_path(path)
    aside.rename(aside.with_name(f"{aside.name}-{wall_ns}"))
    sync_directory(path.parent)
