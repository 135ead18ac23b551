"""Places in the recorder's Python at which a test may kill its process, found by themselves.

Every system call that changes a file and is made for a module of `recorder`, every request to
ClickHouse and a few methods get a place before and one behind; the name says module, function and
call. A shared writer's calls count for the module that uses it, each of its functions apart. A new
write somewhere in the recorder therefore has its places without a line here. Orders come in the
same variable as those of the native places (`native/io/src/failpoint.rs`).
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from typing import Any

PREFIX = "py."
# Durable steps. `open` stands for a new file.
CALLS = (
    "write",
    "pwrite",
    "fsync",
    "fdatasync",
    "replace",
    "rename",
    "unlink",
    "ftruncate",
    "truncate",
)
METHODS = (
    ("recorder.clickhouse.clickhouse", "ClickHouse", "insert_block"),
    ("recorder.sink.sink", "Sink", "_collect"),
    ("recorder.sink.plan", "Plan", "plan"),
    ("recorder.sink.plan", "Plan", "commit"),
)
SHARED_WRITER = "tickd.durable"
FRAMES_MAX = 6

_write = os.write


class Points:
    """Counts passes and ends the process at the ordered one."""

    def __init__(self, orders: str, hits: str) -> None:
        self._passed: Counter[str] = Counter()
        self._hits = os.open(hits, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._orders: dict[str, tuple[str, int]] = {}
        for order in filter(None, orders.split(";")):
            name, _, rest = order.partition("=")
            action, _, at = rest.partition("@")
            if name.startswith(PREFIX):
                self._orders[name] = (action, int(at))

    def passing(self, name: str, torn: Callable[[], object] | None = None) -> None:
        """Pass a place: perhaps for the last time, behind half of a write if so ordered."""
        _write(self._hits, f"{name}\n".encode())
        self._passed[name] += 1
        action, at = self._orders.get(name, ("", 0))
        if self._passed[name] != at:
            return
        if action == "torn" and torn is not None:
            torn()
        os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Put a place before and behind every step there is."""
        for call in CALLS:
            setattr(os, call, self._around_call(call, getattr(os, call)))
        for module, owner, method in METHODS:
            found = getattr(import_module(module), owner)
            name = f"{PREFIX}{module.rpartition('.')[2]}.{method}"
            setattr(found, method, self._around(name, getattr(found, method)))
        writer = import_module("aiohttp.http_writer").StreamWriter
        for method in ("write_headers", "write", "write_eof"):
            name = f"{PREFIX}http.{method}"
            setattr(writer, method, self._around(name, getattr(writer, method)))

    def _around_call(self, call: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def passed(*args: Any, **named: Any) -> Any:
            place = _place(call)
            if place is None:
                return original(*args, **named)

            def half() -> None:
                original(args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])

            self.passing(f"{place}.before", half if "write" in call else None)
            result = original(*args, **named)
            self.passing(f"{place}.after")
            return result

        return passed

    def _around(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        if _is_async(original):

            @functools.wraps(original)
            async def awaited(*args: Any, **named: Any) -> Any:
                self.passing(f"{name}.before")
                result = await original(*args, **named)
                self.passing(f"{name}.after")
                return result

            return awaited

        @functools.wraps(original)
        def called(*args: Any, **named: Any) -> Any:
            self.passing(f"{name}.before")
            result = original(*args, **named)
            self.passing(f"{name}.after")
            return result

        return called


def _is_async(function: Callable[..., Any]) -> bool:
    return bool(function.__code__.co_flags & 0x80)  # CO_COROUTINE


def _place(call: str) -> str | None:
    """`py.<module>.<function>.<call>` of the recorder's function that wants the call.

    Through the shared writer: the module that uses it, and the writer's innermost function.
    """
    frame = sys._getframe(2)
    shared = ""
    for _ in range(FRAMES_MAX):
        module = str(frame.f_globals.get("__name__", ""))
        if module == SHARED_WRITER:
            shared = shared or frame.f_code.co_name
        if module.startswith("recorder."):
            part = module.rpartition(".")[2]
            return f"{PREFIX}{part}.{shared or frame.f_code.co_name}.{call}"
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return None
