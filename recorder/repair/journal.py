"""What repair was about to change: durable before it does, so that its successor can tell.

One small JSON file, replaced as a whole. It names the stretch in work at its exact bounds, with the
word that makes its tokens unlike any others, the moment (server time) after which none of its
deletes can still take effect, the hours whose bars must be looked at again, and those of them that
wait for fetched trades. It changes nothing in ClickHouse. Methods block.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from recorder.errors import RepairError
from recorder.repair.filled_hours import FilledHour
from tickd.durable import replace_file, sync_directory

__all__ = ["RepairEntry", "RepairJournal"]


class RepairEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of repair; everything empty means that nothing is in the air."""

    seq_from: int = 0
    seq_to: int = 0
    tables: tuple[str, ...] = ()
    word: str = ""
    deletes_until_s: int = 0
    hours: tuple[int, ...] = ()
    filled: tuple[FilledHour, ...] = ()

    @property
    def in_work(self) -> bool:
        return bool(self.tables)


class RepairJournal:
    """The journal of one node's repair. Raises OSError when the disk refuses."""

    def __init__(self, path: Path) -> None:
        """Raises RepairError when the file is not one of ours."""
        self._path = path
        self.entry = RepairEntry()
        try:
            self.entry = msgspec.json.decode(path.read_bytes(), type=RepairEntry)
        except FileNotFoundError:
            pass
        except msgspec.DecodeError as error:
            raise RepairError(
                f"{path} cannot be read: {error}",
                hint="move it away; then verify, and rebuild what differs",
            ) from error

    def write(self, entry: RepairEntry) -> None:
        """Replace the entry, durably; on OSError the old one stands, here and on the disk."""
        if entry == self.entry:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._path, msgspec.json.encode(entry) + b"\n")
        self.entry = entry
        sync_directory(self._path.parent)
