"""A stand-in for the daemon: supervises an embedded server until it is killed. Prints
the URL, the key and the child's pid.

Usage: python tests/servers/embedded_daemon.py DIRECTORY. Ignores SIGINT, as a daemon does that
handles it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import structlog

from recorder.embedded.supervisor import EmbeddedClickHouse


async def main(directory: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # stdout is ours
    server = EmbeddedClickHouse(directory)
    async with server.serving() as endpoint:
        said = {"url": endpoint.url, "key": endpoint.password.reveal(), "pid": server.pid}
        print(json.dumps(said), flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
