"""One login for orders: the SDK's client, its order thread, the inbox; from `open` to `close`.

What goes through it the broker says; it keeps no order and answers no question by itself.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

import structlog

from risk.approval import ApprovedOrder
from risk.brokers.shioaji.config import ShioajiAccountConfig
from risk.brokers.shioaji.inbox import Inbox, Item
from risk.brokers.shioaji.lanes import Lanes
from risk.brokers.shioaji.order_thread import OrderThread
from risk.brokers.shioaji.rate import CallRate
from risk.brokers.shioaji.sdk import PACKAGE, Factory, NoAccountError, ShioajiOrders, secrets_of
from risk.brokers.shioaji.wire import VENUE, is_refused_login, words_of
from risk.errors import BrokerError
from tickd.calls import in_thread
from tickd.errors import Action
from tickd.ports import Clock

__all__ = ["Line"]

log = structlog.get_logger(__name__)

T = TypeVar("T")
LOGOUT_SECONDS: Final = 5.0
LOGIN_HINT: Final = "check keys, certificate, account and that the key may be used from here"
INSTALL_HINT: Final = "pip install 'tickd[shioaji]', once more where it is there already"
MS_NS: Final = 1_000_000


class Line:
    """See the module. Loop only, apart from what its threads call."""

    def __init__(
        self,
        config: ShioajiAccountConfig,
        *,
        confirm: Callable[[ApprovedOrder], bool],
        on_items: Callable[[list[Item]], None],
        rate: CallRate,
        clock: Clock,
        factory: Factory | None,
    ) -> None:
        self._config = config
        self._on_items = on_items
        self._loop = asyncio.get_running_loop()
        self._secrets = secrets_of(config)
        self._is_closed = False
        self.contracts: dict[str, Any] = {}
        self.inbox = Inbox(records_max=config.queue_records_max, wake=self._wake)
        self.client = ShioajiOrders(config, self.inbox.put, factory)
        self.lanes = Lanes(orders_max=config.queue_orders_max)
        self._thread = OrderThread(
            self.lanes,
            self.client,
            confirm=confirm,
            put=self.inbox.put,
            rate=rate,
            mono_ns=clock.mono_ns,
            age_ns_max=config.queue_age_ms_max * MS_NS,
        )

    async def open(self) -> None:
        """Log in and look up the symbols. Raises BrokerError; FATAL: a person has to mend it."""
        try:
            await in_thread(
                self.client.open, name=f"{VENUE} login", seconds=self._config.call_timeout_seconds
            )
        except TimeoutError as error:
            raise BrokerError(f"{VENUE}: no login in time", venue=VENUE) from error
        except self._errors() as error:
            is_installed = not isinstance(error, ImportError)
            fatal = not is_installed or is_refused_login(error) or isinstance(error, NoAccountError)
            raise BrokerError(
                f"{VENUE}: login: {type(error).__name__}: {words_of(error, self._secrets)}",
                venue=VENUE,
                action=Action.FATAL if fatal else Action.RETRY,
                hint=LOGIN_HINT if is_installed else INSTALL_HINT,
            ) from error
        found = await self.query(self.client.contracts, "contracts")
        self.contracts = {each.symbol: each.handle for each in found}
        if missing := [each for each in self._config.symbols if each not in self.contracts]:
            log.error("symbols_not_listed", venue=VENUE, symbols=missing)
        self._thread.start()

    async def query(self, call: Callable[[], T], what: str) -> T:
        """What `call` returns, made on a thread. Raises BrokerError."""
        seconds = self._config.call_timeout_seconds
        try:
            return await in_thread(call, name=f"{VENUE} {what}", seconds=seconds)
        except TimeoutError as error:
            raise BrokerError(f"{VENUE}: {what}: no answer in time", venue=VENUE) from error
        except self._errors() as error:
            words = f"{type(error).__name__}: {words_of(error, self._secrets)}"
            raise BrokerError(f"{VENUE}: {what}: {words}", venue=VENUE) from error

    async def close(self) -> None:
        """Let the waiting cancels go, log out. Raises nothing."""
        self._thread.stop()
        if self._thread.is_alive:
            await in_thread(self._thread.join, name=f"{VENUE} end", seconds=LOGOUT_SECONDS)
        while self.inbox.depth:
            self.drain()
        self._is_closed = True
        errors = self._errors()  # a TimeoutError is an OSError
        try:
            await in_thread(self.client.close, name=f"{VENUE} logout", seconds=LOGOUT_SECONDS)
        except errors as error:
            log.info("logout_failed", venue=VENUE, words=words_of(error, self._secrets))

    @staticmethod
    def _errors() -> tuple[type[Exception], ...]:
        """What the SDK raises, or its import.

        Its own base class only where it is imported by now: whoever asks is handling an error, and
        what a second import raised would hide that one.
        """
        own = getattr(sys.modules.get(PACKAGE), "ShioajiError", None)
        plain = (ImportError, OSError, ValueError, RuntimeError, TypeError)
        return plain if own is None else (own, *plain)

    # The inbox ----------------------------------------------------------------------------------

    def _wake(self) -> None:  # on any thread
        try:
            self._loop.call_soon_threadsafe(self.drain)
        except RuntimeError:  # the loop is closed: the process ends
            return

    def drain(self) -> None:
        """Hand what has come to the broker, a bounded portion a turn."""
        if self._is_closed:
            return
        items = self.inbox.take()
        if items:
            try:
                self._on_items(items)
            finally:  # a bug must not stop the flow for good
                self._loop.call_soon(self.drain)
        elif not self.inbox.rest():
            self._loop.call_soon(self.drain)
