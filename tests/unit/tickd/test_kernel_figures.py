"""What is read of the kernel: a process by a written /proc, the clock by answers of adjtimex."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import pytest

from tickd.telemetry.process import ProcessReader, descriptors, descriptors_max
from tickd.telemetry.system_clock import _Timex, clock_state, read_clock

STAT = (
    "77 (a ) b) S 1 2 3 4 5 6 7 8 9 10 {utime} {stime} 13 14 20 0 5 0 {start} 1000000 250 99 1 1\n"
)
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux has these files")


def written(folder: Path, start_s: int = 50) -> Path:
    """All of /proc that `ProcSubset=pid` leaves: no file but those of processes."""
    (folder / "77").mkdir(exist_ok=True)
    ticks = os.sysconf("SC_CLK_TCK")
    (folder / "77" / "stat").write_text(
        STAT.format(utime=3 * ticks, stime=2 * ticks, start=start_s * ticks)
    )
    return folder


class Clocks:
    """The machine booted at 1795219200, 80 s ago."""

    def __init__(self) -> None:
        self.booted_s = 1_795_219_200
        self.since_boot_s = 80

    def reader(self, proc: Path) -> ProcessReader:
        return ProcessReader(
            lambda: (self.booted_s + self.since_boot_s) * 10**9,
            lambda: self.since_boot_s * 10**9,
            proc,
        )


def test_a_process_is_read_whatever_its_name_is(tmp_path: Path) -> None:
    state = Clocks().reader(written(tmp_path)).read(77)
    assert state is not None
    assert (state.cpu_s, state.threads) == (5, 5)
    assert state.started_s == 1_795_219_250
    assert state.virtual_bytes == 1_000_000
    assert state.resident_bytes == 250 * resource.getpagesize()


def test_a_process_that_has_gone_is_none(tmp_path: Path) -> None:
    assert Clocks().reader(written(tmp_path)).read(78) is None


def test_a_start_does_not_move_with_the_wall_clock_and_is_the_next_process_own(
    tmp_path: Path,
) -> None:
    clocks = Clocks()
    reader = clocks.reader(written(tmp_path))
    first = reader.read(77)
    clocks.booted_s += 3  # the wall clock was set
    clocks.since_boot_s += 100
    second = reader.read(77)
    assert first is not None
    assert second is not None
    assert first.started_s == second.started_s == 1_795_219_250
    written(tmp_path, start_s=170)  # the pid again, of a process that began later
    third = reader.read(77)
    assert third is not None
    assert third.started_s == 1_795_219_203 + 170


@on_linux
def test_this_process_is_as_the_system_says() -> None:
    state = ProcessReader(time.time_ns).read(None)
    assert state is not None
    booted_s = next(
        int(line.split()[1])
        for line in Path("/proc/stat").read_text().splitlines()
        if line.startswith("btime ")
    )
    ticks = int(Path("/proc/self/stat").read_text().rpartition(") ")[2].split()[19])
    # The kernel's own boot time is of whole seconds.
    assert state.started_s == pytest.approx(booted_s + ticks / os.sysconf("SC_CLK_TCK"), abs=1.5)
    assert state.started_s < time.time()
    assert 1 << 20 < state.resident_bytes < state.virtual_bytes
    count = descriptors()
    assert count is not None
    read, write = os.pipe()
    try:
        assert descriptors() == count + 2
    finally:
        os.close(read)
        os.close(write)
    assert descriptors_max() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def timex(*, status: int, offset: int) -> _Timex:
    return _Timex(offset=offset, maxerror=1_500, esterror=20, status=status)


def test_the_offset_has_the_unit_that_the_status_names() -> None:
    micro, nano = timex(status=0x0001, offset=-250), timex(status=0x2001, offset=-250)
    assert clock_state(0, micro) == (True, -250e-6, 0.0015, 20e-6)
    assert clock_state(0, nano).offset_s == -250e-9


@pytest.mark.parametrize(("state", "status"), [(0, 0x0040), (5, 0x0001)])
def test_a_clock_without_a_source_is_not_synchronised(state: int, status: int) -> None:
    assert not clock_state(state, timex(status=status, offset=0)).synchronised


@on_linux
def test_the_kernel_answers_or_refuses() -> None:
    state = read_clock()
    assert state is None or state.error_max_s >= 0
