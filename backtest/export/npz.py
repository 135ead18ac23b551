"""A numpy array in an .npz file, written and read in pieces: one member, never whole in memory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from backtest.export.errors import ExportError

__all__ = ["NpzWriter", "read_npz"]

# Equal rows give equal bytes: no time of writing in the archive.
_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)
_READ_ROWS: Final = 65_536


class NpzWriter:
    """Write `count` rows of one array, given in pieces."""

    def __init__(
        self, path: Path, name: str, dtype: np.dtype[np.void], count: int, *, compress: bool
    ) -> None:
        """Begin. Raises OSError."""
        self._count, self._written, self._dtype = count, 0, dtype
        self._archive = zipfile.ZipFile(path, "w")
        info = zipfile.ZipInfo(f"{name}.npy", date_time=_NO_TIME)
        info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        info.external_attr = 0o644 << 16
        self._member: IO[bytes] = self._archive.open(info, "w", force_zip64=True)
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": (count,),
        }
        np.lib.format.write_array_header_1_0(self._member, header)

    def write(self, rows: npt.NDArray[np.void]) -> None:
        """Append rows. Raises OSError."""
        assert rows.dtype == self._dtype
        self._written += len(rows)
        self._member.write(rows.tobytes())

    def close(self) -> None:
        """Complete the file. Raises OSError."""
        assert self._written == self._count, f"{self._written} of {self._count} rows"
        self.abandon()

    def abandon(self) -> None:
        """Let go of the file as it is. Raises OSError."""
        try:
            self._member.close()
        finally:
            self._archive.close()


def read_npz(path: Path, name: str, dtype: np.dtype[np.void]) -> Iterator[npt.NDArray[np.void]]:
    """Give the rows of a member in pieces.

    Raises ExportError: no such member, another type, Fortran order, or cut off.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
            count = _header(member, path, dtype)
            while count:
                piece = min(count, _READ_ROWS)
                data = member.read(piece * dtype.itemsize)
                if len(data) != piece * dtype.itemsize:
                    raise ExportError(f"{path.name}: {count:,} rows fewer than its header says")
                yield np.frombuffer(data, dtype)
                count -= piece
            if member.read(1):
                raise ExportError(f"{path.name}: more bytes than its header says")
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ExportError(f"{path.name}: no array named {name}: {error}") from error


def _header(member: Any, path: Path, dtype: np.dtype[np.void]) -> int:
    if np.lib.format.read_magic(member) != (1, 0):
        raise ExportError(f"{path.name}: only version 1.0 of the npy format is read by its users")
    shape, fortran, found = np.lib.format.read_array_header_1_0(member)
    if fortran or len(shape) != 1:
        raise ExportError(f"{path.name}: not one C-contiguous dimension")
    if found != dtype:
        raise ExportError(f"{path.name}: rows of another type: {found}")
    return int(shape[0])
