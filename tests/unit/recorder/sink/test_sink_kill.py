"""Proof by kill -9: a daemon with a real raw log dies at any moment, through broken connections."""

import asyncio
import sys
from random import Random

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import ClickHouseConfig
from recorder.verify.verify import verify
from tickd.testing.faulty_proxy import Fault, FaultyProxy

pytestmark = [pytest.mark.proof, pytest.mark.embedded, pytest.mark.timeout(180)]

KILLS = 10
DAEMON = "tests/servers/sink_daemon.py"


async def spawn(state, *arguments):
    with (state / "daemon.log").open("ab") as log:
        return await _spawn(log, state, *arguments)


async def _spawn(log, *arguments):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        DAEMON,
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
    )


@pytest.mark.parametrize("seed", [1, 2])
async def test_kill_nine_at_any_moment_leaves_each_row_once(endpoint, database, tmp_path, seed):
    dice, key = Random(seed), endpoint.password.reveal()
    port = int(endpoint.url.rpartition(":")[2])
    direct = ClickHouse(ClickHouseConfig(database=database), lambda: endpoint)
    async with FaultyProxy("127.0.0.1", port) as proxy:
        for number in range(KILLS):
            modes = ("cut_after", "cut_before", "cut_inside")
            proxy.arm(*(Fault(dice.choice(modes)) for _ in range(dice.randrange(4))))
            child = await spawn(tmp_path, proxy.url, key, database, number)
            if dice.random() < 0.7:
                await child.stdout.readline()
            await asyncio.sleep(dice.random() * 0.6)
            child.kill()
            await child.wait()
        child = await spawn(tmp_path, proxy.url, key, database, KILLS)
        assert await child.stdout.readline() == b"live\n"
        child.stdin.close()
        assert await child.stdout.readline() == b"drained\n"
        await child.wait()
    report = await verify(tmp_path / "raw", direct, node=1)
    await direct.close()
    assert report.findings == []
    assert report.tables["quotes"].stored > 1_000
    assert report.tables["gaps"].stored > 0
