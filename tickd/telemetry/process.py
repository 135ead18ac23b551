"""What the kernel says of a process: CPU, memory, threads, descriptors, its beginning.

Read from /proc, of which only Linux has the files; elsewhere there is nothing to say.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["ProcessState", "descriptors", "descriptors_max", "read_process"]

_PROC: Final = Path("/proc")
# proc(5), fields of /proc/PID/stat behind the name, which may contain blanks: the third is first.
_UTIME, _STIME, _THREADS, _START, _VSIZE, _RSS = 11, 12, 17, 19, 20, 21


class ProcessState(NamedTuple):
    """One reading."""

    cpu_s: float
    threads: int
    started_s: float
    """Unix time."""
    virtual_bytes: int
    resident_bytes: int


def read_process(pid: int | None, proc: Path = _PROC) -> ProcessState | None:
    """Return how a process of this machine stands, None: it has gone. pid None: this one."""
    try:
        text = (proc / ("self" if pid is None else str(pid)) / "stat").read_bytes()
        booted_s = _booted_s(proc)
    except (OSError, ValueError):
        return None
    fields = text[text.rindex(b")") + 2 :].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return ProcessState(
        cpu_s=(int(fields[_UTIME]) + int(fields[_STIME])) / ticks,
        threads=int(fields[_THREADS]),
        started_s=booted_s + int(fields[_START]) / ticks,
        virtual_bytes=int(fields[_VSIZE]),
        resident_bytes=int(fields[_RSS]) * resource.getpagesize(),
    )


@cache
def _booted_s(proc: Path) -> int:
    """Read once: the kernel computes it from the wall clock, and a start must not wander."""
    lines = (proc / "stat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("btime "))


def descriptors(proc: Path = _PROC) -> int | None:
    """Descriptors open in this process."""
    with suppress(OSError):
        return sum(1 for _ in (proc / "self" / "fd").iterdir()) - 1  # without the one that lists
    return None


def descriptors_max() -> int:
    """How many it may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
