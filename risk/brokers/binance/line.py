"""One WebSocket of the order entry: whole text messages in, frames out in the caller's own step.

It never looks into a message, and never reconnects; who owns it is told once when it ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from ssl import SSLContext
from typing import Final, final

from picows import (
    WSCloseCode,
    WSError,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

from risk.brokers.binance.config import BinanceConfig
from risk.brokers.binance.errors import (
    Refusal,
    RefusedError,
    UnclearError,
    retry_after_seconds,
    vendor_text,
)
from risk.errors import BrokerError, NotSentError

__all__ = ["Line"]

MESSAGE_BYTES_MAX: Final = 4 << 20
# The library's debug lines hold the upgrade request, and so a listen key.
LIBRARY_LOG: Final = logging.getLogger("picows.binance_broker")
LIBRARY_LOG.setLevel(logging.INFO)


@final
class Line(WSListener):
    """A connection from its upgrade to its end. Loop thread only."""

    def __init__(
        self, name: str, on_text: Callable[[bytes], None], on_end: Callable[[str], None]
    ) -> None:
        self._name = name
        self._on_text = on_text
        self._on_end = on_end
        self._transport: WSTransport | None = None
        self._parts = bytearray()  # of a message in pieces
        self._words: str | None = None  # why it is about to end
        self.ended: str | None = None

    async def open(self, url: str, config: BinanceConfig, ssl_context: SSLContext | None) -> None:
        """Connect. Words of errors never hold `url`: it may be a secret.

        Raises UnclearError: no connection; RefusedError: too many, with the time to wait.
        """
        timeout_s = config.connect_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await ws_connect(
                    lambda: self,
                    url,
                    ssl_context=ssl_context,
                    websocket_handshake_timeout=timeout_s,
                    # A peer that is gone without a word must not take orders for long.
                    enable_auto_ping=True,
                    auto_ping_idle_timeout=config.ping_idle_s,
                    auto_ping_reply_timeout=config.ping_reply_s,
                    max_frame_size=MESSAGE_BYTES_MAX,
                    max_redirects=0,
                    logger_name=LIBRARY_LOG,
                )
        except WSHandshakeError as error:
            raise self._declined(error) from None
        except TimeoutError:
            raise UnclearError(f"{self._name}: no connection within {timeout_s} s") from None
        except (OSError, WSError) as error:
            raise UnclearError(f"{self._name}: {type(error).__name__}") from None
        if self.ended is not None:
            raise UnclearError(f"{self._name}: {self.ended}")

    def _declined(self, error: WSHandshakeError) -> UnclearError | RefusedError:
        status = 0 if error.response is None else int(error.response.status)
        words = f"{self._name}: upgrade declined with status {status}"
        if error.response is None or status not in {418, 429}:
            return UnclearError(words)
        wait_s = retry_after_seconds(error.response.headers.get("Retry-After"))
        return RefusedError(words, Refusal(status, 0, ""), retry_after_s=wait_s)

    def send(self, message: bytes) -> None:
        """Write a text message now. Raises NotSentError: not written; BrokerError: perhaps."""
        transport = self._transport
        if transport is None or self.ended is not None or transport.is_close_frame_sent:
            raise NotSentError(f"{self._name} is down")
        if transport.underlying_transport.is_closing():
            raise NotSentError(f"{self._name} is closing")
        try:
            transport.send(WSMsgType.TEXT, message)
        except (OSError, RuntimeError, WSError) as error:
            raise BrokerError(f"{self._name}: {type(error).__name__} in the write") from error

    def cut(self, words: str) -> None:
        """End it here and now."""
        if self.ended is None:
            self._words = words
            if self._transport is not None:
                self._transport.disconnect(graceful=False)
            self._end()

    # picows ---------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        if self.ended is not None:  # given up while the upgrade was under way
            transport.disconnect(graceful=False)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if self.ended is not None:
            return
        kind = frame.msg_type
        if kind is WSMsgType.TEXT and frame.fin:
            self._on_text(frame.get_payload_as_bytes())
        elif kind in {WSMsgType.TEXT, WSMsgType.CONTINUATION}:
            self._piece(frame)
        elif kind is WSMsgType.CLOSE:
            words = frame.get_close_message()
            self._words = f"venue closed: {frame.get_close_code()} {vendor_text(words or '')}"
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
            self._end()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        del transport
        self._end()

    def _piece(self, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.TEXT:
            self._parts = bytearray()
        self._parts += frame.get_payload_as_bytes()
        if len(self._parts) > MESSAGE_BYTES_MAX:
            self.cut("a message exceeds the limit")
        elif frame.fin:
            message, self._parts = bytes(self._parts), bytearray()
            self._on_text(message)

    def _end(self) -> None:
        if self.ended is None:
            self.ended = self._words or "connection lost"
            self._on_end(f"{self._name}: {self.ended}")
