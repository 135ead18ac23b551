"""Strategies inside of the daemon: a process warms up for them, then they are called here.

Reading the raw log would stop the daemon's loop, so a process does it, the one that strategies in
processes have, and ends; what is published meanwhile waits. It decides nothing about restarts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, final

import msgspec
import structlog

from strategy_runner.config import StrategyConfig
from strategy_runner.errors import StrategyError
from strategy_runner.runner import StrategyHost
from tickd.app.strategy_answers import Answers
from tickd.app.strategy_images import ImageFile
from tickd.app.strategy_process import KEEP_NS, StrategyProcess
from tickd.app.strategy_wire import Report, Warmth
from tickd.bus import BurstHandler, Bus, Handling
from tickd.native import EventBatch, NativeError
from tickd.ports import Clock

__all__ = ["InprocLife"]

log = structlog.get_logger(__name__)

POLL_S: Final = 0.1
# While the process reads the last bit: 32 MiB, 3 s of 150,000 events/s.
WAITING_EVENTS_MAX: Final = 1 << 19


@final
class InprocLife:
    """One group of them, from before its first event to its end."""

    def __init__(
        self,
        strategies: Sequence[StrategyConfig],
        *,
        answers: Answers,
        warming: Callable[[Callable[[], None]], StrategyProcess] | None,
        started: Callable[[], None],
        on_stopped: Callable[[str, str], None],
        bus: Bus,
        behind: Callable[[BurstHandler], BurstHandler],
        clock: Clock,
        state_dir: Path,
        image: Path,
    ) -> None:
        """Args.

        `warming`: makes the process that warms up; it calls what it is given at the moment behind
        which everything has to wait; None: begin cold. `started`: records the present number as
        the one behind which they see everything.
        """
        self._strategies = tuple(strategies)
        self._answers = answers
        self._warming = warming
        self._started = started
        self._on_stopped = on_stopped
        self._bus = bus
        self._behind = behind
        self._clock = clock
        self._state_dir = state_dir
        self._images = ImageFile(image, clock)
        self._keep_due_ns = 0
        self._definitions: dict[int, bytes] = {}
        self._process: StrategyProcess | None = None
        self._host: StrategyHost | None = None
        self._handling: Handling | None = None
        self._waiting: list[EventBatch] = []
        self._waiting_events = 0
        self._stop_reason = ""
        self._warmth = Warmth()

    @property
    def report(self) -> Report:
        host = self._host
        said = {} if host is None else host.report()
        return msgspec.convert({**said, "warmth": self._warmth}, Report)

    def define(self, instrument: int, definition: bytes) -> None:
        self._definitions[instrument] = definition
        if self._process is not None:
            self._process.define(instrument, definition)
        if self._host is not None:
            self._host.define(instrument, definition)

    async def run(self) -> None:
        """Warm up, then run until every strategy has ended."""
        image = await self._warmed(self._warming) if self._warming is not None else None
        if not self._stop_reason:
            host = self._begin(image)
            while host.running and self._is_fed:
                if self._clock.mono_ns() >= self._keep_due_ns:
                    self._keep(host)
                await self._clock.sleep(POLL_S)
            host.stop("its feed failed, see handler_failed in the log")
        elif self._handling is not None:
            for config in self._strategies:
                self._on_stopped(config.name, self._stop_reason)
        if self._handling is not None:
            self._handling.close()

    async def stop(self, reason: str) -> None:
        """End them in order; `run` must be running."""
        self._stop_reason = reason
        if self._process is not None:
            await self._process.stop(reason)
        if self._host is not None:
            self._keep(self._host)
            self._host.stop(reason)
        await asyncio.to_thread(self._images.close)

    @property
    def _is_fed(self) -> bool:
        return self._handling is not None and self._handling.active

    async def _warmed(
        self, warming: Callable[[Callable[[], None]], StrategyProcess]
    ) -> bytes | None:
        """Return the image that they begin with; None: cold, `warmth` says why."""
        try:
            process = self._process = warming(self._open)
            for instrument, definition in self._definitions.items():
                process.define(instrument, definition)
            await process.spawn()
            ended = await process.watch()
            image = self._answers.image()
            self._warmth = process.report.warmth
        except (OSError, NativeError, StrategyError) as error:
            ended, image = str(error), None
        finally:
            self._process = None
        if image is None:
            self._warmth = Warmth(notes=(f"the warm-up ended: {ended}",))
        elif self._waiting_events > WAITING_EVENTS_MAX:
            image = None
            self._warmth = Warmth(
                notes=(f"more than {WAITING_EVENTS_MAX:,} events came in the warm-up",)
            )
        return image

    def _open(self) -> None:
        """From here on they see everything: what comes waits until they can."""
        if self._handling is not None:
            self._handling.close()
        self._waiting.clear()
        self._waiting_events = 0
        self._started()
        name = f"strategies {self._answers.feed}"
        self._handling = self._bus.handle_bursts(self._behind(self._take), name=name)

    def _take(self, batch: EventBatch) -> None:
        if self._host is not None:
            self._host.feed(batch)
            return
        self._waiting_events += len(batch)
        if self._waiting_events > WAITING_EVENTS_MAX:
            self._waiting.clear()
        else:
            self._waiting.append(batch)

    def _begin(self, image: bytes | None) -> StrategyHost:
        """Start the strategies, with an image that is on record or with nothing."""
        host = self._new_host()
        if image is not None:
            try:
                host.restore(image)
            except StrategyError as error:
                self._warmth = Warmth(notes=(str(error),))
                image, host = None, self._new_host()
        if image is None:
            self._open()
        log.info("strategies_warmed", **msgspec.to_builtins(self._warmth))
        self._host = host
        host.start()
        for batch in self._waiting:
            host.feed(batch)
        self._waiting.clear()
        return host

    def _new_host(self) -> StrategyHost:
        host = StrategyHost(
            self._strategies,
            record=self._answers.take,
            clock=self._clock,
            state_dir=self._state_dir,
            on_stopped=self._on_stopped,
        )
        for instrument, definition in self._definitions.items():
            host.define(instrument, definition)
        return host

    def _keep(self, host: StrategyHost) -> None:
        """Keep what is known now, if they were given everything up to here."""
        self._keep_due_ns = self._clock.mono_ns() + KEEP_NS
        if self._warming is not None and host.running and self._is_fed:
            self._images.keep(host, self._bus.seq)
