"""How long to wait before the next attempt: capped exponential with full jitter, for ever.

Pure: the caller brings the random fraction and the time.
"""

from __future__ import annotations

# 2^32 first delays exceed any cap; a larger exponent would only overflow the float.
EXPONENT_MAX = 32


class Backoff:
    """The attempts of one connection plan.

    A delay is drawn from [0, min(cap, first x 2^attempts)) ("full jitter": many clients that were
    cut together come back apart), but never shorter than a tenth of `first_seconds`, so that a
    venue that accepts and cuts at once is not hammered.
    """

    def __init__(self, *, first_seconds: float, cap_seconds: float, stable_seconds: float) -> None:
        self._first = first_seconds
        self._cap = cap_seconds
        self._stable = stable_seconds
        self.attempts = 0  # failures since the last stable connection

    def ceiling_seconds(self) -> float:
        """The longest delay the next failure may bring."""
        return float(min(self._cap, self._first * 2.0 ** min(self.attempts, EXPONENT_MAX)))

    def failed(self, fraction: float, *, at_least_seconds: float = 0.0) -> float:
        """Seconds to wait after a failure; `fraction` in [0, 1), `at_least` what the venue asks."""
        delay = max(self._first / 10, fraction * self.ceiling_seconds())
        self.attempts += 1
        return max(delay, at_least_seconds)

    def ended(self, lived_seconds: float) -> None:
        """A connection ended; one that lived long enough wipes the failures before it."""
        if lived_seconds >= self._stable:
            self.attempts = 0
