"""The configured sinks beside ClickHouse: gives each its queue, runs it, starts it again.

A sink that fails hurts only itself: it is logged, counted and called again after a pause, while its
own queue follows its policy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from recorder.sink.retry import RetryPolicy
from recorder.sinks import registry
from recorder.sinks.port import EventSink, SinkContext, SinkSection
from tickd.bus import Bus
from tickd.bus_queue import BurstSubscription, DisconnectedError, Limits
from tickd.ports import Clock

log = structlog.get_logger(__name__)

RETRY: Final = RetryPolicy(delay_ms_min=100, delay_ms_max=30_000)


class RunningSink:
    """One configured sink. `run` is its life; it ends with its subscription."""

    def __init__(
        self,
        section: SinkSection,
        *,
        state_dir: Path,
        bus: Bus,
        topic_name: Callable[[int], str],
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        kind = registry.find(section)
        directory = state_dir / "sinks" / kind.name
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.name: Final = kind.name
        self._limits = Limits(records_total_max=section.queue_records_max)
        self._bus = bus
        self._clock = clock
        self._random = random
        self._sink: EventSink = kind.make(section, SinkContext(directory, topic_name))
        self._held = False
        self._subscription = self._subscribe()
        self.define = self._sink.define
        self.failures = 0
        self.fault: str | None = None

    async def run(self) -> None:
        """Store until the bus closes; raises CancelledError only."""
        failed_in_a_row = 0
        while True:
            try:
                await self._sink.run(self._subscription)
            except DisconnectedError as error:
                self._note(error)
                self._subscription.close()
                self._subscription = self._subscribe()
                failed_in_a_row = 0
            except Exception as error:  # noqa: BLE001 - whatever a sink raises stays with it
                self._note(error)
                failed_in_a_row += 1
            else:
                return
            if self._subscription.closed:
                return  # the daemon stops: no time for pauses
            pause_ms = RETRY.delay_ms(failed_in_a_row, self._random)
            await self._clock.sleep(pause_ms / 1000)

    def hold(self) -> None:
        """Let it store nothing more for now: its queue fills and then follows its policy."""
        self._held = True
        self._subscription.hold()

    def release(self) -> None:
        """Undo `hold`."""
        self._held = False
        self._subscription.release()

    def _subscribe(self) -> BurstSubscription:
        made = self._bus.subscribe_bursts(
            name=self.name, when_full=self._sink.when_full, limits=self._limits
        )
        if self._held:
            made.hold()
        return made

    def _note(self, error: Exception) -> None:
        self.failures += 1
        self.fault = f"{type(error).__name__}: {error}"[:500]
        log.error("sink_failed", sink=self.name, exc_info=error)


def running_sinks(
    sections: Sequence[SinkSection],
    *,
    state_dir: Path,
    bus: Bus,
    topic_name: Callable[[int], str],
    clock: Clock,
    random: Callable[[], float],
) -> list[RunningSink]:
    """Construct every configured sink; each has its queue from now on."""
    return [
        RunningSink(
            section,
            state_dir=state_dir,
            bus=bus,
            topic_name=topic_name,
            clock=clock,
            random=random,
        )
        for section in sections
    ]
