"""The faulty proxy on a thread of its own, for tests that are not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Self

from tickd.testing.faulty_proxy import Fault, FaultyProxy

START_TIMEOUT_S = 10


def answer(
    status: str, body: str = "", *, code: int | None = None, retry_after: str | None = None
) -> Fault:
    """A fault: a proxy answers the next block of quotes, or ClickHouse does with this code."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    if code is not None:
        lines.append(f"X-ClickHouse-Exception-Code: {code}")
    if retry_after is not None:
        lines.append(f"Retry-After: {retry_after}")
    head = "\r\n".join(lines) + "\r\n\r\n"
    # Blocks only: the slow tables are written beside them, by another hand.
    return Fault("answer", "INSERT INTO tickd.quotes", head.encode() + body.encode())


class ProxyThread:
    """`with ProxyThread(port) as proxy`: a proxy in front of 127.0.0.1:`port` at `proxy.url`."""

    def __init__(self, port: int) -> None:
        self._proxy = FaultyProxy("127.0.0.1", port)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faulty-proxy", daemon=True)

    @property
    def url(self) -> str:
        return self._proxy.url

    @property
    def faults_left(self) -> int:
        return self._proxy.faults_left

    def arm(self, *faults: Fault) -> None:
        self._do(lambda: self._proxy.arm(*faults))

    def release(self) -> None:
        self._do(self._proxy.release)

    def refuse(self, *, refusing: bool) -> None:
        self._do(lambda: self._proxy.refuse(refusing=refusing))

    def inserts(self, *tables: str) -> int:
        """How many inserts into these tables came through the door."""
        texts = [f"INSERT INTO tickd.{table} " for table in tables]
        heads = list(self._proxy.requests)
        return sum(any(text in head for text in texts) for head in heads)

    def tried(self) -> int:
        """How many requests there were of any kind, with those refused at the door."""
        return len(self._proxy.requests) + self._proxy.refused_count

    def _do(self, step: Callable[[], None]) -> None:
        done = threading.Event()

        def run() -> None:
            step()
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(START_TIMEOUT_S)

    def _run(self) -> None:
        asyncio.set_event_loop(None)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        async with self._proxy:
            self._started.set()
            await self._stop.wait()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            self._proxy.release()
            self._proxy.refuse(refusing=True)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks) if tasks else None

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(START_TIMEOUT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(START_TIMEOUT_S)
