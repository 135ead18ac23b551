"""Where the embedded server listens: the file `http.json` it leaves, and whether it still answers.

Used by the child (write), the supervisor and `tickd query` (read, ping). It starts nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

__all__ = ["PING", "PULSE", "Address", "ping", "read_address", "remove_address", "write_address"]

FILE_NAME: Final = "http.json"
PING: Final = "/ping"
PULSE: Final = "/pulse"
_REPLY: Final = b"Ok.\n"


@dataclass(frozen=True, slots=True)
class Address:
    """One server on loopback."""

    host: str
    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


def write_address(directory: Path, address: Address) -> None:
    """Replace the file in one step, so that a reader never sees half of it."""
    temporary = directory / f"{FILE_NAME}.{address.pid}"
    temporary.write_text(json.dumps(asdict(address)) + "\n", encoding="ascii")
    temporary.replace(directory / FILE_NAME)


def remove_address(directory: Path, pid: int) -> None:
    """Remove the file if it is still the one of `pid`."""
    address = read_address(directory)
    if address is not None and address.pid == pid:
        with contextlib.suppress(FileNotFoundError):
            (directory / FILE_NAME).unlink()


def read_address(directory: Path) -> Address | None:
    """Return what the file says, None without a usable one. It may be stale: see `ping`."""
    try:
        fields = json.loads((directory / FILE_NAME).read_bytes())
        return Address(host=str(fields["host"]), port=int(fields["port"]), pid=int(fields["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


async def ping(address: Address, *, timeout_s: float = 2.0, path: str = PING) -> bool:
    """Say whether this very server answers: its pid in the reply exposes a reused port.

    Args: `path`: `PULSE` asks the engine as well, not the interface in front of it alone.
    """
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                reply = await reader.read()  # HTTP/1.0: up to the close
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    head, _, body = reply.partition(b"\r\n\r\n")
    return body == _REPLY and f"x-tickd-pid: {address.pid}".encode() in head.lower()
