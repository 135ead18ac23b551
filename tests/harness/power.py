"""A disk that can lose its power: ext4 in a file, copied while it is in use.

A copy holds what had reached the disk at that moment; what was only in the page cache is missing.
The process that writes is stopped meanwhile, so that the copy is of one moment. Needs root.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

IMAGE_MB = 160
STOP_TIMEOUT_S = 20
POLL_S = 0.0005


def require() -> None:
    """Skip where no file can be mounted (CI has the rights and the programs)."""
    if os.geteuid() != 0:
        pytest.skip("a disk in a file needs root")
    for program in ("mkfs.ext4", "mount", "umount"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing: e2fsprogs, mount")


class Disks:
    """Images and the places where they are mounted, all of them gone at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mounted: list[Path] = []
        self._images = 0

    def made(self) -> Path:
        """A new, empty disk."""
        image = self._image()
        with image.open("wb") as file:
            file.truncate(IMAGE_MB << 20)
        _run("mkfs.ext4", "-q", str(image))
        return image

    def mount(self, image: Path, place: Path) -> None:
        place.mkdir(exist_ok=True)
        # What the kernel commits by itself within seconds would only make the cut milder.
        _run("mount", "-o", "loop,commit=300", str(image), str(place))
        self._mounted.append(place)

    def unmount(self, place: Path) -> None:
        _run("umount", str(place))
        self._mounted.remove(place)

    def copied(self, image: Path, pid: int, *, then: signal.Signals = signal.SIGCONT) -> Path:
        """What `image` holds at this moment, in which the process `pid` does nothing.

        `then`: what the process hears afterwards; SIGKILL if its power is cut.
        """
        copy = self._image()
        os.kill(pid, signal.SIGSTOP)
        try:
            _wait_until_stopped(pid)
            _run("cp", "--sparse=always", str(image), str(copy))
        finally:
            os.kill(pid, then)
        return copy

    def close(self) -> None:
        for place in reversed(self._mounted):
            subprocess.run(["umount", "--lazy", str(place)], check=False)

    def _image(self) -> Path:
        self._images += 1
        return self.folder / f"disk-{self._images}.img"


@contextmanager
def disks() -> Iterator[Disks]:
    """Room for images in memory."""
    require()
    folder = Path(tempfile.mkdtemp(prefix="crash-", dir="/tmp"))
    memory = folder / "memory"
    memory.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6g", "tmpfs", str(memory)],
        check=False,
        capture_output=True,
    )
    if made.returncode != 0:
        shutil.rmtree(folder)
        pytest.skip(f"no tmpfs here: {made.stderr.decode().strip()}")
    all_of_them = Disks(memory)
    try:
        yield all_of_them
    finally:
        all_of_them.close()
        subprocess.run(["umount", "--lazy", str(memory)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_stopped(pid: int) -> None:
    """Wait until no thread is inside a system call that still writes."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
        if all(stat.rpartition(")")[2].split()[0] in "Tt" for stat in stats):
            return
        time.sleep(POLL_S)
    raise AssertionError(f"process {pid} does not stop")


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.decode()}"
