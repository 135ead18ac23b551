"""A server as a process of its own: its one line of JSON, its end by signal, its exit code.

For tests and load generators; tickd's command line wires `serve_sim` and `serve_replay` itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence

import msgspec
import uvloop

from tickd.errors import ConfigError

EXIT_BAD_CONFIG = 2


class Addresses(msgspec.Struct, frozen=True):
    """Where the markets listen and what they list, by venue.

    `{"binance-usdm": "ws://127.0.0.1:4711"}`.
    """

    ws: Mapping[str, str]
    rest: Mapping[str, str]
    symbols: Mapping[str, Sequence[str]]


def announce(addresses: Addresses) -> None:
    """Say where, and who: one JSON line on the standard output."""
    line = {
        "ws": addresses.ws,
        "rest": addresses.rest,
        "symbols": addresses.symbols,
        "pid": os.getpid(),
    }
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def run_until_signal(
    serve: Callable[[Sequence[str]], Coroutine[object, object, None]],
    arguments: Sequence[str] | None,
) -> int:
    """Run `serve(arguments)` on uvloop until it ends or SIGINT or SIGTERM comes; the exit code."""
    code = 0

    async def supervised(task_of: Coroutine[object, object, None]) -> None:
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        async with asyncio.TaskGroup() as tasks:
            served = tasks.create_task(task_of, name="serve")
            stop = tasks.create_task(stopped.wait(), name="signal")
            await asyncio.wait({served, stop}, return_when=asyncio.FIRST_COMPLETED)
            served.cancel()
            stop.cancel()

    try:
        uvloop.run(supervised(serve(sys.argv[1:] if arguments is None else arguments)))
    except* (ConfigError, msgspec.ValidationError) as group:
        sys.stderr.write(f"{group.exceptions[0]}\n")
        code = EXIT_BAD_CONFIG
    return code
