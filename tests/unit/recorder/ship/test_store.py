"""The store's verbs in memory and in a folder; its errors by kind, in words without secrets."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from recorder.ship.config import ShipConfig
from recorder.ship.errors import ObjectExistsError, ShipError
from recorder.ship.store import Bucket, _without, open_bucket
from tickd.errors import ConfigError
from tickd.secrets import Secret


@pytest.fixture(params=["memory", "file"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Bucket:
    url = "memory://" if request.param == "memory" else f"file://{tmp_path}/deep/store"
    return open_bucket(ShipConfig(url=url))


async def test_create_never_replaces(bucket: Bucket) -> None:
    await bucket.create("a/b", b"one")
    with pytest.raises(ObjectExistsError):
        await bucket.create("a/b", b"two")
    assert await bucket.read_whole("a/b", 3) == b"one"


async def test_stat_delete_and_list(bucket: Bucket) -> None:
    assert await bucket.stat("a/b") is None
    for key in ("a/c", "a/b/d", "ab"):
        await bucket.create(key, b"xyz")
    stat = await bucket.stat("a/c")
    assert stat is not None
    assert (stat.key, stat.bytes) == ("a/c", 3)
    assert [each.key for each in await bucket.list("a/")] == ["a/b/d", "a/c"]
    await bucket.delete("a/c")
    assert await bucket.stat("a/c") is None
    assert await bucket.list("nothing/") == []


async def test_large_uploads_copies_and_reading_from_an_offset(bucket: Bucket) -> None:
    content = bytes(range(256)) * (9 << 12)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(content), 1 << 20):
            yield content[at : at + (1 << 20)]

    await bucket.upload("up/x", pieces())
    await bucket.copy_new("up/x", "a/x")
    with pytest.raises(ObjectExistsError):
        await bucket.copy_new("up/x", "a/x")
    assert await bucket.read_whole("a/x", len(content)) == content
    tail = [bytes(piece) async for piece in bucket.read("a/x", len(content), 5 << 20)]
    assert b"".join(tail) == content[5 << 20 :]


async def test_an_error_of_the_source_ends_the_upload_and_is_the_one_that_is_raised(
    bucket: Bucket,
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(9 << 20)
        raise ShipError("it changed", kind="changed")

    with pytest.raises(ShipError) as caught:
        await bucket.upload("up/x", pieces())
    assert caught.value.kind == "changed"
    assert await bucket.stat("up/x") is None


async def test_reading_what_is_not_there(bucket: Bucket) -> None:
    with pytest.raises(ShipError) as caught:
        await bucket.read_whole("a/b", 3)
    assert caught.value.kind == "missing"


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def test_nobody_listens() -> None:
    config = ShipConfig(
        url="s3://bucket",
        options={"endpoint": f"http://127.0.0.1:{closed_port()}", "region": "us-east-1"},
        secrets={"access_key_id": Secret("bucket-id"), "secret_access_key": Secret("hidden")},
        request_timeout_ms=100,
    )
    with pytest.raises(ShipError) as caught:
        await open_bucket(config).stat("a/b")
    assert caught.value.kind in ("unreachable", "stalled")
    assert "hidden" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["no_such_setting", "secret_acces_key"])
def test_a_setting_that_the_store_does_not_know(name: str) -> None:
    config = ShipConfig(url="s3://bucket", secrets={name: Secret("hidden")})
    with pytest.raises(ConfigError, match="s3://bucket") as caught:
        open_bucket(config)
    assert "hidden" not in str(caught.value)


async def test_a_signed_query_does_not_show() -> None:
    words = (
        "PUT https://x.blob/a/b?sv=1&sig=abc in 3ms: key SECRET refused\n\nDebug source:\nsig=abc"
    )
    assert _without(words, ["SECRET"]) == "PUT https://x.blob/a/b?… in 3ms: key *** refused"
