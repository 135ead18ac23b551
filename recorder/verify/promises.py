"""What the sink promised and has not kept yet: its plan, spool and quarantine, read and checked.

Rows in these ranges may be absent from ClickHouse without being lost. It works on a copy of the
plan, so that it may look while a daemon writes, and changes nothing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from recorder.errors import PlanError, QuarantineError, RepairError
from recorder.repair.filled_hours import unmade
from recorder.repair.journal import RepairJournal
from recorder.sink.plan import Plan, PlannedBlock
from recorder.spool.file import Record, survey
from recorder.spool.quarantine import Quarantine
from recorder.verify.report import Checked, Finding, Kind, Pending

__all__ = ["Promises", "read_promises"]

_PLAN: Final = "plan.jsonl"
_JOURNAL: Final = "repair.json"


@dataclass(slots=True)
class Promises:
    """What waits, and what is wrong with the files that say so."""

    pending: list[Pending] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    checked: Checked = field(default_factory=Checked)
    # Hours (Unix time of their starts) whose bars repair has still to make.
    hours: frozenset[int] = frozenset()


def read_promises(directory: Path, node: int) -> Promises:
    """Read `<state>/sink`; an absent directory promises nothing. Blocks. Raises OSError."""
    found = Promises()
    _read_plan(directory / _PLAN, node, found)
    _check_spool(directory / "spool", found)
    _read_quarantine(directory / "quarantine", found)
    _read_journal(directory / _JOURNAL, found)
    return found


def _read_journal(path: Path, found: Promises) -> None:
    try:
        entry = RepairJournal(path).entry
    except RepairError as error:
        text = f"{error}: {error.hint}"
        found.findings.append(Finding(kind=Kind.PLAN_DAMAGED, where=path.name, text=text))
        return
    found.hours = unmade(entry.filled) | frozenset(entry.hours)
    found.checked.hours_due = len(found.hours)


def _read_plan(path: Path, node: int, found: Promises) -> None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    found.checked.plan_lines = data.count(b"\n")
    with tempfile.TemporaryDirectory(prefix="tickd-verify-") as scratch:
        copy = Path(scratch) / _PLAN
        copy.write_bytes(data)
        try:
            plan = Plan(copy)
        except PlanError as error:
            text = str(error).replace(str(copy), str(path))
            found.findings.append(Finding(kind=Kind.PLAN_DAMAGED, where=path.name, text=text))
            return
        plan.close()
    for block in plan.open_blocks:
        if not _is_consistent(block, node):
            found.findings.append(
                Finding(
                    kind=Kind.PLAN_DAMAGED,
                    where=path.name,
                    text=f"block {block.token} of {block.seq_from} to {block.seq_to} contradicts"
                    " itself or belongs to another node",
                    table=block.table,
                    seq_from=block.seq_from,
                    seq_to=block.seq_to,
                )
            )
        found.pending.append(
            Pending(
                table=block.table,
                seq_from=block.seq_from,
                seq_to=block.seq_to,
                state="planned",
                rows=block.rows,
            )
        )
    for spilled in plan.spilled():
        found.pending.append(
            Pending(
                table=spilled.table,
                seq_from=spilled.seq_from,
                seq_to=spilled.seq_to,
                state="spilled",
                cause=spilled.cause,
            )
        )


def _is_consistent(block: PlannedBlock, node: int) -> bool:
    in_order = block.seq_from <= block.seq_first <= block.seq_last <= block.seq_to
    return block.node == node and in_order and block.rows > 0


def _check_spool(directory: Path, found: Promises) -> None:
    for path in sorted(directory.glob("*/*.spool")):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # everything in it has arrived meanwhile
            continue
        try:
            where = f"{path.parent.name}/{path.name}"
            found.findings.extend(_damage(fd, where, found.checked))
        finally:
            os.close(fd)


def _damage(fd: int, where: str, checked: Checked) -> Iterator[Finding]:
    """What is wrong with a spool file; a torn tail is what a crash leaves, and no damage."""
    seen = survey(fd)
    if seen.damaged_bytes:
        yield Finding(
            kind=Kind.SPOOL_DAMAGED,
            where=where,
            text=f"{seen.damaged_bytes} bytes between blocks are no block",
        )
    for record in seen.records:
        if record.done:
            continue
        checked.spool_blocks += 1
        if not _is_whole(fd, record):
            planned = record.planned
            yield Finding(
                kind=Kind.SPOOL_DAMAGED,
                where=where,
                text=f"the bytes of block {planned.token} at {record.offset} are not those written"
                "; the raw log gives it again",
                count=planned.rows,
                table=planned.table,
                seq_from=planned.seq_from,
                seq_to=planned.seq_to,
            )


def _is_whole(fd: int, record: Record) -> bool:
    block = record.block()
    view, offset = memoryview(block), record.body_at
    while view:
        count = os.preadv(fd, [view], offset)
        if count == 0:
            return False
        view, offset = view[count:], offset + count
    return record.is_body(block)


def _read_quarantine(directory: Path, found: Promises) -> None:
    quarantine = Quarantine(directory)
    try:
        kept, dropped = quarantine.list(), quarantine.dropped()
    except QuarantineError as error:
        found.findings.append(
            Finding(kind=Kind.QUARANTINE_DAMAGED, where=directory.name, text=str(error))
        )
        return
    for entry in kept:
        found.checked.quarantined_blocks += 1
        found.pending.append(_set_aside(entry.planned, "quarantined", entry.reason))
        try:
            quarantine.load(entry.token)
        except QuarantineError as error:
            found.findings.append(
                Finding(
                    kind=Kind.QUARANTINE_DAMAGED,
                    where=entry.token,
                    text=str(error),
                    count=entry.planned.rows,
                    table=entry.planned.table,
                    seq_from=entry.planned.seq_first,
                    seq_to=entry.planned.seq_last,
                )
            )
    for gone in dropped:
        found.pending.append(_set_aside(gone.planned, "dropped", f"{gone.reason} ({gone.who})"))


def _set_aside(planned: PlannedBlock, state: str, cause: str) -> Pending:
    return Pending(
        table=planned.table,
        seq_from=planned.seq_first,
        seq_to=planned.seq_last,
        state="quarantined" if state == "quarantined" else "dropped",
        rows=planned.rows,
        cause=cause,
    )
