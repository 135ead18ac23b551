"""Native blocks: columns as an independent reader sees them, in any pieces; damage is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.clickhouse.native_format import BlockReader, read_block
from recorder.errors import ClickHouseError
from tests.reference.native_block import read_block as reference
from tickd.native import BlockBuilder, table_columns
from tickd.rows import Lists
from tickd.testing.events import EventStream


def blocks():
    builder, stream = BlockBuilder(node=7), EventStream(5)
    builder.push(stream.batch(300))
    return builder.finish()


def plain(columns, kinds):
    out = {}
    for name, _ in kinds:
        column = columns[name]
        if isinstance(column, Lists):
            parts = np.split(column.values, column.ends[:-1].astype(int))
            out[name] = [part.tolist() for part in parts]
        else:
            out[name] = column.tolist()
    return [dict(zip(out, row, strict=True)) for row in zip(*out.values(), strict=True)]


def codes(kind):
    return {part.split("'")[1]: int(part.split("=")[1].rstrip(")")) for part in kind.split(",")}


def expected(block):
    names, kinds, rows = reference(memoryview(block))
    for name, kind in zip(names, kinds, strict=True):
        if kind.startswith("Enum8"):
            for row in rows:
                row[name] = codes(kind)[row[name]]
    return rows


def test_every_table_reads_like_the_reference():
    built = blocks()
    assert len({block.table for block in built}) == 7
    for block in built:
        columns = read_block(memoryview(block))
        assert plain(columns, table_columns(block.table)) == expected(block)


@given(st.lists(st.integers(1, 2_000), max_size=40))
def test_a_reply_in_any_pieces_gives_the_same_blocks(sizes):
    built = blocks()[:3]
    reply = b"".join(bytes(memoryview(block)) for block in built) + b"\x00\x00"
    reader, found, at = BlockReader(), [], 0
    for size in [*sizes, len(reply)]:
        found += list(reader.push(reply[at : at + size]))
        at += size
    reader.end()
    assert len(found) == 3
    for block, columns in zip(built, found, strict=True):
        assert plain(columns, table_columns(block.table)) == expected(block)


def test_a_reply_that_ends_inside_a_block_is_refused():
    body = bytes(memoryview(blocks()[0]))
    reader = BlockReader()
    assert list(reader.push(body[:-1])) == []
    with pytest.raises(ClickHouseError, match="ends inside a block"):
        reader.end()
    with pytest.raises(ClickHouseError, match="not exactly one"):
        read_block(memoryview(body[:-1]))
    with pytest.raises(ClickHouseError, match="not exactly one"):
        read_block(memoryview(body + b"\x00"))


def test_what_is_no_block_is_refused():
    with pytest.raises(ClickHouseError, match="a name of"):
        list(BlockReader().push(b"\x01\x01\xff\xff\x7f" + b"x" * 9))
    with pytest.raises(ClickHouseError, match="no end"):
        list(BlockReader().push(b"\xff" * 12))
    with pytest.raises(ClickHouseError, match="not one of"):
        list(BlockReader().push(b"\x01\x01\x01a\x06String\x01x"))
