"""The child process, which serves one directory's ClickHouse on loopback.

`python -m recorder.embedded.server --directory DIR` says one JSON object per line on stdout:
`waiting` (another server holds the lock), `starting`, `ready` with its port, or `refused` with the
reason. Lives until its stdin closes or TERM arrives, then finishes running statements and ends.
Imports as little as possible: it is started beside a daemon that has the heavy modules already.
"""

from __future__ import annotations

import signal

# Before any slow import: Ctrl-C and signals to the whole cgroup are meant for the daemon, which
# stops this child last.
for _ignored in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
    signal.signal(_ignored, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_SETMASK, ())

import argparse  # noqa: E402
import asyncio  # noqa: E402
import contextlib  # noqa: E402
import fcntl  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Final  # noqa: E402

from tickd.ownership import act_as_owner  # noqa: E402

if TYPE_CHECKING:
    from aiohttp.web import AppRunner

_LOCK_POLL_S: Final = 0.1
_SHUTDOWN_S: Final = 15.0
REFUSED: Final = 3


def main() -> int:
    options = _options()
    # Before its threads are made: each begins as far behind as its maker.
    os.nice(options.nice)
    directory: Path = options.directory.absolute()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Root asks a daemon's database while that is down: what is written stays the daemon's.
    act_as_owner(directory)
    lock_fd = _lock(directory, options.lock_timeout_ms / 1000)
    if lock_fd is None:
        return REFUSED
    _say(state="starting", pid=os.getpid())
    # chdb imports these for data frames, which never leave here over HTTP: 0.2 s and 40 MB saved.
    sys.modules["pyarrow"] = sys.modules["pandas"] = None  # type: ignore[assignment]
    asyncio.run(_serve(directory, options))
    return 0


async def _serve(directory: Path, options: argparse.Namespace) -> None:
    from aiohttp import web  # noqa: PLC0415 - after the lock, so that a refusal is quick

    from recorder.embedded.address import Address, remove_address, write_address  # noqa: PLC0415
    from recorder.embedded.engine import Engine  # noqa: PLC0415
    from recorder.embedded.interface import make_app  # noqa: PLC0415
    from recorder.embedded.key import make_key  # noqa: PLC0415

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await _watch_stdin(stop)
    engine = Engine(
        directory / "data",
        workers=options.workers,
        memory_bytes_max=options.memory_bytes_max,
        query_memory_bytes_max=options.query_memory_bytes_max,
    )
    app = make_app(engine, key=make_key(directory), body_bytes_max=options.body_bytes_max)
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=_SHUTDOWN_S,
        auto_decompress=False,
        read_bufsize=1 << 20,
    )
    await runner.setup()
    port = await _listen(runner, options.port)
    address = Address("127.0.0.1", port, os.getpid())
    write_address(directory, address)
    _say(state="ready", port=port, pid=address.pid, version=engine.version)
    await stop.wait()
    remove_address(directory, address.pid)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SHUTDOWN_S + 1):
            await runner.cleanup()  # waits for running statements
            await loop.run_in_executor(None, engine.close)
    # Statements that run on would keep threads, and those the process; the data is safe: parts
    # appear on disk whole or not at all.
    os._exit(0)


async def _listen(runner: AppRunner, wanted: int) -> int:
    """Take the wanted port, which may be the one before a restart, or any."""
    from aiohttp.web import TCPSite  # noqa: PLC0415

    for port in dict.fromkeys((wanted, 0)):
        try:
            await TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        except OSError:
            if port == 0:
                raise
        else:
            break
    return int(runner.addresses[0][1])


async def _watch_stdin(stop: asyncio.Event) -> None:
    """Set `stop` when the pipe from the daemon closes: it ended, in whatever way."""

    class Watch(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
            stop.set()

    await asyncio.get_running_loop().connect_read_pipe(Watch, sys.stdin)


def _lock(directory: Path, timeout_s: float) -> int | None:
    """Take the directory's lock, waiting for an orphan that still works; None when it stays.

    flock belongs to the open file, so the kernel releases it however the holder dies.
    """
    lock_fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + timeout_s
    told = False
    while True:
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock_fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            if time.monotonic() >= until:
                _say(
                    state="refused",
                    reason=f"{directory} is in use by the server with pid {holder}"
                    f" (waited {timeout_s:g} s)",
                    hint="another tickd runs here: stop it, or give this one its own state_dir",
                )
                return None
            if not told:
                _say(state="waiting", holder=holder)
                told = True
            if _stdin_closed():
                return None
            time.sleep(_LOCK_POLL_S)
        else:
            os.ftruncate(lock_fd, 0)
            os.pwrite(lock_fd, f"{os.getpid()}\n".encode(), 0)
            return lock_fd


def _stdin_closed() -> bool:
    import select  # noqa: PLC0415

    readable, _, _ = select.select([0], [], [], 0)
    return bool(readable) and not os.read(0, 1)


def _say(**fields: object) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(fields) + "\n")
        sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="recorder.embedded.server", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--memory-bytes-max", type=int, default=4 << 30)
    parser.add_argument("--query-memory-bytes-max", type=int, default=2 << 30)
    parser.add_argument("--body-bytes-max", type=int, default=1 << 30)
    parser.add_argument("--lock-timeout-ms", type=int, default=60_000)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
