"""Runs a loopback venue as a process.

One JSON line with its addresses, then until done or signalled.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine

from gateway.servers.process import Addresses, announce
from tickd.app.event_loop import run
from tickd.app.exit_codes import ExitCode
from tickd.clock import SystemClock

Serve = Callable[[SystemClock, Callable[[Addresses], None]], Coroutine[object, object, None]]


def run_server(serve: Serve) -> ExitCode:
    """Run `serve(clock, on_start)` until it ends, or INT or TERM comes."""
    return run(_until_signal(serve))


async def _until_signal(serve: Serve) -> ExitCode:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):  # the signal asked for the end
        await serve(SystemClock(), announce)
    return ExitCode.OK
