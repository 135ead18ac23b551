"""Rebuild and re-drive into ClickHouse, against the naive ways from the same raw log.

tickd rebuild: raw log → decode → blocks → compare → insert → compare again → bars compared, into an
empty database; then again over what is right. tickd re-drive: spooled blocks, read, checked, sent.
Naive: the same log decoded (by tickd: generous), its trades as Python rows through
clickhouse-connect's insert(), or as JSON lines through one POST per 100,000. Wall time, rows per
second; every way has the server's deduplication window, fsync and bar views. Best of the rounds.

Run: python benchmarks/bench_rebuild.py [--rounds 3] [--frames 200000]
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import clickhouse_connect
import harness
import numpy as np
import servers
from harness import Figure

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.endpoint import Endpoint
from recorder.config import ClickHouseConfig, RepairConfig
from recorder.raw.stretches import LogStretches, Stretch
from recorder.repair.journal import RepairJournal
from recorder.repair.ports import Alone
from recorder.repair.repair import Repair
from recorder.schema.migrate import migrate
from recorder.sink.plan import Plan, PlannedBlock
from recorder.sink.plan_thread import PlanThread
from recorder.sink.retry import RetryPolicy
from recorder.spool.quarantine import Quarantine
from recorder.spool.spool import Spool
from tickd.clock import SystemClock
from tickd.events import Kind, as_array
from tickd.native import EVENT_TABLES, Decoder, RawLogReader, table_columns
from tickd.testing.wire_log import WireLog

BURST = 2_000
NAIVE_ROWS = 100_000
COLUMNS = [name for name, _ in table_columns("trades")]
SIDES = {ord("N"): "N", ord("B"): "B", ord("A"): "A"}
Way = Callable[[ClickHouse, Endpoint, str], Awaitable[tuple[int, float]]]


def record(directory: Path, frames: int) -> int:
    """A raw log of so many messages: four quotes and three trades for each depth message."""
    log = WireLog(directory, 1)
    for _ in range(0, frames, BURST):
        log.burst(BURST)
    frame_last = log.raw_log.next_frame_no - 1
    log.close()
    return frame_last


class Ways:
    """The ways to bring one raw log's rows into an empty database."""

    def __init__(self, directory: Path, frame_last: int) -> None:
        self._directory = directory
        self._seq_to = frame_last << 16 | 0xFFFF

    async def rebuild(self, client: ClickHouse, _: Endpoint, __: str) -> tuple[int, float]:
        return await self._repair(client)

    async def compare(self, client: ClickHouse, _: Endpoint, __: str) -> tuple[int, float]:
        await self._repair(client)
        return await self._repair(client)

    async def redrive(self, client: ClickHouse, _: Endpoint, __: str) -> tuple[int, float]:
        clock = SystemClock()
        with tempfile.TemporaryDirectory(prefix="tickd-bench-") as scratch:
            spool = Spool(Path(scratch), bytes_max=8 << 30, clock=clock)
            for piece in LogStretches(self._directory, node=1).read(0, self._seq_to, EVENT_TABLES):
                assert isinstance(piece, Stretch)
                for block in piece.blocks:
                    assert spool.put(PlannedBlock.of(block, 1), block, unknown=False)
            rows, begun = 0, time.perf_counter()
            for planned in spool.planned():
                await client.insert_block(spool.read(planned), planned.token)
                spool.done(planned)
                rows += planned.rows
            spent = time.perf_counter() - begun
            spool.close()
        return rows, spent

    async def naive_insert(
        self, _: ClickHouse, endpoint: Endpoint, database: str
    ) -> tuple[int, float]:
        def work() -> tuple[int, float]:
            host, port = endpoint.url.removeprefix("http://").split(":")
            peer = clickhouse_connect.get_client(
                host=host,
                port=int(port),
                username=endpoint.user,
                password=endpoint.password.reveal(),
                database=database,
            )
            rows, begun = 0, time.perf_counter()
            for some in self._trades():
                peer.insert("trades", some, column_names=COLUMNS)
                rows += len(some)
            spent = time.perf_counter() - begun
            peer.close()
            return rows, spent

        return await asyncio.to_thread(work)

    async def naive_json(self, client: ClickHouse, _: Endpoint, __: str) -> tuple[int, float]:
        rows, begun = 0, time.perf_counter()
        for some in self._trades():
            lines = "\n".join(
                json.dumps(dict(zip(COLUMNS, self._texts(row), strict=True))) for row in some
            )
            await client.command(
                f"INSERT INTO {client.database}.trades ({', '.join(COLUMNS)}) "
                f"FORMAT JSONEachRow\n{lines}",
                settings={"async_insert": "0"},
            )
            rows += len(some)
        return rows, time.perf_counter() - begun

    async def _repair(self, client: ClickHouse) -> tuple[int, float]:
        clock, policy, dice = SystemClock(), RetryPolicy(), random.random
        with tempfile.TemporaryDirectory(prefix="tickd-bench-") as scratch:
            sink = Path(scratch)
            plan = PlanThread(Plan(sink / "plan.jsonl"), clock=clock, policy=policy, random=dice)
            repair = Repair(
                RepairConfig(rows_per_s=0),
                node=1,
                stretches=LogStretches(self._directory, node=1),
                clickhouse=client,
                ledger=plan,
                traffic=Alone(),
                journal=RepairJournal(sink / "repair.json"),
                quarantine=Quarantine(sink / "quarantine"),
                clock=clock,
                policy=policy,
                random=dice,
                wait_for_open=False,
            )
            for table in EVENT_TABLES:
                await plan.spill(table, 0, self._seq_to, "bench")
            begun = time.perf_counter()
            await repair.run()
            spent = time.perf_counter() - begun
            rows = repair.counters.rows_compared
            repair.close()
            plan.close()
        return rows, spent

    def _trades(self) -> list[list[tuple[object, ...]]]:
        """Rows of the trades, as a script would make them."""
        decoder = Decoder()
        found: list[tuple[object, ...]] = []
        for _, chunk in RawLogReader(str(self._directory), 0, None):
            events = as_array(decoder.decode(chunk))
            for event in events[events["kind"] == Kind.TRADE]:
                found.append(self._row(event))
        return [found[at : at + NAIVE_ROWS] for at in range(0, len(found), NAIVE_ROWS)]

    @staticmethod
    def _row(event: np.void) -> tuple[object, ...]:
        return (
            1,
            int(event["seq"]),
            int(event["ts_recv"]),
            int(event["ts_event"]),
            int(event["instrument"]),
            2,
            3,
            int(event["flags"]),
            int(event["id"]),
            int(event["price"]),
            int(event["size"]),
            SIDES[int(event["side"])],
            1,
        )

    @staticmethod
    def _texts(row: tuple[object, ...]) -> tuple[object, ...]:
        """Times as text: a bare number means another thing to each version."""
        times = (f"{int(str(ns)) // 10**9}.{int(str(ns)) % 10**9:09}" for ns in row[2:4])
        return (*row[:2], *times, *row[4:])


