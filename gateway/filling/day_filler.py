"""The gap filler of a venue behind a broker's SDK: whole days, through the session's own login.

As `filler.py`, it records answers and looks at the ledger; it knows no truth of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

import structlog

from gateway.callbacks.venue import CallbackHistory, Contract, Usage
from gateway.config import FillConfig
from gateway.errors import MalformedReplyError, QueryFailedError
from gateway.filling.days import AskDay, Days
from gateway.filling.gap_filler import LOOK_SECONDS, GapFiller
from gateway.filling.schedule import GiveUp, Wait
from gateway.limits import RollingLimit
from gateway.venue import OpenGap, Rate
from tickd.ports import Clock, RawTap

log = structlog.get_logger(__name__)

# Of the traffic allowance, kept for the queries without which nothing is subscribed.
BYTES_KEPT_SHARE: Final = 0.2
DAY_SECONDS: Final = 86_400.0


class Queries(Protocol):
    """The part of `SdkClient` that a filler needs."""

    async def ticks(self, contract: Contract, date: str) -> object:
        """All trades of a day. Raises QueryFailedError."""
        ...

    async def bars(self, contract: Contract, date: str) -> object:
        """The minute bars of a day. Raises QueryFailedError."""
        ...


# The login of this moment and what it knows of a symbol's contract.
Login = tuple[Queries, Callable[[str], Contract | None]]


class DayFiller(GapFiller):
    """The gaps of one callback venue.

    Args: `login`: None while nobody is logged in; `usage`: what is left of the allowance as of the
    last question, None: not asked yet.
    """

    def __init__(
        self,
        venue: str,
        history: CallbackHistory,
        config: FillConfig,
        *,
        tap: RawTap,
        clock: Clock,
        login: Callable[[], Login | None],
        usage: Callable[[], Usage | None],
        gaps: Callable[[], Iterable[OpenGap]],
        jitter: Callable[[], float],
        observe: Callable[[int], None],
    ) -> None:
        self._days = Days(config, date_of=history.date_of, over_ns=history.over_ns)
        super().__init__(
            venue,
            config,
            self._days,
            tap=tap,
            clock=clock,
            gaps=gaps,
            jitter=jitter,
            observe=observe,
        )
        self._history = history
        self._login = login
        self._usage = usage
        self._queries = RollingLimit(history.queries)
        # While a market trades, only so many queries a day are allowed at all.
        self._early = RollingLimit(Rate(history.early_queries_max, DAY_SECONDS))
        self._evidence: AskDay | None = None  # the day whose bars were asked for last

    async def _one_step(self) -> float:
        step = self._days.next(self._clock.wall_ns(), self._clock.mono_ns())
        if isinstance(step, Wait):
            return self._wait(step)
        login = self._login()
        if isinstance(step, GiveUp):
            if step.outcome == "gone" and login is not None:
                await self._keep_evidence(step.gap, *login)
            self._quarantine.give_up(step)
            return 0.0
        if login is None or self._quarantine.paused or not self._affordable():
            return LOOK_SECONDS
        return await self._ask(step, *login)

    def _can_fill(self, gap: OpenGap) -> bool:
        return self._history.can_fill(gap)

    def _affordable(self) -> bool:
        """Within the rates; and never near the cap, beyond which answers are empty."""
        now_ns, usage = self._clock.mono_ns(), self._usage()
        if usage is None or usage.bytes_left < usage.bytes_max * BYTES_KEPT_SHARE:
            return False
        if self._history.trades_now(self._clock.wall_ns()) and self._early.wait_ns(now_ns):
            return False
        return self._queries.wait_ns(now_ns) == 0

    async def _ask(
        self, ask: AskDay, client: Queries, contract_of: Callable[[str], Contract | None]
    ) -> float:
        contract = contract_of(ask.symbol)
        if contract is None:  # it is not carried any more, or not known yet
            return LOOK_SECONDS
        now_ns = self._clock.mono_ns()
        self._queries.take(now_ns)
        if self._history.trades_now(self._clock.wall_ns()):
            self._early.take(now_ns)
        self.counters.requests += 1
        self._days.sent(ask)
        try:
            ticks = await client.ticks(contract, ask.date)
            rows, payload = self._history.record(ticks, contract, ask.date)
        except (QueryFailedError, MalformedReplyError) as error:
            return self._failed(error)
        self._backoff.ended(0.0)
        await self._quarantine.record(f"{self._name}:ticks", payload)
        self._look()
        self._days.answered(ask, rows, self._clock.wall_ns(), self._clock.mono_ns())
        return 0.0

    async def _keep_evidence(
        self, gap: OpenGap, client: Queries, contract_of: Callable[[str], Contract | None]
    ) -> None:
        """Record the bars of a day whose trades cannot be had: they close nothing.

        Once per symbol and day, and only if it can be had now: it is no reason to wait.
        """
        day = AskDay(gap.symbol, self._history.date_of(gap))
        contract, now_ns = contract_of(gap.symbol), self._clock.mono_ns()
        if day == self._evidence or contract is None or self._queries.wait_ns(now_ns):
            return
        self._evidence = day
        self._queries.take(now_ns)
        self.counters.requests += 1
        try:
            bars = await client.bars(contract, day.date)
            payload = self._history.evidence(bars, contract, day.date)
        except (QueryFailedError, MalformedReplyError) as error:
            self.counters.failures += 1
            log.warning("evidence_failed", venue=self._name, words=str(error))
        else:
            await self._quarantine.record(f"{self._name}:ticks", payload)
