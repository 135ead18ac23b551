"""Every question of docs/risk-tuning.md runs as it stands, and finds what it is about."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.endpoint import Endpoint
from recorder.config import ClickHouseConfig
from recorder.trading.rows import ControlRecord, row_of
from risk.reasons import Reason
from tickd.clock import SystemClock

PAGE = Path(__file__).parents[4] / "docs" / "risk-tuning.md"
QUESTIONS = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
TABLES = (
    "risk_decisions_v",
    "risk_decisions",
    "near_misses",
    "orders_v",
    "orders",
    "fills_v",
    "account_snapshots",
    "audit",
)
NAMED = {"number": 1, "client_id": 9, "strategy": "ofi", "account": "main", "venue": "okx"}
NEW = NAMED | {"kind": "risk", "action": "new", "side": "B", "price": 5, "size": 2}
ORDER = NAMED | {"kind": "order", "symbol": "BTC-USDT", "side": "B", "order_size": 2}
RECORDS: tuple[dict[str, Any], ...] = (
    NEW | {"verdict": "approved", "figures": {"position": 95, "position_limit": 100}},
    NEW
    | {"verdict": "denied", "reason": "PRICE_COLLAR"}
    # Two checks said no.
    | {"vector": 1 << Reason.PRICE_COLLAR | 1 << Reason.POSITION_LIMIT},
    ORDER | {"state": "sent"},
    ORDER | {"state": "accepted"},
    ORDER | {"state": "rejected", "client_id": 10, "code": "51000", "reason": "no"},
    NAMED | {"kind": "execution", "exec_id": "e", "price": 5, "size": 1, "late": True},
    {"kind": "account", "account": "main", "currency": "USDT", "equity": 1, "free": 1},
    {"kind": "audit", "action": "reload", "operator": "ada"},
)


@pytest.fixture
async def asked(endpoint: Endpoint, database: str) -> list[list[tuple[Any, ...]]]:
    """The answers, in the order of the page."""
    server = ClickHouse(ClickHouseConfig(database=database), lambda: endpoint)
    try:
        return await _asked(server)
    finally:
        await server.close()


async def _asked(server: ClickHouse) -> list[list[tuple[Any, ...]]]:
    now_ns = SystemClock().wall_ns()
    for number, fields in enumerate(RECORDS, 1):
        record = ControlRecord(number, now_ns + number * 1_000_000, json.dumps(fields).encode())
        row = row_of(record, node=1)
        await server.insert_rows(row.table, [row.values], f"{row.table}-{row.seq}")
    of_tables = re.compile(rf"\b(FROM )({'|'.join(TABLES)})\b")
    return [await server.query(of_tables.sub(rf"\1{server.database}.\2", sql)) for sql in QUESTIONS]


async def test_every_question_of_the_page_has_an_answer(
    asked: list[list[tuple[Any, ...]]],
) -> None:
    assert len(QUESTIONS) > 10
    empty = [sql for sql, rows in zip(QUESTIONS, asked, strict=True) if not rows]
    assert empty == []


async def test_the_answers_are_what_the_page_says(asked: list[list[tuple[Any, ...]]]) -> None:
    by_text = dict(zip(QUESTIONS, asked, strict=True))

    def answer(part: str) -> list[tuple[Any, ...]]:
        (rows,) = [rows for sql, rows in by_text.items() if part in sql]
        return rows

    assert answer("it_was_the_first") in (
        [("PRICE_COLLAR", 1, 1), ("POSITION_LIMIT", 1, 0)],
        [("POSITION_LIMIT", 1, 0), ("PRICE_COLLAR", 1, 1)],
    )
    assert answer("above_90_percent") == [("position", "ofi", 1, 0.95, 0.95, 0.95, 1)]
    assert [row[2] for row in answer("part_of_the_limit")] == [1, 1, 1, 1]
    assert answer("p99_ms") == [("okx", 1, 1.0, 1.0)]
    assert answer("state = 'rejected'") == [("okx", "51000", "no", 1)]
    assert answer("WHERE is_open")[0][0] == "accepted"
