"""Resident memory of processes from outside, and whether it stayed flat."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


def rss_bytes(pid: int | None) -> int:
    """Resident bytes of a process (VmRSS), 0 when it is not there."""
    if pid is None:
        return 0
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    return 0  # a zombie has none


class Window(NamedTuple):
    """Samples of one process over a stretch of time, in bytes."""

    mean: float
    least: float
    most: float
    slope_per_hour: float  # of the least-squares line
    samples: int


def window(samples: Sequence[tuple[float, float]]) -> Window:
    """Summarise (seconds, bytes) pairs; all zeros without samples."""
    values = [value for _, value in samples]
    if len(values) < 2:
        return Window(
            values[0] if values else 0.0,
            min(values, default=0.0),
            max(values, default=0.0),
            0.0,
            len(values),
        )
    slope = statistics.linear_regression([at for at, _ in samples], values).slope
    return Window(statistics.fmean(values), min(values), max(values), slope * 3600, len(values))


def disk_bytes(directory: Path) -> int:
    """Bytes that the files below a directory occupy; what vanishes meanwhile counts nothing."""
    total = 0
    for place, _, names in os.walk(directory):  # unlike `rglob` it goes on when a folder vanishes
        for name in names:
            try:
                total += (Path(place) / name).lstat().st_blocks * 512
            except FileNotFoundError:
                continue
    return total
