"""Output files that are whole or not there: written as `.part`, synced, renamed at the end.

An export that fails removes what it wrote; one that is killed leaves `.part` files, which the next
one does not take for its own unless told to overwrite. It knows no format.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Final

from backtest.export.errors import ExportError
from tickd.durable import sync_directory

__all__ = ["OutputFiles", "write_error"]

_PART: Final = ".part"
_FULL: Final = {errno.ENOSPC: "no space left", errno.EDQUOT: "the quota is used up"}


class OutputFiles:
    """The files of one export, all in one folder."""

    def __init__(self, folder: Path, *, overwrite: bool) -> None:
        self.folder = folder
        self._overwrite = overwrite
        self._names: list[str] = []
        self._scratch: list[Path] = []

    def begin(self) -> None:
        """Make the folder. Raises ExportError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(self.folder, error) from error

    def refuse_existing(self, names: list[str]) -> None:
        """Raise ExportError when one of the files, or its unfinished form, is there."""
        if self._overwrite:
            return
        for name in names:
            for path in (self.folder / name, self.folder / (name + _PART)):
                if path.exists():
                    unfinished = path.name.endswith(_PART)
                    what = "another export is writing it, or one was killed" if unfinished else ""
                    raise ExportError(
                        f"{path} is there already" + (f": {what}" if what else ""),
                        hint="choose another --out, or --overwrite",
                    )

    def create(self, name: str) -> Path:
        """Return where to write the file that will be `name`. Raises ExportError."""
        self.refuse_existing([name])
        self._names.append(name)
        return self.folder / (name + _PART)

    def part(self, name: str) -> Path:
        """Return where a created file lies until the end."""
        return self.folder / (name + _PART)

    def scratch(self, name: str) -> Path:
        """Return where to keep something that goes away with the export."""
        path = self.folder / (name + _PART)
        self._scratch.append(path)
        return path

    def commit(self) -> None:
        """Make every file durable and give it its name. Raises ExportError."""
        self._drop_scratch()
        try:
            for name in self._names:
                part = self.folder / (name + _PART)
                with part.open("rb") as file:
                    os.fsync(file.fileno())
            for name in self._names:
                (self.folder / (name + _PART)).replace(self.folder / name)
            sync_directory(self.folder)
        except OSError as error:
            raise write_error(self.folder, error) from error
        self._names.clear()

    def discard(self) -> None:
        """Remove what is unfinished."""
        self._drop_scratch()
        for name in self._names:
            with contextlib.suppress(OSError):
                (self.folder / (name + _PART)).unlink(missing_ok=True)
        self._names.clear()

    def _drop_scratch(self) -> None:
        for path in self._scratch:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        self._scratch.clear()


def write_error(path: Path, error: OSError) -> ExportError:
    """Return the error for a file that cannot be written."""
    reason = _FULL.get(error.errno or 0) or error.strerror or str(error)
    hint = "free some space or choose another --out" if error.errno in _FULL else None
    return ExportError(f"cannot write {path}: {reason}; nothing was kept", hint=hint)
