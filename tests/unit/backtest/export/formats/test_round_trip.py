"""Every table in every format, read back by pyarrow or the standard library: every value exact."""

import csv
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from backtest.export.formats.port import FormatOptions
from backtest.export.formats.registry import find
from backtest.export.run import Request, run_export
from tests.reference.export_rows import export_hash, levels, natural, table_hash
from tests.unit.backtest.export.kit import BlockRows
from tickd.describe import time_text
from tickd.native import table_columns

TABLES = ("trades", "quotes", "book", "marks", "liquidations", "states", "gaps")
TIMES = {"ts_recv", "ts_event", "next_ts"}


async def export(source, tmp_path, name, **options):
    request = Request(("*",), None, None, tmp_path / "out", FormatOptions(**options))
    return await run_export(source, find(name), request)


def expected(source, table, flat=False):
    rows = [natural(row, source.definitions) for row in source.oracle[table]]
    if flat and table == "book":
        return [each for row in rows for each in levels(row)]
    return rows


def as_python(table: pa.Table):
    """Rows of an Arrow table; times as integers, because Python's own stop at microseconds."""
    columns = {}
    for name in table.column_names:
        column = table.column(name)
        columns[name] = (column.cast(pa.int64()) if name in TIMES else column).to_pylist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("levels_as", ["list", "flat"])
@pytest.mark.parametrize("name", ["parquet", "arrow"])
async def test_arrow_formats_hold_exactly_the_recorded_values(name, levels_as, tmp_path):
    source = BlockRows(seed=3)
    report = await export(source, tmp_path, name, levels=levels_as)
    assert {file.table for file in report.files} == set(TABLES)
    for table in TABLES:
        path = tmp_path / "out" / f"{table}.{name}"
        if name == "parquet":
            read = pq.read_table(path)
        else:
            with pa.memory_map(str(path)) as file:
                read = pa.ipc.open_file(file).read_all()
        wanted = expected(source, table, flat=levels_as == "flat")
        found = as_python(read)
        assert len(found) == len(wanted)
        for ours, theirs in zip(found, wanted, strict=True):
            assert ours == theirs
        assert read.schema.field("ts_recv").type == pa.timestamp("ns", tz="UTC")
        assert read.schema.field("seq").type == pa.uint64()
        assert pa.types.is_dictionary(read.schema.field("symbol").type)


async def test_decimal_columns_take_the_largest_scale_of_the_chosen_instruments(tmp_path):
    source = BlockRows(seed=3)
    await export(source, tmp_path, "parquet")
    kind = pq.read_schema(tmp_path / "out" / "trades.parquet").field("price").type
    assert kind == pa.decimal128(38, max(d.price_scale for d in source.definitions.values()))


def text_value(value, field):
    if value == "" or value is None:
        return None
    if field in {"venue", "symbol", "side", "kind", "cause", "channel"}:
        return value
    if field in {"price", "size", "value", "average_price"} or field[4:] in {"price", "size"}:
        return [Decimal(each) for each in value] if isinstance(value, list) else Decimal(value)
    return int(value)


async def test_csv_is_exact_text_with_one_line_per_level(tmp_path):
    source = BlockRows(seed=4)
    await export(source, tmp_path, "csv")
    for table in TABLES:
        with (tmp_path / "out" / f"{table}.csv").open(newline="") as file:
            found = [{k: text_value(v, k) for k, v in row.items()} for row in csv.DictReader(file)]
        assert found == expected(source, table, flat=True)


@pytest.mark.parametrize("levels_as", ["list", "flat"])
async def test_json_lines_are_exact(levels_as, tmp_path):
    source = BlockRows(seed=5)
    await export(source, tmp_path, "jsonl", levels=levels_as)
    for table in TABLES:
        lines = (tmp_path / "out" / f"{table}.jsonl").read_text().splitlines()
        found = [{k: text_value(v, k) for k, v in json.loads(line).items()} for line in lines]
        assert found == expected(source, table, flat=levels_as == "flat")


async def test_prices_in_text_have_the_decimals_of_their_instrument(tmp_path):
    source = BlockRows(seed=5)
    await export(source, tmp_path, "jsonl")
    scales = {d.symbol: d.price_scale for d in source.definitions.values()}
    assert len(set(scales.values())) > 1
    for line in (tmp_path / "out" / "trades.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert len(row["price"].partition(".")[2]) == scales[row["symbol"]]


@pytest.mark.parametrize("name", ["csv", "jsonl"])
async def test_times_may_be_iso_text_with_nine_digits(name, tmp_path):
    source = BlockRows(seed=6)
    await export(source, tmp_path, name, times="iso")
    path = tmp_path / "out" / f"trades.{name}"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file)) if name == "csv" else [json.loads(x) for x in file]
    wanted = [row["ts_recv"] for row in source.oracle["trades"]]
    assert [row["ts_recv"] for row in rows] == [time_text(ns) for ns in wanted]


@pytest.mark.parametrize("name", ["parquet", "arrow", "csv", "jsonl"])
async def test_bytes_and_hash_depend_on_the_rows_alone(name, tmp_path):
    source, said = BlockRows(seed=7), []
    for per_cut in (1, 3, 100):
        source.per_cut = per_cut
        folder = tmp_path / str(per_cut)
        report = await export(source, folder, name)
        files = {path.name: path.read_bytes() for path in sorted((folder / "out").iterdir())}
        said.append((report.hash, files))
    assert said[0] == said[1] == said[2]
    digests = {
        table: (len(rows), table_hash(rows, list(table_columns(table))))
        for table, rows in source.oracle.items()
    }
    assert said[0][0] == export_hash(digests)


async def test_parquet_says_what_it_is_and_its_own_hash(tmp_path):
    source = BlockRows(seed=8)
    await export(source, tmp_path, "parquet")
    metadata = pq.read_metadata(tmp_path / "out" / "trades.parquet").metadata
    rows = source.oracle["trades"]
    assert metadata[b"tickd.hash"].decode() == table_hash(rows, list(table_columns("trades")))
    assert metadata[b"tickd.node"] == b"7"
    assert metadata[b"tickd.topics"] == b"*"
    assert metadata[b"tickd.schema_version"] == b"1"
