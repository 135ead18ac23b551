"""Which priorities are paused while too much comes in: the lowest first, the lowest longest.

Pure: a load and the time come in, a priority comes out. What the load is, others measure.
"""

from __future__ import annotations

from collections.abc import Collection

from gateway.limits import NS_PER_SECOND


class Throttle:
    """Hysteresis over the priorities of everything that is wanted.

    Load 1 or more pauses one priority at once and another after every `step_seconds` that it
    lasts. Load of `resume_load` or less for `hold_seconds` resumes one, and again. In between
    nothing changes. The highest priority is never paused.
    """

    def __init__(self, *, resume_load: float, step_seconds: float, hold_seconds: float) -> None:
        self._resume_load = resume_load
        self._step_ns = round(step_seconds * NS_PER_SECOND)
        self._hold_ns = round(hold_seconds * NS_PER_SECOND)
        self._stepped_ns: int | None = None  # when a priority was paused last
        self._calm_ns: int | None = None  # since when the load is low
        self.floor: int | None = None  # lower priorities are paused; None: nothing is

    def observe(self, load: float, priorities: Collection[int], now_ns: int) -> bool:
        """Take the load of this moment; whether the floor moved.

        Args: `priorities`: those that are wanted at all.
        """
        before = self.floor
        if self.floor is not None and priorities:
            self.floor = min(self.floor, max(priorities))  # others may be wanted than before
        paused = sorted(self.paused(priorities))
        running = sorted(set(priorities) - set(paused))
        if load >= 1.0:
            self._calm_ns = None
            due = self._stepped_ns is None or now_ns - self._stepped_ns >= self._step_ns
            if due and len(running) > 1:
                self._stepped_ns = now_ns
                self.floor = running[1]
        elif load > self._resume_load:
            self._calm_ns = None
        else:
            if self._calm_ns is None:
                self._calm_ns = now_ns
            if now_ns - self._calm_ns >= self._hold_ns:
                self._calm_ns = now_ns
                self._stepped_ns = None
                self.floor = paused[-1] if len(paused) > 1 else None
        return self.floor != before

    def paused(self, priorities: Collection[int]) -> frozenset[int]:
        """Those of `priorities` that are paused."""
        floor = self.floor
        return frozenset(each for each in priorities if floor is not None and each < floor)
