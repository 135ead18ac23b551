"""The last finished traces, in memory, for `tickd trace`: there with no collector, too.

Slow ones have places of their own, so that ordinary ones do not push them out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, final

import msgspec

from tickd.errors import TickdError
from tickd.telemetry.traces import Trace

__all__ = ["TraceRing"]

KEPT_MAX: Final = 256
SLOW_MAX: Final = 64


@final
class TraceRing:
    """Keeps and tells them."""

    def __init__(self, slow_ns: int) -> None:
        self._slow_ns: Final = slow_ns
        self._kept: Final[deque[Trace]] = deque(maxlen=KEPT_MAX)
        self._slow: Final[deque[Trace]] = deque(maxlen=SLOW_MAX)

    def keep(self, trace: Trace) -> None:
        (self._slow if trace.latency_ns >= self._slow_ns else self._kept).append(trace)

    def slowest(self, count: int) -> Sequence[Trace]:
        """Return the slowest, the slowest first."""
        every = (*self._slow, *self._kept)
        return sorted(every, key=attrgetter("latency_ns"), reverse=True)[:count]

    async def answer(self, request: Mapping[str, object]) -> object:
        """The control command `traces`: the slowest recent ones; `count`: how many.

        Raises TickdError: `count` is no number of traces.
        """
        asked = request.get("count", 1)
        if not isinstance(asked, int) or not 1 <= asked <= KEPT_MAX + SLOW_MAX:
            raise TickdError(f"count is {asked!r}", hint=f"1 to {KEPT_MAX + SLOW_MAX}")
        return [_drawn(each) for each in self.slowest(asked)]


def _drawn(trace: Trace) -> dict[str, Any]:
    """Plain values; ids as hexadecimal texts, as every tool for traces shows them."""
    drawn: dict[str, Any] = msgspec.to_builtins(trace)
    drawn["trace_id"] = f"{trace.trace_id:032x}"
    for span in drawn["spans"]:
        for key in ("span_id", "parent_id"):
            span[key] = f"{span[key]:016x}" if span[key] else ""
        span["links"] = [[f"{one:032x}", f"{two:016x}"] for one, two in span["links"]]
    return drawn
