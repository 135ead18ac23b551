"""The loop gets a core, nothing else of its process does. Method: a process of our own, asked."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tickd.app.cores import LoopCore
from tickd.errors import Action, TickdError
from tickd.testing.clock import ManualClock

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

# A thread and a child from before, and what they may use before and behind a sweep.
PROGRAM = """
import asyncio, os, subprocess, sys, threading
from tickd.app.cores import LoopCore
from tickd.testing.clock import ManualClock

core = int(sys.argv[1])
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
is_over, ids = threading.Event(), []

def work():
    ids.append(threading.get_native_id())
    is_over.wait()

async def main():
    thread = threading.Thread(target=work)
    thread.start()
    while not ids:
        await asyncio.sleep(0.001)
    clock = ManualClock()
    pinning = asyncio.create_task(LoopCore(core, clock).run())
    while core in os.sched_getaffinity(ids[0]) or core in os.sched_getaffinity(child.pid):
        await asyncio.sleep(0.001)
    print(sorted(os.sched_getaffinity(threading.get_native_id())))
    pinning.cancel()
    await asyncio.wait([pinning])
    print(len(os.sched_getaffinity(0)))
    is_over.set()
    thread.join()

asyncio.run(main())
child.communicate(b"\\n")
"""


@pytest.mark.skipif(len(CORES) < 2, reason="needs two cores")
def test_the_loop_alone_keeps_its_core_and_gives_it_back() -> None:
    core = CORES[0]
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(core)], capture_output=True, text=True, check=True
    )
    # The first line is the log's.
    assert said.stdout.splitlines()[-2:] == [str([core]), str(len(CORES))]


def test_a_core_that_the_process_may_not_use_is_refused() -> None:
    with pytest.raises(TickdError, match=r"node\.loop_core is 4096") as refused:
        LoopCore(4096, ManualClock())
    assert refused.value.action is Action.FATAL


async def test_without_a_core_nothing_is_moved() -> None:
    before = os.sched_getaffinity(0) if CORES else set()
    await LoopCore(None, ManualClock()).run()
    assert (os.sched_getaffinity(0) if CORES else set()) == before
