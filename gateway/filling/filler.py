"""The gap filler of one venue: asks for what the decoder's ledger misses, and records the replies.

It parses no reply and knows no truth of its own: it looks at the ledger before and behind each one.
Its records go into quarantine (`quarantine.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import structlog

from gateway.backoff import Backoff
from gateway.config import FillConfig
from gateway.errors import RateLimitedError, RestFailedError, RestRefusedError
from gateway.filling.quarantine import Quarantine
from gateway.filling.schedule import Ask, GiveUp, Schedule, Wait
from gateway.filling.status import FillCounters, FillStatus
from gateway.limits import NS_PER_SECOND
from gateway.rest import record_of
from gateway.venue import OpenGap, RestRequest, Venue
from tickd.errors import TickdError
from tickd.ports import Clock, RawTap

log = structlog.get_logger(__name__)

# Between two looks at the ledger, and at an allowance that others use up.
LOOK_SECONDS: Final = 1.0
FAILED_CAP_SECONDS: Final = 600.0


class Requests(Protocol):
    """The part of `RestClient` that a filler needs."""

    @property
    def weight_used(self) -> int:
        """Weight taken in the venue's window that ends now."""
        ...

    async def get(self, request: RestRequest) -> bytes:
        """Return the body. Raises RestFailedError, RestRefusedError."""
        ...


class Filler:
    """The gaps of one venue.

    Args: `gaps`: the decoder's open gaps of all venues, as of the last burst; `busy`: whether the
    allowance is needed for live data; `observe`: takes the nanoseconds from a gap to its end.
    """

    def __init__(
        self,
        venue: Venue,
        config: FillConfig,
        *,
        rest: Requests,
        tap: RawTap,
        clock: Clock,
        gaps: Callable[[], Iterable[OpenGap]],
        busy: Callable[[], bool],
        jitter: Callable[[], float],
        observe: Callable[[int], None],
    ) -> None:
        assert venue.history is not None, "a venue without a history has no filler"
        self.counters = FillCounters()
        self._venue = venue
        self._config = config
        self._rest = rest
        self._clock = clock
        self._gaps = gaps
        self._busy = busy
        self._jitter = jitter
        self._schedule = Schedule(venue.history, config, keyed=config.api_key is not None)
        self._quarantine = Quarantine(
            venue.name, config, tap=tap, clock=clock, counters=self.counters, observe=observe
        )
        self._backoff = Backoff(
            first_seconds=max(config.retry_seconds, LOOK_SECONDS),
            cap_seconds=FAILED_CAP_SECONDS,
            stable_seconds=0.0,
        )
        self._refused_words = ""  # the last that was logged

    async def run(self) -> None:
        """Fill until cancelled. Raises TickdError(FATAL): the raw log takes nothing any more."""
        try:
            while True:
                await self._clock.sleep(await self._one_step())
        finally:
            self._quarantine.close("session stopped")

    def hurry(self, seqs: Sequence[int]) -> int:
        """Ask for these gaps (all of them when empty) again now; how many those are."""
        return self._schedule.hurry(seqs)

    def status(self) -> FillStatus:
        """The picture of this moment."""
        gaps = self._schedule.gaps
        now_ns = self._clock.wall_ns()
        oldest_ns = min((gap.until_ns for gap in gaps), default=now_ns)
        return FillStatus(
            gaps_open=len(gaps),
            ids_missing=sum(gap.missing for gap in gaps),
            oldest_seconds=max(0.0, (now_ns - oldest_ns) / NS_PER_SECOND),
            keyed=self._config.api_key is not None,
        )

    # One step -----------------------------------------------------------------------------------

    async def _one_step(self) -> float:
        """Do what is next; how long to wait before the one after it."""
        self._look()
        step = self._schedule.next(self._clock.wall_ns(), self._clock.mono_ns())
        if isinstance(step, Wait):
            self._quarantine.rest()
            # The ledger is looked at meanwhile: new gaps do not announce themselves.
            return LOOK_SECONDS if step.seconds is None else min(LOOK_SECONDS, step.seconds)
        if isinstance(step, GiveUp):
            self._quarantine.give_up(step)
            return 0.0
        if self._quarantine.paused or self._busy() or not self._allows(step.request):
            return LOOK_SECONDS
        return await self._ask(step)

    def _look(self) -> None:
        """Tell the schedule what is open now; count what is not any more."""
        mine = [gap for gap in self._gaps() if gap.venue == self._venue.name]
        self._quarantine.count(self._schedule.see(mine, self._clock.wall_ns()))

    def _allows(self, request: RestRequest) -> bool:
        most = self._venue.limits.rest_weight.events_max * self._config.weight_share
        # One request must always be possible, however small the share.
        used = self._rest.weight_used
        return used == 0 or used + request.weight <= most

    async def _ask(self, ask: Ask) -> float:
        self.counters.requests += 1
        self._schedule.sent(ask)
        try:
            body = await self._rest.get(ask.request)
        except RestRefusedError as error:
            self.counters.refusals += 1
            self._schedule.refused(ask)
            self._log_refusal(ask, error)
            return 0.0
        except RestFailedError as error:
            self.counters.failures += 1
            at_least = error.retry_after_seconds if isinstance(error, RateLimitedError) else 0.0
            delay = self._backoff.failed(self._jitter(), at_least_seconds=at_least)
            log.warning("fill_failed", venue=self._venue.name, words=str(error), retry_s=delay)
            return delay
        self._backoff.ended(0.0)
        path = ask.request.target.partition("?")[0]
        await self._quarantine.record(path, record_of(ask.request, body))
        self._look()
        self._schedule.answered(ask)
        return 0.0

    def _log_refusal(self, ask: Ask, error: TickdError) -> None:
        words = str(error)
        if words != self._refused_words:  # once, not for each gap
            self._refused_words = words
            log.error("fill_refused", venue=self._venue.name, gap=ask.gap.seq, words=words)
