"""The operator's HTTP port: /metrics, /healthz, /readyz, on loopback unless told otherwise.

It renders what others measured; it measures nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from tickd.telemetry.exposition import CONTENT_TYPE
from tickd.telemetry.metrics import Metrics


class HttpServer:
    """Serves metrics and two probes.

    `ready` returns an empty text when the daemon records, else what it waits for.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        metrics: Metrics,
        ready: Callable[[], str],
    ) -> None:
        self._host = host
        self._port = port
        self._text = metrics.text
        self._ready = ready
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._text(), headers={"Content-Type": CONTENT_TYPE})

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        waiting_for = self._ready()
        if waiting_for:
            return web.Response(status=503, text=f"{waiting_for}\n")
        return web.Response(text="ready\n")
