"""What tickd relies on, held by the embedded server and by a real one alike."""

from __future__ import annotations

import gzip
import random
import threading
import urllib.error
import urllib.request
from typing import Any

import clickhouse_connect
import numpy as np
import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.query import OutputFormat, query
from recorder.config import ClickHouseConfig
from recorder.errors import ClickHouseError
from recorder.repair.bar_repair import BarRepair, spans_of
from recorder.repair.deletes import Deletes
from recorder.schema.bars import BARS
from recorder.schema.migrate import MigrationReport, migrate
from tickd.clock import SystemClock

TRADE = np.dtype(
    [
        ("node", "<u2"),
        ("seq", "<u8"),
        ("ts_recv", "<i8"),
        ("ts_event", "<i8"),
        ("instrument", "<u4"),
        ("price_scale", "u1"),
        ("size_scale", "u1"),
        ("flags", "<u2"),
        ("id", "<u8"),
        ("price", "<i8"),
        ("size", "<i8"),
        ("side", "i1"),
        ("fills", "<u4"),
    ]
)
_TS = "DateTime64(9, 'UTC')"
TYPES = [
    "UInt16",
    "UInt64",
    _TS,
    _TS,
    "UInt32",
    "UInt8",
    "UInt8",
    "UInt16",
    "UInt64",
    "Int64",
    "Int64",
]
TYPES += ["Enum8('N' = 0, 'B' = 1, 'A' = 2)", "UInt32"]
DAY_NS = 1_723_075_200 * 10**9  # 2024-08-08
INSERT = f"INSERT INTO tickd.trades ({', '.join(TRADE.names or ())}) FORMAT "


def trades(rows: int, first: int = 0) -> np.ndarray[Any, Any]:
    numbers = np.arange(first, first + rows)
    block = np.zeros(rows, TRADE)
    block["node"], block["instrument"] = 1, 7
    block["seq"] = numbers << 16
    block["ts_recv"] = block["ts_event"] = DAY_NS + numbers * 1_000_000
    block["price_scale"], block["size_scale"], block["flags"] = 1, 3, 0x80
    block["id"], block["price"], block["size"] = numbers, 618_371 + numbers % 50, 1_500
    block["side"], block["fills"] = 1, 1
    return block


def varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def native(block: np.ndarray[Any, Any]) -> bytes:
    names = block.dtype.names or ()
    out = [varint(len(names)), varint(len(block))]
    for name, kind in zip(names, TYPES, strict=True):
        for text in (name, kind):
            out += [varint(len(text)), text.encode()]
        out.append(np.ascontiguousarray(block[name]).tobytes())
    return b"".join(out)


def count(server: Any, table: str = "tickd.trades", what: str = "count()") -> int:
    return int(server.post(f"SELECT {what} FROM {table} FORMAT TSV"))


async def migrated(server: Any) -> MigrationReport:
    client = ClickHouse(ClickHouseConfig(), lambda: server.endpoint)
    try:
        return await migrate(client)
    finally:
        await client.close()


async def test_migrate_twice_applies_once(clickhouse: Any) -> None:
    first = await migrated(clickhouse)
    second = await migrated(clickhouse)
    assert first.applied
    assert first.already == 0
    assert second.applied == ()
    assert second.already == len(first.applied)
    assert count(clickhouse, "tickd.migrations") == len(first.applied)


@pytest.mark.parametrize("form", ["Native", "RowBinary"])
async def test_block_sent_twice_with_its_token_is_there_once_and_in_the_bars_once(
    clickhouse: Any, form: str
) -> None:
    await migrated(clickhouse)
    block = trades(70_000)
    body = native(block) if form == "Native" else block.tobytes()
    for _ in range(2):
        clickhouse.post(INSERT + form, body, insert_deduplication_token="t-1", async_insert="0")
    assert count(clickhouse) == 70_000
    assert count(clickhouse, "tickd.ohlcv_1m", "sum(trades)") == 70_000
    assert count(clickhouse, "tickd.ohlcv_1m", "toInt64(sum(volume))") == 70_000 * 1_500


