"""`tickd doctor` asks servers as they are, embedded and real: before and after a migration."""

from __future__ import annotations

import time

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import ClickHouseConfig
from recorder.schema.migrate import migrate
from tests.integration.conftest import ServerProcess
from tickd.app.clickhouse_checks import check_clickhouse
from tickd.app.findings import Finding, Verdict
from tickd.secrets import Secret

pytestmark = pytest.mark.timeout(60)


async def asked(config: ClickHouseConfig) -> dict[str, Finding]:
    return {each.name: each for each in await check_clickhouse(config, time.time_ns)}


async def test_a_server_is_asked_for_everything_that_recording_needs(
    clickhouse: ServerProcess,
) -> None:
    password = Secret(clickhouse.key) if clickhouse.key else None
    config = ClickHouseConfig(url=clickhouse.url, password=password)
    before = await asked(config)
    for name in ("clickhouse version", "clickhouse settings", "clickhouse rights"):
        assert before[name].verdict is Verdict.OK, before[name]
    assert before["clickhouse tables"].verdict is Verdict.WARN
    server = ClickHouse(config)
    try:
        await migrate(server)
    finally:
        await server.close()
    assert (await asked(config))["clickhouse tables"].verdict is Verdict.OK


async def test_a_stranger_is_told_what_to_look_at(clickhouse: ServerProcess) -> None:
    config = ClickHouseConfig(url=clickhouse.url, user="nobody", password=Secret("no"))
    (finding,) = (await asked(config)).values()
    assert finding.verdict is Verdict.FAIL
    assert finding.remedy
