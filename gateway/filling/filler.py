"""The gap filler of one venue with ids: asks for what the decoder's ledger misses, over REST.

It looks at the ledger before and behind each reply. Its records go into quarantine
(`quarantine.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from gateway.config import FillConfig
from gateway.errors import RateLimitedError, RestFailedError, RestRefusedError
from gateway.filling.gap_filler import LOOK_SECONDS, GapFiller
from gateway.filling.schedule import Ask, GiveUp, Schedule, Wait
from gateway.rest import record_of
from gateway.venue import OpenGap, RestRequest, Venue
from tickd.errors import TickdError
from tickd.ports import Clock, RawTap

log = structlog.get_logger(__name__)


class Requests(Protocol):
    """The part of `RestClient` that a filler needs."""

    @property
    def weight_used(self) -> int:
        """Weight taken in the venue's window that ends now."""
        ...

    async def get(self, request: RestRequest) -> bytes:
        """Return the body. Raises RestFailedError, RestRefusedError."""
        ...


class Filler(GapFiller):
    """The gaps of one venue, by id.

    Args: as of `GapFiller`; `busy`: whether the allowance is needed for live data.
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
        keyed = config.api_key is not None
        self._schedule = Schedule(venue.history, config, keyed=keyed)
        super().__init__(
            venue.name,
            config,
            self._schedule,
            tap=tap,
            clock=clock,
            gaps=gaps,
            jitter=jitter,
            observe=observe,
            keyed=keyed,
        )
        self._venue = venue
        self._config = config
        self._rest = rest
        self._busy = busy
        self._refused_words = ""  # the last that was logged

    async def _one_step(self) -> float:
        step = self._schedule.next(self._clock.wall_ns(), self._clock.mono_ns())
        if isinstance(step, Wait):
            return self._wait(step)
        if isinstance(step, GiveUp):
            self._quarantine.give_up(step)
            return 0.0
        if self._quarantine.paused or self._busy() or not self._allows(step.request):
            return LOOK_SECONDS
        return await self._ask(step)

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
            at_least = error.retry_after_seconds if isinstance(error, RateLimitedError) else 0.0
            return self._failed(error, at_least_seconds=at_least)
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
