"""From a real raw log back to the same bytes, and what ClickHouse is asked about them."""

import asyncio
import gc
from random import Random

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import ClickHouseConfig, RepairConfig, SinkConfig
from recorder.raw.recover import LogReplay, rebuild, settle
from recorder.raw.stretches import LogStretches
from recorder.raw.watermark import Watermark
from recorder.repair.journal import RepairJournal
from recorder.repair.ports import Alone
from recorder.repair.repair import Repair
from recorder.sink.plan import Plan, PlannedBlock
from recorder.sink.plan_thread import PlanThread
from recorder.sink.retry import RetryPolicy
from recorder.sink.sink import Sink
from recorder.spool.quarantine import Quarantine
from recorder.spool.spool import Spool
from recorder.verify.verify import verify
from tickd.clock import SystemClock
from tickd.native import BlockBuilder
from tickd.testing.memory_log import MemoryBursts
from tickd.testing.wire_log import WireLog


def cuts_of(log, bursts, frames):
    """Cut a live stream every `frames` messages: the planned blocks of all cuts."""
    planned, seq_from = [], 0
    for _ in range(bursts):
        batch = log.burst(frames)
        builder = BlockBuilder(node=1, seq_from=seq_from)
        for definition in log.definitions():
            builder.define(definition)
        builder.push(batch)
        blocks = builder.finish()
        planned += [PlannedBlock.of(block, 1) for block in blocks]
        seq_from = blocks[0].seq_to + 1
    return planned


@pytest.mark.parametrize("options", [{}, {"group_bytes": 2_000}, {"segment_bytes_max": 20_000}])
def test_planned_blocks_come_back_bit_for_bit(tmp_path, options):
    log = WireLog(tmp_path, seed=1, **options)
    planned = cuts_of(log, 40, 37)
    log.close()
    dice = Random(2)
    chosen = sorted(dice.sample(planned, 30), key=lambda block: block.seq_from)
    rebuilt = list(rebuild(chosen, LogReplay(tmp_path), 1))
    assert len(rebuilt) == 30
    assert all(entry.same for entry in rebuilt)


def test_frames_are_counted_without_the_leaps_of_crashes(tmp_path):
    """Three segments: a rotation, then a crash after 500 frames of the second."""
    leap, starts = 1 << 24, (1, 1_001, 1_501 + (1 << 24))
    (tmp_path / "segments").mkdir()
    for start in starts:
        (tmp_path / "segments" / f"{start:020}-20261120T000000.tkraw").touch()
    replay = LogReplay(tmp_path)
    assert replay.count(1, 900) == 900
    assert replay.count(901, 1_100) == 200
    assert replay.count(901, leap + 1_600) == 100 + 500 + 100
    # From where the log ended, and from beyond: the newest frames reached the plan only.
    assert replay.count(1_501, leap + 1_600) == 100
    assert replay.count(1_700, leap + 1_600) == 100
    assert replay.count(leap + 1_501, leap + 1_501) == 1


def test_a_live_log_is_read_up_to_what_is_written(tmp_path):
    log = WireLog(tmp_path, seed=3, group_ms=1)
    planned = cuts_of(log, 5, 50)
    log.settle()
    assert all(entry.same for entry in rebuild(planned, LogReplay(tmp_path), 1))
    log.close()


def test_a_block_whose_frames_are_lost_is_not_called_the_same(tmp_path):
    log = WireLog(tmp_path, seed=4)
    (*_, last) = cuts_of(log, 2, 50)
    log.close()
    gone = PlannedBlock(
        **{
            **{name: getattr(last, name) for name in last.__struct_fields__},
            "seq_from": last.seq_to + 1,
            "seq_to": last.seq_to + (50 << 16),
        }
    )
    (entry,) = rebuild([gone], LogReplay(tmp_path), 1)
    assert (entry.block, entry.same) == (None, False)


@pytest.fixture
async def client(endpoint, database):
    client = ClickHouse(ClickHouseConfig(database=database), lambda: endpoint)
    yield client
    await client.close()


@pytest.mark.embedded
async def test_counting_tells_sent_from_unsent(client, tmp_path):
    log = WireLog(tmp_path, seed=5)
    planned = cuts_of(log, 2, 200)
    log.close()
    rebuilt = list(rebuild(planned, LogReplay(tmp_path), 1))
    first = next(entry for entry in rebuilt if entry.planned.table == "trades")
    assert await settle(first.planned, client) == "send"
    await client.insert_block(first.block, first.planned.token)
    assert await settle(first.planned, client) == "present"
    await client.command(
        f"ALTER TABLE {client.database}.trades DELETE WHERE seq = {first.planned.seq_first} "
        "SETTINGS mutations_sync = 1"
    )
    assert await settle(first.planned, client) == "differs"


