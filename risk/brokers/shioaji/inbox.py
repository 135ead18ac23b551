"""The bounded queue from the SDK's threads and ours to the loop: append, one wake per burst.

It never looks into what it carries. A full inbox lets the newest go and says so once, so that the
broker can tell the router that it missed something.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, final

from risk.brokers.shioaji.lanes import Job

__all__ = ["Answered", "Inbox", "Item", "Lost", "Placed", "Refused", "SessionEvent", "Told"]


class Told(NamedTuple):
    """An order callback: state and message as the SDK gave them."""

    state: Any
    message: Any


class Answered(NamedTuple):
    """What a call came to, through its own callback: the SDK's Trade of our `ref`."""

    ref: str
    trade: Any
    is_new: bool  # of the call that placed it


class Placed(NamedTuple):
    """An order call returned: it is out; its Trade is a placeholder still."""

    ref: str
    trade: Any


class Refused(NamedTuple):
    """A job that never left, and why (`code`)."""

    job: Job
    code: str
    words: str


class Raised(NamedTuple):
    """An order call that raised: it may have left."""

    job: Job
    error: BaseException


class SessionEvent(NamedTuple):
    """What the SDK says about its connection."""

    code: int
    words: str


class Lost(NamedTuple):
    """Callbacks were let go: what they said is not known."""

    callbacks: int


Item = Told | Answered | Placed | Refused | Raised | SessionEvent | Lost
# A turn of the loop stays below the 500 µs that a callback of it may take (about 10 µs each).
TAKE_MAX: Final = 32


@final
class Inbox:
    """Any thread puts, the loop takes.

    A deque needs no lock under the GIL (docs/adr/0022-callback-sources.md). `wake` is called on the
    putting thread, once between two calls of `rest`.
    """

    def __init__(self, *, records_max: int, wake: Callable[[], None]) -> None:
        self._items: deque[Item] = deque()
        self._max = records_max
        self._wake = wake
        self._awake = False
        self._lost = 0  # of callbacks only; counted under the GIL, exact enough to be told of
        self.dropped = 0

    def put(self, item: Item) -> None:
        """Append. What our own thread reports always finds room: it is bounded by its jobs."""
        if len(self._items) >= self._max and isinstance(item, Told | SessionEvent):
            self._lost += 1
            self.dropped += 1
        else:
            self._items.append(item)
        if not self._awake:
            self._awake = True
            self._wake()

    def take(self) -> list[Item]:
        """The next few, oldest first; behind the last one what was lost. Loop only."""
        pop = self._items.popleft
        taken = [pop() for _ in range(min(TAKE_MAX, len(self._items)))]
        if self._lost and not self._items:
            taken.append(Lost(self._lost))
            self._lost = 0
        return taken

    def rest(self) -> bool:
        """The loop stops looking; False when something has come meanwhile. Loop only.

        The flag goes down before the last look: whoever appends afterwards sees it down and wakes.
        """
        self._awake = False
        if self._items or self._lost:
            self._awake = True
            return False
        return True

    @property
    def depth(self) -> int:
        """Items that wait."""
        return len(self._items)
