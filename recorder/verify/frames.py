"""What became of every frame number and of every frame, so that the totals add up.

A number between the first and the last is in a record, in an announced gap, in quarantine or in a
segment that was removed after it was shipped; anything else is missing. A record has rows, or a
class that says why not; anything else is unexplained. It reads no file and asks nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, Final, Literal, get_args

import msgspec
import numpy as np
import numpy.typing as npt

from recorder.raw.records import Heads
from recorder.verify.report import Finding, FrameTotals, Kind, NumberTotals
from tickd.events import SEQ_INDEX_BITS

__all__ = ["FrameAccount", "Stretch"]

# Decoder counters that stand for exactly one frame without events each.
_SILENT: Final = (
    "acks",
    "pongs",
    "events_ignored",
    "rest_ignored",
    "rest_errors",
    "shutdowns",
    "venue_refusals",
    # A reply about the past without a trade.
    "past_empty",
    # Of a broker's SDK: words about its session, and ticks in which nothing was traded.
    "sessions_up",
    "sessions_down",
    "connects_failed",
    "reconnecting",
    "messages_discarded",
    "heartbeats",
    "ticks_without_volume",
)
# Counted per message: a frame whose messages are all of these has no events either.
_DROPPED: Final = ("duplicates", "values_empty", "backfill_repeats")
_HOLES_MAX: Final = 100_000

_CONTROL: Final = ord("C")

Words = npt.NDArray[np.uint64]
# `damaged`, `missing`: a finding about the file says so already. The first that fits wins.
Cause = Literal["removed", "quarantined", "missing", "damaged", "announced"]
_CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)


class Stretch(msgspec.Struct, frozen=True, order=True):
    """Frame numbers, both included."""

    first: int
    last: int


class FrameAccount:
    """Takes the log stretch by stretch, in order; `finish` says what it comes to.

    Args: `begin`: the first number that was ever given out, 0 where nobody knows.
    """

    BYTES_PER_NUMBER: ClassVar[int] = 512 << 10  # docs/formats/raw-log.md, `frame_no`

    def __init__(self, begin: int = 0) -> None:
        self.frames = FrameTotals()
        self.begin = begin
        self._next = 0  # the number that the next record should have
        self._recorded = 0
        self._holes: list[Stretch] = []
        self._known: list[tuple[Stretch, Cause]] = []
        self._unexplained: list[Finding] = []
        self._counters: Mapping[str, int] = {}

    def explain(self, first: int, last: int, cause: Cause) -> None:
        """Note that the numbers [first, last] are known to be absent."""
        if first <= last:
            self._known.append((Stretch(first, last), cause))

    def forget_counters(self) -> None:
        """The decoder whose totals `add` gets is a new one."""
        self._counters = {}

    def add_undecoded(self, heads: Heads) -> None:
        """Take in a stretch of which nobody can say what it must have become."""
        self._number(heads)
        self.frames.all += len(heads)
        self._count("not_decodable", len(heads))

    def add(
        self,
        records: memoryview,
        heads: Heads,
        *,
        rows: Sequence[Words],
        events: Words,
        counters: Mapping[str, int],
        refused: Sequence[tuple[int, str]],
    ) -> None:
        """Take in a stretch: its records, the numbers of its rows and of its events.

        Args: `counters`: the decoder's totals after it; `refused`: (frame number, reason) of
        frames that it refused in it, as many as it keeps.
        """
        self._number(heads)
        self._read_gaps(records, heads)
        self.frames.all += len(heads)
        has_rows = _marked(heads, rows)
        self.frames.with_rows += int(np.count_nonzero(has_rows))
        homeless = _marked(heads, [events]) & ~has_rows
        self._count("kind_without_table", int(np.count_nonzero(homeless)))
        open_frames = self._classify(records, heads[~has_rows & ~homeless], counters, dict(refused))
        if open_frames:
            self._unexplained.append(_unexplained(open_frames, heads))
        self._counters = counters

    def finish(self) -> tuple[NumberTotals, list[Finding]]:
        """Return where the numbers are, and what is wrong with them or with frames."""
        self._explain_end()
        totals = NumberTotals(
            first=self.begin,
            last=max(self.begin, self._next - 1),
            all=max(0, self._next - self.begin),
            recorded=self._recorded,
        )
        findings = list(self._unexplained)
        known = sorted(self._known, key=lambda each: (each[0].first, _CAUSES.index(each[1])))
        passed = 0  # of `known`: they end before every hole that is left
        for hole in self._holes:
            rest = hole.first
            while passed < len(known) and known[passed][0].last < rest:
                passed += 1
            for stretch, cause in islice(known, passed, None):
                if stretch.first > hole.last:
                    break
                first, last = max(rest, stretch.first), min(hole.last, stretch.last)
                if first > last:
                    continue
                if first > rest:
                    findings.append(_missing(rest, first - 1, totals))
                part = "missing" if cause == "damaged" else cause
                setattr(totals, part, getattr(totals, part) + last - first + 1)
                rest = last + 1
            if rest <= hole.last:
                findings.append(_missing(rest, hole.last, totals))
        return totals, findings

    def _number(self, heads: Heads) -> None:
        numbers = heads["frame_no"]
        taken = heads["payload_bytes"] // self.BYTES_PER_NUMBER + np.uint32(1)
        behind = numbers + taken.astype(np.uint64)
        if not self._next:
            first = int(numbers[0])
            self.begin = self._next = min(self.begin, first) if self.begin else first
        expected = np.concatenate(([np.uint64(self._next)], behind[:-1]))
        for at in np.flatnonzero(numbers > expected):
            if len(self._holes) < _HOLES_MAX:
                self._holes.append(Stretch(int(expected[at]), int(numbers[at]) - 1))
        self._recorded += int(taken.sum())
        self._next = int(behind[-1])

    def _explain_end(self) -> None:
        """Numbers behind the last record that are known to be absent were given out, too."""
        last = max(
            (stretch.last for stretch, cause in self._known if cause != "announced"), default=0
        )
        if self._next and last >= self._next:
            self._holes.append(Stretch(self._next, last))
            self._next = last + 1

    def _read_gaps(self, records: memoryview, heads: Heads) -> None:
        """Take down what the gap records say."""
        for head in heads[heads["type"] == _CONTROL]:
            said = _said(records, head)
            if said.get("kind") == "gap" and "from_frame" in said and "to_frame" in said:
                cause: Cause = "quarantined" if said.get("cause") == "quarantine" else "announced"
                self.explain(int(said["from_frame"]), int(said["to_frame"]), cause)

    def _count(self, name: str, count: int) -> None:
        if count:
            self.frames.without_rows[name] = self.frames.without_rows.get(name, 0) + count

    def _classify(
        self,
        records: memoryview,
        silent: Heads,
        counters: Mapping[str, int],
        refused: Mapping[int, str],
    ) -> int:
        """Say of every record without rows why it has none; return how many say nothing."""
        named = [_name(records, head, refused.get(int(head["frame_no"]))) for head in silent]
        classes = Counter(name for name in named if name is not None)
        open_frames = named.count(None)  # of venues: only the decoder's totals explain them
        refused_here = sum(int(head["frame_no"]) in refused for head in silent)
        grown = {name: counters.get(name, 0) - self._counters.get(name, 0) for name in counters}
        # The decoder keeps a bounded list of refusals, and counts all of them.
        more = grown.get("refused", 0) - refused_here
        if more > 0:
            classes["refused.not_listed"] = more
            open_frames -= more
        for name in _SILENT:
            classes[name] += grown.get(name, 0)
            open_frames -= grown.get(name, 0)
        dropped = min(max(0, open_frames), sum(grown.get(name, 0) for name in _DROPPED))
        if dropped:
            classes["duplicates"] = dropped
            open_frames -= dropped
        if open_frames:
            classes["unexplained"] = open_frames
        for name, count in classes.items():
            self._count(name, count)
        return open_frames


def _marked(heads: Heads, seqs: Sequence[Words]) -> npt.NDArray[np.bool_]:
    """Which records have one of these sequence numbers."""
    marked = np.zeros(len(heads), dtype=bool)
    for each in seqs:
        frames = each >> np.uint64(SEQ_INDEX_BITS)
        marked[np.searchsorted(heads["frame_no"], frames, side="right") - 1] = True
    return marked


def _said(records: memoryview, head: np.void) -> dict[str, Any]:
    """What a control record says, nothing where it cannot be read."""
    start = int(head["payload_at"])
    try:
        return msgspec.json.decode(
            records[start : start + int(head["payload_bytes"])], type=dict[str, Any]
        )
    except msgspec.DecodeError:
        return {}


def _name(records: memoryview, head: np.void, refused: str | None) -> str | None:
    """The class of a record without events, None where the record itself does not say it."""
    if refused is not None:
        return f"refused.{refused}"
    match chr(head["type"]):
        case "K":
            return "checkpoint"
        case "C":
            return f"control.{_said(records, head).get('kind', 'unreadable')}"
        case _:
            return None


def _missing(first: int, last: int, totals: NumberTotals) -> Finding:
    totals.missing += last - first + 1
    return Finding(
        kind=Kind.FRAMES_MISSING,
        where="raw log",
        text=f"frames {first} to {last} are nowhere and no gap names them",
        count=last - first + 1,
        seq_from=first << SEQ_INDEX_BITS,
        seq_to=((last + 1) << SEQ_INDEX_BITS) - 1,
    )


def _unexplained(count: int, heads: Heads) -> Finding:
    first, last = int(heads["frame_no"][0]), int(heads["frame_no"][-1])
    what = "have no rows and no reason" if count > 0 else "are explained more than once"
    return Finding(
        kind=Kind.FRAMES_UNEXPLAINED,
        where="raw log",
        text=f"{abs(count)} frames between {first} and {last} {what}",
        count=abs(count),
        seq_from=first << SEQ_INDEX_BITS,
        seq_to=((last + 1) << SEQ_INDEX_BITS) - 1,
    )
