"""`tickd trace`: where the time of a slow batch went, out of a running daemon's memory."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
from cyclopts import Parameter

from tickd.app.asking import state_dir_of
from tickd.app.control import ask
from tickd.app.trace_picture import picture


def trace(
    config: Path,
    *,
    count: int = 1,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Show where the time of the slowest recent batch went.

    Needs [tracing] enabled = true, and no collector: the daemon remembers the last traces. Ends
    with code 1 while there is none yet.

    Args:
        config: the daemon's config file, or its state directory
        count: so many, the slowest first
        as_json: print JSON

    Examples:
        tickd trace tickd.toml
        tickd trace tickd.toml --count 3
        tickd trace tickd.toml --json | jq '.[0].spans[] | {name, began_ns, ended_ns}'

    """
    state_dir = state_dir_of(config)
    traces: Any = asyncio.run(ask(state_dir, "traces", count=count))
    if as_json:
        sys.stdout.write(orjson.dumps(traces, option=orjson.OPT_INDENT_2).decode() + "\n")
        return 0
    width = shutil.get_terminal_size((110, 24)).columns
    for each in traces:
        sys.stdout.write("\n".join(picture(each, width=width)) + "\n\n")
    if not traces:
        sys.stdout.write("no batch was traced yet: see ratio and slow_ms in [tracing]\n")
    return 0 if traces else 1
