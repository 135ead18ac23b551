"""The text picture: every span a line below its parent, its bar where it was."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tickd.app.trace_picture import picture
from tickd.app.trace_ring import TraceRing
from tickd.telemetry.traces import BatchStamps, BlockStamps, Known, OrderStamps, Ran, trace_of

MS = 1_000_000
BATCH = BatchStamps(
    (9 << 16) + 3, 8 << 16, 9, 12, 100 * MS, 120 * MS, 130 * MS, 140 * MS, ((1, 0, 12),), ()
)
ORDER = OrderStamps(
    client_id=1,
    seq=9 << 16,
    strategy="a",
    asked_ns=180 * MS,
    decided_ns=190 * MS,
    verdict="denied",
    reason="HALTED",
)


async def drawn(**other: object) -> dict[str, Any]:
    known = Known(
        batch=BATCH,
        why="slow",
        topics=("trade.okx.BTC",),
        written_ns=400 * MS,
        synced_ns=500 * MS,
        blocks=(BlockStamps("trades", 0, 1 << 60, 5, 150 * MS, 160 * MS, 1_100 * MS),),
        ran=(Ran("a", 150 * MS, 200 * MS, 12, (9 << 16) + 3, "process"),),
        orders=(ORDER,),
        is_whole=True,
    )._replace(**other)
    ring = TraceRing(5 * MS)
    ring.keep(trace_of(1, known))
    answer: Any = await ring.answer({})
    return dict(answer[0])


async def test_spans_stand_below_their_parents_where_they_were() -> None:
    lines = picture(await drawn(), width=102)
    assert lines[0].endswith("of node 1: 12 events of okx (trade)")
    assert lines[1].startswith(
        "100.00 ms from the socket to the bus and the strategies; traced for"
    )
    tree = [line[:30].rstrip() for line in lines[4:]]
    assert tree == [
        "process",
        "  receive",
        "  decode",
        "  publish",
        "    process strategy.a",
        "      decide gate: HALTED",
        "  write raw-log",
        "  store trades",
        "  sync raw-log",
    ]
    width = len(lines[4])
    assert {len(line) for line in lines[3:]} == {width}
    bars = {line[:30].strip(): line[51:].strip("|") for line in lines[4:]}
    assert len(bars["receive"]) == 50  # 2 ms a cell: 100 ms are all of it
    assert bars["receive"] == "█" * 10 + " " * 40
    assert bars["decode"] == " " * 10 + "█" * 5 + " " * 35
    assert bars["process strategy.a"] == " " * 25 + "█" * 25
    assert bars["decide gate: HALTED"] == " " * 40 + "█" * 5 + " " * 5
    assert bars["process"].endswith(">")
    assert bars["store trades"].endswith(">")


async def test_the_answer_to_a_cancel_is_told_from_the_one_to_an_order() -> None:
    cancel = msgspec.structs.replace(ORDER, action="cancel", reason="", verdict="approved")
    lines = picture(await drawn(orders=(ORDER, cancel)), width=102)
    decided = [line[:30].strip() for line in lines if "decide" in line]
    assert decided == ["decide gate: HALTED", "decide cancel: approved"]


async def test_what_was_not_known_is_said() -> None:
    lines = picture(await drawn(written_ns=0, synced_ns=0, blocks=(), is_whole=False))
    assert lines[2].startswith("not everything was known")
    assert not any("raw-log" in line for line in lines)


@pytest.mark.parametrize("width", [10, 70, 300])
async def test_any_terminal_gets_a_picture(width: int) -> None:
    lines = picture(await drawn(), width=width)
    assert len({len(line) for line in lines[3:]}) == 1


async def test_a_batch_without_anything_to_scale_by_is_drawn() -> None:
    still = BATCH._replace(recv_ns=MS, decode_ns=MS, decoded_ns=MS, published_ns=MS)
    assert picture(await drawn(batch=still, ran=(), orders=(), blocks=(), written_ns=0))
