"""Opens a leg's WebSocket: the upgrade and what its failures mean. Decides nothing else."""

from __future__ import annotations

import asyncio
from ssl import SSLContext

from picows import WSError, WSHandshakeError, ws_connect

from gateway.errors import ConnectFailedError, vendor_text
from gateway.leg import MESSAGE_BYTES_MAX, Leg
from gateway.limits import retry_after_seconds
from tickd.ports import Clock


async def upgrade(
    leg: Leg,
    url: str,
    *,
    venue: str,
    timeout_seconds: float,
    attempts: int,
    clock: Clock,
    ssl_context: SSLContext | None,
) -> None:
    """Connect `leg`. Args: `attempts`: failures in a row before this one.

    Raises ConnectFailedError, TickdError(FATAL) when the raw log is closed.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            await ws_connect(
                lambda: leg,
                url,
                ssl_context=ssl_context,
                websocket_handshake_timeout=timeout_seconds,
                enable_auto_pong=False,  # the leg answers, and counts
                max_frame_size=MESSAGE_BYTES_MAX,
                max_redirects=0,
                logger_name=venue,
            )
    except WSHandshakeError as error:
        raise _declined(error, url, venue, attempts, clock.wall_ns()) from error
    except TimeoutError as error:
        raise ConnectFailedError(
            f"{url}: no connection within {timeout_seconds} s", venue=venue
        ) from error
    except (OSError, WSError) as error:
        raise ConnectFailedError(
            f"{url}: {vendor_text(str(error) or type(error).__name__)}", venue=venue
        ) from error
    if leg.fault is not None:
        raise leg.fault
    if leg.connection == 0:
        raise ConnectFailedError(f"{url}: closed at once", venue=venue)


def _declined(
    error: WSHandshakeError, url: str, venue: str, attempts: int, wall_ns: int
) -> ConnectFailedError:
    wait = 0.0
    status = 0
    if error.response is not None:
        status = int(error.response.status)
        if status in {418, 429}:
            header = error.response.headers.get("Retry-After")
            wait = retry_after_seconds(status, header, attempts, wall_ns)
    return ConnectFailedError(
        f"{url}: upgrade declined, status {status}: {vendor_text(str(error))}",
        venue=venue,
        retry_after_seconds=wait,
    )
