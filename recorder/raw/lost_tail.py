"""What a power cut took from the raw log after it had been promised to ClickHouse.

With `durability = "written"` a block may be stored before its frames are on the disk. The next
start finds a plan that reaches beyond the recovered log: those numbers are never given out again,
so whatever stands there in ClickHouse has no bytes any more. It becomes a range of the ledger, and
repair removes the rows. With `durability = "disk"` this cannot happen. It asks nobody and deletes
nothing itself.
"""

from __future__ import annotations

from typing import Final

import structlog

from recorder.errors import PlanError
from recorder.sink.plan_thread import PlanThread
from tickd.events import SEQ_INDEX_BITS
from tickd.native import EVENT_TABLES

__all__ = ["CAUSE", "give_up_lost"]

_log = structlog.get_logger(__name__)

CAUSE: Final = "log_lost"


async def give_up_lost(plan: PlanThread, *, frame_recovered: int, frame_next: int) -> bool:
    """Leave what is planned above `frame_recovered` to repair, durably; False when nothing is.

    Args: `frame_next`: the first number that this life gives out.
    Raises PlanError(FATAL) when the plan knows numbers that are going to be given out again: the
    raw log is another one.
    """
    seq_recovered = ((frame_recovered + 1) << SEQ_INDEX_BITS) - 1
    seq_last = max(map(plan.progress, EVENT_TABLES))
    if seq_last <= seq_recovered:
        return False
    if seq_last >> SEQ_INDEX_BITS >= frame_next:
        raise PlanError(
            f"the sink's plan knows frame {seq_last >> SEQ_INDEX_BITS}, the raw log ends at "
            f"{frame_recovered} and would give out {frame_next} again",
            hint="the raw log was removed or replaced: restore it, or take a new node.id and move "
            "STATE_DIR/sink away",
        )
    for table in EVENT_TABLES:
        seq_to = plan.progress(table)
        if seq_to <= seq_recovered:
            continue
        closing = [
            block
            for block in plan.open_blocks
            if block.table == table and block.seq_to > seq_recovered
        ]
        seq_from = min((block.seq_from for block in closing), default=seq_recovered + 1)
        seq_from = min(seq_from, seq_recovered + 1)
        await plan.spill(table, seq_from, seq_to, CAUSE, closing=closing)
    _log.error(
        "log_lost_behind_clickhouse",
        frame_recovered=frame_recovered,
        frame_planned=seq_last >> SEQ_INDEX_BITS,
        hint='their rows are removed; sink.durability = "disk" never stores what may be lost',
    )
    return True
