"""`tickd status`: ask a running daemon how it is, over its control socket."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
from cyclopts import Parameter

from tickd.app.config import load_config
from tickd.app.control import ask
from tickd.app.screen import print_status


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
        topics: every topic with rate, lag, depth and drops

    Examples:
        tickd status tickd.toml
        tickd status /var/lib/tickd --json | jq .raw_log

    """
    state_dir = config if config.is_dir() else load_config(config).state_dir
    answer: Any = asyncio.run(ask(state_dir, "status", topics=topics))
    if as_json:
        sys.stdout.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        print_status(answer)
    return 0
