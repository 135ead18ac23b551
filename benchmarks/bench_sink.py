"""Rows per second into the embedded ClickHouse: our blocks against clickhouse-connect's insert().

    PYTHONPATH=. python benchmarks/bench_sink.py [rows in total]

Both send the same trades to the same server, one request in flight, encoding included. CPU is that
of this process (the client): event loop, worker thread and library together.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import uvloop
from clickhouse_connect import get_async_client

from recorder.clickhouse import ClickHouse
from recorder.config import ClickHouseConfig
from recorder.embedded.key import read_key
from recorder.endpoint import Endpoint
from recorder.migrate import migrate
from tickd.events import EVENT, Flag, Kind
from tickd.native import BUILD_PROFILE, EventBatch, SinkWorker, table_columns

BURST = 512
START_NS = 1_795_219_200_000_000_000


def events(rows, first, kind=Kind.TRADE):
    """Trades (or quote pairs) as the decoder would give them."""
    per_row = 2 if kind is Kind.QUOTE else 1
    array = np.zeros(rows * per_row, dtype=EVENT)
    number = np.arange(first, first + rows, dtype=np.uint64).repeat(per_row)
    array["seq"] = number << np.uint64(16)
    array["ts_recv"] = START_NS + number.astype(np.int64) * 6_000
    array["ts_event"] = array["ts_recv"] - 1_000_000
    array["id"] = number
    array["price"] = 6_183_763 + np.random.default_rng(1).integers(-50, 50, rows * per_row)
    array["size"] = np.random.default_rng(2).integers(1, 100_000, rows * per_row)
    array["aux"] = 1
    array["instrument"] = number % np.uint64(20)
    array["kind"] = kind
    array["side"] = ord("B")
    array["flags"] = Flag.LAST
    if per_row == 2:
        array["seq"][1::2] += np.uint64(1)
        array["side"][1::2] = ord("A")
        array["flags"][::2] = 0
    return array


def bursts(rows, first, kind=Kind.TRADE):
    whole = events(rows, first, kind)
    step = BURST * (2 if kind is Kind.QUOTE else 1)
    runs = (whole[at : at + step] for at in range(0, len(whole), step))
    return [EventBatch.from_events(run.tobytes(), [(0, 0, len(run))]) for run in runs]


def encode_rate(kind):
    """Rows per second and CPU of one flush in the worker thread alone."""
    rows, rounds = 150_000, 10
    worker = SinkWorker(node=1, seq_from=0, bytes_max=1 << 30)
    batches = bursts(rows, 1, kind)
    for _ in range(rounds):
        for batch in batches:
            worker.push(batch)
        worker.cut("bench")
        while worker.cuts_pending:
            time.sleep(0.0005)
        worker.take()
    stats = worker.stats()
    worker.close()
    rate = stats["rows"] / stats["cpu_ns"] * 1e9
    print(
        f"encode {kind.name.lower():6} {rate / 1e6:7.1f} M rows per CPU second, "
        f"dearest cut of {rows} rows {stats['cut_cpu_ns_max'] / 1e6:.2f} ms CPU"
    )


async def ours(client, block_rows, total, first, compression):
    worker = SinkWorker(node=1, seq_from=0, bytes_max=1 << 30, compression=compression)
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(worker.wake_fd, ready.set)
    blocks = [bursts(block_rows, first + at, Kind.TRADE) for at in range(0, total, block_rows)]
    wall, cpu = time.perf_counter(), time.process_time()
    for batches in blocks:
        for batch in batches:
            worker.push(batch)
        worker.cut("bench")
        await ready.wait()
        ready.clear()
        for cut in worker.take():
            for block in cut.blocks:
                await client.insert_block(block, f"{block.seq_first}-{block.hash}")
    result = time.perf_counter() - wall, time.process_time() - cpu
    loop.remove_reader(worker.wake_fd)
    worker.close()
    return result


async def theirs(client, database, block_rows, total, first):
    columns = [name for name, _ in table_columns("trades")]
    tables = []
    for at in range(0, total, block_rows):
        array = events(block_rows, first + at)
        tables.append(
            [
                (1, seq, recv, event, instrument, 2, 3, flags, id_, price, size, 1, 1)
                for seq, recv, event, instrument, flags, id_, price, size in zip(
                    *(
                        array[name].tolist()
                        for name in [
                            "seq",
                            "ts_recv",
                            "ts_event",
                            "instrument",
                            "flags",
                            "id",
                            "price",
                            "size",
                        ]
                    ),
                    strict=True,
                )
            ]
        )
    wall, cpu = time.perf_counter(), time.process_time()
    for number, rows in enumerate(tables):
        await client.insert(
            "trades",
            rows,
            column_names=columns,
            database=database,
            settings={"async_insert": 0, "insert_deduplication_token": f"{first}-{number}"},
        )
    return time.perf_counter() - wall, time.process_time() - cpu


async def measure(endpoint, total):
    mine = ClickHouse(ClickHouseConfig(database="bench"), lambda: endpoint)
    await migrate(mine)
    library = await get_async_client(
        dsn=endpoint.url, password=endpoint.password.reveal(), compress=False
    )
    await mine.query("SELECT 1")  # connects
    await library.query("SELECT 1")
    first = 1
    print("rows/block   tickd M/s  CPU-s/M   +lz4 M/s  CPU-s/M   insert() M/s  CPU-s/M    ratio")
    for block_rows in (1_000, 10_000, 100_000):
        rows = min(total, block_rows * 30)
        figures = []
        for compression in (None, "lz4"):
            wall, cpu = await ours(mine, block_rows, rows, first, compression)
            first += rows
            figures += [rows / wall / 1e6, cpu / rows * 1e6]
        library_rows = min(rows, block_rows * 5)
        wall, cpu = await theirs(library, "bench", block_rows, library_rows, first)
        first += library_rows
        figures += [library_rows / wall / 1e6, cpu / library_rows * 1e6]
        print(
            f"{block_rows:10} {figures[0]:11.3f} {figures[1]:8.3f} {figures[2]:10.3f} "
            f"{figures[3]:8.3f} {figures[4]:14.3f} {figures[5]:8.3f} "
            f"{figures[0] / figures[4]:6.1f}x wall, {figures[5] / figures[1]:.0f}x CPU"
        )
    await mine.close()
    await library.close()


def main():
    if BUILD_PROFILE != "release":
        sys.exit("a debug build measures nothing")
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    for kind in (Kind.TRADE, Kind.QUOTE):
        encode_rate(kind)
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "recorder.embedded.server", f"--directory={directory}"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            for line in child.stdout:
                said = json.loads(line)
                if said["state"] == "ready":
                    break
            try:
                url = f"http://127.0.0.1:{said['port']}"
                key = read_key(Path(directory))
                uvloop.run(measure(Endpoint(url, password=key, embedded=True), total))
            finally:
                child.stdin.close()
                child.wait(30)


if __name__ == "__main__":
    main()
