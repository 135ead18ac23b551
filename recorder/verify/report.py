"""What `tickd verify` found, as one value: the schema of docs/formats/verify-report.md.

It holds, sums up and bounds; it looks at nothing itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, Literal

import msgspec

__all__ = [
    "SCHEMA",
    "Checked",
    "Finding",
    "FrameTotals",
    "Kind",
    "NumberTotals",
    "Pending",
    "SegmentTotals",
    "TableTotals",
    "VerifyReport",
]

SCHEMA: Final = "tickd-verify/1"
# Beyond it findings are counted, not kept: a table that is gone must not fill the memory.
_FINDINGS_MAX: Final = 10_000


class Kind(Enum):
    """Every finding there is; what each means stands in docs/formats/verify-report.md."""

    MANIFEST_CHAIN = "manifest_chain"
    MANIFEST_LINE = "manifest_line"
    SEGMENT_WITHOUT_LINE = "segment_without_line"
    SEGMENT_MISSING = "segment_missing"
    SEGMENT_DAMAGED = "segment_damaged"
    SEGMENT_DIFFERS = "segment_differs"
    SEGMENT_UNVERIFIED = "segment_unverified"
    OBJECT_MISSING = "object_missing"
    OBJECT_DIFFERS = "object_differs"
    QUARANTINE_DAMAGED = "quarantine_damaged"
    PLAN_DAMAGED = "plan_damaged"
    SPOOL_DAMAGED = "spool_damaged"
    FRAMES_MISSING = "frames_missing"
    FRAMES_UNEXPLAINED = "frames_unexplained"
    ROWS_MISSING = "rows_missing"
    ROWS_TWICE = "rows_twice"
    ROWS_DIFFER = "rows_differ"
    ROWS_ORPHANED = "rows_orphaned"
    NODE_UNKNOWN = "node_unknown"
    BARS_DIFFER = "bars_differ"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be.

    `where`: a segment, file or table; `count`: how many rows, frames or bars it concerns;
    `seq_from`, `seq_to`: where in the stream, both 0 where that means nothing.
    """

    kind: Kind
    where: str
    text: str
    count: int = 1
    table: str | None = None
    seq_from: int = 0
    seq_to: int = 0


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that are promised and not there yet, or set aside: accounted for, no loss.

    `state`: `planned` (a block that is sent or about to be), `spilled` (in the ledger, repair
    restores it), `quarantined` (refused for good, the block is kept with its reason), `dropped` (a
    person let it go).
    """

    table: str
    seq_from: int
    seq_to: int
    state: Literal["planned", "spilled", "quarantined", "dropped"]
    rows: int | None = None
    cause: str | None = None


class SegmentTotals(msgspec.Struct, kw_only=True):
    """Files of the raw log; `removed`: shipped, verified, and only in the store now."""

    sealed: int = 0
    unsealed: int = 0
    removed: int = 0
    bytes: int = 0


class NumberTotals(msgspec.Struct, kw_only=True):
    """Where the frame numbers from `first` to `last` are; the parts add up to `all`."""

    first: int = 0
    last: int = 0
    all: int = 0
    recorded: int = 0
    announced: int = 0
    quarantined: int = 0
    removed: int = 0
    missing: int = 0


class FrameTotals(msgspec.Struct, kw_only=True):
    """What became of each record that was read; `with_rows` and the classes add up to `all`."""

    all: int = 0
    with_rows: int = 0
    without_rows: dict[str, int] = msgspec.field(default_factory=dict)


class TableTotals(msgspec.Struct, kw_only=True):
    """Rows of one table: what the raw log says (None where it was not read), what is stored."""

    raw_log: int | None = None
    stored: int = 0
    pending: int = 0


class Checked(msgspec.Struct, kw_only=True):
    """How much was looked at: no finding means little where nothing was checked."""

    manifest_lines: int = 0
    segments: int = 0
    chunks: int = 0
    records: int = 0
    objects: int = 0
    plan_lines: int = 0
    spool_blocks: int = 0
    quarantined_blocks: int = 0
    bars: int = 0
    # Hours whose bars repair has still to make: they were left out.
    hours_due: int = 0


class VerifyReport(msgspec.Struct, kw_only=True):
    """One run of verify. `ok`: nothing differs and everything could be checked."""

    schema: str = SCHEMA
    mode: Literal["deep", "sql"] = "deep"
    node: int = 0
    # Rows are compared up to this frame; None: to the end of the log.
    frame_to: int | None = None
    seconds: float = 0.0
    segments: SegmentTotals = msgspec.field(default_factory=SegmentTotals)
    numbers: NumberTotals = msgspec.field(default_factory=NumberTotals)
    frames: FrameTotals = msgspec.field(default_factory=FrameTotals)
    tables: dict[str, TableTotals] = msgspec.field(default_factory=dict)
    pending: list[Pending] = msgspec.field(default_factory=list)
    checked: Checked = msgspec.field(default_factory=Checked)
    findings: list[Finding] = msgspec.field(default_factory=list)
    findings_count: int = 0
    # What could not be looked at, and why: the exit code is then 1 if nothing else was found.
    unchecked: list[str] = msgspec.field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.findings_count and not self.unchecked

    def add(self, *findings: Finding) -> None:
        """Take findings in; beyond a bound they are only counted."""
        self.findings_count += len(findings)
        room = _FINDINGS_MAX - len(self.findings)
        self.findings.extend(findings[: max(0, room)])

    def table(self, name: str) -> TableTotals:
        """The totals of a table, begun when first asked for."""
        return self.tables.setdefault(name, TableTotals())

    def kinds(self) -> list[Kind]:
        """The kinds found, each once, in order."""
        return list(dict.fromkeys(finding.kind for finding in self.findings))


def ranges_of(pending: Sequence[Pending], table: str) -> list[tuple[int, int]]:
    """The (first, last) ranges of a table in which rows may be absent, merged, in order."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted((p.seq_from, p.seq_to) for p in pending if p.table == table):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged
