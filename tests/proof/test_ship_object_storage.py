"""Shipping against an S3 server: cut, flipped, killed, doubled, forgotten; each run heals the last.

The server is moto in a process of its own, the network between a proxy that breaks chosen requests.
Segments are larger than a part, so that they go the way of multipart uploads.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from recorder.ship.config import ShipConfig
from recorder.ship.keys import Keys
from recorder.ship.sender import Sender
from recorder.ship.store import open_bucket
from recorder.sink.plan import Plan
from tests.harness.processes import REPOSITORY
from tests.reference import raw_log as reference
from tickd.native import Decoder, RawLog, manifest_read
from tickd.secrets import Secret
from tickd.testing.clock import ManualClock
from tickd.testing.faulty_proxy import Fault, FaultyProxy

pytestmark = [pytest.mark.proof, pytest.mark.timeout(240)]

BUCKET = "ticks"
KEY = "do-not-show-this-key"
PART_BYTES = 5 << 20
LARGE_BYTES = 11 << 20


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """An S3 server without a bucket."""
    command = [sys.executable, str(REPOSITORY / "tests/servers/object_store.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["port"]
        server.stdin.close()
        server.wait(20)


def s3(port: int, path: str, method: str = "GET") -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", method=method)
    with urllib.request.urlopen(request, timeout=10) as reply:
        return bytes(reply.read())


class Site:
    """A state directory with sealed segments, and the way to the store."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self.bucket_name = f"{BUCKET}-{os.urandom(4).hex()}"
        s3(port, self.bucket_name, "PUT")
        self.state_dir = directory / "state"
        (directory / "key").write_text(KEY)
        (directory / "key").chmod(0o600)
        self.bucket = open_bucket(self.ship_config())

    def ship_config(self, **fields: Any) -> ShipConfig:
        return ShipConfig(
            url=f"s3://{self.bucket_name}",
            options={"endpoint": f"http://127.0.0.1:{self.port}", "region": "us-east-1"},
            secrets={"access_key_id": Secret("id"), "secret_access_key": Secret(KEY)},
            **fields,
        )

    def config(self, port: int, name: str = "tickd.toml", **ship: object) -> Path:
        fields: dict[str, object] = {
            "url": f"s3://{self.bucket_name}",
            "part_bytes": PART_BYTES,
            "request_timeout_ms": 3000,
            "aside_age_s": 0,
            **ship,
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
        path = self.directory / name
        path.write_text(
            f'[node]\nid = 3\nstate_dir = "{self.state_dir}"\n[ship]\n'
            + "\n".join(lines)
            + f'\noptions = {{ endpoint = "http://127.0.0.1:{port}", region = "us-east-1" }}\n'
            + 'secrets = { access_key_id = { env = "SHIP_ID" }, '
            + f'secret_access_key = {{ file = "{self.directory}/key" }} }}\n'
        )
        return path

    def record(self, *sizes: int) -> None:
        """Add a sealed segment per size, of bytes that do not compress."""
        for size in sizes:
            log = RawLog(str(self.state_dir / "raw"), node=3)
            decoder = Decoder()
            log.restore_decoder(decoder)
            for _ in range(max(1, size >> 20)):
                log.record(0, "B", os.urandom(min(size, 1 << 20)))
                log.end_burst(decoder)
            log.close()

    def segments(self) -> list[Path]:
        return sorted((self.state_dir / "raw" / "segments").glob("*.tkraw"))

    def key(self, path: Path) -> str:
        day = path.name[21:29]
        return f"tickd/3/{day[:4]}/{day[4:6]}/{day[6:]}/{path.name}"

    def lines(self, kind: str) -> list[dict[str, Any]]:
        lines = reference.read_manifest(self.state_dir / "raw")  # checks chain and sums
        return [line for line in lines if line["kind"] == kind]

    def uploads(self) -> bytes:
        return s3(self.port, f"{self.bucket_name}?uploads")

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tickd",
            *arguments,
            cwd=REPOSITORY,
            env={**os.environ, "SHIP_ID": "id"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str) -> tuple[int, dict[str, Any], str]:
        """Run a command with --json; its exit code, answer and everything else it said."""
        process = await self.start(*arguments, "--json")
        out, err = await process.communicate()
        assert process.returncode is not None
        text = out.decode() + err.decode()
        assert KEY not in text
        return process.returncode, json.loads(out) if out else {}, text

    async def assert_shipped(self) -> None:
        """Every segment is there whole, once, and the manifest says so; nothing else is there."""
        shipped = {line["file"]: line for line in self.lines("verified")}
        for path in self.segments():
            line = shipped[f"segments/{path.name}"]
            stored = await self.bucket.read_whole(self.key(path), path.stat().st_size)
            assert stored == path.read_bytes()
            assert line["key"] == self.key(path)
        there = {stat.key for stat in await self.bucket.list("tickd/3")}
        assert {key for key in there if "/manifest/" not in key} == set(
            map(self.key, self.segments())
        )


@pytest.fixture
async def site(tmp_path: Path, port: int) -> Site:
    site = Site(tmp_path, port)
    site.record(LARGE_BYTES, 100_000)
    return site


@pytest.fixture
async def proxy(port: int) -> AsyncIterator[FaultyProxy]:
    async with FaultyProxy("127.0.0.1", port) as proxy:
        yield proxy


async def test_cuts_within_the_retries_are_not_even_seen(site: Site, proxy: FaultyProxy) -> None:
    proxy.arm(
        Fault("cut_inside", "partNumber=2"),
        Fault("cut_after", "partNumber"),
        Fault("cut_before", "uploadId"),
    )
    code, answer, _ = await site.run("ship", str(site.config(proxy.port)))
    assert (code, answer["shipped"]) == (0, 2)
    assert proxy.faults_left == 0
    await site.assert_shipped()


async def test_an_upload_cut_for_good_leaves_nothing_and_the_next_run_finishes(
    site: Site, proxy: FaultyProxy
) -> None:
    proxy.arm(*[Fault("cut_inside", "partNumber=2")] * 30)
    code, answer, _ = await site.run("ship", str(site.config(proxy.port)))
    assert code == 1
    assert {each["kind"] for each in answer["failures"]} <= {"unreachable", "stalled"}
    assert answer["shipped"] == 0
    assert site.lines("shipped") == []
    assert await site.bucket.stat(site.key(site.segments()[0])) is None
    code, answer, _ = await site.run("ship", str(site.config(site.port)))
    assert (code, answer["shipped"], answer["failures"]) == (0, 2, [])
    await site.assert_shipped()


async def test_an_answer_that_never_came_is_found_out_by_looking(
    site: Site, proxy: FaultyProxy
) -> None:
    """The copy to the final key was done; the client heard nothing, and asked again."""
    small = site.segments()[1]
    proxy.arm(*[Fault("cut_after", small.name)])
    code, answer, _ = await site.run("ship", str(site.config(proxy.port)))
    assert code == 0, answer
    await site.assert_shipped()


async def test_kill_9_in_the_middle_of_an_upload(site: Site, proxy: FaultyProxy) -> None:
    for count, match in enumerate(
        ("partNumber=1", "partNumber=2", "uploadId", "HEAD", "GET /ticks")
    ):
        shutil.rmtree(site.state_dir, ignore_errors=True)
        site.record(LARGE_BYTES + count, 1000)
        proxy.arm(Fault("delay", match))
        process = await site.start("ship", str(site.config(proxy.port)))
        await used_up(proxy)
        process.kill()
        await process.communicate()
        large, small = site.segments()
        assert f"segments/{small.name}" not in {line["file"] for line in site.lines("shipped")}
        code, answer, _ = await site.run("ship", str(site.config(site.port)))
        assert (code, answer["failures"]) == (0, []), match
        for path in (large, small):
            size = path.stat().st_size
            assert await site.bucket.read_whole(site.key(path), size) == path.read_bytes()
        assert len(site.lines("verified")) == 2
    proxy.release()


async def test_parts_of_a_killed_process_are_forgotten_after_a_day(
    site: Site, proxy: FaultyProxy
) -> None:
    proxy.arm(Fault("delay", "partNumber=1"))
    process = await site.start("ship", str(site.config(proxy.port, prefix="ab/c")))
    await used_up(proxy)
    process.kill()
    await process.communicate()
    proxy.release()
    assert site.uploads().count(b"<UploadId>") == 1
    config = site.ship_config(prefix="ab/c")
    clock = ManualClock(wall_ns=time.time_ns())
    sender = Sender(config, keys=Keys("ab/c", 3), bucket=site.bucket, clock=clock)
    await sender.sweep()
    assert site.uploads().count(b"<UploadId>") == 1  # somebody may be working on it
    clock.step_wall(25 * 3600 * 10**9)
    await sender.sweep()
    assert site.uploads().count(b"<UploadId>") == 0
    assert (await site.run("ship", str(site.config(site.port))))[0] == 0
    await site.assert_shipped()


@pytest.mark.parametrize("match", ["partNumber=2", ".tkraw HTTP"])
async def test_a_flipped_bit_is_found_and_the_object_withdrawn(
    site: Site, proxy: FaultyProxy, match: str
) -> None:
    proxy.arm(Fault("flip", f"PUT /{site.bucket_name}"))
    if match == "partNumber=2":
        proxy._faults.clear()
        proxy.arm(Fault("flip", match))
    else:
        large = site.segments()[0]
        await site.bucket.create(site.key(large), large.read_bytes())  # the small one comes first
    code, answer, _ = await site.run("ship", str(site.config(proxy.port)))
    assert proxy.faults_left == 0
    assert code == 1
    assert [each["kind"] for each in answer["failures"]] == ["corrupted"]
    broken = answer["failures"][0]["file"]
    assert broken not in {line["file"] for line in site.lines("shipped")}
    code, answer, _ = await site.run("ship", str(site.config(site.port)))
    assert (code, answer["shipped"]) == (0, 1)
    await site.assert_shipped()


async def test_a_tampered_object_is_named_never_replaced_and_nothing_is_removed(
    site: Site,
) -> None:
    config = site.config(site.port, keep_days=0)
    assert (await site.run("ship", str(config)))[0] == 0
    large = site.segments()[0]
    tampered = bytearray(large.read_bytes())
    tampered[-1] ^= 1
    await site.bucket.delete(site.key(large))
    await site.bucket.create(site.key(large), bytes(tampered))
    settle(site)
    code, answer, _ = await site.run("ship", str(config), "--verify")
    assert code == 3
    assert {(each["kind"]) for each in answer["failures"]} == {"different"}
    assert answer["removed"] == 0
    assert large.exists()
    stored = await site.bucket.read_whole(site.key(large), len(tampered))
    assert stored == bytes(tampered)


async def test_two_processes_at_the_same_time_ship_everything_once(site: Site) -> None:
    site.record(*[200_000] * 8)
    config = str(site.config(site.port))
    answers = await asyncio.wait_for(
        asyncio.gather(*(site.run("ship", config) for _ in range(2))), timeout=90
    )
    assert [code for code, _, _ in answers] == [0, 0], answers
    assert sum(answer["shipped"] for _, answer, _ in answers) == 10
    await site.assert_shipped()
    code, answer, _ = await site.run("ship", config)
    assert (code, answer["shipped"], answer["present"]) == (0, 0, 0)


async def test_other_part_sizes_and_e_tags_are_no_difference(site: Site) -> None:
    """The manifest was lost behind the sealed lines; the store names the versions otherwise."""
    manifest = site.state_dir / "raw" / "MANIFEST.jsonl"
    before = manifest.read_bytes()
    assert (await site.run("ship", str(site.config(site.port))))[0] == 0
    tags = {line["key"]: line["e_tag"] for line in site.lines("shipped")}
    manifest.write_bytes(before)
    for path in site.segments():
        await site.bucket.delete(site.key(path))
        await site.bucket.create(site.key(path), path.read_bytes())
    config = site.config(site.port, part_bytes=64 << 20)
    code, answer, _ = await site.run("ship", str(config))
    assert (code, answer["shipped"], answer["present"]) == (0, 0, 2)
    assert {line["key"]: line["e_tag"] for line in site.lines("shipped")} != tags
    await site.assert_shipped()


async def test_a_wrong_key_and_a_missing_bucket_are_said_without_the_key(
    site: Site, proxy: FaultyProxy
) -> None:
    denied = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    proxy.arm(*[Fault("answer", site.bucket_name, denied)] * 10)
    code, answer, text = await site.run("ship", str(site.config(proxy.port)))
    assert code == 1
    assert answer["failures"][0]["kind"] == "refused", answer
    assert KEY not in text
    config = site.config(site.port, url="s3://not-there-at-all")
    code, answer, _ = await site.run("ship", str(config))
    assert code == 1
    assert answer["failures"]


async def test_the_bucket_alone_gives_the_log_back(site: Site, proxy: FaultyProxy) -> None:
    site.record(300_000)
    assert (await site.run("ship", str(site.config(site.port))))[0] == 0
    records = reference.read_log(site.state_dir / "raw")
    to = site.directory / "new"
    proxy.arm(*[Fault("cut_before", "GET")] * 2, *[Fault("cut_before", ".tkraw")] * 30)
    through = ("restore", "--config", str(site.config(proxy.port)), "--to", str(to))
    code, answer, _ = await site.run(*through)
    assert code == 3
    assert answer["failures"]
    proxy._faults.clear()
    proxy.arm(Fault("delay", ".tkraw"))
    process = await site.start(*through)
    await used_up(proxy)
    process.kill()
    await process.communicate()
    code, answer, _ = await site.run(*through[:2], str(site.config(site.port)), *through[3:])
    assert (code, answer["failures"], answer["lost"]) == (0, [], [])
    assert reference.read_log(to / "raw") == records
    kinds = [line["kind"] for line in manifest_read(str(to / "raw"))]
    assert kinds.count("restored") == 3
    log = RawLog(str(to / "raw"), node=3)
    assert log.recovery["clean"]
    log.close()


async def used_up(proxy: FaultyProxy) -> None:
    """Until every fault has hit its request."""
    async with asyncio.timeout(30):
        while proxy.faults_left:  # noqa: ASYNC110 - the proxy has no event for it
            await asyncio.sleep(0.01)


def settle(site: Site) -> None:
    """A sink that needs nothing any more."""
    plan = Plan(site.state_dir / "sink" / "plan.jsonl")
    plan.plan([], 1 << 62)
    plan.close()
