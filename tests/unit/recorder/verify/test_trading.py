"""`tickd verify` of trading rows: every value, what is missing, twice, changed or of no record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.endpoint import Endpoint
from recorder.config import ClickHouseConfig
from recorder.trading.mark import MARK_FILE, Mark, write_mark
from recorder.trading.rows import ControlRecord, row_of, table_of
from recorder.verify.report import Kind, VerifyReport
from recorder.verify.verify import verify
from tests.harness.log_writer import Line, LogWriter

START_NS = 1_795_168_800 * 10**9
RECORDS = (
    (
        b'{"kind":"risk","action":"new","verdict":"approved","vector":9223372036854775808,'
        b'"figures":{"notional":1267650600228229401496703205376,"a":-1},"reduce_only":true}'
    ),
    b'{"kind":"order","state":"sent","number":18446744073709551614,"side":"A","reason":"\\"\\u00e9\\n"}',
    b'{"kind":"execution","exec_id":"x","price":-5,"size":9,"late":true,"ts_event_ns":5}',
    b'{"kind":"account","account":"a","equity":-1,"positions":[{"symbol":"A","size":3},{}]}',
    b'{"kind":"audit","action":"kill","key":7}',
    b'{"kind":"order","state":"sent","price":1.5}',
)


class Desk:
    """A raw log with trading records, and their rows."""

    def __init__(self, server: ClickHouse, directory: Path) -> None:
        self.server, self.directory = server, directory
        self.records: list[ControlRecord] = []
        with LogWriter(directory / "raw", start_ns=START_NS) as log:
            for number in range(30):
                line = Line(START_NS + number, 0, "C", RECORDS[number % len(RECORDS)])
                log.write([line])
                # The checkpoint is the first.
                self.records.append(ControlRecord(number + 2, line.recv_ns, line.payload))

    async def store(self, records: list[ControlRecord]) -> None:
        for record in records:
            if b"1.5" not in record.payload:
                row = row_of(record, node=1)
                await self.server.insert_rows(row.table, [row.values], f"{row.seq}")

    def mark(self, frame: int) -> None:
        mark = Mark(node=1, database=self.server.database, frame=frame, stored={})
        write_mark(self.directory / "sink" / MARK_FILE, mark)

    async def verify(self, frame_to: int | None = None) -> VerifyReport:
        report = await verify(self.directory / "raw", self.server, node=1, frame_to=frame_to)
        # The log was written by hand: no manifest tells of it.
        report.findings = [
            each for each in report.findings if each.table in ("orders", "audit", "risk_decisions")
        ]
        return report


@pytest.fixture
async def desk(endpoint: Endpoint, database: str, tmp_path: Path) -> AsyncIterator[Desk]:
    server = ClickHouse(ClickHouseConfig(database=database), lambda: endpoint)
    yield Desk(server, tmp_path)
    await server.close()


async def test_rows_that_are_the_records_are_found_so(desk: Desk) -> None:
    await desk.store(desk.records)
    desk.mark(32)
    report = await desk.verify()
    assert report.findings == []
    assert report.unchecked == []
    counts = {
        table: (report.tables[table].raw_log, report.tables[table].stored)
        for table in ("risk_decisions", "orders", "fills", "account_snapshots", "audit")
    }
    assert set(counts.values()) == {(5, 5)}


async def test_without_a_mark_nobody_asks(desk: Desk) -> None:
    report = await desk.verify()
    assert "orders" not in report.tables


async def test_what_is_behind_the_mark_may_be_missing_and_nothing_else(desk: Desk) -> None:
    await desk.store(desk.records[:12])
    desk.mark(14)
    report = await desk.verify()
    assert (report.findings, report.tables["orders"].pending) == ([], 3)
    desk.mark(15)
    report = await desk.verify()
    (finding,) = report.findings
    assert (finding.kind, finding.table, finding.count) == (
        Kind.ROWS_MISSING,
        "risk_decisions",
        1,
    )
    assert finding.seq_from == 14 << 16


async def test_each_kind_of_difference_is_named(desk: Desk) -> None:
    await desk.store(desk.records)
    desk.mark(32)
    order = next(each for each in desk.records if table_of(each.payload) == "orders")
    audit = next(each for each in desk.records if table_of(each.payload) == "audit")
    twice = row_of(order, node=1)
    await desk.server.insert_rows("orders", [twice.values], "again")
    astray = row_of(audit._replace(frame_no=5_000), node=1)
    await desk.server.insert_rows("audit", [astray.values], "astray")
    # A record that is no row has one all the same.
    inside = row_of(audit._replace(frame_no=7), node=1)
    await desk.server.insert_rows("audit", [inside.values], "inside")
    database = desk.server.database
    await desk.server.command(
        f"ALTER TABLE {database}.risk_decisions UPDATE figures = map('a', -2) WHERE seq = 131072"
        " SETTINGS mutations_sync = 2"
    )
    report = await desk.verify()
    found = {(each.kind, each.table, each.count, each.seq_from) for each in report.findings}
    assert found == {
        (Kind.ROWS_TWICE, "orders", 1, 3 << 16),
        (Kind.ROWS_ORPHANED, "audit", 2, 7 << 16),
        (Kind.ROWS_DIFFER, "risk_decisions", 1, 2 << 16),
    }
    # What lies above the frame asked for is for another time.
    report = await desk.verify(frame_to=6)
    assert {each.table for each in report.findings} == {"orders", "risk_decisions"}
