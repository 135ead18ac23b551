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
from tickd.app.after_end import AfterEnd, Spared
from tickd.app.after_end import after_end as after_end_of
from tickd.app.exit_codes import ExitCode
from tickd.app.panicking import ACCOUNT_S_MAX, cancellers_in
from tickd.clock import SystemClock
from tickd.errors import ConfigError
from tickd.ports import Clock


def panic(
    config: Path,
    *,
    cancel_all: Annotated[bool, Parameter(negative=())] = False,
    after_end: Annotated[bool, Parameter(negative=())] = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> ExitCode:
    """Cancel every open order of every account at its venue, whether or not a daemon runs.

    The last resort: it logs in by itself and asks each venue until that lists nothing, accounts in
    parallel. It halts nothing; a daemon that still works is halted with kill -USR1, and calls this
    when it cannot cancel. Of the file only [[accounts]] counts, each for itself. Put it into
    ExecStopPost with --after-end, and a crash cancels, too. Exit codes: 0 nothing is left anywhere,
    1 something is, or an account could not be asked.

    Args:
        config: the daemon's config file
        cancel_all: say that you mean it
        after_end: for ExecStopPost of systemd: spare the accounts of which no order can have left
            since they were last found empty, so that a start that fails again and again does not
            log in each time
        as_json: print the outcome as JSON, of the accounts that were asked

    Examples:
        tickd panic --cancel-all tickd.toml

    """
    if not cancel_all:
        raise ConfigError("nothing is cancelled without --cancel-all")
    clock = SystemClock()
    end = after_end_of(config, os.environ, clock.wall_ns()) if after_end else None
    outcomes, spared = asyncio.run(_cancelled(config, clock, end))
    if as_json:
        sys.stdout.write(msgspec.json.encode(outcomes).decode() + "\n")
    else:
        lines = [f"{name}: not asked: {each.why}" for name, each in spared.items()]
        lines += described(outcomes) if outcomes or not spared else []
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    empty = all(each.empty for each in spared.values())
    asked = all_cancelled(outcomes) if outcomes or not spared else True
    return ExitCode.OK if asked and empty else ExitCode.FAILED


async def _cancelled(
    config: Path, clock: Clock, end: AfterEnd | None
) -> tuple[list[Outcome], dict[str, Spared]]:
    """What came of those that were asked, and who was not."""
    accounts = cancellers_in(config, os.environ, clock)
    spared = {} if end is None else {name: end.spared(name) for name, _ in accounts}
    asked = [(name, cancel) for name, cancel in accounts if spared.get(name) is None]
    outcomes = await cancel_everywhere(asked, deadline_s=ACCOUNT_S_MAX)
    if end is not None and (fault := end.note(outcomes)):
        sys.stderr.write(f"tickd: {fault}\n")
    return outcomes, {name: why for name, why in spared.items() if why is not None}
