"""What an outage and a slow neighbour cost: the sink's delivery against the obvious ways.

**Drain**: a raw log of trades, quotes and depth was written while ClickHouse was away. tickd's sink
has its blocks in memory and spool and sends them, a lane per table; the naive loop reads the raw
log again and inserts Python rows with clickhouse-connect, one request after the other, 100,000 rows
each, and leaves the depth out. Same raw log, same empty tables, wall time per row until all are
there; both counts are checked in ClickHouse.

**Writers**: batches of messages arrive at a fixed pace. *Parallel* is tickd: raw log and sink each
go their way. *Sequential* is the loop that people write first: append, wait for the sync, insert,
wait for the answer, next batch. Shown: time from a batch's arrival to its sync in the raw log and
to ClickHouse's answer.

**Cuts**: events arrive at a rate, on a clock of the benchmark's own, and the cut policy cuts the
real encoder: CPU of the dearest cut once the policy has learned, its age, its largest block's rows.

Run: python benchmarks/bench_delivery.py [--rounds 3] [--messages 300000]
"""

from __future__ import annotations

import asyncio
import select
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import clickhouse_connect
import harness
import numpy as np
import orjson
import servers
from bench_sink import batches_of, instrument, trades
from harness import Figure

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.endpoint import Endpoint
from recorder.config import ClickHouseConfig, SinkConfig
from recorder.raw.recover import LogReplay
from recorder.raw.watermark import Watermark
from recorder.schema.migrate import migrate
from recorder.sink.cutting import CutPolicy
from recorder.sink.plan import Plan
from recorder.sink.sink import Sink, SinkState
from recorder.spool.quarantine import Quarantine
from recorder.spool.spool import Spool
from tickd.clock import SystemClock
from tickd.events import EVENT, Kind
from tickd.native import (
    EVENT_TABLES,
    BlockBuilder,
    Decoder,
    EventBatch,
    RawLogReader,
    SinkWorker,
    table_columns,
)
from tickd.testing.memory_log import MemoryBursts
from tickd.testing.wire_log import WireLog

MESSAGES = 300_000
BURST = 64
NAIVE_ROWS = 100_000
# Cuts: a quiet market, the daemon's budget, its stretch, a replay.
CUT_RATES = (1_000, 20_000, 150_000, 600_000, 2_000_000)
CUT_EVENTS_MAX = 3_000_000
# Writers: so many messages per batch, so far apart, so many batches.
BATCH_MESSAGES, BATCH_S, BATCHES = 5_000, 0.25, 24


class Life:
    """A sink over a raw log in a directory of its own."""

    def __init__(self, directory: Path, endpoint: Endpoint, log: WireLog) -> None:
        self.log = log
        self.clickhouse = ClickHouse(ClickHouseConfig(), lambda: endpoint)
        self.watermark = Watermark(log.raw_log, durable=True, clock=SystemClock())
        self.unwatch = self.watermark.watch(asyncio.get_running_loop())
        self.bursts = MemoryBursts()
        state = directory / "sink"
        clock = SystemClock()
        self.sink = Sink(
            SinkConfig(drain_timeout_ms=300_000),
            node=1,
            plan=Plan(state / "plan.jsonl"),
            spool=Spool(state / "spool", bytes_max=2 << 30, clock=clock),
            clickhouse=self.clickhouse,
            progress=self.watermark,
            replay=LogReplay(directory / "raw"),
            frame_recovered=log.frame_recovered,
            quarantine=Quarantine(state / "quarantine"),
            clock=clock,
            random=Random(1).random,
        )
        self._defined = 0

    async def feed(self, messages: int) -> EventBatch | None:
        """Append messages to the raw log and give their batch to the sink."""
        while self.log.raw_log.full:
            await asyncio.sleep(0.001)
        batch = self.log.burst(messages)
        definitions = self.log.definitions()
        for definition in definitions[self._defined :]:
            self.sink.define(definition)
        self._defined = len(definitions)
        if batch is not None:
            self.bursts.put(batch)
        return batch

    async def close(self) -> None:
        self.unwatch()
        await self.clickhouse.close()
        await asyncio.to_thread(self.log.close)


