"""One HTTP port on loopback for the servers of this folder: opens and closes it, no more."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

BODY_BYTES_MAX = 1 << 20


class HttpSite:
    """Routes on a port."""

    def __init__(self, host: str, port: int, routes: Sequence[web.RouteDef]) -> None:
        application = web.Application(client_max_size=BODY_BYTES_MAX)
        application.add_routes(routes)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        self._host = host
        self._port = port

    async def start(self) -> str:
        """Listen; the URL."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        return f"http://{self._host}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()