async def measure(endpoint: Endpoint, ways: dict[str, Way], rounds: int) -> dict[str, float]:
    """Best rows per second by way; each turn into a database of its own."""
    best = dict.fromkeys(ways, 0.0)
    for turn in range(rounds):
        for name, way in ways.items():
            database = f"bench_{name}_{turn}"
            client = ClickHouse(ClickHouseConfig(database=database), lambda: endpoint)
            await migrate(client)
            rows, spent = await way(client, endpoint, database)
            best[name] = max(best[name], rows / spent)
            await client.command(f"DROP DATABASE {database}")
            await client.close()
    return best


def figures(frames: int, rounds: int) -> list[Figure]:
    out: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="tickd-bench-") as scratch:
        directory = Path(scratch) / "raw"
        ways = Ways(directory, record(directory, frames))
        by_name: dict[str, Way] = {
            "rebuild": ways.rebuild,
            "compare": ways.compare,
            "redrive": ways.redrive,
            "naive_insert": ways.naive_insert,
            "naive_json": ways.naive_json,
        }
        texts = {
            "rebuild": "rebuild of an empty database, compared and with bars",
            "compare": "rebuild of what is right: compared, bars too",
            "redrive": "re-drive from the spool",
            "naive_insert": "naive: Python rows through clickhouse-connect insert()",
            "naive_json": "naive: json.dumps and JSONEachRow",
        }
        for kind in servers.kinds():
            with servers.serving(kind) as endpoint:
                best = asyncio.run(measure(endpoint, by_name, rounds))
            where = f"{kind} server, {frames:,} frames"
            for name, value in best.items():
                text = f"{texts[name]}, {where}"
                out.append(Figure(f"rebuild.{kind}.{name}", value, "rows/s", text))
            for name in ("rebuild", "redrive"):
                for peer in ("naive_insert", "naive_json"):
                    text = f"{name} against {peer.replace('_', ' ')}, {where}"
                    ratio = best[name] / best[peer]
                    out.append(Figure(f"rebuild.{kind}.{name}_{peer}", ratio, "x", text))
    return out


def main() -> None:
    parser = harness.arguments(__doc__, rounds=3)
    parser.add_argument("--frames", type=int, default=200_000)
    options = parser.parse_args()
    harness.refuse_debug_build()
    harness.show(figures(options.frames, min(options.rounds, 3)), as_json=options.json)


if __name__ == "__main__":
    main()
