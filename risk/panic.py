"""`tickd panic`: cancel what is open at every account's venue, without a daemon.

It works on a list of accounts, each with a way to cancel that needs nothing of a daemon. All are
asked at once, each with a deadline of its own. It halts nothing, arms nothing, keeps no state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
import structlog

from tickd.errors import TickdError

__all__ = ["DEADLINE_S", "CancelAll", "Outcome", "all_cancelled", "cancel_everywhere", "described"]

log = structlog.get_logger(__name__)

DEADLINE_S: Final = 20.0
# Characters of what a bug says.
WORDS_MAX: Final = 200

CancelAll = Callable[[], Awaitable[int]]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one account. left None: it could not be asked, `fault` says why."""

    account: str
    left: int | None
    fault: str = ""


async def cancel_everywhere(
    accounts: Sequence[tuple[str, CancelAll]], *, deadline_s: float = DEADLINE_S
) -> list[Outcome]:
    """Cancel at every account at once; outcomes in the order of `accounts`.

    One that raises, whatever it is, hangs or has orders left holds no other up. Raises nothing but
    cancellation and the end of the process.
    """
    async with asyncio.TaskGroup() as tasks:
        asked = [
            tasks.create_task(_cancel(name, cancel, deadline_s), name=f"panic {name}")
            for name, cancel in accounts
        ]
    return [task.result() for task in asked]


async def _cancel(account: str, cancel: CancelAll, deadline_s: float) -> Outcome:
    try:
        async with asyncio.timeout(deadline_s):
            return Outcome(account=account, left=await cancel())
    except TimeoutError:
        return Outcome(account=account, left=None, fault=f"no answer within {deadline_s:g} s")
    except (TickdError, OSError) as error:
        return Outcome(account=account, left=None, fault=str(error))
    except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of an SDK in Rust is no Exception
        # A bug or a broken install. Let out it would cancel the other accounts' cancels.
        log.exception("cancel_broke", account=account)
        return Outcome(account=account, left=None, fault=repr(error)[:WORDS_MAX])


def all_cancelled(outcomes: Sequence[Outcome]) -> bool:
    """Whether nothing is left anywhere, for certain; it is not where nobody was asked."""
    return bool(outcomes) and all(outcome.left == 0 for outcome in outcomes)


def described(outcomes: Sequence[Outcome]) -> list[str]:
    """A line per account, what needs a person first."""
    lines: list[str] = []
    for outcome in sorted(outcomes, key=lambda each: (each.left is not None, -(each.left or 0))):
        if outcome.left is None:
            lines.append(f"{outcome.account}: COULD NOT ASK: {outcome.fault}")
        elif outcome.left:
            lines.append(f"{outcome.account}: {outcome.left} ORDERS ARE LEFT")
        else:
            lines.append(f"{outcome.account}: cancelled, nothing is left")
    return lines or ["no accounts: nothing was cancelled"]
