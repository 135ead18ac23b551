"""What waits for the order thread: cancels first, in order; then new orders, while they are fresh.

The loop puts, the thread takes; a lock is held for an append or a pop and no longer. Bounded by
records and by age. It calls nothing and knows no SDK.
"""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import Any, NamedTuple, final

from risk.approval import ApprovedOrder
from risk.brokers.shioaji.requests import Change

__all__ = ["CancelJob", "ChangeJob", "Job", "Lanes", "PlaceJob"]


class PlaceJob(NamedTuple):
    """A new order: `native` is the SDK's order object, `since_ns` when it began to wait."""

    order: ApprovedOrder
    ref: str
    contract: Any
    native: Any
    since_ns: int


class ChangeJob(NamedTuple):
    """Another price or a smaller quantity of the order behind `handle` (the SDK's Trade)."""

    order: ApprovedOrder
    ref: str
    venue_id: str
    handle: Any
    change: Change
    since_ns: int


class CancelJob(NamedTuple):
    """Take back the order behind `handle`; None: look it up by `venue_id` first."""

    ref: str
    venue_id: str
    handle: Any
    since_ns: int


Job = PlaceJob | ChangeJob | CancelJob


@final
class Lanes:
    """See the module."""

    def __init__(self, *, orders_max: int) -> None:
        self._orders_max = orders_max
        self._urgent: deque[CancelJob] = deque()
        self._orders: deque[PlaceJob | ChangeJob] = deque()
        self._news = Condition()
        self._closed = False

    def put(self, job: Job) -> bool:
        """Whether there was room. A cancel always finds some: there is one per order at most."""
        with self._news:
            if self._closed:
                return False
            if isinstance(job, CancelJob):
                self._urgent.append(job)
            elif len(self._orders) < self._orders_max:
                self._orders.append(job)
            else:
                return False
            self._news.notify()
            return True

    def back(self, job: CancelJob) -> None:
        """Put a cancel back that the venue's limit does not let through yet."""
        with self._news:
            self._urgent.appendleft(job)

    def take(self) -> Job | None:
        """The next job, waiting for one; None: closed, and no cancel is left."""
        with self._news:
            while not (self._urgent or self._orders or self._closed):
                self._news.wait()
            if self._urgent:
                return self._urgent.popleft()
            return self._orders.popleft() if self._orders else None

    def rest(self, seconds: float) -> None:
        """Wait until something new comes, or so long."""
        with self._news:
            self._news.wait(seconds)

    def withdraw(self, ref: str) -> list[PlaceJob | ChangeJob]:
        """What waits for an order that is to be cancelled: it need not leave at all."""
        with self._news:
            mine = [job for job in self._orders if job.ref == ref]
            for job in mine:
                self._orders.remove(job)
            return mine

    def drop_orders(self) -> list[PlaceJob | ChangeJob]:
        """Everything but the cancels, which stay: none of it will leave."""
        with self._news:
            dropped = list(self._orders)
            self._orders.clear()
            return dropped

    def close(self) -> list[PlaceJob | ChangeJob]:
        """Nothing new any more; the thread ends behind the last cancel."""
        with self._news:
            self._closed = True
            dropped = list(self._orders)
            self._orders.clear()
            self._news.notify_all()
            return dropped

    @property
    def depth(self) -> int:
        """Jobs that wait."""
        return len(self._urgent) + len(self._orders)
