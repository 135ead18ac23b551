"""The third step of a kill: cancel what is open, round by round, until nothing is left.

It cancels through what the wiring gave; what a round does at a venue is the router's. It halts
nothing and arms nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from risk.halt_names import named
from risk.kill_hooks import Hooks
from risk.latch import HaltedSide, Scope
from tickd.errors import TickdError
from tickd.native import HaltWord
from tickd.ports import Clock

__all__ = ["Cancelling"]

log = structlog.get_logger(__name__)

# A round that takes longer is given up and begun again.
ROUND_S: Final = 30.0
AGAIN_S: Final = 1.0
# After so many rounds it goes on slowly, and a person is told.
ROUNDS_MAX: Final = 10
ROUNDS_BETWEEN: Final = 10
SCOPES_MAX: Final = 1_000
_What = tuple[Scope, str, HaltedSide]
_EVERYTHING: Final[_What] = ("global", "", "")


@dataclass(slots=True)
class _Job:
    """One thing to be cancelled: everything, or what is in a scope or on a side of it."""

    is_running: bool = False
    # Asked for again since the last round began.
    is_again: bool = False
    is_slow: bool = False
    # Orders left by the last round; None: they could not be cancelled, nobody knows.
    left: int | None = 0


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
        # What is not done yet; a scope that hangs holds up no other.
        self._jobs: dict[_What, _Job] = {}

    def want_everything(self) -> None:
        """Cancel every order; what is under way is for this wish, too."""
        self.want(*_EVERYTHING)
        if self._jobs[_EVERYTHING].is_running:
            self._word.cancel_all_began()

    def want(self, scope: Scope, key: str, side: HaltedSide = "") -> None:
        """Cancel the orders of a scope, or of one side of it."""
        self._jobs.setdefault((scope, key, side), _Job()).is_again = True
        self._wanted.set()

    @property
    def is_under_way(self) -> bool:
        """Whether there is something that was not tried often yet."""
        return any(not job.is_slow for job in self._jobs.values())

    @property
    def left(self) -> int | None:
        """Orders left by the last rounds, some perhaps counted twice; None: nobody knows."""
        counts = [job.left for job in self._jobs.values()]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                for what, job in self._jobs.items():
                    if not job.is_running:
                        job.is_running = True
                        work = self._until_none(what, job)
                        tasks.create_task(work, name=f"cancel {named(*what)}")

    async def _until_none(self, what: _What, job: _Job) -> None:
        rounds = 0
        while True:
            job.is_again = False
            if what == _EVERYTHING:
                self._word.cancel_all_began()
            job.left = await self._round(what)
            if job.is_again:
                rounds, job.is_slow = 0, False  # a wish that came meanwhile wants its own rounds
                if job.left == 0:
                    continue
            elif job.left == 0:
                break
            rounds += 1
            if rounds == ROUNDS_MAX:
                job.is_slow = True
                hint = "tickd risk status; then ask the venue"
                scope, key, side = what
                log.error("orders_left", scope=scope, key=key, side=side, count=job.left, hint=hint)
            for _ in range(ROUNDS_BETWEEN if job.is_slow else 1):
                await self._clock.sleep(AGAIN_S)
                if job.is_again:
                    rounds, job.is_slow = 0, False
                    break
        del self._jobs[what]
        if what == _EVERYTHING:
            self._on_clear()

    async def _round(self, what: _What) -> int | None:
        hooks = self._hooks
        try:
            async with asyncio.timeout(ROUND_S):
                if what == _EVERYTHING:
                    return await hooks.cancel_all()
                return await hooks.cancel_scope(*what)
        except (TickdError, TimeoutError) as error:
            log.error("cancel_failed", words=str(error) or "timeout")  # noqa: TRY400 - expected
        except Exception as error:  # a bug must not end the daemon amid a kill
            scope, key, side = what
            log.exception("cancel_failed", scope=scope, key=key, side=side, words=str(error))
        return None

    def blockers(self, scope: Scope = "global", key: str = "", side: HaltedSide = "") -> list[str]:
        """Why arming a scope must wait, a sentence each; others stay halted, and hold up none."""
        found: list[str] = []
        asked: _What = (scope, key, side)
        for name in dict.fromkeys((_EVERYTHING, asked)):
            job = self._jobs.get(name)
            if job is None:
                continue
            if not job.is_slow:
                found.append("orders are being cancelled")
            elif job.left is None:
                found.append("open orders could not be cancelled")
            else:
                found.append(f"{job.left} open orders are left")
        return found
