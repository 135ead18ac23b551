"""The daemon's doors under hostile input: each answers or closes, and serves the next one.

Method: real servers on real sockets, one of each for all examples; Hypothesis chooses what is sent,
how it is cut, and whether the sender goes away. Behind the control socket are the commands of a
daemon that trades on paper.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness.trading_world import SYMBOL, VENUE, World, config_of, living
from tickd.app.control import LINE_BYTES_MAX, ControlServer, socket_path
from tickd.app.http import HttpServer
from tickd.app.http_config import HttpConfig
from tickd.secrets import Secret
from tickd.telemetry.metrics import Metrics

TOKEN = "correct-horse.battery_staple"
# A server that has not answered or closed by then hangs.
ANSWER_S = 10.0
EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# Enough to show a leak of what was sent, far above what caches of a first time take.
GROWTH_BYTES_MAX = 64 << 20


class Doors:
    """A loop of its own with both servers in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runner = asyncio.Runner()
        self._life = contextlib.AsyncExitStack()
        self.runner.run(self._open())

    async def _open(self) -> None:
        self.world: World = await self._life.enter_async_context(living(config_of(self.folder)))
        await self.world.define()
        await self.world.quote("100.00", "100.10")
        commands = {**self.world.trading.commands(), **self.world.halting.commands()}
        self.control = ControlServer(self.folder, commands)
        self.names = sorted(commands)
        await self.control.start()
        self._life.push_async_callback(self.control.stop)
        config = HttpConfig(port=0, token=Secret(TOKEN))
        self.http = HttpServer(config, metrics=Metrics(), ready=str)
        await self.http.start()
        self._life.push_async_callback(self.http.stop)

    def close(self) -> None:
        self.runner.run(self._life.aclose())
        self.runner.close()

    def to_control(self, parts: list[bytes], *, ends: bool = True) -> bytes:
        opening = asyncio.open_unix_connection(socket_path(self.folder), limit=LINE_BYTES_MAX)
        return self.runner.run(_talk(opening, parts, ends=ends))

    def to_http(self, parts: list[bytes], *, ends: bool = True) -> bytes:
        opening = asyncio.open_connection("127.0.0.1", self.http.port)
        return self.runner.run(_talk(opening, parts, ends=ends))

    def metrics(self) -> bytes:
        """What a scraper gets."""
        opening = asyncio.open_connection("127.0.0.1", self.http.port)
        return self.runner.run(_talk(opening, [REQUEST], ends=True, half_closes=False))


async def _talk(opening: Any, parts: list[bytes], *, ends: bool, half_closes: bool = True) -> bytes:
    """Send, and return all that comes back until the other end closes; b"" when we leave first."""
    reader, writer = await opening
    answer = b""
    try:
        async with asyncio.timeout(ANSWER_S):
            for part in parts:
                writer.write(part)
                await writer.drain()
            if ends:
                if half_closes:
                    writer.write_eof()
                answer = await reader.read()
    except ConnectionError:
        pass  # it closed before it had read everything
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return answer


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    made = Doors(tmp_path_factory.mktemp("doors"))
    yield made
    made.close()


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """The same bytes in pieces."""
    places = sorted({min(place, len(data)) for place in at})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


CUTS = st.lists(st.integers(0, 300), max_size=4)
WORDS = st.sampled_from(
    [
        "global", "venue", "account", "strategy", "instrument", "one", "chaser", VENUE, "", "nan",
        f"{VENUE}:{SYMBOL}", "ada", "filled", "cancelled", "9" * 30, "9" * 5_000, "-1.5", "1e999",
        "000001", "zzzzzz", "\x00", "\ud7ff", "operator x uid=0 pid=1",
    ]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        "scope", "key", "reason", "operator", "token", "ref", "end", "filled", "price", "account",
        "instrument", "size", "strategy", "all", "command", "peer",
    ]
)  # fmt: skip


