"""The stand-in as a server: one port on loopback, until it is told to stop.

Joins the parts; speaks nothing itself.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Literal

import msgspec
from aiohttp import web

from risk.stands.binance.access import Access
from risk.stands.binance.account import Account
from risk.stands.binance.faults import Faults
from risk.stands.binance.rest import rest_routes
from risk.stands.binance.sockets import socket_routes
from risk.stands.binance.venue import Venue
from tickd.ports import Clock
from tickd.secrets import secret_from_file

__all__ = ["Addresses", "Settings", "serve"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the stand-in is told at start.

    secret_file: the HMAC secret, or the public half of an Ed25519 key. chaos: share of the order
    requests that meet a fault drawn from `seed`.
    """

    market: Literal["spot", "usdm"]
    api_key_file: str
    secret_file: str
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
    currency: str = "USDT"
    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    chaos: float = 0.0


class Addresses(msgspec.Struct, frozen=True):
    """Where it listens: what goes into the account's table."""

    ws_api_url: str
    rest_url: str
    stream_url: str
    pid: int


async def serve(
    settings: Settings, clock: Clock, stop: asyncio.Event, announce: Callable[[Addresses], None]
) -> None:
    """Listen until `stop` is set. Raises ConfigError: credentials; OSError: no port."""
    access = Access(
        secret_from_file(settings.api_key_file).reveal(),
        secret_from_file(settings.secret_file).reveal(),
    )
    account = Account(settings.market, settings.currency, settings.symbols)
    venue = Venue(account, access, Faults(settings.seed, settings.chaos), clock)
    sockets, listen_key = socket_routes(venue)
    application = web.Application()
    application.add_routes([*sockets, *rest_routes(venue, listen_key)])
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
        announce(_addresses(settings, runner.addresses[0][1]))
        async with asyncio.TaskGroup() as tasks:
            venue.tasks = tasks
            countdowns = tasks.create_task(venue.run_countdowns(), name="countdowns")
            await stop.wait()
            countdowns.cancel()
            venue.cut_all()
    finally:
        await runner.cleanup()


def _addresses(settings: Settings, port: int) -> Addresses:
    at = f"{settings.host}:{port}"
    spot = settings.market == "spot"
    return Addresses(
        ws_api_url=f"ws://{at}/ws-api/v3" if spot else f"ws://{at}/ws-fapi/v1",
        rest_url=f"http://{at}",
        stream_url="" if spot else f"ws://{at}/private/ws",
        pid=os.getpid(),
    )
