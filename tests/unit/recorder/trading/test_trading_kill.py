"""Proof by kill -9: a daemon that records orders dies at any moment, through broken connections."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from random import Random

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.endpoint import Endpoint
from recorder.config import ClickHouseConfig
from recorder.trading.rows import TRADING_TABLES
from tests.reference.raw_log import read_log
from tickd.testing.faulty_proxy import Fault, FaultyProxy

pytestmark = [pytest.mark.proof, pytest.mark.embedded, pytest.mark.timeout(180)]

KILLS = 10
DAEMON = "tests/servers/trading_daemon.py"


async def spawn(state: Path, *arguments: object) -> Process:
    command = [DAEMON, str(state), *map(str, arguments)]
    with (state / "daemon.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, *command, stdin=PIPE, stdout=PIPE, stderr=log
        )


async def said(child: Process) -> bytes:
    assert child.stdout is not None
    return await child.stdout.readline()


@pytest.mark.parametrize("seed", [1, 2])
async def test_kill_nine_at_any_moment_leaves_each_record_a_row_and_one_only(
    endpoint: Endpoint, own_database: str, tmp_path: Path, seed: int
) -> None:
    dice, key = Random(seed), endpoint.password.reveal()
    async with FaultyProxy("127.0.0.1", int(endpoint.url.rpartition(":")[2])) as proxy:
        for number in range(KILLS):
            modes = ("cut_after", "cut_before", "cut_inside")
            proxy.arm(*(Fault(dice.choice(modes)) for _ in range(dice.randrange(4))))
            proxy.refuse(refusing=dice.random() < 0.2)
            child = await spawn(tmp_path, proxy.url, key, own_database, number)
            await said(child)
            seen = proxy.seen("INSERT") + dice.randrange(6)
            try:
                async with asyncio.timeout(2 * dice.random()):
                    while proxy.seen("INSERT") < seen:  # noqa: ASYNC110 - the proxy offers no event
                        await asyncio.sleep(0.001)
            except TimeoutError:
                pass  # it dies wherever it is
            child.kill()
            await child.wait()
        proxy.refuse(refusing=False)
        child = await spawn(tmp_path, proxy.url, key, own_database, KILLS)
        assert await said(child) == b"begun\n"
        assert child.stdin is not None
        child.stdin.close()
        assert int(await said(child)) > 0
        assert await child.wait() == 0
    wanted: dict[str, list[int]] = {table: [] for table in TRADING_TABLES.values()}
    for record in read_log(tmp_path / "raw"):
        kind = json.loads(record.payload)["kind"] if record.kind == "C" else ""
        if kind in TRADING_TABLES:
            wanted[TRADING_TABLES[kind]].append(record.frame_no << 16)
    direct = ClickHouse(ClickHouseConfig(database=own_database), lambda: endpoint)
    for table, seqs in wanted.items():
        rows = await direct.query(f"SELECT seq FROM {own_database}.{table} ORDER BY seq")
        assert [int(seq) for (seq,) in rows] == seqs, table
    await direct.close()
    assert min(map(len, wanted.values())) > 50
    assert sum(map(len, wanted.values())) > 5_000