async def life(state, client, seed, *, bursts, kill_after=None):
    """One daemon's life on a real raw log; killed after so many bursts, or closed in order."""
    log = WireLog(state / "raw", seed, group_ms=5, segment_bytes_max=60_000)
    watermark = Watermark(log.raw_log, durable=False, clock=SystemClock())
    unwatch = watermark.watch(asyncio.get_running_loop())
    feed = MemoryBursts()
    sink = Sink(
        SinkConfig(
            rows_max=200,
            age_ms_min=5,
            age_ms_max=20,
            backoff_ms_min=1,
            backoff_ms_max=20,
            drain_timeout_ms=60_000,
        ),
        node=1,
        plan=Plan(state / "sink" / "plan.jsonl"),
        spool=Spool(state / "sink" / "spool", bytes_max=1 << 28, clock=SystemClock()),
        clickhouse=client,
        progress=watermark,
        replay=LogReplay(state / "raw"),
        frame_recovered=log.frame_recovered,
        quarantine=Quarantine(state / "sink" / "quarantine"),
        clock=SystemClock(),
        random=Random(seed).random,
    )
    sink.delivery.open()
    for definition in log.definitions():
        sink.define(definition)
    task = asyncio.ensure_future(sink.run(feed))
    known = len(log.definitions())
    for number in range(bursts):
        batch = log.burst(40)
        for definition in log.definitions()[known:] if known else log.definitions():
            sink.define(definition)
        known = len(log.definitions())
        if batch is not None:
            feed.put(batch)
        await asyncio.sleep(0.001)
        if number == kill_after:
            break
    if kill_after is not None:
        task.cancel()
        await asyncio.wait([task])
    else:
        feed.close()
        assert await task is True
    unwatch()
    log.close()
    # The log's lock goes with the object, and a cancelled task keeps it in a cycle.
    del log, watermark, sink, task
    gc.collect()


async def repair(state, client):
    """What is left in the ledger of a plan, worked off."""
    plan = PlanThread(
        Plan(state / "sink" / "plan.jsonl"),
        clock=SystemClock(),
        policy=RetryPolicy(),
        random=Random(1).random,
    )
    assert {each.cause for each in plan.spilled()} == {"in_doubt"}
    work = Repair(
        RepairConfig(rows_per_s=0),
        node=1,
        stretches=LogStretches(state / "raw", node=1, events_max=5_000),
        clickhouse=client,
        ledger=plan,
        traffic=Alone(),
        journal=RepairJournal(state / "sink" / "repair.json"),
        quarantine=Quarantine(state / "sink" / "quarantine"),
        clock=SystemClock(),
        policy=RetryPolicy(),
        random=Random(2).random,
        wait_for_open=False,
    )
    await work.run()
    assert plan.spilled() == []
    work.close()
    plan.close()
    return work.counters.rows_inserted


@pytest.mark.embedded
@pytest.mark.proof
async def test_lives_on_a_real_raw_log_add_up_and_verify_finds_no_difference(client, tmp_path):
    dice = Random(7)
    for number in range(5):
        await life(tmp_path, client, number, bursts=30, kill_after=dice.randrange(25))
    await life(tmp_path, client, 99, bursts=30)
    # The tokens have kept everything right: there is nothing to repair but doubts.
    assert await repair(tmp_path, client) == 0
    report = await verify(tmp_path / "raw", client, node=1)
    assert report.findings == []
    assert report.segments.sealed > 3
    stored = {table: totals.stored for table, totals in report.tables.items()}
    assert min(stored[table] for table in ("trades", "quotes", "book", "states")) > 0


@pytest.mark.embedded
async def test_a_token_that_is_remembered_without_its_rows_loses_none(client, tmp_path):
    """As a server leaves it that is killed between the two; the repeat is answered, and ignored."""
    await life(tmp_path, client, 1, bursts=20)
    path = tmp_path / "sink" / "plan.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if b"commit" not in line))
    await client.command(f"DELETE FROM {client.database}.quotes WHERE 1")
    await life(tmp_path, client, 2, bursts=5)
    assert await repair(tmp_path, client) > 0
    report = await verify(tmp_path / "raw", client, node=1)
    assert report.findings == []
    assert report.tables["quotes"].stored > 0
