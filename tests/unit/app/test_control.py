"""The control socket: one line in, one line out, for the owner only."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tickd.app.control import (
    CONNECTIONS_MAX,
    ControlServer,
    Peer,
    ask,
    asking_peer,
    socket_path,
)
from tickd.errors import Action, TickdError


async def echo(request: Mapping[str, object]) -> object:
    return dict(request)


async def refuse(_: Mapping[str, object]) -> object:
    raise TickdError("not now", action=Action.SKIP, hint="later")


@contextlib.asynccontextmanager
async def serving(state_dir: Path) -> AsyncIterator[ControlServer]:
    server = ControlServer(state_dir, {"echo": echo, "refuse": refuse})
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def raw(state_dir: Path, line: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(socket_path(state_dir))
    writer.write(line)
    if writer.can_write_eof():
        writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_command_gets_its_arguments_and_gives_its_result(tmp_path: Path) -> None:
    async with serving(tmp_path):
        answer = await ask(tmp_path, "echo", topics=True)
    assert answer == {"command": "echo", "topics": True}


async def test_refusal_arrives_with_its_hint(tmp_path: Path) -> None:
    async with serving(tmp_path):
        with pytest.raises(TickdError, match="not now") as refused:
            await ask(tmp_path, "refuse")
    assert refused.value.hint == "later"


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"{}\n", b"[]\n", b'{"command": "nope"}\n', b"\xff\n"]
)
async def test_nonsense_is_answered_with_the_known_commands(tmp_path: Path, line: bytes) -> None:
    async with serving(tmp_path):
        assert b"known: echo, refuse" in await raw(tmp_path, line)
        assert await ask(tmp_path, "echo") == {"command": "echo"}


async def test_endless_line_ends_only_its_own_connection(tmp_path: Path) -> None:
    async with serving(tmp_path):
        with contextlib.suppress(ConnectionError):
            assert await raw(tmp_path, b"x" * (3 << 20)) == b""
        assert await ask(tmp_path, "echo") == {"command": "echo"}


async def test_only_the_owner_may_ask_and_the_socket_goes_with_the_server(tmp_path: Path) -> None:
    socket_path(tmp_path).write_text("left by a killed daemon")
    async with serving(tmp_path):
        mode = socket_path(tmp_path).stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
    assert not socket_path(tmp_path).exists()


async def test_without_a_daemon_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(TickdError, match="no daemon answers at") as refused:
        await ask(tmp_path, "echo")
    assert refused.value.hint == "start one with: tickd run CONFIG"


async def test_a_deleted_socket_is_opened_again(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    async with serving(state_dir) as server:
        await server.keep()
        before = socket_path(state_dir).stat().st_ino
        await server.keep()
        assert socket_path(state_dir).stat().st_ino == before
        shutil.rmtree(state_dir)
        await server.keep()
        assert await ask(state_dir, "echo") == {"command": "echo"}


async def test_a_socket_that_cannot_be_made_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    server = ControlServer(tmp_path / "state", {"echo": echo})
    await server.keep()
    await server.keep()
    (tmp_path / "state").unlink()
    await server.keep()
    assert await ask(tmp_path / "state", "echo") == {"command": "echo"}
    await server.stop()


async def test_the_kernel_says_who_asks_whatever_the_line_says(tmp_path: Path) -> None:
    seen: list[Peer | None] = []

    async def who(_: Mapping[str, object]) -> object:
        seen.append(asking_peer())
        return None

    server = ControlServer(tmp_path, {"who": who})
    await server.start()
    await ask(tmp_path, "who", uid=0, pid=1, peer={"uid": 0})
    await server.stop()
    assert seen == [Peer(uid=os.geteuid(), pid=os.getpid())]
    assert asking_peer() is None, "a command that was called from within has no peer"


async def test_another_user_is_refused_and_counted_and_nothing_runs(tmp_path: Path) -> None:
    server = ControlServer(tmp_path, {"echo": echo}, allowed_uids=frozenset({os.geteuid() + 1}))
    await server.start()
    with pytest.raises(TickdError, match=f"uid {os.geteuid()} may not command") as refused:
        await ask(tmp_path, "echo")
    await server.stop()
    assert "root" in str(refused.value.hint)
    assert server.refused_total == 1


async def test_a_command_with_a_bug_is_answered(tmp_path: Path) -> None:
    async def buggy(_: Mapping[str, object]) -> object:
        raise ZeroDivisionError("a bug with a secret in it")

    server = ControlServer(tmp_path, {"buggy": buggy})
    await server.start()
    with pytest.raises(TickdError, match=r"^buggy failed: ZeroDivisionError$") as failed:
        await ask(tmp_path, "buggy")
    await server.stop()
    assert failed.value.hint == "the log has more"
    assert server.failures_total == 1


async def test_a_result_that_is_no_json_is_answered_as_a_failure(tmp_path: Path) -> None:
    async def odd(_: Mapping[str, object]) -> object:
        return {("a", "pair"): 1}

    server = ControlServer(tmp_path, {"odd": odd})
    await server.start()
    with pytest.raises(TickdError, match=r"^odd failed: TypeError$"):
        await ask(tmp_path, "odd")
    await server.stop()


async def test_an_answer_of_any_size_of_figure_arrives(tmp_path: Path) -> None:
    async def huge(_: Mapping[str, object]) -> object:
        return {"pnl": 10**30, "bits": 1 << 20_000}

    server = ControlServer(tmp_path, {"huge": huge})
    await server.start()
    answer = await ask(tmp_path, "huge")
    await server.stop()
    assert answer == {"pnl": 1e30, "bits": "an integer of 20001 bits"}


async def test_a_stop_ends_who_says_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        reader, writer = await asyncio.open_unix_connection(socket_path(tmp_path))
        while not server.connections_count:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()


async def test_more_connections_than_places_are_turned_away(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, contextlib.AsyncExitStack() as open_ones:
        for _ in range(CONNECTIONS_MAX):
            _, writer = await asyncio.open_unix_connection(socket_path(tmp_path))
            open_ones.callback(writer.close)
        while server.connections_count < CONNECTIONS_MAX:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        with contextlib.suppress(ConnectionError):
            assert await raw(tmp_path, b"{}\n") == b""
        with pytest.raises(TickdError, match=r"without an answer|no daemon answers"):
            await ask(tmp_path, "echo")
        assert server.turned_away_total == 2
        await open_ones.aclose()
        while server.connections_count:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        assert await ask(tmp_path, "echo") == {"command": "echo"}
