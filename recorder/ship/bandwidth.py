"""A token bucket over bytes: how long to wait before the next so many may go. Pure arithmetic.

At no moment have more than `bytes_per_s` x elapsed + one burst gone since the start.
"""

from __future__ import annotations

from typing import Final, final

from tickd.ports import Clock

__all__ = ["Bandwidth"]

_NS: Final = 1_000_000_000
_BURST_NS: Final = _NS // 4


@final
class Bandwidth:
    """`take` before sending; 0 bytes per second means no limit."""

    def __init__(self, bytes_per_s: int, clock: Clock) -> None:
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        # When everything taken so far has been paid for; a quarter of a second is lent.
        self._paid_ns = 0
        self.taken_bytes = 0

    def delay_ns(self, size: int, now_ns: int) -> int:
        """Take `size` bytes and return how long to wait before they may go."""
        self.taken_bytes += size
        if self._bytes_per_s <= 0:
            return 0
        self._paid_ns = max(self._paid_ns, now_ns - _BURST_NS) + size * _NS // self._bytes_per_s
        return max(0, self._paid_ns - now_ns)

    async def take(self, size: int) -> None:
        """Wait until `size` bytes may go. Raises CancelledError only."""
        delay_ns = self.delay_ns(size, self._clock.mono_ns())
        if delay_ns > 0:
            await self._clock.sleep(delay_ns / _NS)
