"""The garbage collector while strategies run: rarely, over little, and measured.

What was made before the first event is frozen out of its sight; pauses go into a histogram. It
never switches collection off: a strategy may make cycles.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final, final

from tickd.native import Histogram

__all__ = ["GarbageWatch"]

# A youngest generation of 50,000 objects is collected in about a millisecond; Python's own
# threshold of 700 would collect many times a second at a strategy that keeps its ticks.
THRESHOLDS: Final = (50_000, 20, 100)


@final
class GarbageWatch:
    """Measures every pause between `begin` and `end`; with `tune` it also makes them rare."""

    def __init__(self, mono_ns: Callable[[], int], *, tune: bool) -> None:
        self.pauses: Final = Histogram()
        self._mono_ns = mono_ns
        self._tune = tune
        self._began_ns = 0
        self._thresholds = gc.get_threshold()

    def begin(self) -> None:
        """Freeze what is there."""
        if self._tune:
            gc.collect()
            gc.freeze()
            gc.set_threshold(*THRESHOLDS)
        gc.callbacks.append(self._note)

    def end(self) -> None:
        """Leave the collector as it was. Idempotent."""
        if self._note in gc.callbacks:
            gc.callbacks.remove(self._note)
            if self._tune:
                gc.set_threshold(*self._thresholds)
                gc.unfreeze()

    def _note(self, phase: str, _info: dict[str, int]) -> None:
        now_ns = self._mono_ns()
        if phase == "start":
            self._began_ns = now_ns
        else:
            self.pauses.record(now_ns - self._began_ns)
