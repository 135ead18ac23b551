"""The gap filler of one venue: asks for what the decoder's ledger misses, and records the replies.

It parses no reply and knows no truth of its own: it looks at the ledger before and behind each one.
Its records are on a connection of their own, which the decoder reads in quarantine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import orjson
import structlog

from gateway.backoff import Backoff
from gateway.config import FillConfig
from gateway.errors import RateLimitedError, RestFailedError, RestRefusedError
from gateway.filling.schedule import Ask, Closed, GiveUp, Outcome, Schedule, Wait
from gateway.filling.status import FillCounters, FillStatus
from gateway.limits import NS_PER_SECOND
from gateway.rest import record_of
from gateway.venue import OpenGap, RestRequest, Venue
from tickd.errors import TickdError
from tickd.ports import Clock, Notice, RawTap

log = structlog.get_logger(__name__)

# Between two looks at the ledger, and at an allowance that others use up.
LOOK_SECONDS: Final = 1.0
# A fill's connection is closed when nothing was asked for so long.
IDLE_SECONDS: Final = 60.0
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
    """The gaps of one venue. Implements `tickd.ports.Leg`.

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
        self._tap = tap
        self._clock = clock
        self._gaps = gaps
        self._busy = busy
        self._jitter = jitter
        self._observe = observe
        self._schedule = Schedule(venue.history, config, keyed=config.api_key is not None)
        self._given_up: dict[int, Outcome] = {}  # on record, and still in the ledger
        self._backoff = Backoff(
            first_seconds=max(config.retry_seconds, LOOK_SECONDS),
            cap_seconds=FAILED_CAP_SECONDS,
            stable_seconds=0.0,
        )
        self._connection = 0  # of the raw log; 0: none
        self._asked_ns = 0
        self._paused = False  # the raw log is full
        self._refused_words = ""  # the last that was logged

    async def run(self) -> None:
        """Fill until cancelled. Raises TickdError(FATAL): the raw log takes nothing any more."""
        try:
            while True:
                await self._clock.sleep(await self._one_step())
        finally:
            self._close("session stopped")

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
        mono_ns = self._clock.mono_ns()
        step = self._schedule.next(self._clock.wall_ns(), mono_ns)
        if isinstance(step, Wait):
            if self._connection and mono_ns - self._asked_ns > IDLE_SECONDS * NS_PER_SECOND:
                self._close("nothing to fill")
            # The ledger is looked at meanwhile: new gaps do not announce themselves.
            return LOOK_SECONDS if step.seconds is None else min(LOOK_SECONDS, step.seconds)
        if isinstance(step, GiveUp):
            self._give_up(step)
            return 0.0
        if self._paused or self._busy() or not self._allows(step.request):
            return LOOK_SECONDS
        return await self._ask(step)

    def _look(self) -> None:
        """Tell the schedule what is open now; count what is not any more."""
        mine = [gap for gap in self._gaps() if gap.venue == self._venue.name]
        for closed in self._schedule.see(mine, self._clock.wall_ns()):
            self._count(closed)

    def _allows(self, request: RestRequest) -> bool:
        most = self._venue.limits.rest_weight.events_max * self._config.weight_share
        # One request must always be possible, however small the share.
        used = self._rest.weight_used
        return used == 0 or used + request.weight <= most

    async def _ask(self, ask: Ask) -> float:
        if not self._connection:
            self._connection = self._tap.open(
                venue=self._venue.name,
                url=ask.request.target.partition("?")[0],
                streams=(),
                leg=self,
                backfill=True,
            )
        self._asked_ns = self._clock.mono_ns()
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
        self._tap.record(self._connection, "R", record_of(ask.request, body))
        # The burst ends with this turn of the loop; behind it the ledger knows the reply.
        await asyncio.sleep(0)
        self._look()
        self._schedule.answered(ask)
        return 0.0

    def _log_refusal(self, ask: Ask, error: TickdError) -> None:
        words = str(error)
        if words != self._refused_words:  # once, not for each gap
            self._refused_words = words
            log.error("fill_refused", venue=self._venue.name, gap=ask.gap.seq, words=words)

    # The end of a gap -----------------------------------------------------------------------------

    def _give_up(self, step: GiveUp) -> None:
        gap = step.gap
        if gap.seq in self._given_up:
            return  # its record waits for the end of the burst
        self._given_up[gap.seq] = step.outcome
        self._tap.record(
            0,
            "C",
            orjson.dumps(
                {
                    "kind": "fill",
                    "gap": gap.seq,
                    "venue": gap.venue,
                    "topic": f"{gap.channel}.{gap.venue}.{gap.symbol}",
                    "outcome": step.outcome,
                    "missing": gap.missing,
                }
            ),
        )

    def _count(self, closed: Closed) -> None:
        given_up = self._given_up.pop(closed.gap.seq, None)
        outcome = given_up or ("filled" if closed.asked else "arrived")
        self.counters.closed(outcome)
        if closed.seconds > self._config.slo_seconds:
            self.counters.over_slo += 1
        self._observe(round(closed.seconds * NS_PER_SECOND))
        log.info(
            "gap_closed",
            venue=closed.gap.venue,
            symbol=closed.gap.symbol,
            channel=closed.gap.channel,
            gap=closed.gap.seq,
            outcome=outcome,
            seconds=round(closed.seconds, 3),
        )

    # The leg ------------------------------------------------------------------------------------

    def _close(self, reason: str) -> None:
        if self._connection:
            self._tap.close(self._connection, reason)
            self._connection = 0

    def on_notice(self, notice: Notice) -> None:
        """A reply that was a refusal: the ledger does not shrink, which is all that counts."""
        if notice.kind == "refused":
            log.warning("fill_declined", venue=self._venue.name, words=notice.text)

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
