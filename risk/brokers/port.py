"""The port of a broker: one venue's order entry behind the router.

Shapes only. A broker translates and transports; it retries no order, keeps no order state beyond
what its protocol needs, and lets nothing out that does not come as an `ApprovedOrder`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from risk.approval import ApprovedOrder
from risk.orders import Report, Snapshot, Wanted

__all__ = ["Broker", "OnReport"]

# Given at construction; called on the loop's thread, may be called within `send`.
OnReport = Callable[[Report], None]


class Broker(Protocol):
    """One account at one venue."""

    @property
    def is_up(self) -> bool:
        """Whether an order sent now would leave at once."""
        ...

    async def run(self) -> None:
        """Connect, listen, come back after every loss; until cancelled.

        Raises TickdError(FATAL): credentials refused, or a configuration that cannot work.
        """

    def send(self, order: ApprovedOrder, ref: str) -> None:
        """Write a new order to the venue in this very step; never waits.

        Raises NotSentError: nothing left, for certain. BrokerError: it may have left.
        """

    def cancel(self, order: Wanted) -> None:
        """Ask for an order to be taken back. Raises as `send`."""

    def replace(self, order: Wanted, *, price: int | None, size: int) -> None:
        """Ask for another price and whole size. Raises as `send`."""

    async def snapshot(self) -> Snapshot:
        """List orders, fills, positions and the account.

        Raises BrokerError: it could not be asked; RETRY.
        """
        ...

    async def cancel_all(self) -> int:
        """Cancel every open order of ours at the venue until it lists none; return what is left.

        Works without `run`, from a process of its own. Bounded by its own deadline. Raises
        BrokerError: the venue could not be asked.
        """
        ...
