"""Asking a broker for a cancel, a replacement or its list, so that its bugs stay with it.

While orders are taken back, one account's broker must not keep the others from being asked: what
it raises beside its own errors is logged and counts as a doubt. It decides nothing about orders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, final

import structlog

from risk.approval import ApprovedReplace
from risk.brokers.port import Broker
from risk.errors import BrokerError, NotSentError
from risk.order_facts import Order
from risk.orders import Snapshot, Wanted

__all__ = ["Asking"]

log = structlog.get_logger(__name__)


@final
class Asking:
    """The brokers of all accounts. Its methods raise BrokerError, and nothing else."""

    def __init__(self, brokers: Mapping[str, Broker]) -> None:
        self._brokers: Final = brokers

    def cancel(self, account: str, wanted: Wanted) -> None:
        """Ask for an order to be taken back. NotSentError: the account is not configured, too."""
        broker = self._of(account)
        try:
            broker.cancel(wanted)
        except BrokerError:
            raise
        except Exception as error:
            raise self._failed(account, error) from error

    def replace(self, order: Order, approved: ApprovedReplace) -> None:
        """Ask for another price and size. NotSentError: the account is not configured, too."""
        broker = self._of(order.request.account)
        try:
            broker.replace(order.wanted(), price=approved.price, size=approved.size)
        except BrokerError:
            raise
        except Exception as error:
            raise self._failed(order.request.account, error) from error

    async def snapshot(self, account: str, *, timeout_ms: int) -> Snapshot | None:
        """Return the lists of an account; None: it did not answer, and may do so later."""
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                return await self._of(account).snapshot()
        except (BrokerError, TimeoutError):
            return None
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(account, error)
            return None

    @staticmethod
    @contextmanager
    def apart(account: str, then: Callable[[Exception], None]) -> Iterator[None]:
        """Do something about one account's orders; a bug in it is logged, told, and concerns it."""
        try:
            yield
        except Exception as error:
            log.exception("cancel_broke", account=account)
            then(error)

    def _of(self, account: str) -> Broker:
        broker = self._brokers.get(account)
        if broker is None:
            raise NotSentError(f"account {account} is not configured")
        return broker

    @staticmethod
    def _failed(account: str, error: Exception) -> BrokerError:
        """Where in the call it struck nobody knows."""
        log.error("broker_bug", account=account, exc_info=error)
        return BrokerError(f"the broker failed: {type(error).__name__}")
