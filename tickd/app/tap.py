"""The raw tap: where frames enter. Raw log first, then the decoder, then the bus, once per burst.

A burst is what one turn of the event loop reads from the sockets, or a part of it when that is
much. The tap is the only thing that may pause a socket: when the disk cannot keep up, reading stops
and says so; nothing is dropped.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence

import structlog
from typing_extensions import Buffer

from tickd.app.encoding import encode
from tickd.bus import Bus
from tickd.errors import TickdError
from tickd.native import Decoder, EventBatch, Histogram, NativeError, RawLog, TopicLatency
from tickd.ports import Clock, Leg, Notice, RecordType

log = structlog.get_logger(__name__)

Decode = Callable[[Decoder], EventBatch | None]
Publish = Callable[[EventBatch], None]
Around = Callable[[Decode, Publish], tuple[Decode, Publish]]


class Tap:
    """The one `RawTap` of a daemon. Loop thread only."""

    def __init__(self, raw_log: RawLog, decoder: Decoder, bus: Bus, *, clock: Clock) -> None:
        self._raw = raw_log
        self._decoder = decoder
        self._decode: Decode = raw_log.end_burst
        self._publish: Publish = bus.publish
        self._clock = clock
        self.publish_latency = Histogram()
        self.topic_latency = TopicLatency()  # the same, by topic
        self._legs: dict[int, Leg] = {}
        self._armed = False
        self._closed = False
        self._on_watermark: list[Callable[[], None]] = []
        self._on_definition: list[Callable[[int, bytes], None]] = []
        self._on_control: list[Callable[[int, int, bytes], None]] = []
        self._failed: list[Callable[[int, bytes], None]] = []  # of them
        self.definition_failures_total = 0
        self._defined: set[int] = set()
        self._definitions_due = True  # the recovered decoder may know some already
        self._loop = asyncio.get_running_loop()
        self.paused = False
        self._held_for: set[str] = set()  # why else than for a full log
        self.pauses_total = 0
        self.bursts_total = 0
        self._loop.add_reader(raw_log.wake_fd, self._on_wake)

    # The port ------------------------------------------------------------------------------------

    def open(
        self, *, venue: str, url: str, streams: Sequence[str], leg: Leg, backfill: bool = False
    ) -> int:
        if self._closed:
            raise TickdError("the raw log is closed: nothing can be recorded any more")
        connection = self._raw.next_connection()
        self._legs[connection] = leg
        fields: dict[str, object] = {
            "kind": "connect",
            "connection": connection,
            "venue": venue,
            "url": url,
            "streams": list(streams),
        }
        if backfill:
            fields["backfill"] = True
        self._control(connection, fields)
        if self.paused:
            leg.pause_reading()
        return connection

    def frame(self, connection: int, payload: Buffer) -> None:
        if self._raw.frame(connection, payload):
            self._end_burst()  # of a backlog; what follows is the next burst
        elif not self._armed:
            self._armed = True
            self._loop.call_soon(self._end_burst)

    def stamped(self, connection: int, frames: list[tuple[bytes, int, int]]) -> None:
        if self._raw.frames_at(connection, frames):
            self._end_burst()
        elif not self._armed:
            self._armed = True
            self._loop.call_soon(self._end_burst)

    def record(self, connection: int, record_type: RecordType, payload: Buffer) -> int:
        try:
            frame_no = self._raw.record(connection, record_type, payload)
        except NativeError as error:
            raise TickdError(f"the raw log takes no record: {error.args[-1]}") from error
        if record_type == "C":
            self._definitions_due = True
            for callback in self._on_control:
                callback(frame_no, self._raw.last_recv_ns, bytes(payload))
        if not self._armed:
            self._armed = True
            self._loop.call_soon(self._end_burst)
        return frame_no

    def close(self, connection: int, reason: str) -> None:
        if self._legs.pop(connection, None) is not None:
            self._control(
                connection, {"kind": "disconnect", "connection": connection, "reason": reason}
            )

    # For the composition root --------------------------------------------------------------------

    def control(self, fields: dict[str, object]) -> int:
        """Record something that concerns the whole node (start, stop, gap).

        Return its frame number.
        """
        return self._control(0, fields)

    def note(self, fields: dict[str, object]) -> None:
        """As `control`, for what need not be recorded when the log has closed already."""
        if not self._closed:
            self._control(0, fields)

    def on_watermark(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever the written watermark moved."""
        self._on_watermark.append(callback)

    def on_definition(self, callback: Callable[[int, bytes], None]) -> None:
        """Call `callback(instrument, JSON)` for each definition, before a batch that uses it."""
        self._on_definition.append(callback)

    def on_control(self, callback: Callable[[int, int, bytes], None]) -> None:
        """Call `callback(frame_no, recv_ns, payload)` behind each control record's appending.

        It must not raise, and must not record anything itself.
        """
        self._on_control.append(callback)

    def trace_with(self, around: Around) -> None:
        """Have stamps taken around decoding and publishing; without this there is no step more."""
        self._decode, self._publish = around(self._decode, self._publish)

    def hold(self, cause: str) -> None:
        """Read no socket until `release(cause)`: what is in memory still has to be written."""
        self._held_for.add(cause)
        if not self.paused:
            self._pause()

    def release(self, cause: str) -> None:
        """Undo `hold(cause)`; reading goes on once the log has room, too."""
        self._held_for.discard(cause)
        self._resume()

    @property
    def pause_due(self) -> bool:
        """Whether there is a reason to read no socket."""
        return self._raw.full or bool(self._held_for)

    def finish(self) -> None:
        """Decode and hand over what is left.

        Afterwards the tap takes nothing, but still tells the watermark.
        """
        if not self._closed:
            self._end_burst()
            self._closed = True

    def detach(self) -> None:
        """Stop listening to the raw log."""
        self._loop.remove_reader(self._raw.wake_fd)

    def _control(self, connection: int, fields: dict[str, object]) -> int:
        return self.record(connection, "C", encode(fields))

    def _end_burst(self) -> None:
        self._armed = False
        if self._closed:
            return
        self.bursts_total += 1
        batch = self._decode(self._decoder)
        if self._definitions_due:
            self._tell_definitions()
        if batch is not None:
            self._publish(batch)
            # The oldest frame of the burst speaks for all: never better than the truth.
            taken_ns = self._clock.mono_ns() - batch.ts_mono_ns
            self.publish_latency.record(taken_ns, len(batch))
            self.topic_latency.record(batch, taken_ns)
        for connection, frame_no, kind, text in self._decoder.take_notices():
            leg = self._legs.get(connection)
            if leg is not None:
                leg.on_notice(Notice(connection, frame_no, kind, text))
        if not self.paused and self._raw.full:
            self._pause()

    def _tell_definitions(self) -> None:
        """Tell everybody; who raises misses a definition, and nobody anything of the burst."""
        self._definitions_due = False
        for instrument, definition in self._decoder.instruments():
            if instrument not in self._defined:
                self._defined.add(instrument)
                for callback in self._on_definition:
                    try:
                        callback(instrument, definition)
                    except Exception as error:  # noqa: BLE001 - it hurts only itself, as on the bus
                        self._definition_failed(callback, error)

    def _definition_failed(self, callback: Callable[[int, bytes], None], error: Exception) -> None:
        """Say so, once for each callback: a venue may list thousands."""
        self.definition_failures_total += 1
        if callback not in self._failed:
            self._failed.append(callback)
            name = getattr(callback, "__qualname__", repr(callback))
            log.error("definition_not_taken", callback=name, exc_info=error)

    def _pause(self) -> None:
        self.paused = True
        self.pauses_total += 1
        causes = sorted(self._held_for) or ["log full"]
        log.warning(
            "sockets_paused",
            causes=causes,
            pending_bytes=self._raw.pending_bytes,
            fault=self._raw.fault,
        )
        for leg in self._legs.values():
            leg.pause_reading()
        self.note({"kind": "pause", "causes": causes, "fault": self._raw.fault})

    def _resume(self) -> None:
        if not self.paused or self._raw.full or self._held_for:
            return
        self.paused = False
        log.info("sockets_resumed", pending_bytes=self._raw.pending_bytes)
        for leg in self._legs.values():
            leg.resume_reading()
        self.note({"kind": "resume"})

    def _on_wake(self) -> None:
        os.read(self._raw.wake_fd, 8)
        for callback in self._on_watermark:
            callback()
        self._resume()
