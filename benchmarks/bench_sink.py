"""Rows into ClickHouse, encoding included, against clickhouse-connect's insert() of Python rows.

tickd: batches of 64 events → sink worker → one Native block → one POST, as the sink sends it.
clickhouse-connect: `insert()` of the same rows as tuples that exist already. Same server, same
`trades` table with everything on (deduplication window, fsync, the bars' view). Shown per server:
rows per second of wall time with one request in flight, and the client's CPU per million rows (the
server is another process). Rounds alternate; the best of each counts. Then the same rows in every
format that tickd speaks, packed and not: rows per second and client CPU.

Run: python benchmarks/bench_sink.py [--rounds 10] [--rows 1000 10000 100000]
"""

from __future__ import annotations

import asyncio
import itertools
import select
import time
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

import clickhouse_connect
import harness
import numpy as np
import servers
from harness import Figure

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.endpoint import Endpoint
from recorder.config import ClickHouseConfig
from recorder.schema.migrate import migrate
from tickd.events import EVENT, SEQ_INDEX_BITS, Flag, Kind
from tickd.native import Cut, Decoder, EventBatch, SinkWorker, table_columns

ROWS = (1_000, 10_000, 100_000)
BURST = 64
DAY_NS = 1_723_075_200 * 10**9  # 2024-08-08
DEFINITION = (
    b'{"kind":"instrument","venue":"binance-usdm","symbol":"BTCUSDT","asset_class":"perpetual",'
    b'"price_scale":2,"size_scale":3,"tick":10,"lot":1,"multiplier":"1"}'
)
# Budgets at 100,000 rows: ARCHITECTURE.md §6.
RATE_LEAST = 2e6
CPU_MOST = 0.1
FLUSH_ROWS = 150_000
FLUSH_MS_MOST = 2.0


Way = tuple[Literal["native", "row_binary", "json"], Literal["none", "gzip", "lz4", "zstd"]]
WAYS: tuple[Way, ...] = (
    ("native", "none"),
    ("native", "lz4"),
    ("native", "zstd"),
    ("row_binary", "none"),
    ("row_binary", "lz4"),
    ("row_binary", "zstd"),
    ("json", "none"),
    ("json", "gzip"),
)


class Spent(NamedTuple):
    wall_s: float
    cpu_s: float


def instrument() -> tuple[int, bytes]:
    decoder = Decoder()
    decoder.decode(b"1 1 1 0 C %d %b\n" % (len(DEFINITION), DEFINITION))
    return decoder.instruments()[0]


def trades(rows: int, first: int, number: int) -> np.ndarray:
    """Trades that look like a busy minute of one symbol."""
    numbers = np.arange(first, first + rows)
    draw = np.random.default_rng(first)
    events = np.zeros(rows, EVENT)
    events["seq"] = numbers << SEQ_INDEX_BITS
    events["ts_recv"] = DAY_NS + numbers * 100_000
    events["ts_event"] = events["ts_recv"] - 3_000_000
    events["id"], events["instrument"] = numbers, number
    events["price"] = 6_180_000 + np.cumsum(draw.integers(-10, 11, rows))
    events["size"] = draw.integers(1, 2_000, rows)
    events["aux"] = 1
    events["kind"], events["flags"] = Kind.TRADE, Flag.LAST
    events["side"] = draw.choice([ord("A"), ord("B")], rows)
    return events


def batches_of(events: np.ndarray) -> list[EventBatch]:
    runs = (events[at : at + BURST] for at in range(0, len(events), BURST))
    return [EventBatch.from_events(run.tobytes(), [(0, 0, len(run))]) for run in runs]


class Sender:
    """The sink's own pieces without its bookkeeping: worker, block, POST."""

    def __init__(self, clickhouse: ClickHouse, definition: bytes) -> None:
        self._clickhouse = clickhouse
        self._worker = SinkWorker(
            node=1,
            seq_from=0,
            layout=clickhouse.block_format,
            compression=clickhouse.compression,
        )
        self._worker.define(definition)

    async def send(self, batches: list[EventBatch]) -> Spent:
        wall, cpu = time.perf_counter(), time.process_time()
        for batch in batches:
            self._worker.push(batch)
        self._worker.cut("rows")
        for block in self._cut().blocks:
            await self._clickhouse.insert_block(block, block.hash)
        return Spent(time.perf_counter() - wall, time.process_time() - cpu)

    def encode(self, batches: list[EventBatch]) -> Spent:
        wall, cpu = time.perf_counter(), time.process_time()
        for batch in batches:
            self._worker.push(batch)
        self._worker.cut("rows")
        self._cut()
        return Spent(time.perf_counter() - wall, time.process_time() - cpu)

    def close(self) -> None:
        self._worker.close()

    def _cut(self) -> Cut:
        while not (cuts := self._worker.take()):
            select.select([self._worker.wake_fd], [], [], 1.0)
        return cuts[0]


