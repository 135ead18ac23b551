"""The operator's HTTP port, asked over a real socket: who may ask, over what, and how many."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
import uvloop

from tests.harness.certificates import made_certificate
from tickd.app import http as http_module
from tickd.app.http import CONNECTIONS_MAX, HttpServer
from tickd.app.http_config import HttpConfig, is_loopback
from tickd.config import parse
from tickd.errors import ConfigError, TickdError
from tickd.secrets import Secret
from tickd.telemetry.exemplars import Exemplars
from tickd.telemetry.metrics import Metrics

TOKEN = "correct-horse.battery_staple~7=="
ENDS = datetime(2071, 1, 1, tzinfo=UTC)


@contextlib.asynccontextmanager
async def serving(
    config: HttpConfig, waiting: list[str] | None = None
) -> AsyncIterator[HttpServer]:
    metrics = Metrics()
    metrics.counter("tickd_gateway_test_frames_total", "Frames.").add(3)
    server = HttpServer(config, metrics=metrics, ready=lambda: waiting[0] if waiting else "")
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def asked(
    server: HttpServer,
    path: str,
    *headers: tuple[str, str],
    scheme: str = "http",
    context: ssl.SSLContext | None = None,
) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"{scheme}://127.0.0.1:{server.port}{path}", headers=list(headers), ssl=context or True
        ) as reply,
    ):
        return reply.status, await reply.text()


def bearer(token: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {token}")


async def test_metrics_health_and_readiness() -> None:
    waiting = ["binance-usdm: instruments"]
    async with serving(HttpConfig(port=0), waiting) as server:
        status, text = await asked(server, "/metrics")
        assert status == 200
        assert "tickd_gateway_test_frames_total 3" in text
        assert await asked(server, "/healthz") == (200, "ok\n")
        assert await asked(server, "/readyz") == (503, "binance-usdm: instruments\n")
        waiting.clear()
        assert await asked(server, "/readyz") == (200, "ready\n")


async def test_a_server_that_never_started_stops() -> None:
    server = HttpServer(HttpConfig(port=0), metrics=Metrics(), ready=str)
    await server.stop()
    assert server.port == 0


async def test_with_a_token_everything_but_health_asks_for_it() -> None:
    async with serving(HttpConfig(port=0, token=Secret(TOKEN))) as server:
        assert await asked(server, "/healthz") == (200, "ok\n")
        assert await asked(server, "/readyz", bearer(TOKEN)) == (200, "ready\n")
        assert (await asked(server, "/metrics", ("authorization", f"bearer {TOKEN}")))[0] == 200
        assert server.refused_total == 0
        for path in ("/metrics", "/readyz", "/nowhere", "/"):
            status, text = await asked(server, path)
            assert (status, text) == (401, "a token is needed\n")
        assert (await asked(server, "/nowhere", bearer(TOKEN)))[0] == 404
        assert server.refused_total == 4


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", TOKEN)],
        [("Authorization", f"Basic {TOKEN}")],
        [("Authorization", "Bearer ")],
        [bearer(TOKEN[:-1])],
        [bearer(TOKEN + "x")],
        [bearer(TOKEN.upper())],
        [bearer(TOKEN), bearer(TOKEN)],
        [bearer("\xff\xfe")],
        [("X-Token", TOKEN)],
    ],
)
async def test_what_is_not_the_token_is_refused(headers: list[tuple[str, str]]) -> None:
    async with serving(HttpConfig(port=0, token=Secret(TOKEN))) as server:
        assert (await asked(server, "/metrics", *headers))[0] == 401
        assert (await asked(server, f"/metrics?token={TOKEN}"))[0] == 401, "never in a URL"


async def test_over_tls_and_with_a_renewed_certificate(tmp_path: Path) -> None:
    cert_file, key_file = made_certificate(tmp_path, ENDS)
    config = HttpConfig(
        port=0, token=Secret(TOKEN), cert_file=str(cert_file), key_file=str(key_file)
    )
    first = ssl.create_default_context(cafile=str(cert_file))
    async with serving(config) as server:
        told = await asked(server, "/metrics", bearer(TOKEN), scheme="https", context=first)
        assert told[0] == 200
        with pytest.raises(aiohttp.ClientError):
            await asked(server, "/healthz")
        made_certificate(tmp_path, ENDS)
        second = ssl.create_default_context(cafile=str(cert_file))
        server.renew()
        told = await asked(server, "/healthz", scheme="https", context=second)
        assert told == (200, "ok\n")
        with pytest.raises(aiohttp.ClientSSLError):
            await asked(server, "/healthz", scheme="https", context=first)


@pytest.mark.parametrize("what", ["key is to come", "certificate is to come", "no key"])
async def test_a_half_written_renewal_leaves_the_old_pair_until_it_is_whole(
    tmp_path: Path, what: str
) -> None:
    (tmp_path / "new").mkdir()
    files = made_certificate(tmp_path, ENDS)
    new = made_certificate(tmp_path / "new", ENDS)
    old_context, new_context = (
        ssl.create_default_context(cafile=str(path)) for path in (files[0], new[0])
    )
    config = HttpConfig(port=0, cert_file=str(files[0]), key_file=str(files[1]))
    async with serving(config) as server:
        if what == "key is to come":
            files[0].write_bytes(new[0].read_bytes())
        if what == "certificate is to come":
            files[1].write_bytes(new[1].read_bytes())
        if what == "no key":
            files[1].write_bytes(b"")
        server.renew()
        for _ in range(2):
            told = await asked(server, "/healthz", scheme="https", context=old_context)
            assert told == (200, "ok\n")
        for path, written in zip(files, new, strict=True):
            path.write_bytes(written.read_bytes())
        server.renew()
        told = await asked(server, "/healthz", scheme="https", context=new_context)
        assert told == (200, "ok\n")
        with pytest.raises(aiohttp.ClientSSLError):
            await asked(server, "/healthz", scheme="https", context=old_context)


@pytest.mark.parametrize("what", ["absent", "other key", "password", "no pem"])
async def test_a_certificate_that_cannot_be_used_ends_the_start_in_words(
    tmp_path: Path, what: str
) -> None:
    cert_file, key_file = made_certificate(
        tmp_path, ENDS, password=b"pass" if what == "password" else b""
    )
    if what == "absent":
        key_file.unlink()
    if what == "other key":
        (tmp_path / "other").mkdir()
        made_certificate(tmp_path / "other", ENDS)[1].replace(key_file)
    if what == "no pem":
        cert_file.write_bytes(b"nothing")
    config = HttpConfig(port=0, cert_file=str(cert_file), key_file=str(key_file))
    with pytest.raises(TickdError, match="certificate") as refused:
        async with serving(config):
            pass
    assert "PEM" in str(refused.value.hint)


def table(**keys: str) -> HttpConfig:
    class Whole(http_module.HttpConfig, frozen=True, kw_only=True):
        pass

    text = "".join(f"{key} = {value}\n" for key, value in keys.items())
    return parse(
        text.encode(), Whole, environment={"T": TOKEN, "SHORT": "short", "BAD": "x" * 20 + "é"}
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org", ""])
def test_a_port_that_others_reach_needs_token_and_tls(host: str) -> None:
    said = {"host": f'"{host}"'}
    with pytest.raises(ConfigError, match="has no token and no TLS"):
        table(**said)
    with pytest.raises(ConfigError, match="has no TLS"):
        table(**said, token='{ env = "T" }')
    tls = {"cert_file": '"c"', "key_file": '"k"'}
    with pytest.raises(ConfigError, match="has no token"):
        table(**said, **tls)
    assert table(**said, **tls, token='{ env = "T" }').lacks == ""
    assert table(**said, insecure="true").lacks == "token and no TLS"
    assert table(**said, enabled="false").lacks == ""


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"cert_file": '"c"'}, "belong together"),
        ({"key_file": '"k"'}, "belong together"),
        ({"token": '{ env = "SHORT" }'}, "at least 16"),
        ({"token": '{ env = "BAD" }'}, "other than letters"),
        ({"token": '"plain"'}, "a secret is not written here"),
    ],
)
def test_keys_that_do_not_fit_are_refused_without_showing_a_token(
    keys: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        table(**keys)
    assert "short" not in str(refused.value)
    assert "é" not in str(refused.value)


def test_what_is_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.9.1", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "10.0.0.1", "localhost.evil", "", "::")))


async def test_more_connections_than_places_are_turned_away_and_places_come_back() -> None:
    async with serving(HttpConfig(port=0)) as server, contextlib.AsyncExitStack() as open_ones:
        for _ in range(CONNECTIONS_MAX):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            open_ones.callback(writer.close)
        await until(lambda: server.connections_count == CONNECTIONS_MAX)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        assert server.turned_away_total == 1
        await open_ones.aclose()
        await until(lambda: not server.connections_count)
        assert await asked(server, "/healthz") == (200, "ok\n")


async def test_who_sends_nothing_loses_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "LIFETIME_S", 0.01)
    async with serving(HttpConfig(port=0)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        await until(lambda: not server.connections_count)


async def test_a_handshake_that_never_ends_loses_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_module, "HANDSHAKE_S", 0.01)
    cert_file, key_file = made_certificate(tmp_path, ENDS)
    config = HttpConfig(port=0, cert_file=str(cert_file), key_file=str(key_file))
    async with serving(config) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        await until(lambda: not server.connections_count)


LOOPS = pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
MakeLoop = Callable[[], asyncio.AbstractEventLoop]


def tls_config(folder: Path) -> tuple[HttpConfig, ssl.SSLContext]:
    cert_file, key_file = made_certificate(folder, ENDS)
    config = HttpConfig(port=0, cert_file=str(cert_file), key_file=str(key_file))
    return config, ssl.create_default_context(cafile=str(cert_file))


def on_loop(make_loop: MakeLoop, run: Coroutine[object, object, None]) -> None:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(run)


def descriptors_count() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@LOOPS
def test_silent_clients_beyond_the_limit_hold_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_loop: MakeLoop
) -> None:
    monkeypatch.setattr(http_module, "HANDSHAKE_S", 3_600.0)  # nothing but the limit ends them
    monkeypatch.setattr(http_module, "LIFETIME_S", 3_600.0)
    config, context = tls_config(tmp_path)
    beyond = 100

    async def run() -> None:
        async with serving(config) as server, contextlib.AsyncExitStack() as open_ones:
            before = descriptors_count()
            streams = []
            for _ in range(CONNECTIONS_MAX + beyond):
                streams.append(await asyncio.open_connection("127.0.0.1", server.port))
                open_ones.callback(streams[-1][1].close)
            await until(lambda: server.turned_away_total == beyond)
            assert server.connections_count == CONNECTIONS_MAX
            for reader, writer in streams[CONNECTIONS_MAX:]:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
                writer.close()
            # Both ends of those with a place.
            await until(lambda: descriptors_count() - before == 2 * CONNECTIONS_MAX)
            await open_ones.aclose()
            await until(lambda: not server.connections_count)
            told = await asked(server, "/healthz", scheme="https", context=context)
            assert told == (200, "ok\n")

    on_loop(make_loop, run())


@LOOPS
@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\n\r\n"])
def test_who_ends_a_handshake_early_or_wrongly_gives_the_place_back(
    tmp_path: Path, make_loop: MakeLoop, sent: bytes
) -> None:
    config, context = tls_config(tmp_path)

    async def run() -> None:
        async with serving(config) as server:
            for ends in (True, False):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                await until(lambda: server.connections_count == 1)
                writer.write(sent)
                if ends:
                    writer.write_eof()
                    with contextlib.suppress(ConnectionError):
                        await reader.read()
                writer.transport.abort()
                await until(lambda: not server.connections_count)
            told = await asked(server, "/metrics", scheme="https", context=context)
            assert told[0] == 200
            await until(lambda: not server.connections_count)

    on_loop(make_loop, run())


@LOOPS
def test_a_long_answer_over_tls_arrives_whole(tmp_path: Path, make_loop: MakeLoop) -> None:
    """More than any buffer holds, so that writing pauses and goes on."""
    config, context = tls_config(tmp_path)

    async def run() -> None:
        async with serving(config) as server:
            server.metrics.counter("tickd_gateway_long_total", "x" * (8 << 20))
            status, text = await asked(server, "/metrics", scheme="https", context=context)
            assert (status, text.encode()) == (200, server.metrics.text())

    on_loop(make_loop, run())


async def until(condition: object) -> None:
    async with asyncio.timeout(10):
        while not condition():  # type: ignore[operator]  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)


async def test_who_reads_openmetrics_gets_exemplars_where_batches_are_traced() -> None:
    async with serving(HttpConfig(port=0)) as server:
        accept = ("Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
        assert "# EOF" not in (await asked(server, "/metrics", accept))[1]
        server.exemplars = Exemplars()
        assert (await asked(server, "/metrics", accept))[1].endswith("# EOF\n")
        assert "# EOF" not in (await asked(server, "/metrics"))[1]
