"""Where refused blocks go: the bytes as they were sent, and beside them why."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from recorder.plan import PlannedBlock
from tickd.native import Block

__all__ = ["Quarantine"]


class Quarantine:
    """A directory of refused blocks, each `<token>.native` with a `<token>.json` that says why."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, planned: PlannedBlock, block: Block, reason: str) -> Path:
        """Store a block durably and return its path. Raises OSError."""
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / f"{planned.token}.native"
        _write(path, block)
        facts = {"planned": planned, "reason": reason, "content_encoding": block.encoding}
        _write(path.with_suffix(".json"), msgspec.json.encode(facts) + b"\n")
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return path


def _write(path: Path, content: Block | bytes) -> None:
    with path.open("wb") as file:
        file.write(memoryview(content))
        file.flush()
        os.fsync(file.fileno())