Insert = Callable[[int], Awaitable[Spent]]


async def measure(endpoint: Endpoint, rows: int, rounds: int) -> dict[str, Spent]:
    """Best wall and best CPU of each way, over alternating rounds."""
    number, definition = instrument()
    clickhouse = ClickHouse(ClickHouseConfig(), lambda: endpoint)
    await migrate(clickhouse)
    packed = ClickHouse(ClickHouseConfig(compression="lz4"), lambda: endpoint)
    client = clickhouse_connect.get_client(
        dsn=endpoint.url, password=endpoint.password.reveal(), compress=False
    )
    sender, packing = Sender(clickhouse, definition), Sender(packed, definition)
    names = [name for name, _ in table_columns("trades")]
    firsts = itertools.count(1, rows)

    async def native(first: int) -> Spent:
        return await sender.send(batches_of(trades(rows, first, number)))

    async def native_lz4(first: int) -> Spent:
        return await packing.send(batches_of(trades(rows, first, number)))

    async def encode(first: int) -> Spent:
        return sender.encode(batches_of(trades(rows, first, number)))

    async def library(first: int) -> Spent:
        events = trades(rows, first, number)
        columns = [events[name].tolist() for name in ("seq", "ts_recv", "ts_event", "instrument")]
        tail = [events[name].tolist() for name in ("id", "price", "size")]
        sides = ["A" if side == ord("A") else "B" for side in events["side"]]
        data = [
            (1, seq, recv, event, inst, 2, 3, 128, ident, price, size, side, 1)
            for seq, recv, event, inst, ident, price, size, side in zip(
                *columns, *tail, sides, strict=True
            )
        ]
        wall, cpu = time.perf_counter(), time.process_time()
        client.insert("tickd.trades", data, column_names=names, settings={"async_insert": "0"})
        return Spent(time.perf_counter() - wall, time.process_time() - cpu)

    ways: dict[str, Insert] = {
        "tickd": native,
        "lz4": native_lz4,
        "encode": encode,
        "clickhouse-connect": library,
    }
    best = dict.fromkeys(ways, Spent(float("inf"), float("inf")))
    try:
        for _ in range(rounds):
            for way, insert in ways.items():
                spent = await insert(next(firsts))
                best[way] = Spent(*map(min, best[way], spent))
        stored = client.query("SELECT count() FROM tickd.trades").result_rows[0][0]
        assert stored == 3 * rounds * rows, (stored, rounds, rows)
    finally:
        for each in (sender, packing):
            each.close()
        for server in (clickhouse, packed):
            await server.close()
        client.close()
    return best


def told(kind: str, rows: int, best: dict[str, Spent]) -> list[Figure]:
    key, where = f"sink.{kind}.{rows}", f"{rows:,} rows, {kind} server"
    budgeted = rows == max(ROWS)
    own, other = best["tickd"], best["clickhouse-connect"]
    million = rows / 1e6
    return [
        Figure(
            f"{key}.rate",
            rows / own.wall_s,
            "rows/s",
            f"tickd, {where}, wall, one in flight",
            least=RATE_LEAST if budgeted else None,
        ),
        Figure(
            f"{key}.cpu",
            own.cpu_s / million,
            "CPU-s/M",
            f"tickd's CPU, {where}; encoding alone {best['encode'].cpu_s / million:.3f}",
            most=CPU_MOST if budgeted else None,
        ),
        Figure(
            f"{key}.lz4.cpu",
            best["lz4"].cpu_s / million,
            "CPU-s/M",
            f"tickd's CPU with lz4, {where}; {rows / best['lz4'].wall_s:,.0f} rows/s",
        ),
        Figure(
            f"{key}.library.rate",
            rows / other.wall_s,
            "rows/s",
            f"clickhouse-connect insert(), {where}, wall",
        ),
        Figure(
            f"{key}.library.cpu",
            other.cpu_s / million,
            "CPU-s/M",
            f"clickhouse-connect insert(), {where}",
        ),
        Figure(
            f"{key}.ratio.rate", other.wall_s / own.wall_s, "x", f"rows per second, {where}, wall"
        ),
        Figure(
            f"{key}.ratio.cpu",
            other.cpu_s / own.cpu_s,
            "x",
            f"client CPU per row, {where}, tickd against insert()",
            checked=kind == "embedded" and budgeted,
        ),
    ]


