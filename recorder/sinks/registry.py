"""The sinks: one line each; a name finds its folder.

Joins a folder's `config.py` (its `[[sinks]]` table) to its `sink.py`; knows nothing else about any
of them. `sink.py`, which may import a library, is imported when the sink is configured.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, Union

from recorder.sinks.port import SinkKind, SinkSection

__all__ = ["SINK_NAMES", "AnySinkSection", "find", "name_of"]

SINK_NAMES: Final[tuple[str, ...]] = ("jsonl",)


class _Nameless(SinkSection, frozen=True, tag=""):
    """With one sink alone a table without a name would pass for it."""


if TYPE_CHECKING:
    AnySinkSection = SinkSection
else:
    # The configuration's type: each table is read by the struct that has its name as a tag.
    _SECTIONS = [import_module(f"recorder.sinks.{name}.config").CONFIG for name in SINK_NAMES]
    AnySinkSection = Union[(_Nameless, *_SECTIONS)]


def name_of(section: SinkSection) -> str:
    """The sink that a table configures."""
    return str(section.__struct_config__.tag)


def find(section: SinkSection) -> SinkKind:
    """The sink that a table configures."""
    name = name_of(section)
    return SinkKind(name, import_module(f"recorder.sinks.{name}.sink").SINK)
