"""What SQL alone can find: rows twice, rows of no segment, numbers and stretches without rows."""

from __future__ import annotations

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.endpoint import Endpoint
from recorder.config import ClickHouseConfig
from recorder.verify.report import Kind, Pending
from recorder.verify.sql import verify_in_sql
from tests.harness.stored_log import NODE, StoredLog

pytestmark = [pytest.mark.embedded]

HOLE_FRAMES = 200


@pytest.fixture
async def log(endpoint, database, tmp_path):
    client = ClickHouse(ClickHouseConfig(database=database), lambda: endpoint)
    log = StoredLog(tmp_path, client)
    for seed in (11, 12, 13):  # a segment or more each
        log.write(seed, bursts=20)
    yield log
    await client.close()


async def asked(log, pending=()):
    return await verify_in_sql(log.clickhouse, node=NODE, pending=pending, hole_frames=HOLE_FRAMES)


async def test_a_whole_table_has_no_finding(log):
    log.crash(2, bursts=10)
    log.write(3, bursts=30)
    await log.store()
    report = await asked(log)
    assert report.findings == []
    assert report.ok
    assert report.mode == "sql"
    assert report.numbers.announced == (1 << 24) - 1
    deep = await log.verify()
    assert report.numbers.recorded == deep.numbers.recorded == report.frames.all
    assert report.frames.with_rows == deep.frames.with_rows
    assert report.checked.bars == deep.checked.bars
    for table, totals in deep.tables.items():
        assert report.tables[table].stored == totals.stored


async def test_doubled_rows_are_found_with_their_segment(log):
    await log.store()
    await log.command(
        "INSERT INTO {t}book SELECT * FROM {t}book LIMIT 3"
        " SETTINGS deduplicate_insert = 'disable', insert_deduplicate = 0"
    )
    (found,) = (await asked(log)).findings
    assert (found.kind, found.count, found.table) == (Kind.ROWS_TWICE, 3, "book")
    assert found.where in {path.name for path in log.segments}


async def test_a_row_of_no_segment_is_an_orphan(log):
    log.crash(2, bursts=10)
    log.write(3, bursts=10)
    await log.store()
    inside_the_gap = 1 << 38
    await log.command(
        f"INSERT INTO {{t}}book SELECT * REPLACE(toUInt64({inside_the_gap}) AS seq)"
        " FROM (SELECT * FROM {t}book LIMIT 1)"
    )
    (found,) = (await asked(log)).findings
    assert (found.kind, found.count, found.table) == (Kind.ROWS_ORPHANED, 1, "book")


async def test_a_stretch_without_any_row_is_found_unless_it_is_pending(log):
    await log.store()
    first, last = 1_000, 1_000 + 3 * HOLE_FRAMES
    for table in ("trades", "quotes", "book", "states", "gaps"):
        await log.command(
            f"ALTER TABLE {{t}}{table} DELETE WHERE seq BETWEEN {first << 16} AND {last << 16}"
            " SETTINGS mutations_sync = 1"
        )
    report = await asked(log)
    holes = [found for found in report.findings if found.kind is Kind.ROWS_MISSING]
    assert sum(found.count for found in holes) == pytest.approx(3 * HOLE_FRAMES, abs=HOLE_FRAMES)
    spilled = Pending(table="trades", seq_from=900 << 16, seq_to=2_000 << 16, state="spilled")
    kinds = (await asked(log, [spilled])).kinds()
    assert Kind.ROWS_MISSING not in kinds


async def test_numbers_between_segments_need_a_gap(log):
    await log.store()
    name = log.segments[1].name
    await log.command(
        f"ALTER TABLE {{t}}segments DELETE WHERE segment = '{name}' SETTINGS mutations_sync = 1"
    )
    report = await asked(log)
    assert Kind.FRAMES_MISSING in report.kinds()
    missing = next(found for found in report.findings if found.kind is Kind.FRAMES_MISSING)
    assert missing.seq_from >> 16 == int(name[:20])
    # Its rows are then rows of no segment.
    assert set(report.kinds()) == {Kind.FRAMES_MISSING, Kind.ROWS_ORPHANED}


async def test_rows_of_a_node_that_nobody_knows_are_named(log):
    await log.store()
    await log.command(
        "INSERT INTO {t}quotes SELECT * REPLACE(toUInt16(9) AS node) FROM {t}quotes LIMIT 2"
    )
    (found,) = (await asked(log)).findings
    assert (found.kind, found.count) == (Kind.NODE_UNKNOWN, 2)


async def test_bars_are_compared_as_well(log):
    await log.store()
    await log.command(
        "ALTER TABLE {t}ohlcv_1m UPDATE volume = volume + 1 WHERE 1 SETTINGS mutations_sync = 1"
    )
    (found,) = (await asked(log)).findings
    assert (found.kind, found.where) == (Kind.BARS_DIFFER, "ohlcv_1m")


async def test_an_empty_bar_table_differs_too(log):
    await log.store()
    await log.command("TRUNCATE TABLE {t}ohlcv_1m")
    (found,) = (await asked(log)).findings
    assert (found.kind, found.where) == (Kind.BARS_DIFFER, "ohlcv_1m")


async def test_a_server_that_is_away_is_said_so():
    gone = ClickHouse(ClickHouseConfig(), lambda: Endpoint("http://127.0.0.1:9"))
    report = await verify_in_sql(gone, node=NODE)
    await gone.close()
    assert report.findings == []
    assert not report.ok