def figures(
    rounds: int, *, rows: tuple[int, ...] = ROWS, kinds: list[str] | None = None
) -> list[Figure]:
    out: list[Figure] = []
    for kind in kinds or servers.kinds():
        for count in rows:
            with servers.serving(kind) as endpoint:
                out += told(kind, count, asyncio.run(measure(endpoint, count, rounds)))
    return out


async def measure_formats(endpoint: Endpoint, rows: int, rounds: int) -> dict[Way, Spent]:
    """Best wall and best CPU of each format and packing, over alternating rounds."""
    number, definition = instrument()
    first = itertools.count(1, rows)
    servers_of = {
        way: ClickHouse(ClickHouseConfig(format=way[0], compression=way[1]), lambda: endpoint)
        for way in WAYS
    }
    await migrate(servers_of[WAYS[0]])
    senders = {way: Sender(server, definition) for way, server in servers_of.items()}
    best = dict.fromkeys(WAYS, Spent(float("inf"), float("inf")))
    try:
        for _ in range(rounds):
            for way, sender in senders.items():
                spent = await sender.send(batches_of(trades(rows, next(first), number)))
                best[way] = Spent(*map(min, best[way], spent))
        ((stored,),) = await servers_of[WAYS[0]].query("SELECT count() FROM tickd.trades")
        assert stored == len(WAYS) * rounds * rows, (stored, rounds, rows)
    finally:
        for sender in senders.values():
            sender.close()
        for server in servers_of.values():
            await server.close()
    return best


def format_figures(
    rounds: int, *, rows: tuple[int, ...] = ROWS, kinds: list[str] | None = None
) -> list[Figure]:
    out: list[Figure] = []
    for kind, count in itertools.product(kinds or servers.kinds(), rows):
        with servers.serving(kind) as endpoint:
            best = asyncio.run(measure_formats(endpoint, count, rounds))
        for (form, packing), spent in best.items():
            key, where = f"sink.{kind}.{count}.{form}.{packing}", f"{count:,} rows, {kind} server"
            text = f"{form}, {packing}, {where}"
            out.append(Figure(f"{key}.rate", count / spent.wall_s, "rows/s", text))
            out.append(Figure(f"{key}.cpu", spent.cpu_s / count * 1e6, "CPU-s/M", text))
    return out


def flush_figure(rounds: int) -> Figure:
    """One second of 150,000 events: what its flush costs the process besides ClickHouse's own."""
    number, definition = instrument()
    best = float("inf")
    worker = SinkWorker(node=1, seq_from=0)
    worker.define(definition)
    # The first flush pays for fresh memory, once; what counts is every second after it.
    for turn in range(1 + rounds):
        before = worker.stats()["cut_cpu_ns"]
        for batch in batches_of(trades(FLUSH_ROWS, 1 + turn * FLUSH_ROWS, number)):
            worker.push(batch)
        worker.cut("age")
        while not worker.take():
            select.select([worker.wake_fd], [], [], 1.0)
        if turn:
            best = min(best, (worker.stats()["cut_cpu_ns"] - before) / 1e6)
    worker.close()
    text = f"CPU of the cut of {FLUSH_ROWS:,} rows, encoding done batch by batch before"
    return Figure("sink.flush", best, "ms CPU", text, most=FLUSH_MS_MOST)


def main() -> None:
    parser = harness.arguments(__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    options = parser.parse_args()
    harness.refuse_debug_build()
    rows, kinds = tuple(options.rows), None
    if options.checked:
        rows, kinds = (max(ROWS),), ["embedded"]
    harness.show([flush_figure(options.rounds)], as_json=options.json)
    harness.show(figures(options.rounds, rows=rows, kinds=kinds), as_json=options.json)
    if not options.checked:  # the ratios that must hold are those above
        harness.show(format_figures(options.rounds, rows=rows, kinds=kinds), as_json=options.json)


if __name__ == "__main__":
    main()
