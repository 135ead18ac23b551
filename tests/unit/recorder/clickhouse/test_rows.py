"""Rows out of ClickHouse: the raw log's, in the order of the stream, in bounded stretches."""

import pytest

from recorder.clickhouse import rows as clickhouse_rows
from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.rows import ClickHouseRows
from recorder.config import ClickHouseConfig
from recorder.raw.log_rows import LogRows
from tests.harness.filled import fill
from tests.unit.recorder.raw.test_log_rows import EVER, rows_of, trades_at
from tickd.testing.wire_log import WireLog

S = 10**9


@pytest.fixture
async def server(endpoint, database):
    server = ClickHouse(ClickHouseConfig(database=database), lambda: endpoint)
    yield server
    await server.close()


@pytest.fixture
def log(tmp_path):
    log = WireLog(tmp_path, 1)
    for _ in range(30):
        log.burst(100)
    log.close()
    return tmp_path


async def test_rows_and_facts_are_those_of_the_raw_log(server, log):
    await fill(server, log)
    await fill(server, log, node=2)  # another daemon's rows in the same tables
    ours, theirs = ClickHouseRows(server, node=1), LogRows(log)
    assert await rows_of(ours) == await rows_of(theirs)
    here, there = await ours.facts(), await theirs.facts()
    assert here.definitions == there.definitions
    assert there.first_ns <= here.first_ns <= here.last_ns <= there.last_ns


async def test_an_empty_database_holds_nothing(server):
    facts = await ClickHouseRows(server, node=1).facts()
    assert facts == (1, {}, None, None)
    assert await rows_of(ClickHouseRows(server, node=1), ["trades"]) == {"trades": []}


async def test_one_instrument_and_a_range(server, log):
    await fill(server, log)
    ours, theirs = ClickHouseRows(server, node=1), LogRows(log)
    facts = await theirs.facts()
    middle = (facts.first_ns + facts.last_ns) // 2
    chosen = sorted(facts.definitions)[1:]
    for span in ((0, middle), (middle, EVER[1])):
        found = await rows_of(ours, ["quotes", "trades", "book"], span, chosen)
        assert found == await rows_of(theirs, ["quotes", "trades", "book"], span, chosen)
        assert found["quotes"]


async def test_stretches_are_bounded_and_never_break_the_order(server, tmp_path, monkeypatch):
    """Minutes are asked for one by one, but where the clock stepped back they are asked as one."""
    monkeypatch.setattr(clickhouse_rows, "_WEIGHT_MAX", 1)
    base = 1_795_219_140 * S
    offsets = (0, 1, 70, 71, 50, 130, 200, 260, 190, 400)
    trades_at(tmp_path, [base + offset * S for offset in offsets])
    await fill(server, tmp_path)
    asked = []
    plain = ClickHouse.stream

    def stream(self, sql, **options):
        asked.append(options["parameters"])
        return plain(self, sql, **options)

    monkeypatch.setattr(ClickHouse, "stream", stream)
    found = await rows_of(ClickHouseRows(server, node=1), ["trades"])
    assert [seq >> 16 for seq in found["trades"]] == list(range(4, 14))
    minutes = [((p["from_ns"] - base) // (60 * S), (p["to_ns"] - base) // (60 * S)) for p in asked]
    assert minutes == [(0, 2), (2, 3), (3, 5), (6, 7)]
