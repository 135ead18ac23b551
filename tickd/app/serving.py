"""Runs a loopback venue as a process.

One JSON line with its addresses, then until done or signalled.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import orjson
from cyclopts import Parameter

from gateway.servers.config import ProtocolConfig
from gateway.servers.process import Addresses
from tickd.app.event_loop import run
from tickd.app.exit_codes import ExitCode
from tickd.clock import SystemClock
from tickd.errors import TickdError

Serve = Callable[[SystemClock, Callable[[Addresses], None]], Coroutine[object, object, None]]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class WireOptions:
    """Options that every loopback venue has."""

    slow: Literal["wait", "close"] = "wait"
    "what happens to a client that reads too slowly: wait for it, or close it"
    sent_log: Path | None = None
    "write every message sent: 'connection stream json' per line"
    ws_port: int = 0
    "WebSocket port; 0 = the kernel picks"
    rest_port: int = 0
    "REST port; 0 = the kernel picks"

    def protocol(self, **more: Any) -> ProtocolConfig:
        """Return the configuration of the wire, with `more` of its fields."""
        return ProtocolConfig(
            slow=self.slow,
            sent_log=None if self.sent_log is None else str(self.sent_log),
            ws_port=self.ws_port,
            rest_port=self.rest_port,
            **more,
        )


ORDINARY_WIRE: Final = WireOptions()


def run_server(serve: Serve) -> ExitCode:
    """Run `serve(clock, on_start)` until it ends, or INT or TERM comes.

    Raises TickdError: the system refused a port or a file.
    """
    return run(_until_signal(serve))


async def _until_signal(serve: Serve) -> ExitCode:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):  # the signal asked for the end
        try:
            await serve(SystemClock(), _announce)
        except OSError as error:  # a port that is taken, a log that cannot be written
            raise TickdError(f"cannot serve: {error}", hint="port 0: the kernel picks") from error
    return ExitCode.OK


def _announce(addresses: Addresses) -> None:
    """Say where, and who: one JSON line on the standard output."""
    line = orjson.dumps({**msgspec.structs.asdict(addresses), "pid": os.getpid()})
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()
