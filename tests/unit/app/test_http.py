"""The operator's HTTP port, asked over a real socket."""

from __future__ import annotations

import aiohttp

from tickd.app.http import HttpServer
from tickd.telemetry.metrics import Metrics


async def test_metrics_health_and_readiness() -> None:
    metrics = Metrics()
    metrics.counter("tickd_gateway_test_frames_total", "Frames.").add(3)
    waiting = ["binance-usdm: instruments"]
    server = HttpServer(
        host="127.0.0.1", port=0, metrics=metrics, ready=lambda: waiting[0] if waiting else ""
    )
    await server.start()
    try:
        base = f"http://127.0.0.1:{server.port}"
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{base}/metrics") as reply:
                assert reply.headers["Content-Type"].startswith("text/plain")
                assert "tickd_gateway_test_frames_total 3" in await reply.text()
            async with session.get(f"{base}/healthz") as reply:
                assert (reply.status, await reply.text()) == (200, "ok\n")
            async with session.get(f"{base}/readyz") as reply:
                assert (reply.status, await reply.text()) == (503, "binance-usdm: instruments\n")
            waiting.clear()
            async with session.get(f"{base}/readyz") as reply:
                assert (reply.status, await reply.text()) == (200, "ready\n")
    finally:
        await server.stop()


async def test_a_server_that_never_started_stops() -> None:
    server = HttpServer(host="127.0.0.1", port=0, metrics=Metrics(), ready=str)
    await server.stop()
    assert server.port == 0
