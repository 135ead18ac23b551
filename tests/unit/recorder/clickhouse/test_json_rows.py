"""Blocks as JSON: every value of every row, read back by Python's own JSON reader.

Method: hypothesis gives seeds; a batch of the worst values becomes Native blocks, an independent
reader says what is in them, and the JSON must say the same.
"""

import gzip
import json
from datetime import UTC, datetime, timedelta

import lz4.frame
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.clickhouse.json_rows import json_body, json_rows
from recorder.errors import ClickHouseError
from tests.reference.extreme_events import TIMES, extreme_batch
from tests.reference.native_block import read_block
from tickd.native import BlockBuilder, SinkWorker, table_columns
from tickd.testing.events import EPOCH_NS

SAYABLE = TIMES[2:]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def blocks_of(seed, frames=200, times=SAYABLE):
    builder = BlockBuilder(node=65_535)
    builder.push(extreme_batch(seed, frames, ts_recv_ns=EPOCH_NS, times=times))
    return builder.finish()


def ns_of(text):
    """Nanoseconds of an ISO date, without floats."""
    seconds, _, fraction = text.partition(".")
    assert len(fraction) == 9
    whole = datetime.fromisoformat(seconds).replace(tzinfo=UTC) - EPOCH
    return whole // timedelta(seconds=1) * 10**9 + int(fraction)


def value_of(kind, said):
    """What a JSON value means in a column of `kind`, as the Native reader gives it."""
    if kind.startswith("DateTime64"):
        return ns_of(said)
    if kind.startswith("Array"):
        assert all(isinstance(each, str) for each in said)
        return list(map(int, said))
    if kind in {"Int64", "UInt64"}:
        assert isinstance(said, str), "64 bits as a number lose digits in many readers"
        return int(said)
    return said


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_json_says_what_the_native_block_says(seed):
    blocks = blocks_of(seed)
    assert len(blocks) > 5
    for block in blocks:
        kinds = dict(table_columns(block.table))
        lines = json_rows(block.table, block.body)
        wanted = read_block(block.body)[2]
        if lines is None:  # a venue's id of a funding time that is none
            assert any(row["next_ts"] < TIMES[2] for row in wanted)
            continue
        said = [
            {name: value_of(kinds[name], value) for name, value in json.loads(line).items()}
            for line in lines.splitlines()
        ]
        assert said == wanted


@pytest.mark.parametrize(
    ("compression", "unpack"),
    [
        ("none", bytes),
        ("gzip", gzip.decompress),
        ("lz4", lz4.frame.decompress),
        ("zstd", zstd.decompress),
    ],
)
def test_a_packed_body_is_the_same_lines_and_the_same_bytes_each_time(compression, unpack):
    for block in blocks_of(1):
        if block.table == "marks":
            continue  # its funding times may be unsayable
        body = json_body(block, compression)
        assert unpack(body) == json_rows(block.table, block.body)
        assert body == json_body(block, compression)


@pytest.mark.parametrize("packing", ["lz4", "zstd"])
def test_a_block_that_was_packed_for_another_format_is_unpacked(packing):
    """The spool keeps bodies as they were when the format was another one."""
    worker = SinkWorker(node=65_535, seq_from=0, compression=packing)
    worker.push(extreme_batch(2, 100, ts_recv_ns=EPOCH_NS, times=SAYABLE))
    worker.cut("test")
    while worker.cuts_pending:
        pass
    (cut,) = worker.take()
    plain = {block.table: block for block in blocks_of(2, 100)}
    for block in cut.blocks:
        assert block.encoding == packing
        assert json_body(block, "none") == json_rows(block.table, plain[block.table].body)
    worker.close()


def test_what_json_cannot_say_is_left_as_it_is():
    stored = [json_body(block, "none") for block in blocks_of(3, 400, times=TIMES[:2])]
    assert None in stored  # the last months of 1677


def test_a_row_binary_block_is_left_as_it_is():
    worker = SinkWorker(node=1, seq_from=0, layout="RowBinary")
    worker.push(extreme_batch(2, 10, ts_recv_ns=EPOCH_NS))
    worker.cut("test")
    while worker.cuts_pending:
        pass
    for block in worker.take()[0].blocks:
        assert json_body(block, "none") is None
    worker.close()


def test_a_body_of_another_table_or_length_is_refused():
    block = next(block for block in blocks_of(4) if block.table == "trades")
    for table in ("book", "quotes"):
        with pytest.raises(ClickHouseError, match=f"none of {table}"):
            json_rows(table, block.body)
    for body in (bytes(block.body) + b"x", bytes(block.body)[:-1]):
        with pytest.raises(ClickHouseError):
            json_rows("trades", memoryview(body))
