"""Fixtures of the recorder's tests: one embedded ClickHouse per session, one database per test."""

import asyncio
import importlib.util
import itertools
import json
import subprocess
import sys

import pytest

from recorder.migrate import migrate
from recorder.statements import Statements

# Says "no loop yet" once, so that the test runner does not make one that nobody closes.
asyncio.set_event_loop(None)

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def clickhouse_url(tmp_path_factory):
    """URL of an embedded server; it ends when its stdin closes."""
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
        yield f"http://127.0.0.1:{said['port']}"
        child.stdin.close()
        child.wait(30)


@pytest.fixture
async def database(clickhouse_url):
    """Name of a fresh, migrated database."""
    name = f"tickd_{next(_numbers)}"
    async with Statements(clickhouse_url) as server:
        await migrate(server, database=name)
    return name
