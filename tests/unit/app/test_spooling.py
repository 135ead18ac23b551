"""`tickd spool`: what is shown, planned again, and let go, without a daemon and beside one."""

import orjson
import pytest

from recorder.sink.plan import Plan
from recorder.sink.plan_thread import PlanThread
from recorder.sink.retry import RetryPolicy
from recorder.spool.quarantine import Quarantine
from recorder.spool.spool import Spool
from recorder.spool.thread import SpoolThread
from tests.unit.recorder.spool.test_spool import body, planned
from tickd.app.spooling import Spooling
from tickd.errors import TickdError
from tickd.testing.clock import ManualClock


class Told:
    """A delivery that only counts how often it is told."""

    count = 0

    def tell(self):
        self.count += 1


@pytest.fixture
async def node(tmp_path):
    clock = ManualClock(5_000)
    plan = PlanThread(
        Plan(tmp_path / "plan.jsonl"), clock=clock, policy=RetryPolicy(), random=lambda: 0.0
    )
    spool = SpoolThread(Spool(tmp_path / "spool", bytes_max=1 << 20, clock=clock))
    await spool.open()
    quarantine, records, told = Quarantine(tmp_path / "quarantine"), [], Told()
    spooling = Spooling(
        plan=plan,
        spool=spool,
        quarantine=quarantine,
        clock=clock,
        lanes=told,
        record=records.append,
    )
    yield spooling, plan, spool, quarantine, records, told
    spool.close()
    plan.close()


async def test_a_retried_block_is_planned_and_spooled_before_it_leaves_quarantine(node):
    spooling, plan, spool, quarantine, _, told = node
    for number in (0, 100):
        quarantine.keep(planned(number), body(number), "no such column")
    assert await spooling.retry([planned(100).token]) == [planned(100).token]
    assert plan.open_blocks == [planned(100)]
    assert await spool.peek("trades") == (planned(100), True)
    assert bytes(await spool.read(planned(100))) == body(100)
    assert [each.planned for each in quarantine.list()] == [planned(0)]
    assert told.count == 1
    await spooling.retry([])
    assert list(quarantine.list()) == []
    assert plan.open_blocks == [planned(100), planned(0)]


async def test_a_block_without_a_body_becomes_a_range_for_repair(node):
    spooling, plan, spool, quarantine, _, _ = node
    quarantine.keep(planned(0), None, "the raw log has no such rows")
    await spooling.retry([])
    assert [(each.table, each.seq_from, each.seq_to) for each in plan.spilled()] == [
        ("trades", 0, 99)
    ]
    assert (plan.open_blocks, spool.blocks) == ([], 0)


async def test_rows_that_repair_is_going_to_bring_are_not_brought_twice(node):
    spooling, plan, spool, quarantine, _, _ = node
    await plan.spill("trades", 50, 60, "by hand")
    quarantine.keep(planned(0), body(0), "refused")
    await spooling.retry([])
    assert (plan.open_blocks, spool.blocks) == ([], 0)
    assert list(quarantine.list()) == []


async def test_dropping_needs_a_reason_and_is_recorded(node):
    spooling, plan, _, quarantine, records, _ = node
    quarantine.keep(planned(0), body(0), "refused")
    with pytest.raises(TickdError, match="reason"):
        await spooling.drop([], who="ann", reason=" ")
    assert await spooling.drop([], who="ann", reason="test data") == [planned(0).token]
    (record,) = records
    assert record["kind"] == "quarantine_dropped"
    assert (record["who"], record["reason"], record["when_ns"]) == ("ann", "test data", 5_000)
    assert (record["seq_first"], record["seq_last"]) == (1, 50)
    assert plan.open_blocks == []
    orjson.dumps(record)


async def test_the_list_is_json_with_spool_and_quarantine(node):
    spooling, _, spool, quarantine, _, _ = node
    quarantine.keep(planned(0), body(0), "refused")
    await spool.put(planned(100, "quotes"), body(1), unknown=False)
    listing = orjson.loads(orjson.dumps(await spooling.answer({"action": "list"})))
    assert listing["blocks"] == listing["tables"]["quotes"]["blocks"] == 1
    assert listing["oldest_ns"] == 5_000
    (kept,) = listing["quarantine"]
    assert (kept["token"], kept["rows"], kept["bytes"], kept["reason"]) == (
        planned(0).token,
        5,
        1_000,
        "refused",
    )


@pytest.mark.parametrize("action", ["retry", "drop"])
async def test_an_unknown_token_changes_nothing(node, action):
    spooling, plan, _, quarantine, _, _ = node
    quarantine.keep(planned(0), body(0), "refused")
    request = {"action": action, "tokens": [planned(0).token, "x"], "who": "a", "reason": "b"}
    with pytest.raises(TickdError, match="not in quarantine: x"):
        await spooling.answer(request)
    assert len(quarantine.list()) == 1
    assert plan.open_blocks == []
