"""`tickd export` on real captures: both sources agree to the byte, values are the venue's own.

Method: the captures stand in a raw log with their own receive stamps (tests/harness/log_writer.py)
and in a real table set; the truth is an independent reader of the files.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from backtest.export.formats.port import FormatOptions
from backtest.export.formats.registry import find
from backtest.export.run import Request, run_export
from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.rows import ClickHouseRows
from recorder.config import ClickHouseConfig
from recorder.embedded.config import EmbeddedConfig
from recorder.embedded.supervisor import EmbeddedClickHouse
from recorder.raw.log_rows import LogRows
from recorder.schema.migrate import migrate
from tests.harness.filled import fill
from tests.harness.log_writer import LogWriter, capture_lines
from tests.harness.processes import REPOSITORY, tickd
from tests.reference.book import ReferenceBook
from tests.reference.capture import Totals, lines, read
from tickd.units import time_ns

pytestmark = [pytest.mark.proof, pytest.mark.timeout(300)]

CAPTURES = {
    "usdm": ("usdm_btcusdt_20240808", "binance-usdm", "BTCUSDT", "/fapi/v1/depth", 1, 3),
    "spot": ("spot_btcusdt_20240808", "binance-spot", "BTCUSDT", "/api/v3/depth", 2, 8),
    "cm": ("cm_btcusd_perp_20240808", "binance-coinm", "BTCUSD_PERP", "/dapi/v1/depth", 1, 0),
}
FORMATS = ("parquet", "arrow", "csv", "jsonl", "hftbacktest")
MIB = 1 << 20
PEAK_OF_CHILD = """
# A child's peak begins with that of the process that forked it: so a small one forks.
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
RSS_MAX = 256 * MIB


def capture_of(captures: Path, name: str) -> Path:
    return captures / "wire" / "binance" / f"{CAPTURES[name][0]}.gz"


def recorded(captures: Path, state: Path, names: tuple[str, ...]) -> Path:
    """A state directory whose raw log holds captures, merged by receive time."""
    streams = []
    for connection, name in enumerate(names, 1):
        _, venue, symbol, path, price_scale, size_scale = CAPTURES[name]
        scales = {"price_scale": price_scale, "size_scale": size_scale}
        file = capture_of(captures, name)
        streams += capture_lines(file, venue, symbol, path, connection=connection, **scales)
    streams.sort(key=lambda line: line.recv_ns)
    with LogWriter(state / "raw", start_ns=streams[0].recv_ns) as log:
        log.write(streams)
    return state


