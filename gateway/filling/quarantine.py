"""Where a filler's records go: a connection of its own, which the decoder reads in quarantine.

It writes replies and the ends of gaps, and counts the latter; it decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import orjson
import structlog

from gateway.config import FillConfig
from gateway.filling.schedule import Closed, GiveUp, Outcome
from gateway.filling.status import FillCounters
from gateway.limits import NS_PER_SECOND
from tickd.ports import Clock, Notice, RawTap

log = structlog.get_logger(__name__)

# The connection is closed when nothing was recorded for so long.
IDLE_SECONDS: Final = 60.0


class Quarantine:
    """The records of one filler. Implements `tickd.ports.Leg`."""

    def __init__(
        self,
        venue: str,
        config: FillConfig,
        *,
        tap: RawTap,
        clock: Clock,
        counters: FillCounters,
        observe: Callable[[int], None],
    ) -> None:
        self._venue = venue
        self._config = config
        self._tap = tap
        self._clock = clock
        self._counters = counters
        self._observe = observe  # takes the nanoseconds from a gap to its end
        self._connection = 0  # of the raw log; 0: none
        self._used_ns = 0
        self._given_up: dict[int, Outcome] = {}  # on record, and still in the ledger
        self.paused = False  # the raw log is full

    async def record(self, url: str, payload: bytes) -> None:
        """Record a reply, and return when the decoder has read it."""
        if not self._connection:
            self._connection = self._tap.open(
                venue=self._venue, url=url, streams=(), leg=self, backfill=True
            )
        self._used_ns = self._clock.mono_ns()
        self._tap.record(self._connection, "R", payload)
        # The burst ends with this turn of the loop; behind it the ledger knows the reply.
        await asyncio.sleep(0)

    def rest(self) -> None:
        """Nothing to do: a connection that was not used for long ends."""
        idle_ns = self._clock.mono_ns() - self._used_ns
        if self._connection and idle_ns > IDLE_SECONDS * NS_PER_SECOND:
            self.close("nothing to fill")

    def close(self, reason: str) -> None:
        """End the connection; does nothing without one."""
        if self._connection:
            self._tap.close(self._connection, reason)
            self._connection = 0

    def give_up(self, step: GiveUp) -> None:
        """Put on record that what is left of a gap cannot be had."""
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

    def count(self, ended: Iterable[Closed]) -> None:
        """Count gaps that are open no more."""
        for closed in ended:
            given_up = self._given_up.pop(closed.gap.seq, None)
            outcome = given_up or ("filled" if closed.asked else "arrived")
            self._counters.closed(outcome)
            if closed.seconds > self._config.slo_seconds:
                self._counters.over_slo += 1
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

    def on_notice(self, notice: Notice) -> None:
        """A reply that was a refusal: the ledger does not shrink, which is all that counts."""
        if notice.kind == "refused":
            log.warning("fill_declined", venue=self._venue, words=notice.text)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
