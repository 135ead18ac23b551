"""Memory comes back after an outage's worth of blocks; without the setting it would not."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Blocks of a megabyte between small things that stay, as in an outage; prints what stays resident.
PROGRAM = """
import sys
from pathlib import Path
from tickd.app.allocator import give_large_buffers_back

def resident():
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in l)
    return int(line.split()[1]) << 10

if sys.argv[1] == "set":
    assert give_large_buffers_back()
for size in (2 << 20, 4 << 20):  # what raises glibc's own limit
    block = bytearray(size)
    del block
before = resident()
blocks, small = [], []
for _ in range(64):
    blocks.append(bytearray(1 << 20))
    small.append(bytes(1000))
del blocks
print(resident() - before)
"""


# The same with pieces that come from the heap; prints what stays before and behind the call.
PIECES = """
from pathlib import Path
from tickd.app.allocator import give_free_pages_back

def resident():
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in l)
    return int(line.split()[1]) << 10

before = resident()
pieces, small = [], []
for _ in range(640):
    pieces.append(bytearray(100_000))
    small.append(bytes(1000))
del pieces
left = resident() - before
assert give_free_pages_back()
print(left, resident() - before)
"""

# Threads that keep pieces; prints how many heaps of their own they have (64 MiB each, by address).
THREADS = """
import sys
from pathlib import Path
from threading import Barrier, Thread
from tickd.app.allocator import give_large_buffers_back

if sys.argv[1] == "set":
    assert give_large_buffers_back()
pieces, all_there = [], Barrier(5)

def keep():
    pieces.append([bytearray(100_000) for _ in range(10)])
    all_there.wait()
    all_there.wait()

threads = [Thread(target=keep) for _ in range(4)]
for thread in threads:
    thread.start()
all_there.wait()
heaps = 0
for line in Path("/proc/self/maps").read_text().splitlines():
    where, mode, *_, last = line.split()
    start = int(where.split("-")[0], 16)
    heaps += mode == "rw-p" and last == "0" and start % (64 << 20) == 0
print(heaps)
all_there.wait()
"""

glibc_only = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library: not permitted to assume"
)


@glibc_only
def test_freed_blocks_leave_the_process():
    def stays(mode: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert stays("set") < 4 << 20
    assert stays("leave") > 32 << 20, "glibc gives it back by itself now: is the setting needed?"


@glibc_only
def test_free_pages_between_things_that_stay_leave_the_process_when_asked():
    done = subprocess.run(
        [sys.executable, "-c", PIECES], capture_output=True, text=True, check=True
    )
    left, behind = map(int, done.stdout.split())
    assert left > 32 << 20, "glibc gives them back by itself now: is the call needed?"
    assert behind < 8 << 20


@glibc_only
def test_threads_share_one_heap() -> None:
    heaps = {
        way: int(subprocess.check_output([sys.executable, "-c", THREADS, way], text=True))
        for way in ("set", "unset")
    }
    assert heaps["set"] == 0
    assert heaps["unset"] > 0
