"""The `[[sinks]]` table of the sink `jsonl`."""

from __future__ import annotations

from typing import Final

from recorder.sinks.port import SinkSection
from tickd.errors import TickdError
from tickd.topics import Selection

__all__ = ["CONFIG", "JsonlConfig"]


class JsonlConfig(SinkSection, frozen=True, kw_only=True, tag="jsonl"):
    """Which events, and how much disk they may take: `files_max` files of `file_bytes_max`.

    topics: patterns `channel.venue.symbol`, each part exact or `*`.
    """

    topics: tuple[str, ...] = ("*",)
    file_bytes_max: int = 64 << 20
    files_max: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.file_bytes_max < 1 << 16:
            raise ValueError(f"file_bytes_max is {self.file_bytes_max}, at least 65536 needed")
        if self.files_max < 2:
            raise ValueError(f"files_max is {self.files_max}, at least 2 needed")
        try:
            Selection(self.topics)
        except TickdError as error:
            raise ValueError(f"{error}: {error.hint}") from error


CONFIG: Final = JsonlConfig
