"""What every gap filler is, whatever it asks: its ledger, its quarantine, its pauses, its picture.

What is asked next and how is the subclass' business: by id (`filler.py`) or by the day
(`day_filler.py`). It parses no reply and knows no truth of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import structlog

from gateway.backoff import Backoff
from gateway.config import FillConfig
from gateway.filling.quarantine import Quarantine
from gateway.filling.schedule import Closed, Wait
from gateway.filling.status import FillCounters, FillStatus
from gateway.limits import NS_PER_SECOND
from gateway.venue import OpenGap
from tickd.errors import TickdError
from tickd.ports import Clock, RawTap

log = structlog.get_logger(__name__)

# Between two looks at the ledger, and at an allowance that others use up.
LOOK_SECONDS: Final = 1.0
FAILED_CAP_SECONDS: Final = 600.0


class Agenda(Protocol):
    """What is open and when it is its turn: `Schedule`, `Days`."""

    @property
    def gaps(self) -> tuple[OpenGap, ...]: ...

    @property
    def asked_for(self) -> tuple[OpenGap, ...]: ...

    def see(self, gaps: Iterable[OpenGap], wall_ns: int) -> tuple[Closed, ...]: ...

    def asks_for(self, gap: OpenGap) -> bool: ...

    def hurry(self, seqs: Sequence[int]) -> int: ...


class GapFiller(ABC):
    """The gaps of one venue.

    Args: `gaps`: the decoder's open gaps of all venues, as of the last burst; `observe`: takes the
    nanoseconds from a gap to its end; `keyed`: what wants a key can be asked for.
    """

    def __init__(
        self,
        venue: str,
        config: FillConfig,
        agenda: Agenda,
        *,
        tap: RawTap,
        clock: Clock,
        gaps: Callable[[], Iterable[OpenGap]],
        jitter: Callable[[], float],
        observe: Callable[[int], None],
        keyed: bool = True,
    ) -> None:
        self.counters = FillCounters()
        self._name = venue
        self._agenda = agenda
        self._clock = clock
        self._gaps = gaps
        self._jitter = jitter
        self._keyed = keyed
        self._quarantine = Quarantine(
            venue, config, tap=tap, clock=clock, counters=self.counters, observe=observe
        )
        self._backoff = Backoff(
            first_seconds=max(config.retry_seconds, LOOK_SECONDS),
            cap_seconds=FAILED_CAP_SECONDS,
            stable_seconds=0.0,
        )

    async def run(self) -> None:
        """Fill until cancelled. Raises TickdError(FATAL): the raw log takes nothing any more."""
        try:
            while True:
                self._look()
                await self._clock.sleep(await self._one_step())
        finally:
            self._quarantine.close("session stopped")

    def hurry(self, seqs: Sequence[int]) -> int:
        """Ask for these gaps (all of them when empty) again now; how many those are."""
        return self._agenda.hurry(seqs)

    def asks_for(self, gap: OpenGap) -> bool:
        """Whether this gap is one that the venue can be asked for, with the key that we have."""
        return gap.venue == self._name and self._can_fill(gap) and self._agenda.asks_for(gap)

    def status(self) -> FillStatus:
        """The picture of this moment."""
        gaps = self._agenda.asked_for
        now_ns = self._clock.wall_ns()
        oldest_ns = min((gap.until_ns for gap in gaps), default=now_ns)
        return FillStatus(
            gaps_open=len(gaps),
            ids_missing=sum(gap.missing for gap in gaps),
            oldest_seconds=max(0.0, (now_ns - oldest_ns) / NS_PER_SECOND),
            gaps_unaskable=len(self._agenda.gaps) - len(gaps),
            keyed=self._keyed,
        )

    @abstractmethod
    async def _one_step(self) -> float:
        """Do what is next; how long to wait before the one after it."""

    def _can_fill(self, gap: OpenGap) -> bool:
        """Whether a gap of this venue is one for the agenda."""
        del gap
        return True

    def _look(self) -> None:
        """Tell the agenda what is open now; count what is not any more."""
        mine = [gap for gap in self._gaps() if gap.venue == self._name and self._can_fill(gap)]
        self._quarantine.count(self._agenda.see(mine, self._clock.wall_ns()))

    def _wait(self, step: Wait) -> float:
        """Nothing is due; but new gaps do not announce themselves, so the ledger is looked at."""
        self._quarantine.rest()
        return LOOK_SECONDS if step.seconds is None else min(LOOK_SECONDS, step.seconds)

    def _failed(self, error: TickdError, *, at_least_seconds: float = 0.0) -> float:
        """There was no answer: how long to wait."""
        self.counters.failures += 1
        delay = self._backoff.failed(self._jitter(), at_least_seconds=at_least_seconds)
        log.warning("fill_failed", venue=self._name, words=str(error), retry_s=delay)
        return delay
