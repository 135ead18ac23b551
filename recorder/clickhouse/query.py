"""`tickd query`: one SQL statement, its rows as a stream of bytes, from any ClickHouse.

A running daemon's embedded server is found through the file it leaves; without a daemon the server
is started for the duration. This file prints nothing and keeps nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Final

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.endpoint import Endpoint
from recorder.config import ClickHouseConfig
from recorder.embedded.address import ping, read_address
from recorder.embedded.config import EmbeddedConfig
from recorder.embedded.errors import EmbeddedError
from recorder.embedded.key import read_key
from recorder.embedded.supervisor import EmbeddedClickHouse
from tickd.ownership import give_to_owner

__all__ = ["EMBEDDED", "OutputFormat", "connect", "find_embedded", "query"]

EMBEDDED: Final = "embedded"
_LOG: Final = "server.log"  # the supervisor opens it, on behalf of the child


class OutputFormat(Enum):
    """How rows leave; the value is ClickHouse's name. A FORMAT clause in the statement wins."""

    TABLE = "PrettyCompact"
    JSON = "JSONEachRow"
    CSV = "CSVWithNames"
    ARROW = "ArrowStream"


async def query(
    server: ClickHouse,
    sql: str,
    *,
    output: OutputFormat,
    database: str | None = None,
    color: bool = False,
    parameters: Mapping[str, object] | None = None,
) -> AsyncIterator[bytes]:
    """Run `sql` and give its reply in pieces as they come; `{name:Type}` in it takes `parameters`.

    Args: `database`: None means the configured one.
    Raises ClickHouseError, in the middle as well: what came before is then incomplete.
    """
    settings = {
        "database": database or server.database,
        "default_format": output.value,
        "output_format_pretty_color": "1" if color else "0",
    }
    async for piece in server.stream(sql, parameters=parameters, settings=settings):
        yield piece


async def find_embedded(directory: Path) -> Endpoint | None:
    """Return the embedded server of a running daemon, None when there is none that answers."""
    address = read_address(directory)
    if address is None or not await ping(address):
        return None
    return Endpoint(address.url, password=read_key(directory), embedded=True)


@contextlib.asynccontextmanager
async def connect(
    config: ClickHouseConfig, *, directory: Path, embedded: EmbeddedConfig | None = None
) -> AsyncIterator[ClickHouse]:
    """Give a connection to the configured server.

    `url = "embedded"` means the daemon's server in `directory`, or without one our own for the
    block. Raises EmbeddedError when the embedded server is neither there nor can be started.
    """
    async with contextlib.AsyncExitStack() as stack:
        if config.url == EMBEDDED:
            endpoint = await find_embedded(directory)
            if endpoint is None:
                own = EmbeddedClickHouse(directory, embedded)
                try:
                    _keep_owner(directory)
                except OSError as error:
                    raise EmbeddedError(f"the embedded server cannot start: {error}") from error
                endpoint = await stack.enter_async_context(own.serving())
            server = ClickHouse(config, lambda: endpoint)
        else:
            server = ClickHouse(config)
        stack.push_async_callback(server.close)
        yield server


def _keep_owner(directory: Path) -> None:
    """Make the directory and its log the daemon's, which root is about to open. Raises OSError."""
    if not directory.exists():
        directory.mkdir(mode=0o700, parents=True)
        give_to_owner(directory)
    log = directory / _LOG
    if not log.exists():
        log.touch(mode=0o600)
        give_to_owner(log)
