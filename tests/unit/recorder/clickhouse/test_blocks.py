"""Blocks against an independent reader and ClickHouse itself: every field in its column."""

import numpy as np
import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import ClickHouseConfig
from tests.reference.native_block import read_block
from tickd.events import EVENT, ID_UNDEF, SIZE_UNDEF, TS_UNDEF, Flag, Kind
from tickd.native import (
    EVENT_TABLES,
    BlockBuilder,
    EventBatch,
    SinkWorker,
    table_columns,
    xxh3_hex,
)
from tickd.testing.events import EventStream


def built(batches, **options):
    builder = BlockBuilder(node=7, **options)
    for batch in batches:
        builder.push(batch)
    return builder.finish()


def rows_of(blocks):
    return {(block.table, block.day): read_block(memoryview(block))[2] for block in blocks}


def expected(batches):
    """The rows as plain Python would make them from the events, per table."""
    tables = {table: [] for table in EVENT_TABLES}
    for batch in batches:
        events = np.frombuffer(batch, dtype=EVENT)
        at = 0
        while at < len(events):
            e = events[at]
            at += 1
            kind = Kind(int(e["kind"]))
            row = {
                "node": 7,
                "seq": int(e["seq"]),
                "ts_recv": int(e["ts_recv"]),
                "flags": int(e["flags"]),
            }
            row["ts_event"] = row["ts_recv"] if e["ts_event"] == TS_UNDEF else int(e["ts_event"])
            row |= {"instrument": int(e["instrument"]), "price_scale": 255, "size_scale": 255}
            price, size, id_, aux = (int(e[name]) for name in ("price", "size", "id", "aux"))
            side = chr(e["side"])
            undefined = lambda value: ID_UNDEF if value == SIZE_UNDEF else value  # noqa: E731
            match kind:
                case Kind.TRADE:
                    tables["trades"].append(
                        row | {"id": id_, "price": price, "size": size, "side": side, "fills": aux}
                    )
                case Kind.QUOTE:
                    ask = events[at]
                    at += 1
                    row["flags"] |= int(ask["flags"])
                    row |= {"id": id_, "bid_price": price, "bid_size": size}
                    tables["quotes"].append(
                        row | {"ask_price": int(ask["price"]), "ask_size": int(ask["size"])}
                    )
                case Kind.CLEAR | Kind.DEPTH_HEAD:
                    head = kind is Kind.DEPTH_HEAD
                    row |= {"last_id": id_, "first_id": price if head else ID_UNDEF}
                    row["previous_id"] = undefined(size) if head else ID_UNDEF
                    row["flags"] |= 0 if head else int(Flag.SNAPSHOT)
                    row |= {name: [] for name in ("bid_price", "bid_size", "ask_price", "ask_size")}
                    for level in events[at : at + (aux if head else 0)]:
                        which = "bid" if chr(level["side"]) == "B" else "ask"
                        row[f"{which}_price"].append(int(level["price"]))
                        row[f"{which}_size"].append(int(level["size"]))
                        at += 1
                    tables["book"].append(row)
                case Kind.MARK | Kind.INDEX | Kind.FUNDING:
                    due = id_ if kind is Kind.FUNDING and id_ != ID_UNDEF else 0
                    row |= {
                        "kind": kind.name.lower(),
                        "value": price,
                        "value_scale": aux,
                        "next_ts": due,
                    }
                    tables["marks"].append(row)
                case Kind.OPEN_INTEREST:
                    row |= {
                        "kind": "open_interest",
                        "value": size,
                        "value_scale": 255,
                        "next_ts": 0,
                    }
                    tables["marks"].append(row)
                case Kind.LIQUIDATION:
                    row |= {
                        "id": id_,
                        "price": price,
                        "average_price": aux,
                        "size": size,
                        "side": side,
                    }
                    tables["liquidations"].append(row)
                case Kind.BOOK_STATE:
                    row |= {"kind": "book", "state": aux, "last_id": id_}
                    tables["states"].append(
                        row | {"expected_id": undefined(price), "received_id": undefined(size)}
                    )
                case Kind.GAP:
                    names = [
                        "disconnect",
                        "restart",
                        "sequence",
                        "disk",
                        "overflow",
                        "quarantine",
                        "clock",
                        "shed",
                    ]
                    row |= {"cause": names[(aux & 255) - 1], "channel": aux >> 8, "from_id": id_}
                    tables["gaps"].append(
                        row | {"to_id": undefined(price), "missing": undefined(size)}
                    )
    return {table: sorted(rows, key=lambda row: row["seq"]) for table, rows in tables.items()}


