"""`tickd panic`: cancel everything at the venues, without a daemon."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from risk.panic import Outcome, all_cancelled, cancel_everywhere, described
from tickd.app.exit_codes import ExitCode
from tickd.app.panicking import ACCOUNT_S_MAX, cancellers_in
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
    when it cannot cancel. Of the file only [[accounts]] counts, each for itself. Put it into
    ExecStopPost, and a crash cancels, too. Exit codes: 0 nothing is left anywhere, 1 something is,
    or an account could not be asked.

    Args:
        config: the daemon's config file
        cancel_all: say that you mean it
        as_json: print the outcome as JSON

    Examples:
        tickd panic --cancel-all tickd.toml

    """
    if not cancel_all:
        raise ConfigError("nothing is cancelled without --cancel-all")
    outcomes = asyncio.run(_cancelled(config))
    if as_json:
        sys.stdout.write(msgspec.json.encode(outcomes).decode() + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in described(outcomes)))
    return ExitCode.OK if all_cancelled(outcomes) else ExitCode.FAILED


async def _cancelled(config: Path) -> list[Outcome]:
    accounts = cancellers_in(config, os.environ, SystemClock())
    return await cancel_everywhere(accounts, deadline_s=ACCOUNT_S_MAX)
