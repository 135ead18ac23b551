"""Ids, the choice of batches, the tree of spans, exemplars: all pure."""

from __future__ import annotations

import msgspec
import pytest

from tickd.telemetry.exemplars import Exemplars
from tickd.telemetry.trace_ids import batch_trace, chosen_below, is_chosen, span_of
from tickd.telemetry.traces import (
    Action,
    BatchStamps,
    BlockStamps,
    Known,
    OrderStamps,
    Ran,
    Span,
    Trace,
    block_trace,
    tables_of,
    trace_of,
)

FRAME = 1_000
FIRST, LAST = 991 << 16, (FRAME << 16) + 3
BATCH = BatchStamps(LAST, FIRST, FRAME, 12, 100, 130, 150, 190, ((7, 0, 12),), ())
BLOCK = BlockStamps("trades", 900 << 16, 1_100 << 16, 5_000, 300, 320, 900)


def order(seq: int = LAST, **other: int) -> OrderStamps:
    times = {"asked_ns": 230, "decided_ns": 240, "send_ns": 250, "sent_ns": 260, **other}
    return OrderStamps(client_id=5, seq=seq, strategy="a", venue="okx", verdict="approved", **times)


def known(**other: object) -> Known:
    whole = Known(
        batch=BATCH,
        why="ratio",
        topics=("trade.okx.BTC", "quote.binance.ETH"),
        written_ns=400,
        synced_ns=500,
        blocks=(BLOCK,),
        ran=(Ran("a", 210, 290, 12, LAST, "process"),),
        orders=(order(),),
        is_whole=True,
    )
    return whole._replace(**other)


def named(trace: Trace) -> dict[str, Span]:
    assert len({span.span_id for span in trace.spans}) == len(trace.spans)
    return {span.name: span for span in trace.spans}


def test_ids_are_the_same_wherever_they_are_derived_and_differ_by_node_and_frame() -> None:
    assert batch_trace(1, FRAME) == batch_trace(1, FRAME)
    ids = {batch_trace(node, frame) for node in range(20) for frame in range(500)}
    assert len(ids) == 10_000
    assert all(0 < each < 1 << 128 and each & ((1 << 64) - 1) for each in ids)
    spans = {span_of(each, name) for each in list(ids)[:100] for name in ("a", "b", "a #2")}
    assert len(spans) == 300
    assert all(0 < each < 1 << 64 for each in spans)


@pytest.mark.parametrize("step", [1, 7, 64, 500])
def test_the_share_of_batches_holds_for_any_stride_of_frame_numbers(step: int) -> None:
    below = chosen_below(0.01)
    count = sum(is_chosen(number, below) for number in range(0, 100_000 * step, step))
    assert 900 <= count <= 1_100
    assert not any(is_chosen(number, chosen_below(0.0)) for number in range(1_000))
    assert all(is_chosen(number, chosen_below(1.0)) for number in range(1_000))


def test_a_batch_is_one_tree() -> None:
    trace = trace_of(1, known())
    spans = named(trace)
    root = trace.spans[0]
    assert (root.name, root.parent_id) == ("process market-data", 0)
    assert (root.began_ns, root.ended_ns) == (100, 900)
    parents = {
        "receive market-data": root,
        "decode market-data": root,
        "publish market-data": root,
        "write raw-log": root,
        "sync raw-log": root,
        "store trades": root,
        "process strategy.a": spans["publish market-data"],
        "decide gate": spans["process strategy.a"],
        "send okx": spans["decide gate"],
    }
    assert spans.keys() - parents.keys() == {"process market-data"}
    assert {name: spans[name].parent_id for name in parents} == {
        name: span.span_id for name, span in parents.items()
    }
    assert spans["send okx"].links == ((trace.trace_id, root.span_id),)
    assert root.attributes["tickd.venues"] == "binance,okx"
    assert root.attributes["messaging.operation.name"] == "process"
    assert spans["publish market-data"].attributes["messaging.operation.type"] == "send"
    assert trace.latency_ns == 190  # 290 - 100: the strategy is later than the bus


