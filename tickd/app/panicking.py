"""How to cancel at each account's venue without a daemon.

It uses nothing of a running daemon and of the raw log, so that it works beside one that hangs and
after one that died. What is done with it is in `risk/panic.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from risk.brokers.port import AccountSection, BrokerContext
from risk.brokers.registry import AnyAccountSection, find
from risk.panic import CancelAll
from tickd.config import load_each
from tickd.errors import ConfigError
from tickd.native import EventBatch
from tickd.ports import Clock

__all__ = ["ACCOUNT_S_MAX", "cancellers_in", "cancellers_of"]

# The brokers' own deadlines are shorter; this is for one that hangs.
ACCOUNT_S_MAX: Final = 45.0


class _Account(msgspec.Struct, frozen=True):
    account: AnyAccountSection


class _NoMarket:
    """Nobody trades here, so nothing is seen of the market."""

    def on_batch(self, take: Callable[[EventBatch], None]) -> None:
        """Never calls `take`."""

    def on_definition(self, define: Callable[[int, bytes], None]) -> None:
        """Never calls `define`."""


def cancellers_in(
    config: Path, environment: Mapping[str, str], clock: Clock
) -> list[tuple[str, CancelAll]]:
    """What cancels each account of a config file, of which nothing else is looked at.

    No other section's mistake or secret keeps anybody from cancelling, and no other account's: one
    that is refused says so when it is called. Raises ConfigError: no file, or no TOML.
    """
    cancellers: list[tuple[str, CancelAll]] = []
    for name, read in load_each(config, "accounts", _Account, environment):
        if isinstance(read, ConfigError):
            cancellers.append((name, _refusing(read)))
        else:
            cancellers += cancellers_of([read.account], clock)
    return cancellers


def _refusing(error: ConfigError) -> CancelAll:
    async def cancel_all() -> int:
        raise ConfigError(f"{error} ({error.hint})" if error.hint else str(error)) from error

    return cancel_all


def cancellers_of(sections: Sequence[AccountSection], clock: Clock) -> list[tuple[str, CancelAll]]:
    """What cancels each account; on a running loop. Raises nothing: that comes with the call.

    One whose orders live in the daemon alone is left out: nobody outside can ask it.
    """

    def canceller(section: AccountSection) -> CancelAll:
        async def cancel_all() -> int:
            context = BrokerContext(
                clock=clock,
                on_report=lambda _report: None,
                confirm=lambda _approved: False,
                instrument=lambda _symbol: None,
                market=_NoMarket(),
                held=tuple,
                is_halted=lambda: True,
            )
            return await find(section).make(section, context).cancel_all()

        return cancel_all

    return [(section.name, canceller(section)) for section in sections if not _is_local(section)]


def _is_local(section: AccountSection) -> bool:
    """Whether its orders live in the daemon; what cannot be imported says so when it is asked."""
    try:
        return find(section).is_local
    except ImportError:
        return False