async def test_names_and_natural_values_are_columns(clickhouse: Any) -> None:
    await migrated(clickhouse)
    clickhouse.post(
        "INSERT INTO tickd.instruments FORMAT JSONEachRow",
        b'{"node":1,"instrument":7,"venue":"binance-usdm","symbol":"BTCUSDT","asset_class":"perpetual",'
        b'"price_scale":1,"size_scale":3,"tick":1,"lot":1,"multiplier":"1",'
        b'"valid_from":"2024-08-08 00:00:00"}',
    )
    clickhouse.post("SYSTEM RELOAD DICTIONARY tickd.instrument_names")
    clickhouse.post(INSERT + "Native", native(trades(3)))
    clickhouse.post(
        "INSERT INTO tickd.book (node, seq, ts_recv, ts_event, instrument, price_scale, size_scale,"
        " flags,"
        " bid_price, bid_size, ask_price, ask_size) FORMAT Values",
        b"(1, 65536, '2024-08-08 00:00:01', '2024-08-08 00:00:01', 7, 1, 3, 32,"
        b" [618371, 618370], [1, 2], [618380], [0])",
    )
    clickhouse.post(
        "INSERT INTO tickd.quotes (instrument, price_scale, bid_price, ask_price) FORMAT TSV",
        b"7\t1\t9223372036854775807\t618380\n",
    )
    assert clickhouse.post(
        "SELECT symbol, venue, price_f, size_f, frame_no, side FROM tickd.trades"
        " ORDER BY seq LIMIT 1 OFFSET 1"
    ) == (b"BTCUSDT\tbinance-usdm\t61837.2\t1.5\t1\tB\n")
    assert clickhouse.post(
        "SELECT symbol, side, position, price_f, size_f FROM tickd.book_levels"
        " ORDER BY side, position"
    ) == (b"BTCUSDT\tB\t1\t61837.1\t0.001\nBTCUSDT\tB\t2\t61837\t0.002\nBTCUSDT\tA\t1\t61838\t0\n")
    assert clickhouse.post("SELECT bid_price_f, ask_price_f FROM tickd.quotes") == b"\\N\t61838\n"
    assert clickhouse.post(
        "SELECT symbol, open, high, low, close, volume, trades FROM tickd.bars_1m"
    ) == (b"BTCUSDT\t61837.1\t61837.3\t61837.1\t61837.3\t4.5\t3\n")


async def test_broken_venue_time_neither_opens_a_bar_in_1970_nor_refuses_the_trades(
    clickhouse: Any,
) -> None:
    await migrated(clickhouse)
    block = trades(150)
    block["ts_event"] = np.arange(150) * 31 * 86_400 * 10**9  # 150 months
    clickhouse.post(INSERT + "Native", native(block))
    assert count(clickhouse) == 150
    assert clickhouse.post("SELECT DISTINCT toDate(minute) FROM tickd.ohlcv_1m") == b"2024-08-08\n"


async def test_refusals_carry_clickhouse_codes(clickhouse: Any) -> None:
    await migrated(clickhouse)
    assert clickhouse.refusal("SELECT nope")[0] == 47
    assert clickhouse.refusal("SELECT * FROM nope")[0] == 60
    assert clickhouse.refusal("SELEC 1")[0] == 62
    assert clickhouse.refusal("SELECT 1", database="nope")[0] == 81
    assert clickhouse.refusal("SELECT 1", nope="1")[0] == 115
    assert clickhouse.refusal("SELECT 1; SELECT 2")[0] == 62
    assert clickhouse.refusal("INSERT INTO tickd.trades (id) FORMAT TSV", b"x\n")[0] == 27
    assert clickhouse.refusal(INSERT + "Native", native(trades(5))[:-3])[0] == 33
    days = trades(101)
    days["ts_recv"] += np.arange(101) * 86_400 * 10**9
    code, text = clickhouse.refusal(INSERT + "Native", native(days))
    assert code == 252
    assert "Too many partitions for single INSERT block" in text
    levels = "INSERT INTO tickd.book (bid_price, bid_size) FORMAT TSV"
    assert clickhouse.refusal(levels, b"[1]\t[]\n")[0] == 469
    assert count(clickhouse) == 0


async def test_every_byte_of_binary_data_is_data(clickhouse: Any) -> None:
    clickhouse.post("CREATE TABLE default.bytes (s String) ENGINE = MergeTree ORDER BY tuple()")
    data = b"".join(varint(256) + bytes(range(256)) for _ in range(64))
    clickhouse.post("INSERT INTO default.bytes FORMAT RowBinary", data)
    assert clickhouse.post("SELECT s FROM default.bytes FORMAT RowBinary") == data


async def test_restart_keeps_rows_and_tokens(clickhouse: Any) -> None:
    await migrated(clickhouse)
    body = native(trades(1_000))
    clickhouse.post(INSERT + "Native", body, insert_deduplication_token="a")
    clickhouse.kill()
    clickhouse.start()
    assert count(clickhouse) == 1_000
    clickhouse.post(INSERT + "Native", body, insert_deduplication_token="a")
    assert count(clickhouse) == 1_000


