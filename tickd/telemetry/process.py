"""What the kernel says of a process: CPU, memory, threads, descriptors, its beginning.

Read from /proc/PID alone: a sandbox (`ProcSubset=pid`) leaves no more of /proc. Only Linux has the
files; elsewhere there is nothing to say.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, final

__all__ = ["ProcessReader", "ProcessState", "descriptors", "descriptors_max"]

_PROC: Final = Path("/proc")
_NS_PER_S: Final = 1_000_000_000
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


def _since_boot_ns() -> int:
    """The clock in which the kernel stamps a start; it counts through a suspended machine."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@final
class ProcessReader:
    """Reads processes of this machine, one after the other: the daemon, or a child's lives."""

    def __init__(
        self,
        wall_ns: Callable[[], int],
        since_boot_ns: Callable[[], int] = _since_boot_ns,
        proc: Path = _PROC,
    ) -> None:
        """Args: `wall_ns`: Unix time; `since_boot_ns`: what the kernel counts starts from."""
        self._wall_ns = wall_ns
        self._since_boot_ns = since_boot_ns
        self._proc = proc
        # Of the process read last: its start is said once, and does not wander with the wall clock.
        self._begun: tuple[int | None, int] = (None, -1)  # pid, clock ticks after the boot
        self._started_s = 0.0

    def read(self, pid: int | None) -> ProcessState | None:
        """Return how a process stands, None: it has gone. pid None: this one."""
        name = "self" if pid is None else str(pid)
        try:
            text = (self._proc / name / "stat").read_bytes()
        except OSError:
            return None
        fields = text[text.rindex(b")") + 2 :].split()
        ticks = os.sysconf("SC_CLK_TCK")
        begun = (pid, int(fields[_START]))
        if begun != self._begun:
            age_s = self._since_boot_ns() / _NS_PER_S - begun[1] / ticks
            self._begun, self._started_s = begun, self._wall_ns() / _NS_PER_S - age_s
        return ProcessState(
            cpu_s=(int(fields[_UTIME]) + int(fields[_STIME])) / ticks,
            threads=int(fields[_THREADS]),
            started_s=self._started_s,
            virtual_bytes=int(fields[_VSIZE]),
            resident_bytes=int(fields[_RSS]) * resource.getpagesize(),
        )


def descriptors(proc: Path = _PROC) -> int | None:
    """Descriptors open in this process."""
    with suppress(OSError):
        return sum(1 for _ in (proc / "self" / "fd").iterdir()) - 1  # without the one that lists
    return None


def descriptors_max() -> int:
    """How many it may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
