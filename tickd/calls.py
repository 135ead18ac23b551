"""Blocking calls of an SDK on threads that never keep the process from ending.

`asyncio.to_thread` uses a pool whose threads are joined at the end: a login that hangs would hold
the shutdown. Here a call that is given up is left behind on its own daemon thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


async def in_thread(call: Callable[[], T], *, name: str, seconds: float) -> T:
    """Return what `call` returns. Raises what it raises; TimeoutError after `seconds`."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return  # nobody waits any more
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # of a call without an error

    def run() -> None:
        result, failure = None, None
        try:
            result = call()
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, result, failure)

    Thread(target=run, name=name, daemon=True).start()
    async with asyncio.timeout(seconds):
        return await done
