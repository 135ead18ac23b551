"""Whose turn it is in a group that takes turns: everybody gets a slice, nobody waits for ever.

Pure: time comes in as monotonic nanoseconds; names go out.
"""

from __future__ import annotations

from collections.abc import Iterable


class Turns:
    """The symbols of one group, `width` at a time, for `slice_ns` each.

    A queue: who had a turn goes to its end, and who is new, too. With m members everybody's turn
    comes within ceil(m / width) slices, whoever joins or leaves meanwhile.
    """

    def __init__(self, slice_ns: int, width: int) -> None:
        self.slice_ns = slice_ns
        self.width = width
        self._queue: dict[str, None] = {}  # waiting, the next first
        self._active: dict[str, None] = {}
        self._ends_ns: int | None = None  # of this slice; None: before the first
        self._left_ns: int | None = None  # of this slice, while nobody's turn goes by

    @property
    def active(self) -> tuple[str, ...]:
        """Whose turn it is."""
        return tuple(self._active)

    @property
    def ends_ns(self) -> int | None:
        """When the slice ends; None: nobody waits for that."""
        return self._ends_ns if self._queue else None

    def resize(self, slice_ns: int, width: int) -> None:
        """Other lengths from the next slice on; a smaller width counts at once."""
        self.slice_ns, self.width = slice_ns, width
        for name in list(self._active)[width:]:
            del self._active[name]
            self._queue[name] = None

    def change(self, members: Iterable[str]) -> None:
        """These are the members from now on.

        A place that becomes free within a slice stays free until the next: a turn is a whole slice.
        """
        wanted = dict.fromkeys(members)
        self._active = {name: None for name in self._active if name in wanted}
        self._queue = {name: None for name in self._queue if name in wanted}
        self._queue.update((name, None) for name in wanted if name not in self._active)
        if self._ends_ns is None or len(wanted) <= self.width:
            self._fill()

    def rest(self, now_ns: int) -> None:
        """Nobody is seen from now on: the slice goes on with the next `advance`."""
        if self._left_ns is None and self._ends_ns is not None:
            self._left_ns = max(0, self._ends_ns - now_ns)

    def advance(self, now_ns: int) -> bool:
        """Begin the next slice if this one is over; whether other symbols have their turn."""
        if self._left_ns is not None:
            self._ends_ns, self._left_ns = now_ns + self._left_ns, None
        if self._ends_ns is not None and now_ns < self._ends_ns:
            return False
        before = set(self._active)
        if self._ends_ns is not None and self._queue:
            resting, self._active = self._active, {}
            # At the end of the queue: whoever waits goes first, then it may be their turn again.
            self._queue.update(resting)
        # From now and not from the end: a loop that stood still gives nobody a shorter slice.
        self._ends_ns = now_ns + self.slice_ns
        self._fill()
        return set(self._active) != before

    def _fill(self) -> None:
        while self._queue and len(self._active) < self.width:
            name = next(iter(self._queue))
            del self._queue[name]
            self._active[name] = None