def test_what_is_not_known_has_no_span() -> None:
    bare = known(written_ns=0, synced_ns=0, blocks=(), ran=(), orders=(), is_whole=False)
    trace = trace_of(1, bare)
    assert set(named(trace)) == {
        "process market-data",
        "receive market-data",
        "decode market-data",
        "publish market-data",
    }
    assert trace.spans[0].attributes["tickd.whole"] is False
    assert trace.spans[0].ended_ns == 190


def test_an_order_hangs_below_the_portion_that_held_its_event() -> None:
    ran = (
        Ran("b", 200, 205, 12, LAST, "inproc"),
        Ran("a", 210, 220, 4, LAST - (2 << 16), "process"),
        Ran("a", 221, 260, 8, LAST, "process"),
    )
    trace = trace_of(1, known(ran=ran))
    handlers = [span for span in trace.spans if span.name == "process strategy.a"]
    [deciding] = [span for span in trace.spans if span.name == "decide gate"]
    assert deciding.parent_id == handlers[1].span_id


def test_an_order_that_was_denied_was_not_sent() -> None:
    denied = order(send_ns=0, sent_ns=0)
    spans = named(trace_of(1, known(orders=(denied,))))
    assert "decide gate" in spans
    assert "send okx" not in spans


@pytest.mark.parametrize("action", ["cancel", "replace"])
def test_a_change_is_a_decision_and_a_write_of_its_own_kind(action: Action) -> None:
    changed = msgspec.structs.replace(order(), action=action)
    trace = trace_of(1, known(orders=(order(), changed)))
    first, second = (span for span in trace.spans if span.name == "decide gate")
    assert [each.attributes["tickd.action"] for each in (first, second)] == ["new", action]
    writing = named(trace)[f"{action} okx"]
    assert writing.parent_id == second.span_id != first.span_id
    assert named(trace)["send okx"].parent_id == first.span_id
    assert (writing.began_ns, writing.ended_ns) == (250, 260)
    assert writing.attributes["messaging.operation.name"] == action
    assert writing.attributes["messaging.operation.type"] == "send"
    denied = msgspec.structs.replace(changed, sent_ns=0)
    assert f"{action} okx" not in named(trace_of(1, known(orders=(denied,))))


def test_an_insert_is_linked_to_its_batches_and_they_to_it() -> None:
    batches = list(range(900, 1_101))
    insert = block_trace(1, BLOCK, batches)
    root = insert.spans[0]
    assert len(root.links) == 128
    assert root.attributes["tickd.links_left_out"] == 201 - 128
    trace = trace_of(1, known())
    assert named(trace)["store trades"].links == ((insert.trace_id, root.span_id),)
    ours = trace_of(1, known()).spans[0].span_id
    assert block_trace(1, BLOCK, [FRAME]).spans[0].links == ((trace.trace_id, ours),)
    assert {span.name for span in insert.spans} == {
        "insert trades",
        "wait trades",
        "request trades",
    }


def test_tables_follow_channels() -> None:
    assert tables_of(["trade.a.b", "aggtrade.a.b", "depth.a.b", "clock.a.b"]) == {"trades", "book"}


def test_of_each_bucket_the_newest_exemplar_is_kept() -> None:
    kept = Exemplars()
    kept.note("m", 10_000, 1, 100)
    kept.note("m", 10_000, 2, 101)
    kept.note("m", 9_000, 3, 90)  # an older one in the same wide bucket
    kept.note("m", 10**12, 4, 102)
    found = kept.of("m", [5_000, 20_000, 1_000_000])
    assert [each and each.trace_id for each in found] == [None, 2, None, 4]
    assert found[1] is not None
    assert found[1].labels == {"trace_id": f"{2:032x}"}
    assert kept.of("unknown", [1]) == [None, None]
