"""How long to wait before the next attempt: capped exponential delay with jitter. Pure."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["delay_ms"]

_DOUBLINGS_MAX = 20


def delay_ms(
    attempt: int, *, delay_ms_min: int, delay_ms_max: int, random: Callable[[], float]
) -> float:
    """Return the pause after failed attempt number `attempt` (0 = the first), in ms.

    Between half and all of the doubled delay: several tables that failed together spread out.
    """
    full = min(delay_ms_max, delay_ms_min << min(attempt, _DOUBLINGS_MAX))
    return full * (0.5 + random() / 2)
