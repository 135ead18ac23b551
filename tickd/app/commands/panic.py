"""`tickd panic`: cancel everything at the venues, without a daemon."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import orjson
from cyclopts import Parameter

from tickd.app.config import load_config
from tickd.app.exit_codes import ExitCode
from tickd.app.panicking import Cancelled, cancel_everything, cancellers_of
from tickd.clock import SystemClock
from tickd.errors import ConfigError


def panic(
    config: Path,
    *,
    cancel_all: Annotated[bool, Parameter(negative=())] = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> ExitCode:
    """Cancel every open order of every account at its venue, whether or not a daemon runs.

    The last resort: it logs in by itself and asks each venue until that lists nothing, accounts in
    parallel. It halts nothing; a daemon that still works is halted with kill -USR1, and calls this
    when it cannot cancel. Put it into ExecStopPost, and a crash cancels, too. Exit codes: 0 nothing
    is left anywhere, 1 something is, or an account could not be asked.

    Args:
        config: the daemon's config file
        cancel_all: say that you mean it
        as_json: print the outcome as JSON

    Examples:
        tickd panic --cancel-all tickd.toml

    """
    if not cancel_all:
        raise ConfigError("nothing is cancelled without --cancel-all")
    outcome = asyncio.run(_cancelled(config))
    if as_json:
        rows = [{"account": e.account, "left": e.left, "fault": e.fault} for e in outcome]
        sys.stdout.write(orjson.dumps(rows).decode() + "\n")
    else:
        sys.stdout.write("".join(f"{_line(each)}\n" for each in outcome) or "no accounts\n")
    return ExitCode.OK if all(each.is_clear for each in outcome) else ExitCode.FAILED


async def _cancelled(config: Path) -> list[Cancelled]:
    accounts = load_config(config).accounts
    return await cancel_everything(cancellers_of(accounts, SystemClock()))


def _line(outcome: Cancelled) -> str:
    if outcome.left is None:
        return f"{outcome.account}: could not be asked: {outcome.fault}"
    return f"{outcome.account}: " + (f"{outcome.left} orders are left" if outcome.left else "clear")
