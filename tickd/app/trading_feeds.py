"""Which books trading has lost sight of, and since when; it halts nothing.

The synchroniser says which book is whole and which is not; what is not recorded any more, by our
own wish, is nobody's gap. Both are rare: nothing here is called per event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal, final

import msgspec

from tickd.app.tap import Tap
from tickd.bus import Bus
from tickd.events import BookState, as_array
from tickd.native import EventBatch
from tickd.ports import Clock

__all__ = ["TradingFeeds"]

PATTERN: Final = "book_state.*.*"
_KINDS: Final = (b'"kind":"shed"', b'"kind":"restore"')


class _Told(msgspec.Struct, frozen=True):
    kind: Literal["shed", "restore"]
    topics: tuple[str, ...] = ()


@final
class TradingFeeds:
    """The books that are not whole. Loop thread only."""

    def __init__(self, clock: Clock) -> None:
        self._clock: Final = clock
        # By venue:symbol, monotonic nanoseconds.
        self._broken_ns: Final[dict[str, int]] = {}
        self._whole: Final[set[str]] = set()
        # One connection brings them no more. Late messages open such a book again, so verdicts on
        # it count only once it is whole.
        self._shed: Final[set[str]] = set()

    def join(self, bus: Bus, tap: Tap, name: str) -> None:
        """Hear of books from here on."""
        bus.handle(PATTERN, self.take, name=name)
        tap.on_control(self.hear)

    def take(self, topic: str, events: EventBatch) -> None:
        """Look at the verdicts about one book; the last counts."""
        label = topic.partition(".")[2].replace(".", ":", 1)
        if int(as_array(events)["aux"][-1]) == BookState.SYNCED:
            self._whole.add(label)
            self._shed.discard(label)
            self._broken_ns.pop(label, None)
            return
        self._whole.discard(label)
        if label not in self._shed:
            self._broken_ns.setdefault(label, self._clock.mono_ns())

    def hear(self, _frame_no: int, _recv_ns: int, payload: bytes) -> None:
        """Look at a control record: what is shed is not missed, what is to come back is.

        A stream that moves is shed, too, by the connection that had it: its book stays whole then.
        """
        if not any(kind in payload for kind in _KINDS):
            return
        try:
            told = msgspec.json.decode(payload, type=_Told)
        except msgspec.DecodeError:
            return  # the decoder refuses it, too
        for topic in told.topics:
            channel, _, name = topic.partition(".")
            if channel == "depth":
                self._hear(told.kind, name.replace(".", ":", 1))

    def _hear(self, kind: Literal["shed", "restore"], label: str) -> None:
        if kind == "shed":
            self._shed.add(label)
            self._broken_ns.pop(label, None)
            return
        self._shed.discard(label)
        if label not in self._whole:
            self._broken_ns.setdefault(label, self._clock.mono_ns())

    def broken(self, labels: Iterable[str]) -> Iterator[tuple[str, int]]:
        """Yield those of `labels` (venue:symbol) whose book is not whole, and since when."""
        # Verdicts follow records in the same burst: what is whole now was shed by one of two.
        self._shed.difference_update(self._whole)
        for label in labels:
            since_ns = self._broken_ns.get(label)
            if since_ns is not None:
                yield label, since_ns
