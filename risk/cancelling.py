"""The third step of a kill: cancel what is open, round by round, until nothing is left.

It cancels through what the wiring gave; what a round does at a venue is the router's. It halts
nothing and arms nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from risk.kill_hooks import Hooks
from risk.latch import Scope
from tickd.errors import TickdError
from tickd.native import HaltWord
from tickd.ports import Clock

__all__ = ["Cancelling"]

log = structlog.get_logger(__name__)

# A round that takes longer is given up and begun again.
ROUND_S: Final = 30.0
AGAIN_S: Final = 1.0
ROUNDS_MAX: Final = 10
SCOPES_MAX: Final = 1_000


class Cancelling:
    """Cancels for one kill switch. `run` is its life; loop thread only."""

    def __init__(
        self, word: HaltWord, clock: Clock, hooks: Hooks, *, on_clear: Callable[[], None]
    ) -> None:
        self._word = word
        self._clock = clock
        self._hooks = hooks
        # Called when everything was cancelled and nothing is left.
        self._on_clear = on_clear
        self._wanted = asyncio.Event()
        self._everything = False
        self._scopes: deque[tuple[Scope, str]] = deque(maxlen=SCOPES_MAX)
        self.is_under_way = False
        # Orders left by the last round; None: they could not be cancelled, nobody knows.
        self.left: int | None = 0

    def want_everything(self) -> None:
        """Cancel every order; what is under way is for this wish, too."""
        self._everything = True
        self._wanted.set()
        if self.is_under_way:
            self._word.cancel_all_began()

    def want(self, scope: Scope, key: str) -> None:
        """Cancel the orders of a scope."""
        if (scope, key) not in self._scopes:
            self._scopes.append((scope, key))
        self._wanted.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            self.is_under_way = True
            try:
                await self._until_none()
            finally:
                self.is_under_way = False

    async def _until_none(self) -> None:
        for _ in range(ROUNDS_MAX):
            everything, self._everything = self._everything, False
            if everything:
                self._word.cancel_all_began()
                self.left = await self._round(self._hooks.cancel_all())
            else:
                self.left = await self._each_scope()
            if self.left != 0:
                self._everything |= everything
                await self._clock.sleep(AGAIN_S)
            elif not self._everything:  # else a kill came meanwhile, and wants a round of its own
                if everything:
                    self._scopes.clear()
                    self._on_clear()
                return
        log.error("orders_left", count=self.left, hint="tickd risk status; then ask the venue")

    async def _each_scope(self) -> int | None:
        """Orders left in all scopes; a scope without any is done."""
        total = 0
        for scope, key in list(self._scopes):
            left = await self._round(self._hooks.cancel_scope(scope, key))
            if left is None:
                return None
            if left == 0:
                self._scopes.remove((scope, key))
            total += left
        return total

    async def _round(self, cancelling: Awaitable[int]) -> int | None:
        try:
            async with asyncio.timeout(ROUND_S):
                return await cancelling
        except (TickdError, TimeoutError) as error:
            log.error("cancel_failed", words=str(error) or "timeout")  # noqa: TRY400 - expected
            return None

    def blockers(self) -> list[str]:
        """Why arming must wait, a sentence each."""
        if self.is_under_way or self._wanted.is_set():
            return ["orders are being cancelled"]
        if self.left is None:
            return ["open orders could not be cancelled"]
        return [f"{self.left} open orders are left"] if self.left else []
