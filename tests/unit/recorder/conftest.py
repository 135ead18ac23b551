"""Fixtures of the recorder's tests: one embedded ClickHouse per session, one database per test."""

import asyncio
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


@pytest.fixture
async def database(endpoint):
    """Name of a fresh, migrated database."""
    name = f"tickd_{next(_numbers)}"
    server = ClickHouse(ClickHouseConfig(database=name), lambda: endpoint)
    await migrate(server)
    await server.close()
    return name
