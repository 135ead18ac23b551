"""Fixtures of the recorder's tests: one embedded ClickHouse per session, one database per test."""

import asyncio
import contextlib
import importlib.util
import itertools
import json
import subprocess
import sys

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.endpoint import Endpoint
from recorder.config import ClickHouseConfig
from recorder.embedded.key import read_key
from recorder.schema.migrate import migrate

# Says "no loop yet" once, so that the test runner does not make one that nobody closes.
asyncio.set_event_loop(None)

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory):
    """An embedded server; it ends when its stdin closes."""
    if importlib.util.find_spec("chdb") is None:
        pytest.skip("needs the embedded ClickHouse (extra tickd[embedded])")
    directory = tmp_path_factory.mktemp("clickhouse")
    command = [sys.executable, "-m", "recorder.embedded.server", f"--directory={directory}"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        for line in child.stdout:
            said = json.loads(line)
            if said["state"] == "ready":
                break
        url = f"http://127.0.0.1:{said['port']}"
        yield Endpoint(url, password=read_key(directory), embedded=True)
        child.stdin.close()
        child.wait(30)


@pytest.fixture(scope="session")
def spare():
    """Databases in no test's hands: name to the fingerprint of what the migrations made."""
    return {}


@pytest.fixture
async def own_database(endpoint):
    """Name of a database made for this test, and for no other after it.

    For tests that leave inserts under way when they end: through a proxy that cuts them off.
    """
    name = f"tickd_{next(_numbers)}"
    async with connected(endpoint, name) as server:
        await migrate(server)
    return name


@pytest.fixture
async def database(endpoint, spare):
    """Name of a migrated database without a row, perhaps one that an earlier test has left whole.

    Emptying one costs the server a tenth of what making one does.
    """
    if spare:
        name, made = spare.popitem()
    else:
        name = f"tickd_{next(_numbers)}"
        async with connected(endpoint, name) as server:
            await migrate(server)
            made = await fingerprint(server)
    yield name
    async with connected(endpoint, name) as server:
        whole = await fingerprint(server) == made
        if whole and not await server.running(mark=f"{name}."):
            # With the rows goes what the tables remember of tokens.
            await server.command(f"TRUNCATE TABLES FROM {name} NOT LIKE 'migrations'")
            await server.command(f"SYSTEM RELOAD DICTIONARY {name}.instrument_names")
            spare[name] = made


@contextlib.asynccontextmanager
async def connected(endpoint, name):
    server = ClickHouse(ClickHouseConfig(database=name), lambda: endpoint)
    yield server
    await server.close()


async def fingerprint(server):
    """Changes with every table, column, setting and line of the migrations' history."""
    rows = await server.query(
        "SELECT (SELECT groupBitXor(cityHash64(name, create_table_query)) FROM system.tables"
        " WHERE database = {database:String}),"
        f" (SELECT sum(cityHash64(*)) FROM {server.database}.migrations)",
        {"database": server.database},
    )
    return tuple(rows[0])
