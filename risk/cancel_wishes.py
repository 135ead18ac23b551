"""Cancels that the venue's limit had no room for: kept, and asked for again until it has.

One wish per order, for as long as the order is not over; with the process it ends, because the next
life cancels what is open by other means. It sends nothing itself and records nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from risk.approval import Denied
from risk.asking import Asking
from risk.order_facts import Order
from risk.reasons import Reason

__all__ = ["CancelWishes"]


@final
class CancelWishes:
    """The wishes of one router, oldest first."""

    def __init__(self) -> None:
        # By number of the order.
        self._wishes: Final[dict[int, Order]] = {}
        # Accounts where something broke; a person is told of each once.
        self._failed: Final[set[str]] = set()

    def __contains__(self, number: object) -> bool:
        return number in self._wishes

    def keep(self, order: Order, denied: Denied) -> bool:
        """Keep what was refused for want of room alone; whether the refusal is known already."""
        if denied.reason is not Reason.RATE_VENUE:
            return False
        is_known = order.number in self._wishes
        self._wishes[order.number] = order
        return is_known

    def drop(self, number: int) -> None:
        """It was asked for."""
        self._wishes.pop(number, None)

    def repeat(
        self,
        take_back: Callable[[Order], Denied | None],
        on_failure: Callable[[str, Exception], None],
    ) -> None:
        """Ask again, at each venue until it has no room; orders that are over are forgotten."""
        full: set[str] = set()
        for number, order in list(self._wishes.items()):
            request, answer = order.request, None
            if request.venue in full and not order.is_over:
                continue
            if not order.is_over:
                # What breaks in it is not met again at every look, and holds up no other.
                with Asking.apart(request.account, self._failed, on_failure):
                    answer = take_back(order)
            if answer is not None and answer.reason is Reason.RATE_VENUE:
                full.add(request.venue)
            else:
                self.drop(number)
