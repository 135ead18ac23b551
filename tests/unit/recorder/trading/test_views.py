"""The tables and views of trading rows: what people read is what the records said.

Rows come through `row_of`, as those of the sink do.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.endpoint import Endpoint
from recorder.config import ClickHouseConfig
from recorder.schema.migrate import ddl_directory, migrate, read_migrations
from recorder.schema.tables import store_instruments
from recorder.trading.rows import TRADING_TABLES, ControlRecord, row_of
from risk.reasons import Reason

INSTRUMENT = 77
DEFINITION = {
    "venue": "okx",
    "symbol": "BTC-USDT",
    "asset_class": "spot",
    "price_scale": 2,
    "size_scale": 3,
    "tick": 1,
    "lot": 1,
    "multiplier": "1",
}
NEW = {
    "kind": "risk",
    "action": "new",
    "verdict": "approved",
    "strategy": "s",
    "account": "paper",
    "instrument": INSTRUMENT,
    "side": "B",
}


class Tables:
    """Rows of records, one after the other."""

    def __init__(self, server: ClickHouse) -> None:
        self.server = server
        self.frame_no = 0

    async def take(self, **fields: Any) -> None:
        self.frame_no += 1
        record = ControlRecord(self.frame_no, self.frame_no * 10**9, json.dumps(fields).encode())
        row = row_of(record, node=1)
        table = TRADING_TABLES[fields["kind"]]
        await self.server.insert_rows(table, [row.values], f"{table}-{row.seq}")

    async def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return await self.server.query(sql.format(d=self.server.database))


@pytest.fixture
async def tables(endpoint: Endpoint, database: str) -> AsyncIterator[Tables]:
    server = ClickHouse(ClickHouseConfig(database=database), lambda: endpoint)
    body = json.dumps(DEFINITION).encode()
    await store_instruments(server, node=1, definitions=[(INSTRUMENT, body)], valid_from_ns=0)
    await server.command(f"SYSTEM RELOAD DICTIONARY {database}.instrument_names")
    yield Tables(server)
    await server.close()


async def test_a_vector_becomes_the_names_of_its_reasons(tables: Tables) -> None:
    every = [Reason(number) for number in sorted(Reason)]
    vector = sum(1 << reason for reason in every)
    await tables.take(**NEW | {"verdict": "denied", "reason": "HALTED", "vector": vector})
    ((failed,),) = await tables.ask("SELECT failed FROM {d}.risk_decisions_v")
    assert failed == [reason.name for reason in every]


def test_the_view_knows_no_reason_that_there_is_not() -> None:
    text = (ddl_directory() / "013_risk_views.sql").read_text()
    text = text.partition("CAST(map(")[2].partition(")")[0]
    known = {int(number): name for number, name in re.findall(r"(\d+), '([A-Z_]+)'", text)}
    assert known == {reason.value: reason.name for reason in Reason}


async def test_a_decision_has_natural_values_and_all_its_figures(tables: Tables) -> None:
    figures = {"notional": 1 << 100, "reference": 5}
    await tables.take(**NEW, price=12345, size=1500, number=7, figures=figures)
    await tables.take(**NEW | {"instrument": 5, "price": 1, "size": 1})
    rows = await tables.ask(
        "SELECT toString(price), toString(size), number, toString(figures['notional'])"
        " FROM {d}.risk_decisions_v ORDER BY seq"
    )
    assert [(r[0] and Decimal(r[0]), r[1] and Decimal(r[1]), *r[2:]) for r in rows] == [
        (Decimal("123.45"), Decimal("1.5"), 7, str(1 << 100)),
        # Nobody has defined the instrument: a value without its scale would be a wrong one.
        (None, None, None, "0"),
    ]


async def test_near_misses_are_figures_beside_their_limits(tables: Tables) -> None:
    figures = {"notional": 900, "notional_limit": 1000, "position": -30, "position_limit": 40}
    figures |= {"reference": 5, "open_orders": 3, "open_orders_limit": 0}
    await tables.take(**NEW, figures=figures)
    await tables.take(**NEW | {"verdict": "denied", "reason": "MAX_NOTIONAL"}, figures=figures)
    rows = await tables.ask("SELECT figure, used FROM {d}.near_misses ORDER BY used DESC")
    assert rows == [("notional", 0.9), ("position", 0.75)]


async def test_an_order_is_in_its_newest_state_with_all_that_was_said(tables: Tables) -> None:
    order = {"kind": "order", "client_id": 9, "number": 1, "instrument": INSTRUMENT, "side": "A"}
    await tables.take(**order, state="pending_new", ref="00001a", order_price=10000, order_size=50)
    await tables.take(**order, state="accepted", venue_id="v1")
    await tables.take(**order, state="partly_filled", price=10001, size=20, cum_size=20)
    await tables.take(**order | {"client_id": 10, "number": 2}, state="denied", reason="HALTED")
    rows = await tables.ask(
        "SELECT client_id, state, is_open, ref, venue_id, toString(order_price),"
        " toString(order_size), toString(cum_size), news, reason"
        " FROM {d}.orders_v ORDER BY client_id"
    )
    first, second = rows
    assert first[:5] == (9, "partly_filled", True, "00001a", "v1")
    assert [Decimal(each) for each in first[5:8]] == [
        Decimal(100),
        Decimal("0.05"),
        Decimal("0.02"),
    ]
    assert first[8:] == (3, "")
    assert (second[:3], second[8:]) == ((10, "denied", False), (1, "HALTED"))
    # A fill that came late leaves the order over, and is a row of its own.
    await tables.take(**order, state="cancelled")
    await tables.take(**order, state="cancelled", price=10001, size=5, cum_size=25)
    rows = await tables.ask("SELECT state, is_open FROM {d}.orders_v WHERE client_id = 9")
    assert rows == [("cancelled", False)]


async def test_fills_have_exact_fees_and_the_times_of_the_venue(tables: Tables) -> None:
    fill = {"kind": "execution", "exec_id": "e", "instrument": INSTRUMENT, "price": 1, "size": 2}
    await tables.take(**fill, fee=-(1 << 62), late=True, ts_event_ns=1_000_000_001)
    await tables.take(**fill, fee=1)
    rows = await tables.ask(
        "SELECT toString(fee), late, toString(ts_event) FROM {d}.fills_v ORDER BY seq"
    )
    assert Decimal(rows[0][0]) == Decimal(-(1 << 62)).scaleb(-8)
    assert rows[0][1:] == (True, "1970-01-01 00:00:01.000000001")
    assert (Decimal(rows[1][0]), rows[1][1:]) == (Decimal("0.00000001"), (False, None))


async def test_positions_are_those_of_the_newest_snapshot(tables: Tables) -> None:
    for size in (5, -7):
        positions = [{"symbol": "BTC-USDT", "instrument": INSTRUMENT, "size": size}]
        await tables.take(kind="account", account="a", currency="USDT", positions=positions)
    rows = await tables.ask("SELECT account, symbol, instrument, size FROM {d}.account_positions")
    assert rows == [("a", "BTC-USDT", INSTRUMENT, -7)]


@pytest.mark.embedded
async def test_a_database_of_before_gets_the_tables_and_keeps_its_rows(endpoint: Endpoint) -> None:
    server = ClickHouse(ClickHouseConfig(database="before_risk"), lambda: endpoint)
    shipped = read_migrations(ddl_directory())
    before = [each for each in shipped if each.number < 12]
    await migrate(server, migrations=before)
    body = json.dumps(DEFINITION).encode()
    await store_instruments(server, node=1, definitions=[(INSTRUMENT, body)], valid_from_ns=0)
    report = await migrate(server)
    assert report.applied == tuple(each.name for each in shipped if each.number >= 12)
    tables = Tables(server)
    assert await tables.ask("SELECT count() FROM {d}.instruments") == [(1,)]
    await tables.take(kind="audit", action="arm", operator="o")
    assert await tables.ask("SELECT action, operator FROM {d}.audit") == [("arm", "o")]
    assert (await migrate(server)).applied == ()
    await server.close()