@EXAMPLES
@given(data=st.data(), at=CUTS)
def test_every_line_to_the_control_socket_is_answered(
    doors: Doors, data: st.DataObject, at: list[int]
) -> None:
    name = data.draw(st.sampled_from(doors.names))
    request = data.draw(st.dictionaries(KEYS, VALUES, max_size=8)) | {"command": name}
    line = json.dumps(request).encode() + b"\n"
    failures = doors.control.failures_total
    answer = json.loads(doors.to_control(cut(line, at)))
    assert answer.keys() in ({"result"}, {"error"}, {"error", "hint"})
    assert doors.control.failures_total == failures, answer
    assert doors.world.halting.word.is_halted, "no line arms in one step"


@EXAMPLES
@given(junk=st.binary(max_size=400), at=CUTS, ends=st.booleans())
def test_bytes_to_the_control_socket_hurt_nobody(
    doors: Doors, junk: bytes, at: list[int], ends: bool
) -> None:
    answer = doors.to_control(cut(junk, at), ends=ends)
    if ends:
        assert "known: " in json.loads(answer)["error"]
    assert b'"result"' in doors.to_control([b'{"command":"risk_status"}\n'])


REQUEST = (
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"
    b"Connection: close\r\n\r\n" % TOKEN.encode()
)
PIECES = st.sampled_from(
    [
        b"GET ", b"POST ", b"/metrics", b" HTTP/1.1\r\n", b"HTTP/9.9", b"\r\n", b"\r\n\r\n",
        b"\x00", b"Content-Length: 99999999999999999999\r\n", b"Content-Length: -1\r\n", b":",
        b"Host: x\r\n", b"Transfer-Encoding: chunked\r\n", b"ffffffffffffffff\r\n", b"Bearer ",
        b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\n", b"A: " + b"x" * 9_000,
        b"/" + b"y" * 9_000, b"Authorization: Bearer \xff\xfe\r\n", b"/../../etc",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"Range: bytes=0-0\r\n", b"OPTIONS * HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ]
)  # fmt: skip
MUTATED = st.builds(
    lambda at, length, new: REQUEST[:at] + new + REQUEST[at + length :],
    st.integers(0, len(REQUEST)),
    st.integers(0, 40),
    st.binary(max_size=40),
)


@EXAMPLES
@given(
    sent=st.binary(max_size=400) | MUTATED | st.lists(PIECES, max_size=8).map(b"".join),
    at=CUTS,
    ends=st.booleans(),
)
def test_bytes_to_http_are_answered_or_the_connection_ends(
    doors: Doors, sent: bytes, at: list[int], ends: bool
) -> None:
    answer = doors.to_http(cut(sent, at), ends=ends)
    assert not answer or answer.startswith(b"HTTP/1."), answer[:80]
    assert not (answer.startswith(b"HTTP/1.1 5")), "what was sent is no fault of the server's"
    assert doors.metrics().startswith(b"HTTP/1.1 200 ")


def peak_bytes() -> int:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize(
    ("door", "begin", "more"),
    [
        (Doors.to_control, b'{"command":"', b"x" * 65_536),
        (Doors.to_http, b"GET /", b"y" * 65_536),
        (Doors.to_http, b"GET / HTTP/1.1\r\n", b"A: b\r\n" * 10_000),
        (
            Doors.to_http,
            b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n",
            b"z" * 65_536,
        ),
        (
            Doors.to_http,
            b"POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"10000\r\n" + b"z" * 65_536 + b"\r\n",
        ),
    ],
    ids=["line", "path", "headers", "body", "chunks"],
)
def test_who_never_stops_sending_costs_no_memory(
    doors: Doors, door: Callable[..., bytes], begin: bytes, more: bytes
) -> None:
    before = peak_bytes()
    door(doors, [begin, *[more] * 2_000])  # 125 MiB, if it were read
    assert peak_bytes() - before < GROWTH_BYTES_MAX
    assert doors.metrics().startswith(b"HTTP/1.1 200 ")
    assert b'"result"' in doors.to_control([b'{"command":"risk_status"}\n'])
