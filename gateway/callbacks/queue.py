"""The bounded queue between an SDK's threads and the event loop.

Stamps, appends, wakes the loop once per burst. A full queue lets the newest go and leaves a mark at
their place, so that the gap stands where it happened. It never looks into what it carries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import final

from tickd.ports import Clock

# Something the SDK handed over, with the stamps of that moment: (item, wall ns, monotonic ns).
Received = tuple[object, int, int]


@final
class Lost:
    """Stands in the queue where callbacks were let go."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


@final
class CallbackQueue:
    """Any thread puts, the loop takes.

    A deque needs no lock: its appends and pops are atomic under the GIL, which every callback
    holds anyway (docs/adr/0022-callback-sources.md has the measurement). `wake` is called at most
    once between two calls of `rest`, on the SDK's thread.
    """

    __slots__ = ("_items", "_lock", "_lost", "_max", "_mono", "_wake", "_wall", "awake", "dropped")

    def __init__(self, clock: Clock, *, records_max: int, wake: Callable[[], None]) -> None:
        self._items: deque[Received] = deque()
        self._wall = clock.wall_ns
        self._mono = clock.mono_ns
        self._max = records_max
        self._wake = wake
        self._lock = Lock()  # of the mark only
        self._lost: Lost | None = None  # the mark at the end of the queue, while it grows
        self.awake = False  # the loop knows that there is something, or is looking
        self.dropped = 0  # total

    def put(self, item: object) -> None:
        """Stamp and append. Called on the SDK's threads; never waits, raises nothing."""
        recv_ns = self._wall()
        mono_ns = self._mono()
        if len(self._items) >= self._max:
            self._drop(recv_ns, mono_ns)
        else:
            self._lost = None
            self._items.append((item, recv_ns, mono_ns))
        if not self.awake:
            self.awake = True
            self._wake()

    def _drop(self, recv_ns: int, mono_ns: int) -> None:
        with self._lock:
            self.dropped += 1
            mark = self._lost
            if mark is None:
                mark = self._lost = Lost()
                self._items.append((mark, recv_ns, mono_ns))
            mark.count += 1

    def take(self, records_max: int) -> list[Received]:
        """Up to `records_max` items, oldest first. Loop only."""
        pop = self._items.popleft
        count = min(records_max, len(self._items))
        return [pop() for _ in range(count)]

    def rest(self) -> bool:
        """The loop stops looking; False when something has come meanwhile. Loop only.

        The flag goes down before the last look: whoever appends afterwards sees it down and wakes.
        """
        self.awake = False
        if self._items:
            self.awake = True
            return False
        return True

    @property
    def depth(self) -> int:
        """Items that wait."""
        return len(self._items)

    @property
    def oldest_mono_ns(self) -> int | None:
        """Stamp of the item that waits longest."""
        try:
            return self._items[0][2]
        except IndexError:
            return None