async def bars_compared(server: Any) -> None:
    """What repair does behind inserts whose outcome was open (ADR 23)."""
    client = ClickHouse(ClickHouseConfig(), lambda: server.endpoint)
    try:
        deletes = Deletes(client, SystemClock(), node=1)
        repair = BarRepair(client, deletes, node=1)
        for bars in BARS:
            wrong = await repair.differing(bars, [DAY_NS // 10**9])
            for span, rows in spans_of(wrong):
                await repair.delete(bars, span, await deletes.server_s() + 60)
                await repair.insert(bars, span, rows, "again")
    finally:
        await client.close()


@pytest.mark.proof
async def test_kill_in_mid_insert_and_the_same_token_again_is_exactly_once(clickhouse: Any) -> None:
    await migrated(clickhouse)
    dice = random.Random(7)
    blocks = [native(trades(20_000, first=number * 20_000)) for number in range(24)]
    unacknowledged = list(range(len(blocks)))
    for _ in range(3):
        killer = threading.Timer(dice.uniform(0.05, 0.3), clickhouse.kill)
        killer.start()
        while unacknowledged:
            number = unacknowledged[0]
            try:
                clickhouse.post(
                    INSERT + "Native", blocks[number], insert_deduplication_token=f"n-{number}"
                )
            except (OSError, urllib.error.URLError):
                break
            unacknowledged.pop(0)
        killer.join()
        clickhouse.start()
    for number in range(len(blocks)):
        clickhouse.post(INSERT + "Native", blocks[number], insert_deduplication_token=f"n-{number}")
    assert count(clickhouse) == 24 * 20_000
    assert count(clickhouse, what="uniqExact(seq)") == 24 * 20_000
    # A kill between the table and its views, or between two of the views, may leave bars twice.
    await bars_compared(clickhouse)
    for bars in BARS:
        table = f"tickd.{bars.table}"
        assert count(clickhouse, table, "sum(trades)") == 24 * 20_000, table
        assert count(clickhouse, table, "toInt64(sum(volume))") == 24 * 20_000 * 1_500, table


def test_unmodified_clickhouse_connect_works(clickhouse: Any) -> None:
    port = int(clickhouse.url.rsplit(":", 1)[1])
    for packing in (False, "gzip", "zstd", "lz4"):
        client = clickhouse_connect.get_client(
            host="127.0.0.1", port=port, password=clickhouse.key, compress=packing
        )
        try:
            client.command(
                "CREATE OR REPLACE TABLE t (a Int64, b String) ENGINE = MergeTree ORDER BY a"
            )
            client.insert("t", [[1, "x;y\n"], [2, "'"]], column_names=["a", "b"])
            reply = client.query(
                "SELECT * FROM t WHERE b != {b:String} ORDER BY a", parameters={"b": "q;\t'"}
            )
            assert reply.result_rows == [(1, "x;y\n"), (2, "'")]
            assert client.query("SELECT number FROM numbers(300000)").row_count == 300_000
            with pytest.raises(
                clickhouse_connect.driver.exceptions.DatabaseError, match="code: 60"
            ):
                client.query("SELECT * FROM nope")
        finally:
            client.close()


async def test_unmodified_async_clickhouse_connect_works(clickhouse: Any) -> None:
    port = int(clickhouse.url.rsplit(":", 1)[1])
    client = await clickhouse_connect.get_async_client(
        host="127.0.0.1", port=port, password=clickhouse.key
    )
    try:
        await client.command("CREATE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a")
        await client.raw_insert("t", insert_block=b"1\n2\n", fmt="TSV", column_names=["a"])
        assert (await client.query("SELECT sum(a) FROM t")).result_rows == [(3,)]
    finally:
        await client.close()


async def test_query_streams_every_format_and_reports_an_error_in_the_middle(
    clickhouse: Any,
) -> None:
    server = ClickHouse(ClickHouseConfig(), lambda: clickhouse.endpoint)

    async def ask(sql: str, output: OutputFormat) -> bytes:
        return b"".join([p async for p in query(server, sql, output=output, database="default")])

    try:
        assert await ask("SELECT 1 AS a", OutputFormat.CSV) == b'"a"\n1\n'
        assert await ask("SELECT 1 AS a", OutputFormat.JSON) == b'{"a":1}\n'
        assert "a" in (await ask("SELECT 1 AS a", OutputFormat.TABLE)).decode()
        assert (await ask("SELECT 1 AS a", OutputFormat.ARROW))[:4] == b"\xff\xff\xff\xff"
        assert await ask("SELECT 1 AS a FORMAT TSV", OutputFormat.CSV) == b"1\n"
        big = await ask("SELECT number FROM numbers(3000000)", OutputFormat.CSV)
        assert big.count(b"\n") == 3_000_001
        with pytest.raises(ClickHouseError) as caught:
            await ask("SELECT throwIf(number = 5000000) FROM numbers(10000000)", OutputFormat.CSV)
        assert caught.value.code == 395
        assert "throwIf" in str(caught.value)
    finally:
        await server.close()


def test_packed_statement_and_data_in_one_body(clickhouse: Any) -> None:
    clickhouse.post("CREATE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a")
    body = gzip.compress(b"INSERT INTO t FORMAT TSV\n1\n2\n")
    request = urllib.request.Request(
        clickhouse.url,
        data=body,
        headers={"Content-Encoding": "gzip", **clickhouse.endpoint.headers},
    )
    with urllib.request.urlopen(request, timeout=10):
        pass
    assert count(clickhouse, "t", "sum(a)") == 3
