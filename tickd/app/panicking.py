"""Cancel-all without a daemon: every account at its venue, in parallel, each within its time.

It uses nothing of a running daemon and of the raw log, so that it works beside one that hangs and
after one that died. It decides nothing: who calls it wants everything cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec

from risk.brokers.port import AccountSection, BrokerContext
from risk.brokers.registry import find
from tickd.errors import TickdError
from tickd.native import EventBatch
from tickd.ports import Clock

__all__ = ["ACCOUNT_S_MAX", "Cancelled", "cancel_everything", "cancellers_of"]

# The brokers' own deadlines are shorter; this is for one that hangs.
ACCOUNT_S_MAX: Final = 45.0


class Cancelled(msgspec.Struct, frozen=True):
    """One account: how many orders the venue still lists, or why it could not be asked."""

    account: str
    left: int | None
    fault: str = ""

    @property
    def is_clear(self) -> bool:
        return self.left == 0


class _NoMarket:
    """Nobody trades here, so nothing is seen of the market."""

    def on_batch(self, take: Callable[[EventBatch], None]) -> None:
        """Never calls `take`."""

    def on_definition(self, define: Callable[[int, bytes], None]) -> None:
        """Never calls `define`."""


def cancellers_of(
    sections: Sequence[AccountSection], clock: Clock
) -> dict[str, Callable[[], Awaitable[int]]]:
    """What cancels each account; on a running loop. Raises nothing: that comes with the call."""

    def canceller(section: AccountSection) -> Callable[[], Awaitable[int]]:
        async def cancel_all() -> int:
            context = BrokerContext(
                clock=clock,
                on_report=lambda _report: None,
                confirm=lambda _approved: False,
                instrument=lambda _symbol: None,
                market=_NoMarket(),
                held=tuple,
            )
            return await find(section).make(section, context).cancel_all()

        return cancel_all

    return {section.name: canceller(section) for section in sections}


async def cancel_everything(
    cancellers: Mapping[str, Callable[[], Awaitable[int]]], *, seconds: float = ACCOUNT_S_MAX
) -> list[Cancelled]:
    """Cancel all accounts at once; one that cannot be asked holds up no other."""
    async with asyncio.TaskGroup() as tasks:
        asked = [
            tasks.create_task(_cancelled(name, cancel_all, seconds), name=f"cancel {name}")
            for name, cancel_all in cancellers.items()
        ]
    return [each.result() for each in asked]


async def _cancelled(
    name: str, cancel_all: Callable[[], Awaitable[int]], seconds: float
) -> Cancelled:
    try:
        async with asyncio.timeout(seconds):
            return Cancelled(name, await cancel_all())
    except TimeoutError:
        return Cancelled(name, None, f"no end within {seconds:g} s")
    except (TickdError, OSError) as error:
        return Cancelled(name, None, str(error))
