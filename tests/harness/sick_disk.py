"""Faults of a disk, switched on and off under a running raw log: libfiu, strace.

The faults are those of the C library's calls (libfiu, preloaded) or of the kernel's (strace). It
judges nothing.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness.processes import REPOSITORY
from tests.servers.raw_recorder import BOARD

POLL_S = 0.01


class Seen(NamedTuple):
    """What the recorder has done so far."""

    appended: int  # messages
    synced: int  # frame
    written: int  # frame
    faults: int
    errno: int  # of the present fault
    pauses: int
    segments: int
    state: int  # 1 at work, 2 closed, 3 closed with a loss


def need(program: str) -> str:
    """The path of `program`; the test is skipped where it is not installed (CI installs it)."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


class Faults:
    """libfiu's faults of one process, by remote control."""

    def __init__(self, pid: int, folder: Path) -> None:
        self._pid = pid
        self._folder = folder

    def on(self, name: str, errno: int, probability: float = 1.0) -> None:
        self._say(f"enable_random name={name},probability={probability},failinfo={errno}")

    def off(self, name: str) -> None:
        self._say(f"disable name={name}")

    def _say(self, command: str) -> None:
        control = [need("fiu-ctrl"), "-f", str(self._folder / "fiu"), "-c", command, str(self._pid)]
        done = subprocess.run(control, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)


class Recorder:
    """`tests/servers/raw_recorder.py` at work in `directory`."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], board: Path) -> None:
        self.directory = folder / "raw"
        self.process = process
        self._board = board

    def seen(self) -> Seen:
        return Seen(*BOARD.unpack(self._board.read_bytes()))

    def until(self, condition: Callable[[Seen], bool], seconds: float = 20) -> Seen:
        deadline = time.monotonic() + seconds
        while not condition(seen := self.seen()):
            assert self.process.poll() is None, f"the recorder ended: {self.process.returncode}"
            assert time.monotonic() < deadline, seen
            time.sleep(POLL_S)
        return seen

    def goes_on(self) -> None:
        """Wait until what is appended from now on is on the disk, and no fault is left."""
        before = self.seen()
        self.until(lambda seen: seen.synced > before.written + 500 and seen.errno == 0)

    def stop(self) -> Seen:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0
        return self.seen()


@contextmanager
def recording(folder: Path, *wrapper: str, preload: bool = False) -> Iterator[Recorder]:
    """A recorder at work, perhaps under `wrapper`; `preload`: with libfiu, no fault yet."""
    board = folder / "board"
    board.write_bytes(bytes(BOARD.size))
    command = [sys.executable, str(REPOSITORY / "tests/servers/raw_recorder.py")]
    command += [str(folder / "raw"), str(board)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    if preload:
        environment |= preloaded(folder)
    process = subprocess.Popen([*wrapper, *command], env=environment)
    recorder = Recorder(folder, process, board)
    try:
        recorder.until(lambda seen: seen.synced > 100)
        yield recorder
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def preloaded(folder: Path) -> dict[str, str]:
    """The environment of a process for `Faults`; as fiu-run makes it, but its pid is known."""
    need("fiu-run")
    return {
        "LD_PRELOAD": " ".join(map(str, _preloads())),
        "FIU_CTRL_FIFO": str(folder / "fiu"),
    }


def _preloads() -> list[Path]:
    names = ("fiu_run_preload.so", "fiu_posix_preload.so")
    for folder in ("/usr/lib/fiu", "/usr/local/lib/fiu"):
        found = [Path(folder) / name for name in names]
        if all(path.exists() for path in found):
            return found
    pytest.skip("libfiu's preload libraries are not installed")
