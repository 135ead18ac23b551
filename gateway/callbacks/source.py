"""From the queue to the raw tap: drains once per burst, turns objects into frames, keeps the order.

Runs on the loop only. What a session event means for the session is its business; here it only
stands in its place between the frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import orjson
import structlog

from gateway.callbacks.queue import CallbackQueue, Lost
from gateway.callbacks.venue import CallbackWire, SessionEvent
from gateway.errors import vendor_text
from gateway.status import Counters, LineTotals, count_end
from tickd.errors import TickdError
from tickd.ports import Clock, Notice, StampedTap

log = structlog.get_logger(__name__)

# About 8 µs each: a turn of the loop stays below the 500 µs that a callback of it may take.
DRAIN_MAX: Final = 48
# After a failure of our own.
AGAIN_SECONDS: Final = 1.0
# What a Rust extension raises when it panics; it derives from BaseException and has no other name.
PANIC: Final = "PanicException"

Frames = list[tuple[bytes, int, int]]


class CallbackSource:
    """One login's stream of frames. Implements `tickd.ports.Leg`; `put` is for the SDK's threads.

    A connection of the raw log lasts from `open` to `close`; frames without one begin one, through
    `on_data_without_connection`: data proves that the session is up.
    """

    def __init__(
        self,
        wire: CallbackWire,
        *,
        venue: str,
        tap: StampedTap,
        clock: Clock,
        counters: Counters,
        totals: LineTotals,
        records_max: int,
        gather_ms: float,
        on_event: Callable[[SessionEvent], None],
        on_notice: Callable[[Notice], None],
        on_data_without_connection: Callable[[], None],
        on_fault: Callable[[], None],
    ) -> None:
        self._wire = wire
        self._venue = venue
        self._tap = tap
        self._clock = clock
        self._counters = counters
        self._totals = totals
        self._gather_s = gather_ms / 1e3
        self._on_event = on_event
        self._tell = on_notice
        self._on_data = on_data_without_connection
        self._on_fault = on_fault
        self.fault: TickdError | None = None  # the log takes no records any more
        self._loop = asyncio.get_running_loop()
        self.queue = CallbackQueue(clock, records_max=records_max, wake=self._wake)
        self.put = self.queue.put
        self.connection = 0  # of the raw log; 0: none
        self.paused = False  # the raw log cannot take more
        self._paused_since_ns = 0
        self.ended = False
        self.last_ns = 0  # receive stamp of the last callback

    # The SDK's threads --------------------------------------------------------------------------

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._drain)
        except RuntimeError:  # the loop is closed: the process ends
            return

    # The loop -----------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Take what waits; look again after the gathering time; sleep when there was nothing.

        While callbacks keep coming the loop is not woken by any of them: it looks by itself. A
        callback into a quiet loop is taken at once.
        """
        if self.ended or self.paused:
            return  # `resume_reading` looks again
        try:
            self._drain_some()
        except TickdError as error:
            self.fault, self.ended = error, True
            self._on_fault()
        except BaseException:  # a bug must not stop the flow for good
            self._loop.call_later(AGAIN_SECONDS, self._drain)
            raise

    def _drain_some(self) -> None:
        received = self.queue.take(DRAIN_MAX)
        if not received:
            if not self.queue.rest():
                self._loop.call_soon(self._drain)
            return
        self._counters.callback_bursts += 1
        frames: Frames = []
        for item, recv_ns, mono_ns in received:
            if isinstance(item, Lost):
                self._flush(frames)
                self._lost(item, recv_ns)
                continue
            self._counters.callbacks += 1
            if isinstance(item, SessionEvent):
                self._flush(frames)
                self._event(item, recv_ns, mono_ns)
                continue
            if not self.connection:
                self._on_data()
            frames.append((self._frame(item), recv_ns, mono_ns))
        self._flush(frames)
        self.last_ns = received[-1][2]
        if self.queue.depth >= DRAIN_MAX:
            self._loop.call_soon(self._drain)
        else:
            self._loop.call_later(self._gather_s, self._drain)

    def _event(self, event: SessionEvent, recv_ns: int, mono_ns: int) -> None:
        """An end stands behind its event, a beginning before it."""
        frame = self._frame(event)
        if self.connection:
            self._flush([(frame, recv_ns, mono_ns)])
            self._on_event(event)
            return
        self._on_event(event)
        if self.connection:
            self._flush([(frame, recv_ns, mono_ns)])
        else:  # of no connection: a fact of the node
            self._tap.record(0, "C", b'{"kind":"sdk_event","said":' + frame + b"}")

    def _frame(self, item: object) -> bytes:
        try:
            return self._wire.frame(item)
        except (TypeError, ValueError, AttributeError) as error:
            return self._quarantined(item, error)
        except BaseException as error:
            if type(error).__name__ == PANIC:
                return self._quarantined(item, error)
            raise

    def _quarantined(self, item: object, error: BaseException) -> bytes:
        self._counters.callbacks_unreadable += 1
        words = vendor_text(str(error))
        count = self._counters.callbacks_unreadable
        if count & (count - 1) == 0:  # the 1st, 2nd, 4th ...: a changed class breaks every object
            log.error(
                "callback_unreadable",
                venue=self._venue,
                of=type(item).__name__,
                words=words,
                count=count,
            )
        return self._wire.unreadable(item, words)

    def _flush(self, frames: Frames) -> None:
        if frames and self.connection:
            self._totals.received += sum(len(frame) for frame, _, _ in frames)
            self._tap.stamped(self.connection, frames)
        frames.clear()

    def _lost(self, lost: Lost, since_ns: int) -> None:
        """Callbacks that the full queue let go: a gap for every topic of the connection."""
        self._counters.callbacks_dropped += lost.count
        log.error(
            "callbacks_dropped",
            venue=self._venue,
            count=lost.count,
            hint="the loop is too slow for this venue: fewer symbols, or a daemon of their own",
        )
        self.lose("overflow", since_ns, lost.count)

    def lose(self, cause: str, since_ns: int, count: int) -> None:
        """Put on record that the connection lost something."""
        if self.connection:
            self._tap.record(
                self.connection,
                "C",
                orjson.dumps(
                    {
                        "kind": "loss",
                        "connection": self.connection,
                        "cause": cause,
                        "from_ns": since_ns,
                        "count": count,
                    }
                ),
            )

    # The session --------------------------------------------------------------------------------

    def open(self, url: str, streams: list[str]) -> None:
        """Begin a connection of the raw log. Raises TickdError(FATAL) when the log is closed."""
        if not self.connection:
            self.connection = self._tap.open(venue=self._venue, url=url, streams=streams, leg=self)
            self._counters.connects += 1

    def close(self, reason: str) -> None:
        """End the connection; does nothing without one."""
        if self.connection:
            self._counters.disconnects += 1
            count_end(self._counters.ends, reason)
            self._totals.ended(reason)
            self._tap.close(self.connection, reason)
            log.info(
                "connection_ended", venue=self._venue, connection=self.connection, reason=reason
            )
            self.connection = 0

    def end(self, reason: str) -> None:
        """Take what has come, then nothing any more."""
        while self.queue.depth and self.connection and not self.ended and not self.paused:
            self._drain()
        self.close(reason)
        self.ended = True

    # The tap ------------------------------------------------------------------------------------

    def on_notice(self, notice: Notice) -> None:
        self._tell(notice)

    def pause_reading(self) -> None:
        if not self.paused:
            self.paused = True
            self._paused_since_ns = self._clock.mono_ns()
            self._counters.pauses += 1

    def resume_reading(self) -> None:
        if self.paused:
            self.paused = False
            self._counters.paused_ns += self._clock.mono_ns() - self._paused_since_ns
            self._loop.call_soon(self._drain)
