"""The formats: a new one is a file beside this and a line here.

A format is imported when it is asked for: pyarrow is not everybody's.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

from backtest.export.errors import ExportError
from backtest.export.formats.port import Format

__all__ = ["FORMAT_NAMES", "find"]

FORMAT_NAMES: Final = (
    "parquet",
    "arrow",
    "csv",
    "jsonl",
    "hftbacktest",
)


def find(name: str) -> Format:
    """Return the format of a name. Raises ExportError."""
    if name not in FORMAT_NAMES:
        raise ExportError(f"unknown format {name!r}", hint="one of " + ", ".join(FORMAT_NAMES))
    try:
        found: Format = import_module(f"backtest.export.formats.{name}").FORMAT
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "pyarrow":
            raise
        raise ExportError(
            f"format {name} needs pyarrow, which is not installed", hint="pip install tickd[export]"
        ) from error
    return found
