"""`tickd status`: ask a running daemon how it is, over its control socket."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
from cyclopts import Parameter

from tickd.app.asking import state_dir_of
from tickd.app.control import ask
from tickd.app.screen import print_status, rates_of

# Between the two pictures that a rate needs.
RATE_S = 1.0


def status(
    config: Path,
    *,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
    topics: bool = False,
) -> int:
    """Ask a running daemon how it is.

    Args:
        config: the daemon's config file, or its state directory
        as_json: print JSON
        topics: every topic with lag, depth and drops, and its rate over a second (not in JSON)

    Examples:
        tickd status tickd.toml
        tickd status /var/lib/tickd --json | jq .raw_log

    """
    state_dir = state_dir_of(config)
    answer: Any = asyncio.run(ask(state_dir, "status", topics=topics))
    if as_json:
        sys.stdout.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode() + "\n")
    elif topics:
        again = asyncio.run(_a_moment_later(state_dir))
        print_status(again, rates_of(answer, again))
    else:
        print_status(answer, None)
    return 0


async def _a_moment_later(state_dir: Path) -> Any:
    await asyncio.sleep(RATE_S)
    return await ask(state_dir, "status", topics=True)
