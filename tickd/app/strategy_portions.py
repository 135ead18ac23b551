"""What a strategy process remembers of its portions of events, for traces of batches.

A portion is cut otherwise than the daemon's batches; which portions held a batch is told when the
daemon asks, as soon as all of the batch has come. It takes no time itself and knows no ring.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, final

import msgspec

from tickd.app.strategy_wire import TraceSaid
from tickd.native import EventBatch

__all__ = ["Portions"]

# Portions are short when they are many: some seconds of them.
KEPT_MAX: Final = 4_096
ASKED_MAX: Final = 4_096
TOLD_MAX: Final = 8
# A process that is behind is so with every portion; one in so long is enough to tell.
SLOW_EVERY_NS: Final = 50_000_000


class _Portion(NamedTuple):
    seq_first: int
    seq_last: int
    began_ns: int
    ended_ns: int
    events: int


@final
class Portions:
    """The last portions of one process, and what the daemon wants to know of them."""

    def __init__(self, slow_ns: int, say: Callable[[bytes], None]) -> None:
        """`slow_ns`: from the socket to the end of the callbacks."""
        self._slow_ns: Final = slow_ns
        self._say: Final = say
        self._kept: Final[deque[_Portion]] = deque(maxlen=KEPT_MAX)
        # (last frame, first number, last number), in the order of the node.
        self._asked: Final[deque[tuple[int, int, int]]] = deque(maxlen=ASKED_MAX)
        self._slow_due_ns = 0

    def note(self, events: EventBatch, began_ns: int, ended_ns: int) -> None:
        """Remember a portion that strategies have had."""
        seq_last = events.seq_last
        self._kept.append(_Portion(events.seq_first, seq_last, began_ns, ended_ns, len(events)))
        while self._asked and self._asked[0][2] <= seq_last:
            self._answer(*self._asked.popleft())
        recv_ns = events.ts_mono_ns
        if recv_ns and ended_ns - recv_ns >= self._slow_ns and ended_ns >= self._slow_due_ns:
            self._slow_due_ns = ended_ns + SLOW_EVERY_NS
            self._tell(TraceSaid(frame_last=events.frame_last, is_slow=True))

    def ask(self, content: bytes) -> None:
        """Take a question; it may come before the events, and is answered behind the last."""
        frame_last, seq_first, seq_last = map(int, content.split())
        if self._kept and seq_last <= self._kept[-1].seq_last:
            self._answer(frame_last, seq_first, seq_last)
        else:
            self._asked.append((frame_last, seq_first, seq_last))

    def _answer(self, frame_last: int, seq_first: int, seq_last: int) -> None:
        found: list[tuple[int, int, int, int]] = []
        for each in reversed(self._kept):
            if each.seq_last < seq_first or len(found) == TOLD_MAX:
                break
            if each.seq_first <= seq_last:
                found.append((each.began_ns, each.ended_ns, each.events, each.seq_last))
        self._tell(TraceSaid(frame_last=frame_last, portions=tuple(reversed(found))))

    def _tell(self, said: TraceSaid) -> None:
        self._say(msgspec.json.encode(said))
