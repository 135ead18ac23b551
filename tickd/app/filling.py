"""The decoder's ledger of open gaps, as the fillers and people see it: the joint, and its commands.

It keeps nothing but the answer of a moment, which all venues share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from gateway.callbacks.session import CallbackSession
from gateway.callbacks.venue import Usage
from gateway.filling.day_filler import DayFiller, Login
from gateway.filling.filler import Filler
from gateway.filling.gap_filler import GapFiller
from gateway.session import Session
from gateway.venue import OpenGap
from tickd.app.control import Command
from tickd.app.tap import Tap
from tickd.errors import TickdError
from tickd.events import GapCause
from tickd.native import Decoder
from tickd.ports import Clock

GAPS_SHOWN_MAX: Final = 10_000
AnySession = Session | CallbackSession


def gaps_of(decoder: Decoder) -> tuple[OpenGap, ...]:
    """The open gaps of all venues whose ids are known."""
    return tuple(
        OpenGap(*name, *when, session, first, last, tuple(left))
        for name, when, (session, first, last, left) in decoder.gaps()
    )


class SharedGaps:
    """One reading of the ledger for all who ask, until it changes: copying it takes its time."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._changes = -1
        self._gaps: tuple[OpenGap, ...] = ()

    def __call__(self) -> tuple[OpenGap, ...]:
        changes = self._decoder.ledger_changes
        if changes != self._changes:
            self._changes, self._gaps = changes, gaps_of(self._decoder)
        return self._gaps


class Filling:
    """The gap fillers of a daemon: what they are asked and told by operators. Loop thread only."""

    def __init__(
        self,
        gaps: Callable[[], Sequence[OpenGap]],
        own: Mapping[str, Filler],
        days: Mapping[str, DayFiller],
    ) -> None:
        self.gaps: Final = gaps
        self.days = days  # by venue; nobody else runs them
        self.fillers: Mapping[str, GapFiller] = {**own, **days}

    def commands(self) -> dict[str, Command]:
        """The control commands, by name."""
        return {"gaps": self.show, "gaps_fill": self.fill}

    async def show(self, request: Mapping[str, object]) -> dict[str, Any]:
        """Every open gap, oldest first."""
        del request
        gaps = sorted(self.gaps(), key=lambda gap: gap.seq)
        return {
            "open": len(gaps),
            "missing": sum(gap.missing for gap in gaps),
            "gaps": [_row(gap, filled=self._asked_for(gap)) for gap in gaps[:GAPS_SHOWN_MAX]],
        }

    async def fill(self, request: Mapping[str, object]) -> dict[str, Any]:
        """Ask for gaps again now, by their names; for all of them without one."""
        wanted = request.get("gaps")
        if not isinstance(wanted, list) or not all(isinstance(each, int) for each in wanted):
            raise TickdError("gaps is a list of numbers", hint="see: tickd gaps list")
        gaps = self.gaps()
        unknown = set(wanted) - {gap.seq for gap in gaps}
        if unknown:
            raise TickdError(
                f"no open gap {min(unknown)}", hint="it may be filled; see: tickd gaps list"
            )
        hurried = {venue: filler.hurry(wanted) for venue, filler in self.fillers.items()}
        chosen = [gap for gap in gaps if not wanted or gap.seq in wanted]
        return {
            "hurried": hurried,
            "not_asked_for": sum(not self._asked_for(gap) for gap in chosen),
        }

    def _asked_for(self, gap: OpenGap) -> bool:
        filler = self.fillers.get(gap.venue)
        return filler is not None and filler.asks_for(gap)


def fillers_of(sessions: Sequence[AnySession]) -> dict[str, Filler]:
    """The fillers of those sessions that have one."""
    return {
        session.venue.name: session.filler
        for session in sessions
        if isinstance(session, Session) and session.filler is not None
    }


def day_fillers(
    sessions: Sequence[AnySession],
    *,
    tap: Tap,
    clock: Clock,
    gaps: Callable[[], Sequence[OpenGap]],
    jitter: Callable[[], float],
    observe: Callable[[int], None],
) -> dict[str, DayFiller]:
    """New fillers for the venues behind an SDK."""
    made: dict[str, DayFiller] = {}
    for session in sessions:
        if not isinstance(session, CallbackSession) or not session.config.fill.enabled:
            continue
        if session.venue.history is None:
            continue
        made[session.venue.name] = DayFiller(
            session.venue.name,
            session.venue.history,
            session.config.fill,
            tap=tap,
            clock=clock,
            login=partial(_login, session),
            usage=partial(_usage, session),
            gaps=gaps,
            jitter=jitter,
            observe=observe,
        )
    return made


def _login(session: CallbackSession) -> Login | None:
    return None if session.client is None else (session, session.contract_of)


def _usage(session: CallbackSession) -> Usage | None:
    return session.usage


def gap_head(gap: OpenGap) -> dict[str, object]:
    """What every row of a gap begins with: its name, where, why, from when to when."""
    return {
        "gap": gap.seq,
        "topic": f"{gap.channel}.{gap.venue}.{gap.symbol}",
        "cause": GapCause(gap.cause).name.lower(),
        "since_ns": gap.since_ns,
        "until_ns": gap.until_ns,
    }


def _row(gap: OpenGap, *, filled: bool) -> dict[str, object]:
    return {
        **gap_head(gap),
        "first": gap.first,
        "last": gap.last,
        "missing": gap.missing,
        "pieces": len(gap.left),
        "filled": filled,
    }