def test_every_row_reads_back_in_seq_order():
    stream = EventStream(seed=1)
    batches = [stream.batch(frames) for frames in (1, 50, 400)]
    blocks = built(batches)
    found = {table: [] for table in EVENT_TABLES}
    for block in blocks:
        names, kinds, rows = read_block(memoryview(block))
        assert list(zip(names, kinds, strict=True)) == list(table_columns(block.table))
        assert (rows[0]["seq"], rows[-1]["seq"], len(rows)) == (
            block.seq_first,
            block.seq_last,
            block.rows,
        )
        assert {row["ts_recv"] // 86_400_000_000_000 for row in rows} == {block.day}
        assert block.hash == xxh3_hex(memoryview(block))
        found[block.table] += rows
    assert found == expected(batches)


def test_the_grouping_into_bursts_does_not_change_a_byte():
    one, many = EventStream(seed=2), EventStream(seed=2)
    whole = built([one.batch(300)])
    pieces = built([many.batch(frames) for frames in (1, 2, 97, 200)])
    assert [(b.table, b.day, b.hash) for b in whole] == [(b.table, b.day, b.hash) for b in pieces]
    assert [bytes(memoryview(b)) for b in whole] == [bytes(memoryview(b)) for b in pieces]


def test_bursts_out_of_order_are_put_in_order():
    stream = EventStream(seed=3)
    batches = [stream.batch(40) for _ in range(5)]
    assert [b.hash for b in built(batches)] == [b.hash for b in built(batches[::-1])]


def test_bounds_leave_out_what_is_outside_and_nothing_else():
    stream = EventStream(seed=4)
    batches = [stream.batch(100)]
    whole = expected(batches)
    low, high = 20 << 16, 60 << 16
    blocks = built(batches, seq_from=low, seq_to=high, tables=["trades", "book"])
    assert {block.table for block in blocks} == {"trades", "book"}
    for table in ("trades", "book"):
        rows = [row for (name, _), rows in rows_of(blocks).items() if name == table for row in rows]
        assert rows == [row for row in whole[table] if low <= row["seq"] <= high]
    assert {(block.seq_from, block.seq_to) for block in blocks} == {(low, high)}


def test_scales_come_from_the_definition_and_unknown_is_255():
    stream = EventStream(seed=5)
    builder = BlockBuilder(node=1)
    for definition in stream.definition_bytes():
        builder.define(definition)
    builder.push(stream.batch(5))
    (first, *_) = builder.finish()
    assert read_block(memoryview(first))[2][0]["price_scale"] == 255


def test_a_lonely_level_and_a_lonely_ask_are_kept():
    ask = (5, 6, 1 << 16, 9, 100, 2, 0, 3, int(Flag.LAST), int(Kind.QUOTE), ord("A"))
    level = (5, 6, 2 << 16, 9, 100, 2, 0, 3, int(Flag.LAST), int(Kind.DEPTH), ord("A"))
    batch = EventBatch.from_events(np.array([ask, level], dtype=EVENT).tobytes(), [(0, 0, 2)])
    rows = {table: rows[0] for (table, _), rows in rows_of(built([batch])).items()}
    assert (rows["quotes"]["bid_price"], rows["quotes"]["ask_price"]) == (SIZE_UNDEF, 100)
    assert (rows["book"]["ask_price"], rows["book"]["bid_price"]) == ([100], [])


def test_the_identity_of_a_block_does_not_depend_on_its_format():
    cuts = {}
    for layout in ("Native", "RowBinary"):
        worker = SinkWorker(node=7, seq_from=0, layout=layout)
        worker.push(EventStream(seed=6).batch(500))
        worker.cut("test")
        while worker.cuts_pending:
            pass
        (cuts[layout],) = worker.take()
        worker.close()
    native, binary = cuts["Native"].blocks, cuts["RowBinary"].blocks
    facts = [
        [(b.table, b.day, b.seq_first, b.rows, b.hash) for b in cut] for cut in (native, binary)
    ]
    assert facts[0] == facts[1]
    assert {b.format for b in binary} == {"RowBinary"}
    assert all(bytes(one.body) != bytes(two.body) for one, two in zip(native, binary, strict=True))
    with pytest.raises(ValueError, match="travels"):
        SinkWorker(node=7, seq_from=0, layout="Parquet")


def test_half_an_event_is_refused():
    with pytest.raises(ValueError, match="no whole number"):
        EventBatch.from_events(bytes(100), [(0, 0, 1)])


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("layout", "compression"),
    [
        ("native", "none"),
        ("native", "lz4"),
        ("native", "zstd"),
        ("row_binary", "none"),
        ("row_binary", "zstd"),
        ("json", "gzip"),
    ],
)
async def test_clickhouse_reads_every_block_as_it_was_meant(
    endpoint, database, layout, compression
):
    stream = EventStream(seed=6)
    batch = stream.batch(2_000)
    wanted = expected([batch])
    config = ClickHouseConfig(database=database, format=layout, compression=compression)
    client = ClickHouse(config, lambda: endpoint)
    worker = SinkWorker(
        node=7, seq_from=0, layout=client.block_format, compression=client.compression
    )
    worker.push(batch)
    worker.cut("test")
    while worker.cuts_pending:
        pass
    (cut,) = worker.take()
    for block in cut.blocks:
        await client.insert_block(block, f"{block.table}-{block.day}-{block.hash}")
    for table, rows in wanted.items():
        columns = [
            f"toUnixTimestamp64Nano({name})"
            if kind.startswith("DateTime64")
            else f"CAST({name}, 'String')"
            if kind.startswith("Enum8")
            else name
            for name, kind in table_columns(table)
        ]
        found = await client.query(
            f"SELECT {', '.join(columns)} FROM {database}.{table} ORDER BY seq"
        )
        names = [name for name, _ in table_columns(table)]
        assert [dict(zip(names, row, strict=True)) for row in found] == rows
    await client.close()
    worker.close()
