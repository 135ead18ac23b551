"""The doctor's look at the network: names are found, doors open, certificates hold.

It connects, shakes hands and leaves; it sends no request, so it costs a venue's limits nothing but
one connection each.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from gateway.venues import registry
from gateway.venues.registry import is_callback
from tickd.app.config import Config
from tickd.app.findings import Finding, Verdict, fail, ok, warn

__all__ = ["Door", "check_door", "check_network", "doors_of"]

NAME_SECONDS: Final = 5.0
CONNECT_SECONDS: Final = 10.0
# All at once; what is slower than that is said to be.
SLOW_MS: Final = 2_000.0
EXPIRES_DAYS: Final = 14
_PORTS: Final = {"ws": 80, "http": 80, "wss": 443, "https": 443}


class Door(NamedTuple):
    """A host and port that the configuration leads to."""

    what: str
    host: str
    port: int
    secure: bool


def doors_of(config: Config) -> list[Door]:
    """Where this daemon connects to: venues, accounts that say where, each door once."""
    urls: list[tuple[str, str]] = []
    for venue in config.venues:
        if is_callback(venue.name):
            continue  # the broker's SDK knows its servers, nobody else does
        wire = registry.find(venue.name).wire
        urls += [
            (venue.name, venue.ws_url or wire.ws_url),
            (venue.name, venue.rest_url or wire.rest_url),
        ]
    for account in config.accounts:
        for field in ("ws_url", "rest_url", "stream_url"):
            urls.append((f"account {account.name}", getattr(account, field, None) or ""))
    if isinstance(config.ship.url, str):
        urls.append(("object storage", config.ship.url))
    doors: dict[tuple[str, int], Door] = {}
    for what, url in urls:
        parts = urlsplit(url)
        if parts.scheme in _PORTS and parts.hostname:
            port = parts.port or _PORTS[parts.scheme]
            secure = parts.scheme in ("wss", "https")
            doors.setdefault((parts.hostname, port), Door(what, parts.hostname, port, secure))
    return list(doors.values())


async def check_network(
    doors: Iterable[Door], *, mono_ns: Callable[[], int], wall_ns: int
) -> list[Finding]:
    """Every door, all at once; takes as long as the slowest, at most 15 s."""
    async with asyncio.TaskGroup() as tasks:
        asked = [
            tasks.create_task(
                check_door(door, mono_ns=mono_ns, wall_ns=wall_ns), name=f"door {door.host}"
            )
            for door in doors
        ]
    return [task.result() for task in asked]


async def check_door(
    door: Door,
    *,
    mono_ns: Callable[[], int],
    wall_ns: int,
    context: ssl.SSLContext | None = None,
) -> Finding:
    """Look the name up, connect and, where the URL says so, shake hands."""
    name = f"network {door.what}"
    where = f"{door.host}:{door.port}"
    try:
        async with asyncio.timeout(NAME_SECONDS):
            await asyncio.get_running_loop().getaddrinfo(
                door.host, door.port, type=socket.SOCK_STREAM
            )
    except TimeoutError:
        return fail(name, f"{door.host}: no name server answers", "see: resolvectl query")
    except OSError as error:
        return fail(name, f"{door.host} is not known: {error.strerror}", "DNS; is the URL right?")
    secure = (context or ssl.create_default_context()) if door.secure else None
    begun_ns = mono_ns()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(door.host, door.port, ssl=secure)
    except TimeoutError:
        remedy = "a firewall between here and there? outgoing TCP must be allowed"
        return fail(name, f"{where}: no answer in {CONNECT_SECONDS:g} s", remedy)
    except ssl.SSLError as error:
        return fail(name, f"{where}: {_reason(error)}", _tls_remedy(error))
    except OSError as error:
        return fail(name, f"{where}: {error.strerror or error}", "is the server there?")
    took_ms = (mono_ns() - begun_ns) / 1e6
    tls: Any = writer.get_extra_info("ssl_object")
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1.0):
            await writer.wait_closed()
    return _judged(name, where, took_ms, tls, wall_ns)


def _judged(name: str, where: str, took_ms: float, tls: Any, wall_ns: int) -> Finding:
    words = f"{where} in {took_ms:.0f} ms"
    if tls is not None:
        words += f", {tls.version()}"
        expires = (tls.getpeercert() or {}).get("notAfter")
        if expires:
            days = (ssl.cert_time_to_seconds(expires) - wall_ns / 1e9) / 86_400
            words += f", certificate for {days:.0f} days"
            if days < EXPIRES_DAYS:
                return warn(name, words, "the venue's to renew; a proxy in between is yours")
    if took_ms > SLOW_MS:
        return Finding(name, Verdict.WARN, words, "a nearer machine, or less between here and it")
    return ok(name, words)


def _reason(error: ssl.SSLError) -> str:
    told = getattr(error, "verify_message", "") or error.reason or str(error)
    return f"TLS: {told}"


def _tls_remedy(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "the clock, ca-certificates, or somebody in between with a certificate of his own"
    return "does the port speak TLS? ws:// and http:// do not"