@pytest.fixture(scope="module")
def state(captures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(captures, tmp_path_factory.mktemp("captures"), tuple(CAPTURES))


@pytest.fixture(scope="module")
def usdm(captures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(captures, tmp_path_factory.mktemp("usdm"), ("usdm",))


def exported(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = tickd("export", *map(str, arguments))
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def digests(folder: Path) -> dict[str, str]:
    """Every file but the manifest, which names its source."""
    files = (path for path in sorted(folder.iterdir()) if path.name != "manifest.json")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


@pytest.mark.captures
@pytest.mark.embedded
def test_both_sources_give_the_same_bytes_in_every_format(state: Path, tmp_path: Path) -> None:
    """From the middle of the captures on, tables; from their begin, hftbacktest."""
    config = tmp_path / "tickd.toml"
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "raw").symlink_to(state / "raw")
    config.write_text(f'[node]\nstate_dir = "{tmp_path / "state"}"\n')
    middle = "2024-08-08T23:57:30.5Z"

    async def fill_and_export() -> None:
        server = EmbeddedClickHouse(tmp_path / "state" / "clickhouse", EmbeddedConfig())
        async with server.serving() as endpoint:
            clickhouse = ClickHouse(ClickHouseConfig(), lambda: endpoint)
            await migrate(clickhouse)
            await fill(clickhouse, state / "raw")
            for source in (LogRows(state / "raw"), ClickHouseRows(clickhouse, node=1)):
                for name in FORMATS:
                    out = tmp_path / name / source.name
                    request = Request(("*",), time_ns(middle), None, out)
                    if name == "hftbacktest":
                        topics, options = (
                            ("trade.*.*", "depth.*.*"),
                            FormatOptions(clock_skew="shift"),
                        )
                        request = Request(topics, None, None, out, options)
                    await run_export(source, find(name), request)
            await clickhouse.close()

    asyncio.run(fill_and_export())
    for name in FORMATS:
        raw, clickhouse = tmp_path / name / "raw", tmp_path / name / "clickhouse"
        assert digests(raw) == digests(clickhouse)
        assert len(digests(raw)) >= 3
        assert manifest(raw)["hash"] == manifest(clickhouse)["hash"]
        assert manifest(raw)["rows"] == manifest(clickhouse)["rows"]
        assert manifest(raw)["rows"]["trades"] > 10_000
    hashes = {manifest(tmp_path / name / "raw")["hash"] for name in FORMATS[:4]}
    assert len(hashes) == 1, "the content hash depends on the format"
    # The command starts the embedded server of a daemon that is not running.
    out = tmp_path / "command"
    exported(config, "--source", "clickhouse", "--from", middle, "--out", out)
    assert digests(out) == digests(tmp_path / "parquet" / "raw")


@pytest.mark.captures
def test_parquet_holds_what_the_captures_say(captures: Path, state: Path, tmp_path: Path) -> None:
    exported(state, "--out", tmp_path)
    tables = {name: pq.read_table(tmp_path / f"{name}.parquet") for name in TABLES}
    for name, (_, venue, *_) in CAPTURES.items():
        truth = read(capture_of(captures, name))
        assert totals(tables["trades"], venue, ("price",), ("size",)) == truth.trades
        quotes = totals(
            tables["quotes"], venue, ("bid_price", "ask_price"), ("bid_size", "ask_size")
        )
        assert quotes == truth.quotes
        assert book_totals(tables["book"], venue) == truth.depth


TABLES = ("trades", "quotes", "book")


def totals(table, venue: str, prices: tuple[str, ...], sizes: tuple[str, ...]) -> Totals:
    own = table.filter(pc.equal(table["venue"], venue))
    return Totals(len(own), added(own, prices), added(own, sizes), *ends(own["id"]))


def book_totals(table, venue: str) -> Totals:
    snapshot = pc.not_equal(pc.bit_wise_and(table["flags"], pa.scalar(0x20, pa.uint16())), 0)
    own = table.filter(pc.and_not(pc.equal(table["venue"], venue), snapshot))
    prices, sizes = ("bid_price", "ask_price"), ("bid_size", "ask_size")
    return Totals(len(own), added(own, prices), added(own, sizes), *ends(own["last_id"]))


def added(table, names: tuple[str, ...]) -> Decimal:
    """The exact sum of decimal columns, or of the decimals in list columns."""
    columns = (table[name].combine_chunks() for name in names)
    flat = (pc.list_flatten(c) if pa.types.is_list(c.type) else c for c in columns)
    return sum((pc.sum(each).as_py() for each in flat), Decimal(0))


def ends(ids) -> tuple[int, int]:
    return pc.min(ids).as_py(), pc.max(ids).as_py()


@pytest.mark.captures
def test_csv_has_the_digits_and_the_stamps_that_the_venue_sent(
    captures: Path, usdm: Path, tmp_path: Path
) -> None:
    exported(usdm, "--format", "csv", "--topics", "trade.*.*", "--out", tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    sent = []
    for recv_ns, text in lines(capture_of(captures, "usdm")):
        message = json.loads(text)
        if message.get("stream", "").endswith("@trade"):
            sent.append((recv_ns, message["data"]))
    assert len(found) == len(sent) == 21_313
    for row, (recv_ns, data) in zip(found, sent, strict=True):
        assert (row["ts_recv"], row["id"]) == (str(recv_ns), str(data["t"]))
        assert (Decimal(row["price"]), Decimal(row["size"])) == (
            Decimal(data["p"]),
            Decimal(data["q"]),
        )
        assert row["ts_event"] == str(data["T"] * 1_000_000)
        assert row["side"] == ("A" if data["m"] else "B")


def hft_python() -> str:
    """The interpreter of hftbacktest's own environment: it pins an older numpy."""
    named = os.environ.get("TICKD_HFTBACKTEST", str(REPOSITORY / ".hft-venv" / "bin" / "python"))
    if not Path(named).exists():
        pytest.skip("no hftbacktest: run scripts/hftbacktest.sh or set TICKD_HFTBACKTEST")
    return named


def replayed(files: list[Path], tick: str, lot: str, *spans: int) -> dict:
    """What hftbacktest says after consuming the files to their end."""
    command = [hft_python(), str(REPOSITORY / "tests/servers/hft_replay.py"), tick, lot]
    said = subprocess.run(
        [*command, ",".join(map(str, spans)), *map(str, files)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert said.returncode == 0, said.stderr[-3000:]
    return json.loads(said.stdout.splitlines()[-1])


@pytest.mark.captures
@pytest.mark.parametrize(
    ("name", "tick", "lot"),
    [("usdm", "0.1", "0.001"), ("spot", "0.01", "0.00000001"), ("cm", "0.1", "1")],
)
def test_hftbacktest_consumes_every_event_and_ends_with_the_venues_book(
    name: str, tick: str, lot: str, captures: Path, state: Path, tmp_path: Path
) -> None:
    hft_python()
    venue = CAPTURES[name][1]
    topics = f"trade.{venue}.*,depth.{venue}.*"
    refused = exported(state, "-f", "hftbacktest", "--topics", topics, "--out", tmp_path, code=1)
    assert "rows are not later than their event, by up to 1.27" in refused.stderr
    more = ("--clock-skew", "shift", "--topics", topics)
    exported(state, "-f", "hftbacktest", "--out", tmp_path, *more)
    (path,) = tmp_path.glob("*.npz")
    with np.load(path) as file:
        data = file["data"]
    truth = read(capture_of(captures, name))
    local = data[(data["ev"] & (1 << 30)) != 0]

    book = ReferenceBook(futures=name != "spot")
    for _, text in lines(capture_of(captures, name)):
        if "@depth" in text[:80] or '"stream"' not in text[:12]:
            book.message(text.encode())
    best = [int(book.top(side, 1)[0][0] / Decimal(tick)) for side in "ba"]
    span = 5_000
    said = replayed([path], tick, lot, best[0] - span, best[1] + span)

    assert said["trades"] == said["last_trades"] == truth.trades.rows
    # It wakes up once per receive stamp, however many rows have it; the last one ends the data.
    assert said["feeds"] + 1 == len(np.unique(local["local_ts"]))
    assert said["crossed"] == 0
    assert said["two_sided"] > 0.99 * said["feeds"]
    for side, key in (("b", "bids"), ("a", "asks")):
        wanted = {
            int(price / Decimal(tick)): float(size)
            for price, size in book.top(side)
            if best[0] - span <= price / Decimal(tick) <= best[1] + span
        }
        assert {int(each): size for each, size in said[key].items()} == wanted
        assert len(wanted) > 100


@contextmanager
def full_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.captures
@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_is_said_and_leaves_nothing_behind(
    name: str, usdm: Path, tmp_path: Path
) -> None:
    skew = ("--clock-skew", "shift") if name == "hftbacktest" else ()
    with full_disk(tmp_path / "small", "1m"):
        done = exported(usdm, "-f", name, "--out", tmp_path / "small" / "out", *skew, code=1)
        assert "no space left; nothing was kept" in done.stderr
        assert list((tmp_path / "small" / "out").iterdir()) == []


@pytest.mark.captures
def test_a_damaged_chunk_is_named_and_ends_with_code_three(captures: Path, tmp_path: Path) -> None:
    state = recorded(captures, tmp_path / "state", ("usdm",))
    (segment,) = (state / "raw" / "segments").iterdir()
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    done = exported(state, "--topics", "quote.*.*", "--out", tmp_path / "out", code=3)
    name = segment.name.removesuffix(".open")
    assert f"damaged: {name}, " in done.stderr
    (damage,) = manifest(tmp_path / "out")["damage"]
    assert damage["where"] == name
    assert 60_000 < manifest(tmp_path / "out")["rows"]["quotes"] < 66_089


@pytest.mark.captures
def test_mistakes_end_with_a_sentence_and_nothing_written(usdm: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for arguments, code, says in (
        (("--topics", "trade.binance-usdm.BTCUSD"), 1, "trade.binance-usdm.BTCUSDT"),
        (("--topics", "trades.*.*"), 1, "unknown channel 'trades'"),
        (("--from", "2030-01-01"), 1, "nothing was recorded in this range"),
        (("--from", "yesterday"), 1, "not a time"),
        (("--source", "clickhouse"), 2, "name the config file"),
        (("--format", "csv", "--levels", "list"), 1, "csv has no lists"),
    ):
        done = exported(usdm, "--out", out, *arguments, code=code)
        assert says in done.stderr
        assert not out.exists() or list(out.iterdir()) == []
    exported(usdm, "--out", out, "--topics", "book_state.*.*")
    done = exported(usdm, "--out", out, "--topics", "book_state.*.*", code=1)
    assert "is there already" in done.stderr
    exported(usdm, "--out", out, "--topics", "book_state.*.*", "--overwrite")


MESSAGES = 2_000_000


@pytest.mark.parametrize("name", FORMATS)
def test_memory_is_bounded_whatever_the_size(name: str, big_log: Path, tmp_path: Path) -> None:
    """Two million messages, 0.5 GB of records; docs/how-to/export.md has 16 million."""
    out = str(tmp_path / "out")
    command = [sys.executable, "-m", "tickd", "export", str(big_log), "-f", name, "--out", out]
    if name == "hftbacktest":  # a machine's clock may be set back while the log is made
        command += ["--clock-skew", "shift"]
    measured = [sys.executable, "-c", PEAK_OF_CHILD, *command]
    done = subprocess.run(measured, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    peak_bytes = int(done.stdout.split()[-1]) * 1024
    rows = manifest(tmp_path / "out")["rows"]
    assert sum(rows.values()) > 0.99 * (MESSAGES if name != "hftbacktest" else MESSAGES * 0.29)
    assert peak_bytes <= RSS_MAX, f"{peak_bytes >> 20} MiB"


@pytest.fixture(scope="module")
def big_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("big")
    code = (
        "import sys; from pathlib import Path; import recorded; "
        f"recorded.record(Path(sys.argv[1]) / 'raw', messages={MESSAGES}, symbols=20, rate=1e5)"
    )
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "benchmarks")])
    environment = {**os.environ, "PYTHONPATH": paths}
    subprocess.run([sys.executable, "-c", code, str(folder)], env=environment, check=True)
    return folder