def settled(sink: Sink, frame_no: int) -> bool:
    return sink.frame_settled >= frame_no


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.001)


class Drained(NamedTuple):
    wall_s: float
    rows: int


async def drain(directory: Path, endpoint: Endpoint, messages: int) -> Drained:
    """Record `messages` while nothing can be sent, then let it be sent."""
    life = Life(directory, endpoint, WireLog(directory / "raw", seed=1))
    await migrate(life.clickhouse)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(life.sink.run(life.bursts))
        await until(lambda: life.sink.state is SinkState.LIVE)
        for number in range(messages // BURST):
            await life.feed(BURST)
            if number % 16 == 0:
                await asyncio.sleep(0)
        await life.watermark.reached(life.log.raw_log.next_frame_no - 1)
        begun = time.perf_counter()
        life.sink.delivery.open()
        life.bursts.close()
        await running
        wall_s = time.perf_counter() - begun
    rows = life.sink.delivery.counters.rows_committed
    found = [await life.clickhouse.query(f"SELECT count() FROM tickd.{t}") for t in EVENT_TABLES]
    assert rows == sum(int(count) for ((count,),) in found), "the sink lost rows"
    await life.close()
    return Drained(wall_s, rows)


def rows_of(events: np.ndarray, scales: dict[int, tuple[int, int]]) -> dict[str, list[tuple]]:
    """The rows of a stretch as Python tuples, the way a script would build them."""
    out: dict[str, list[tuple]] = {"trades": [], "quotes": []}
    pending: list[Any] = []
    for event in events.tolist():
        record = dict(zip(EVENT.names or (), event, strict=True))
        price_scale, size_scale = scales[record["instrument"]]
        head = (
            1,
            record["seq"],
            record["ts_recv"],
            record["ts_event"],
            record["instrument"],
            price_scale,
            size_scale,
            record["flags"],
        )
        kind = record["kind"]
        if kind == Kind.TRADE:
            side = chr(record["side"])
            out["trades"].append(
                (*head, record["id"], record["price"], record["size"], side, record["aux"])
            )
        elif kind == Kind.QUOTE:
            pending.append(record)
            if len(pending) == 2:
                bid, ask = pending
                both = (bid["price"], bid["size"], ask["price"], ask["size"])
                out["quotes"].append((*head, record["id"], *both))
                pending.clear()
    return out


def naive(directory: Path, endpoint: Endpoint) -> Drained:
    """Read the raw log again, insert Python rows table by table; trades and quotes only."""
    client = clickhouse_connect.get_client(
        dsn=endpoint.url, password=endpoint.password.reveal(), compress=False
    )
    waiting: dict[str, list[tuple]] = {"trades": [], "quotes": []}
    scales: dict[int, tuple[int, int]] = {}
    stored = 0

    def insert(table: str) -> int:
        names = [name for name, _ in table_columns(table)]
        rows = waiting[table]
        client.insert(
            f"tickd.{table}", rows, column_names=names[: len(rows[0])], settings={"async_insert": 0}
        )
        count = len(rows)
        rows.clear()
        return count

    begun = time.perf_counter()
    decoder = Decoder()
    for _, chunk in RawLogReader(str(directory / "raw")):
        batch = decoder.decode(chunk)
        if b'"instrument"' in chunk:
            for instrument, definition in decoder.instruments():
                facts = orjson.loads(definition)
                scales[instrument] = (facts["price_scale"], facts["size_scale"])
        if batch is None:
            continue
        events = np.frombuffer(memoryview(batch), EVENT)
        for table, rows in rows_of(events, scales).items():
            waiting[table] += rows
            if len(waiting[table]) >= NAIVE_ROWS:
                stored += insert(table)
    stored += sum(insert(table) for table, rows in waiting.items() if rows)
    wall_s = time.perf_counter() - begun
    assert stored == counted(client), "the naive loop lost rows"
    client.close()
    return Drained(wall_s, stored)


def counted(client: Any, tables: tuple[str, ...] = ("trades", "quotes")) -> int:
    return sum(
        client.query(f"SELECT count() FROM tickd.{name}").result_rows[0][0] for name in tables
    )


class Latencies(NamedTuple):
    """Seconds from a batch's arrival, one entry per batch."""

    synced: list[float]
    answered: list[float]


def arrivals() -> Iterator[float]:
    """When batches come: at a fixed pace, whoever is late is late."""
    begun = time.perf_counter() + 0.05
    for number in range(BATCHES):
        yield begun + number * BATCH_S


async def parallel(directory: Path, endpoint: Endpoint) -> Latencies:
    """tickd: the raw log's thread and the sink, side by side."""
    life = Life(directory, endpoint, WireLog(directory / "raw", seed=2))
    await migrate(life.clickhouse)
    life.sink.delivery.open()
    out = Latencies([], [])

    async def watch(frame_no: int, arrived: float) -> None:
        await life.watermark.reached(frame_no)
        out.synced.append(time.perf_counter() - arrived)
        await until(lambda: settled(life.sink, frame_no))
        out.answered.append(time.perf_counter() - arrived)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(life.sink.run(life.bursts))
        await until(lambda: life.sink.state is SinkState.LIVE)
        for at in arrivals():
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            batch = await life.feed(BATCH_MESSAGES)
            assert batch is not None
            tasks.create_task(watch(batch.frame_last, at))
        await until(lambda: len(out.answered) == BATCHES)
        life.bursts.close()
    await life.close()
    return out


async def sequential(directory: Path, endpoint: Endpoint) -> Latencies:
    """Append, wait for the sync, insert, wait for the answer; then the next batch."""
    log = WireLog(directory / "raw", seed=2)
    watermark = Watermark(log.raw_log, durable=True, clock=SystemClock())
    unwatch = watermark.watch(asyncio.get_running_loop())
    clickhouse = ClickHouse(ClickHouseConfig(), lambda: endpoint)
    await migrate(clickhouse)
    out = Latencies([], [])
    for at in arrivals():
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        batch = log.burst(BATCH_MESSAGES)
        assert batch is not None
        await watermark.reached(batch.frame_last)
        out.synced.append(time.perf_counter() - at)
        builder = BlockBuilder(node=1)
        for definition in log.definitions():
            builder.define(definition)
        builder.push(batch)
        for block in builder.finish():
            await clickhouse.insert_block(block, block.hash)
        out.answered.append(time.perf_counter() - at)
    unwatch()
    await clickhouse.close()
    await asyncio.to_thread(log.close)
    return out


class CutCost(NamedTuple):
    cpu_us: float
    age_ms: float
    rows: int


def cut_costs(per_s: int, compression: str | None) -> list[CutCost]:
    """Every cut of some seconds of a market at `per_s` events, the first ones left out."""
    number, definition = instrument()
    config = SinkConfig()
    policy = CutPolicy(config.cuts)
    worker = SinkWorker(node=1, seq_from=0, compression=compression)
    worker.define(definition)
    events = min(per_s * 6, CUT_EVENTS_MAX)
    out: list[CutCost] = []
    now_ns = begun_ns = spent_ns = 0
    for batch in batches_of(trades(events, 1, number)):
        now_ns += len(batch) * 1_000_000_000 // per_s
        begun_ns = begun_ns if policy.events_open else now_ns
        worker.push(batch)
        policy.pushed(len(batch), now_ns)
        if policy.reason(policy.events_open, policy.events_open * 60, now_ns) is None:
            continue
        policy.cut(now_ns)
        worker.cut("bench")
        while not (cuts := worker.take()):
            select.select([worker.wake_fd], [], [], 1.0)
        cost_ns, spent_ns = worker.stats()["cut_cpu_ns"] - spent_ns, worker.stats()["cut_cpu_ns"]
        rows = max(block.rows for block in cuts[0].blocks)
        policy.finished([rows], cost_ns)
        out.append(CutCost(cost_ns / 1_000, (now_ns - begun_ns) / 1e6, rows))
        del cuts
    worker.close()
    return out[len(out) // 2 :]


def cut_figures(rounds: int) -> list[Figure]:
    out: list[Figure] = []
    for compression in (None, "lz4", "zstd"):
        for per_s in CUT_RATES:
            cuts = min((cut_costs(per_s, compression) for _ in range(rounds)), key=max)
            dearest = max(cuts)
            out.append(
                Figure(
                    f"delivery.cut.{compression or 'plain'}.{per_s}",
                    dearest.cpu_us / 1_000,
                    "ms CPU",
                    f"dearest cut at {per_s:,} events/s, {compression or 'plain'}:"
                    f" {dearest.rows:,} rows, cut after {dearest.age_ms:.0f} ms",
                    most=2.0,
                )
            )
    return out


def quantile(values: list[float], share: float) -> float:
    return float(np.quantile(values, share)) * 1_000


def drain_figures(rounds: int, messages: int) -> list[Figure]:
    own = other = float("inf")
    rows = naive_rows = 0
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="tickd-bench-") as folder:
            directory = Path(folder)
            with servers.serving(servers.kinds()[-1]) as endpoint:
                drained = asyncio.run(drain(directory, endpoint, messages))
            with servers.serving(servers.kinds()[-1]) as endpoint:
                asyncio.run(tables(endpoint))
                looped = naive(directory, endpoint)
            own, rows = min(own, drained.wall_s / drained.rows), drained.rows
            other, naive_rows = min(other, looped.wall_s / looped.rows), looped.rows
    return [
        Figure("delivery.drain", 1 / own, "rows/s", f"tickd drains {rows:,} rows after an outage"),
        Figure(
            "delivery.drain.naive",
            1 / other,
            "rows/s",
            f"reading again and insert() of {naive_rows:,} Python rows, one after the other",
        ),
        Figure("delivery.drain.ratio", other / own, "x", "rows per second after an outage, wall"),
    ]


async def tables(endpoint: Endpoint) -> None:
    clickhouse = ClickHouse(ClickHouseConfig(), lambda: endpoint)
    await migrate(clickhouse)
    await clickhouse.close()


def writer_figures(rounds: int) -> list[Figure]:
    ways = {"parallel": parallel, "sequential": sequential}
    best: dict[str, dict[str, float]] = {way: {} for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            folder = Path(tempfile.mkdtemp(prefix="tickd-bench-"))
            try:
                with servers.serving(servers.kinds()[-1]) as endpoint:
                    taken = asyncio.run(run(folder, endpoint))
            finally:
                shutil.rmtree(folder)
            for name, values in (("synced", taken.synced), ("answered", taken.answered)):
                for share in (0.5, 0.99):
                    key = f"{name}.p{share * 100:.0f}"
                    value = quantile(values, share)
                    best[way][key] = min(best[way].get(key, float("inf")), value)
    pace = f"{BATCH_MESSAGES / BATCH_S:,.0f} messages/s in batches of {BATCH_MESSAGES}"
    out: list[Figure] = []
    for key, what in (("synced", "sync in the raw log"), ("answered", "ClickHouse's answer")):
        for point in ("p50", "p99"):
            for way in ways:
                value = best[way][f"{key}.{point}"]
                text = f"batch to {what}, {point}, {way} writers, {pace}"
                out.append(Figure(f"delivery.{way}.{key}.{point}", value, "ms", text))
            ratio = best["sequential"][f"{key}.{point}"] / best["parallel"][f"{key}.{point}"]
            text = f"batch to {what}, {point}, sequential against parallel writers"
            out.append(Figure(f"delivery.writers.{key}.{point}", ratio, "x", text))
    return out


def main() -> None:
    parser = harness.arguments(__doc__, rounds=3)
    parser.add_argument("--messages", type=int, default=MESSAGES, help="recorded in the outage")
    options = parser.parse_args()
    harness.refuse_debug_build()
    rounds = min(options.rounds, 3)
    harness.show(cut_figures(rounds), as_json=options.json)
    harness.show(drain_figures(rounds, options.messages), as_json=options.json)
    harness.show(writer_figures(rounds), as_json=options.json)


if __name__ == "__main__":
    main()
