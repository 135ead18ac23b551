"""Which gap is asked for next, and which is given up.

Pure: the ledger's gaps and the times come in, a step comes out. It holds tries and waiting times,
never what is missing: that is the decoder's ledger, so that nothing is lost with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from gateway.config import FillConfig
from gateway.limits import NS_PER_SECOND
from gateway.venue import History, OpenGap, Piece, RestRequest

__all__ = ["Ask", "Closed", "GiveUp", "Outcome", "Schedule", "Wait"]

Outcome = Literal["gone", "refused", "misfit", "expired"]
# Between two rounds without success waits double, up to this.
ROUND_CAP_SECONDS: Final = 600.0
EXPONENT_MAX: Final = 16


class Ask(NamedTuple):
    """Ask the venue for `piece` of `gap`."""

    gap: OpenGap
    piece: Piece
    request: RestRequest


class GiveUp(NamedTuple):
    """What is left of `gap` cannot be had."""

    gap: OpenGap
    outcome: Outcome


class Wait(NamedTuple):
    """Nothing to do for so long; None: until there is a gap."""

    seconds: float | None


class Closed(NamedTuple):
    """A gap that is open no more; `asked` says whether anything was asked for it."""

    gap: OpenGap
    seconds: float  # since its GAP event
    asked: bool


@dataclass(slots=True)
class _Tries:
    gap: OpenGap
    askable: bool
    requests: int = 0
    not_before_ns: int = 0  # monotonic
    barren: set[Piece] = field(default_factory=set)  # asked for in this round, in vain
    progress: bool = False  # in this round
    rounds: int = 0  # in a row without any
    refused: bool = False  # the last answer was a refusal


class Schedule:
    """The gaps of one venue. A round asks for every piece of a gap that does not shrink."""

    def __init__(self, history: History, config: FillConfig, *, keyed: bool) -> None:
        self._history = history
        self._config = config
        self._keyed = keyed  # requests that need a key can be made
        self._tries: dict[int, _Tries] = {}

    def see(self, gaps: Iterable[OpenGap], wall_ns: int) -> tuple[Closed, ...]:
        """Take the ledger's gaps of this moment; those that have gone since the last time."""
        now = {gap.seq: gap for gap in gaps}
        gone = [seq for seq in self._tries if seq not in now]
        closed = tuple(self._closed(self._tries.pop(seq), wall_ns) for seq in gone)
        for seq, gap in now.items():
            tries = self._tries.get(seq)
            if tries is None:
                tries = self._tries[seq] = _Tries(gap, self.asks_for(gap))
            elif gap.left != tries.gap.left:
                tries.askable = self.asks_for(gap)
            if gap.missing < tries.gap.missing:
                tries.progress, tries.rounds = True, 0
            tries.gap = gap
        return closed

    @staticmethod
    def _closed(tries: _Tries, wall_ns: int) -> Closed:
        seconds = max(0.0, (wall_ns - tries.gap.until_ns) / NS_PER_SECOND)
        return Closed(tries.gap, seconds, asked=tries.requests > 0)

    @property
    def gaps(self) -> tuple[OpenGap, ...]:
        """What was open when it looked last."""
        return tuple(tries.gap for tries in self._tries.values())

    @property
    def asked_for(self) -> tuple[OpenGap, ...]:
        """Of `gaps`, what its turn comes for; the others stay open."""
        return tuple(tries.gap for tries in self._tries.values() if tries.askable)

    def next(self, wall_ns: int, mono_ns: int) -> Ask | GiveUp | Wait:
        """The next step. Of several gaps the one that was served least, then the oldest."""
        due_ns: int | None = None
        ready: list[_Tries] = []
        for tries in self._tries.values():
            if not tries.askable:
                continue
            at_ns = self._due_ns(tries, wall_ns, mono_ns)
            if at_ns <= mono_ns:
                ready.append(tries)
            else:
                due_ns = at_ns if due_ns is None else min(due_ns, at_ns)
        for tries in sorted(ready, key=lambda each: (each.requests, each.gap.seq)):
            step = self._step(tries, wall_ns, mono_ns)
            if not isinstance(step, Wait):
                return step
            at_ns = tries.not_before_ns
            due_ns = at_ns if due_ns is None else min(due_ns, at_ns)
        return Wait(None if due_ns is None else (due_ns - mono_ns) / NS_PER_SECOND)

    def asks_for(self, gap: OpenGap) -> bool:
        """Whether the venue has a history of the channel, and we may ask for it."""
        if gap.channel not in self._history.channels or not gap.left:
            return False
        return self._keyed or not self._history.request(gap, gap.left[0]).keyed

    def _due_ns(self, tries: _Tries, wall_ns: int, mono_ns: int) -> int:
        """Monotonic; late live messages are given time to come by themselves."""
        settled_ns = tries.gap.until_ns + round(self._config.settle_seconds * NS_PER_SECOND)
        # A wall clock that stepped back must not hold a gap for longer than it would have waited.
        wait_ns = min(settled_ns - wall_ns, round(self._config.settle_seconds * NS_PER_SECOND))
        return max(tries.not_before_ns, mono_ns + max(0, wait_ns))

    def _step(self, tries: _Tries, wall_ns: int, mono_ns: int) -> Ask | GiveUp | Wait:
        gap, keeps = tries.gap, self._history.keeps_seconds
        if keeps is not None and wall_ns - gap.until_ns > keeps * NS_PER_SECOND:
            return GiveUp(gap, "expired")
        for piece in self._history.pieces(gap):
            if piece not in tries.barren:
                return Ask(gap, piece, self._history.request(gap, piece))
        return self._end_round(tries, mono_ns)

    def _end_round(self, tries: _Tries, mono_ns: int) -> GiveUp | Wait:
        """Every piece that is left was asked for in vain."""
        if not tries.progress:
            tries.rounds += 1
            if tries.rounds >= self._config.tries_max:
                return GiveUp(tries.gap, "refused" if tries.refused else "gone")
        tries.barren.clear()
        tries.progress = False
        seconds = self._config.retry_seconds * 2.0 ** min(max(0, tries.rounds - 1), EXPONENT_MAX)
        seconds = min(seconds, max(ROUND_CAP_SECONDS, self._config.retry_seconds))
        tries.not_before_ns = mono_ns + round(seconds * NS_PER_SECOND)
        return Wait(seconds)

    def sent(self, ask: Ask) -> None:
        """The request goes out now: what closes the gap from here on may be its reply."""
        tries = self._tries.get(ask.gap.seq)
        if tries is not None:
            tries.requests += 1

    def answered(self, ask: Ask) -> None:
        """The venue's reply has been decoded, and `see` was told what is left now."""
        tries = self._tries.get(ask.gap.seq)
        if tries is None:
            return  # it is closed
        tries.refused = False
        if tries.gap.left == ask.gap.left:
            tries.barren.add(ask.piece)

    def refused(self, ask: Ask) -> None:
        """The venue will not answer this request."""
        tries = self._tries.get(ask.gap.seq)
        if tries is not None:
            tries.refused = True
            tries.barren.add(ask.piece)

    def hurry(self, seqs: Sequence[int]) -> int:
        """Ask again at once, an operator says so; how many gaps that are. Empty: for all."""
        named = [self._tries[seq] for seq in (seqs or self._tries) if seq in self._tries]
        chosen = [tries for tries in named if tries.askable]
        for tries in chosen:
            tries.not_before_ns, tries.rounds = 0, 0
            tries.barren.clear()
        return len(chosen)
