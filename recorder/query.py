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

from recorder.embedded.address import Address, ping, read_address
from recorder.embedded.config import EmbeddedConfig
from recorder.embedded.supervisor import EmbeddedClickHouse
from recorder.statements import Statements
from tickd.secrets import Secret

__all__ = ["EMBEDDED", "OutputFormat", "connect", "find_embedded", "query"]

EMBEDDED: Final = "embedded"


class OutputFormat(Enum):
    """How rows leave; the value is ClickHouse's name. A FORMAT clause in the statement wins."""

    TABLE = "PrettyCompact"
    JSON = "JSONEachRow"
    CSV = "CSVWithNames"
    ARROW = "ArrowStream"


async def query(
    server: Statements,
    sql: str,
    *,
    output: OutputFormat,
    database: str = "tickd",
    color: bool = False,
    parameters: Mapping[str, str] | None = None,
) -> AsyncIterator[bytes]:
    """Run `sql` and give its reply in pieces as they come; `{name:Type}` in it takes `parameters`.

    Raises ServerError, in the middle as well: what came before is then incomplete.
    """
    settings = {
        "database": database,
        "default_format": output.value,
        "output_format_pretty_color": "1" if color else "0",
        **{f"param_{name}": _escaped(value) for name, value in (parameters or {}).items()},
    }
    async for piece in server.stream(sql, settings=settings):
        yield piece


async def find_embedded(directory: Path) -> Address | None:
    """Return the embedded server of a running daemon, None when there is none that answers."""
    address = read_address(directory)
    if address is None or not await ping(address):
        return None
    return address


@contextlib.asynccontextmanager
async def connect(
    url: str,
    *,
    directory: Path,
    user: str = "default",
    password: Secret | None = None,
    config: EmbeddedConfig | None = None,
) -> AsyncIterator[Statements]:
    """Give a connection to `url`.

    `embedded` means the daemon's server in `directory`, or without one our own for the block.
    Raises EmbeddedError when the embedded server is neither there nor can be started.
    """
    async with contextlib.AsyncExitStack() as stack:
        if url == EMBEDDED:
            address = await find_embedded(directory)
            if address is not None:
                url = address.url
            else:
                url = await stack.enter_async_context(
                    EmbeddedClickHouse(directory, config).serving()
                )
        server = Statements(url, user=user, password=password)
        yield await stack.enter_async_context(server)


def _escaped(value: str) -> str:
    """Return the value as ClickHouse reads parameters: TSV escapes."""
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
