"""Rows out of a raw log: the sink's own rows, ranges, damage, the live end."""

import pytest

from recorder.clickhouse.native_format import read_block
from recorder.errors import RawLogError
from recorder.raw.log_rows import LogRows
from tests.harness.log_writer import Line, LogWriter, connect, instrument
from tickd.native import EVENT_TABLES, BlockBuilder, Decoder, RawLogReader
from tickd.testing.wire_log import WireLog

EVER = (0, 1 << 62)
S = 10**9


async def rows_of(source, tables=EVENT_TABLES, span=EVER, instruments=None):
    found = {table: [] for table in tables}
    async for cut in source.cuts(tables, *span, instruments):
        for rows in cut:
            found[rows.table] += rows.integers("seq").tolist()
    return found


def built(directory):
    """What the sink would have made of the log in one go."""
    decoder, builder = Decoder(), BlockBuilder(node=1)
    for _, chunk in RawLogReader(str(directory)):
        builder.push(decoder.decode(chunk))
    found = {table: [] for table in EVENT_TABLES}
    for block in builder.finish():
        found[block.table] += read_block(memoryview(block))["seq"].tolist()
    return {table: sorted(seqs) for table, seqs in found.items()}


@pytest.fixture
def log(tmp_path):
    """Several segments, the last one live."""
    log = WireLog(tmp_path, 1, group_bytes=1 << 12, segment_bytes_max=1 << 14)
    for _ in range(60):
        log.burst(100)
        log.settle()
    yield tmp_path
    log.close()


async def test_rows_are_those_of_the_sink_in_order_across_segments(log):
    assert len(list((log / "segments").iterdir())) > 3
    found = await rows_of(LogRows(log))
    assert found == built(log)
    assert all(seqs == sorted(set(seqs)) for seqs in found.values())


async def test_facts_come_from_the_last_checkpoint(log):
    facts = await LogRows(log).facts()
    assert {each.symbol for each in facts.definitions.values()} == {"AAAUSDT", "BBBUSDT", "CCCUSDT"}
    assert facts.node == 1
    assert facts.first_ns < facts.last_ns


async def test_one_instrument_only(log):
    source = LogRows(log)
    chosen = sorted((await source.facts()).definitions)[:1]
    found, everything = await rows_of(source, instruments=chosen), await rows_of(source)
    assert 0 < len(found["quotes"]) < len(everything["quotes"])
    assert set(found["quotes"]) < set(everything["quotes"])


def trade(number, symbol="AUSDT"):
    data = f'{{"e":"trade","E":1,"T":1,"s":"{symbol}","t":{number},"p":"1.25","q":"0.5"'
    stream = f'{{"stream":"{symbol.lower()}@trade","data":{data},"X":"MARKET","m":true}}}}'
    return stream.encode()


def trades_at(directory, stamps):
    with LogWriter(directory, start_ns=stamps[0]) as log:
        log.write([Line(stamps[0], 0, "C", instrument("binance-usdm", "AUSDT"))])
        log.write([Line(stamps[0], 1, "C", connect("binance-usdm", 1, ["ausdt@trade"]))])
        log.write(Line(stamp, 1, "W", trade(n)) for n, stamp in enumerate(stamps, 1))


async def test_a_range_is_by_receive_time_even_where_the_clock_stepped_back(tmp_path):
    base = 1_795_219_199 * S
    stamps = [base + offset * S for offset in (0, 10, 20, 15, 16, 30, 40)]
    trades_at(tmp_path, stamps)
    found = await rows_of(LogRows(tmp_path), ["trades"], (base + 15 * S, base + 30 * S))
    assert [seq >> 16 for seq in found["trades"]] == [6, 7, 8]


async def test_midnight_and_a_step_back_over_it_keep_the_order_of_the_stream(tmp_path):
    midnight = 1_795_219_200 * S
    trades_at(tmp_path, [midnight + offset for offset in (-5, -1, 0, 3, -2, 4)])
    found = await rows_of(LogRows(tmp_path), ["trades"])
    assert [seq >> 16 for seq in found["trades"]] == [4, 5, 6, 7, 8, 9]


async def test_a_damaged_chunk_is_told_and_the_rest_is_read(log):
    sealed = sorted((log / "segments").glob("*.tkraw"))[1]
    data = bytearray(sealed.read_bytes())
    data[len(data) // 2] ^= 0x40
    sealed.write_bytes(data)
    source = LogRows(log)
    found = await rows_of(source)
    (damage,) = source.damage()
    assert damage.where == sealed.name
    assert damage.bytes > 0
    assert damage.reason
    assert found == built(log)
    assert len(found["quotes"]) > 1_000


async def test_no_log_is_said_clearly(tmp_path):
    with pytest.raises(RawLogError, match="no raw log"):
        await LogRows(tmp_path).facts()
    (tmp_path / "segments").mkdir()
    with pytest.raises(RawLogError, match="holds no segment"):
        await LogRows(tmp_path).facts()
