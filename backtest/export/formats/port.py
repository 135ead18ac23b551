"""What a format is to the exporter: a way to turn cuts of rows into files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

from backtest.export.content import ContentHash
from backtest.export.files import OutputFiles
from backtest.export.layout import LevelsAs
from backtest.export.selection import Selected
from tickd.rows import Cut

__all__ = ["ClockSkew", "Format", "FormatOptions", "Job", "Output", "TimesAs", "Written"]

ClockSkew = Literal["refuse", "shift", "drop"]
TimesAs = Literal["ns", "iso"]


class FormatOptions(NamedTuple):
    """What may be chosen; a format refuses what it cannot do."""

    levels: LevelsAs | None = None  # None: the format's own
    times: TimesAs = "ns"  # of text formats
    clock_skew: ClockSkew = "refuse"  # of hftbacktest
    compress: bool = False  # of hftbacktest
    check: bool = True  # of hftbacktest


class Job(NamedTuple):
    """One export as a format sees it."""

    selected: Selected
    files: OutputFiles
    options: FormatOptions
    metadata: Mapping[str, str]  # what a file says about itself
    from_ns: int  # rows before it only lead in (formats that need the book)
    file_name: str | None  # when one file was asked for by name


class Written(NamedTuple):
    """What a finished file holds."""

    name: str
    table: str
    rows: int
    facts: Mapping[str, object] = {}


class Output(Protocol):
    """The files of one export while they are written."""

    def write(self, cut: Cut) -> None:
        """Take the next rows. Raises ExportError, OSError."""
        ...

    def finish(self, hashes: Mapping[str, ContentHash]) -> list[Written]:
        """Complete the files; `hashes` has what was written. Raises ExportError, OSError."""
        ...

    def abandon(self) -> None:
        """Let go of open files; raises nothing."""
        ...


class Format(Protocol):
    """A file format."""

    name: str
    suffix: str

    def tables(self, selected: Selected) -> tuple[str, ...]:
        """Return the tables that must be read. Raises ExportError: this cannot be said in it."""
        ...

    def open(self, job: Job) -> Output:
        """Begin. Raises ExportError, OSError."""
        ...
