"""One WebSocket connection: frames to the raw tap, news to the line that owns it.

The frame callback does nothing but hand the payload to the tap, which stamps it first thing.
Connecting, waiting and deciding are the line's (`gateway/session.py`).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from socket import IPPROTO_TCP
from typing import Any, Final

import structlog
from picows import WSCloseCode, WSError, WSFrame, WSListener, WSMsgType, WSTransport
from typing_extensions import Buffer

from gateway.errors import ConnectFailedError, vendor_text
from gateway.limits import NS_PER_SECOND, RollingLimit
from gateway.rotation import Handover
from gateway.status import Counters, count_end
from gateway.subscriptions.plan import ConnectionPlan
from gateway.venue import Stream, Venue
from tickd.errors import TickdError
from tickd.ports import Clock, Notice, RawTap

log = structlog.get_logger(__name__)

# A record's payload ends there (`native/core/src/record.rs`); larger messages end the connection.
MESSAGE_BYTES_MAX: Final = 64 << 20
# How long a peer may take to answer our close before the socket is cut.
CLOSE_SECONDS: Final = 2.0
REFUSED_TEXTS_MAX: Final = 16
# include/uapi/linux/tcp.h: TCP_INFO, and where the u64 bytes_received stands in its struct (read
# 2026-11-20; since Linux 4.1).
TCP_INFO: Final = 11
_BYTES_RECEIVED_AT: Final = 128
_TCP_INFO_BYTES: Final = 192
_TEXT: Final = WSMsgType.TEXT


class Leg(WSListener):
    """A connection from its upgrade to its end. Implements `tickd.ports.Leg`. Loop thread only."""

    def __init__(
        self,
        venue: Venue,
        plan: ConnectionPlan,
        *,
        tap: RawTap,
        clock: Clock,
        counters: Counters,
        news: asyncio.Event,
        on_snapshot_wanted: Callable[[str, int], None],
        handover: Handover | None,
    ) -> None:
        self._venue = venue
        self._plan = plan
        self._tap = tap
        self._clock = clock
        self._counters = counters
        self._news = news  # set whenever something below changed
        self._on_snapshot_wanted = on_snapshot_wanted
        self._handover = handover
        self._messages = RollingLimit(venue.limits.client_messages)
        self._transport: WSTransport | None = None
        self._take: Callable[[int, Buffer], None] = tap.frame
        if handover is not None:
            self._take = self._take_watched
        self._parts = bytearray()  # of a fragmented message
        self._parts_type = _TEXT
        self._fragmented = False
        self._close_words: str | None = None
        self._paused_since_ns: int | None = None
        self._bytes = 0  # received, when last looked at
        self.connection = 0  # node-wide number, once open
        self.fault: TickdError | None = None  # the tap refused the connection
        self.ended: str | None = None  # why, once it has ended
        self.shutdown = False  # the venue announced the end
        self.acks = 0
        self.refused: list[str] = []
        self.streams: tuple[Stream, ...] = ()  # subscribed
        self.version = 0  # of the plan that they follow
        self.joined_ns: dict[str, int] = {}  # stream -> when it was subscribed later than the rest
        self.opened_ns = 0
        self.reading_since_ns = 0  # silence can be judged from here on
        self.control_ns = 0  # last ping, pong or acknowledgement
        self.pinged_ns = 0  # last ping of ours

    # picows ---------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        if self.ended is not None:  # given up while the upgrade was under way
            transport.disconnect(graceful=False)
            return
        now_ns = self._clock.mono_ns()
        self.opened_ns = self.reading_since_ns = self.control_ns = now_ns
        try:
            self.connection = self._tap.open(
                venue=self._venue.name,
                url=self._plan.url,
                streams=[stream.name for stream in self._plan.streams],
                leg=self,
            )
        except TickdError as error:
            self.fault = error
            self.ended = "the raw log is closed"
            transport.disconnect(graceful=False)
        else:
            log.info(
                "connection_opened",
                venue=self._venue.name,
                connection=self.connection,
                url=self._plan.url,
                streams=len(self._plan.streams),
            )

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Every frame. The view dies with this call."""
        if frame.msg_type is _TEXT and frame.fin:
            self._take(self.connection, frame.get_payload_as_memoryview())
        else:
            self._on_other(transport, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        del transport
        self._end(self._close_words or "connection lost")

    def _on_other(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind is WSMsgType.PING:
            # Answered here and not by picows, so that the pong counts against the message limit;
            # it never waits: the venue gives it a deadline.
            now_ns = self._clock.mono_ns()
            self._messages.take(now_ns)
            self.control_ns = now_ns
            transport.send_pong(frame.get_payload_as_bytes())
        elif kind is WSMsgType.PONG:
            self._alive()
        elif kind is WSMsgType.CLOSE:
            if self._close_words is None:
                words = _close_words(frame.get_payload_as_bytes())
                self._close_words = f"venue closed: {words}"
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        elif kind is WSMsgType.CONTINUATION or not frame.fin:
            self._on_fragment(transport, frame)
        else:
            self._counters.binary_messages += 1
            self._tap.record(self.connection, "B", frame.get_payload_as_bytes())

    def _on_fragment(self, transport: WSTransport, frame: WSFrame) -> None:
        """Join a message sent in pieces; its receive stamp is that of the last piece."""
        if frame.msg_type is not WSMsgType.CONTINUATION:
            self._parts.clear()
            self._parts_type = frame.msg_type
            self._fragmented = True
        elif not self._fragmented:
            self._violation(transport, "continuation without a beginning")
            return
        self._counters.fragments += 1
        if len(self._parts) + frame.payload_size > MESSAGE_BYTES_MAX:
            self._violation(transport, f"message exceeds {MESSAGE_BYTES_MAX} bytes")
            return
        self._parts += frame.get_payload_as_memoryview()
        if not frame.fin:
            return
        message = bytes(self._parts)
        self._parts = bytearray()
        self._fragmented = False
        if self._parts_type is _TEXT:
            self._take(self.connection, message)
        else:
            self._counters.binary_messages += 1
            self._tap.record(self.connection, "B", message)

    def _violation(self, transport: WSTransport, words: str) -> None:
        self._close_words = f"protocol violation: {words}"
        transport.send_close(WSCloseCode.PROTOCOL_ERROR)
        transport.disconnect()

    # Hand-over ------------------------------------------------------------------------------

    def _take_watched(self, connection: int, payload: Buffer) -> None:
        """`tap.frame`, and tick off the stream: only while this connection replaces another."""
        self._tap.frame(connection, payload)
        assert self._handover is not None
        name = self._venue.wire.stream_name(payload)
        if name is not None and self._handover.delivered(name, self._clock.mono_ns()):
            self.watch_no_more()
            self._news.set()

    def watch_no_more(self) -> None:
        """Frames go straight to the tap from now on."""
        if self.ended is None:
            self._take = self._tap.frame

    # The tap --------------------------------------------------------------------------------

    def on_notice(self, notice: Notice) -> None:
        match notice.kind:
            case "subscribed":
                self.acks += 1
                self._alive()
            case "refused":
                self._counters.subscribe_refusals += 1
                if len(self.refused) < REFUSED_TEXTS_MAX:
                    self.refused.append(vendor_text(notice.text))
                log.error(
                    "subscription_refused",
                    venue=self._venue.name,
                    connection=notice.connection,
                    frame_no=notice.frame_no,
                    words=vendor_text(notice.text),
                )
            case "shutdown":
                if not self.shutdown:
                    self._counters.shutdown_notices += 1
                self.shutdown = True
            case "snapshot_wanted":
                self._on_snapshot_wanted(notice.text, notice.connection)
                return
            case "pong":
                self._alive()
            case _:
                return
        self._news.set()

    def pause_reading(self) -> None:
        if self._paused_since_ns is not None or self.ended is not None or self._transport is None:
            return
        self._paused_since_ns = self._clock.mono_ns()
        self._counters.pauses += 1
        socket = self._transport.underlying_transport
        if not socket.is_closing():
            socket.pause_reading()

    def resume_reading(self) -> None:
        if self._paused_since_ns is None:
            return
        now_ns = self._clock.mono_ns()
        self._counters.paused_ns += now_ns - self._paused_since_ns
        self._paused_since_ns = None
        self.reading_since_ns = now_ns
        assert self._transport is not None
        socket = self._transport.underlying_transport
        if self.ended is None and not socket.is_closing():
            socket.resume_reading()
        self._news.set()

    # The line -------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        """Whether the raw log has stopped the reading."""
        return self._paused_since_ns is not None

    @property
    def answers(self) -> int:
        """Subscriptions acknowledged and refused so far."""
        return self.acks + len(self.refused)

    @property
    def messages_used(self) -> int:
        """Messages of ours in the venue's window that ends now."""
        return self._messages.used(self._clock.mono_ns())

    @property
    def bytes_received(self) -> int:
        """Bytes off the socket, as the kernel counts them (TLS included); 0 where it does not."""
        if self._transport is not None and self.ended is None:
            socket = self._transport.underlying_transport.get_extra_info("socket")
            self._bytes = max(self._bytes, received_bytes(socket))
        return self._bytes

    def record(self, fields: bytes) -> None:
        """Put a control record about this connection between its frames."""
        if self.ended is None:
            self._tap.record(self.connection, "C", fields)

    def _alive(self) -> None:
        self.control_ns = self._clock.mono_ns()

    async def send(self, text: bytes) -> None:
        """Send a text message when the limit allows it. Raises ConnectFailedError after the end."""
        while wait_ns := self._messages.wait_ns(self._clock.mono_ns()):
            await self._clock.sleep(wait_ns / NS_PER_SECOND)
        if self.ended is not None or self._transport is None:
            raise ConnectFailedError(
                f"connection {self.connection} ended: {self.ended}", venue=self._venue.name
            )
        self._messages.take(self._clock.mono_ns())
        self._transport.send(_TEXT, text)

    def ping(self, text: bytes) -> None:
        """Send the venue's text ping now: it counts against the limit but cannot wait for it."""
        now_ns = self._clock.mono_ns()
        self.pinged_ns = now_ns
        if self.ended is None and self._transport is not None:
            self._messages.take(now_ns)
            self._transport.send(_TEXT, text)

    async def finish(self, reason: str) -> None:
        """Close politely; what arrives until the peer's close is recorded."""
        if self.ended is None and self._transport is not None:
            self._close_words = reason
            self._transport.send_close(WSCloseCode.OK)
            await self._gone()
        self.cut(reason)

    def cut(self, reason: str) -> None:
        """End at once; does nothing after the end. An upgrade under way comes to nothing."""
        if self.ended is not None:
            return
        self._end(reason)
        if self._transport is not None:
            self._transport.send_close(WSCloseCode.OK)
            self._transport.disconnect(graceful=True)

    async def reap(self) -> None:
        """Wait until the socket is closed; a local failure becomes part of the log."""
        if self._transport is not None:
            await self._gone()

    async def _gone(self) -> None:
        assert self._transport is not None
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._transport.wait_disconnected()
        except TimeoutError:
            self._transport.disconnect(graceful=False)
        except (WSError, OSError, TickdError) as error:
            log.warning(
                "connection_failed",
                venue=self._venue.name,
                connection=self.connection,
                words=vendor_text(str(error)),
            )

    def _end(self, reason: str) -> None:
        """Once: the end goes on record, later frames do not."""
        if self.ended is not None:
            return
        self._bytes = self.bytes_received
        self.ended = reason
        self._take = _ignore
        if self._paused_since_ns is not None:
            self._counters.paused_ns += self._clock.mono_ns() - self._paused_since_ns
            self._paused_since_ns = None
        self._news.set()
        if self.connection == 0:  # never opened
            return
        self._counters.disconnects += 1
        count_end(self._counters.ends, reason)
        self._tap.close(self.connection, reason)
        log.info(
            "connection_ended", venue=self._venue.name, connection=self.connection, reason=reason
        )


def _ignore(connection: int, payload: Buffer) -> None:
    """A frame after the recorded end of its connection."""


def received_bytes(socket: Any) -> int:
    """What Linux says in `tcp_info.tcpi_bytes_received` of an open TCP socket; else 0.

    Asked when somebody looks: counting in the frame callback would cost every message.
    """
    if socket is None or not sys.platform.startswith("linux"):
        return 0
    try:
        info: bytes = socket.getsockopt(IPPROTO_TCP, TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return 0
    field = info[_BYTES_RECEIVED_AT : _BYTES_RECEIVED_AT + 8]
    return int.from_bytes(field, sys.byteorder) if len(field) == 8 else 0


def _close_words(payload: bytes) -> str:
    """`1001 going away` from a close frame's payload."""
    if len(payload) < 2:
        return "without a code"
    return f"{int.from_bytes(payload[:2])} {vendor_text(payload[2:])}".rstrip()
