"""`tickd gaps`: what a running daemon misses and can ask for again."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from cyclopts import Parameter
from rich.table import Table

from tickd.app.config import load_config
from tickd.app.control import ask
from tickd.app.terminal import console
from tickd.errors import ConfigError

NS_PER_S = 1_000_000_000
WHY_NOT = "fill.api_key is not set where it is needed, fill.enabled is false, or nobody keeps them"


def gaps(
    action: Literal["list", "fill"],
    config: Path,
    *names: int,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Show the gaps whose ids are known, or let them be asked for at once.

    A gap is filled by itself after a few seconds, within the venue's limits; `fill` cuts waiting
    times short. What was filled is on `backfill.*` topics, and in ClickHouse with the flag
    BACKFILLED; the table `gaps` has a second row for a gap that is open no more.

    Args:
        action: list or fill
        config: the daemon's config file, or its state directory
        names: gaps, as `list` names them; all of them without one
        as_json: print the answer as JSON

    Examples:
        tickd gaps list tickd.toml
        tickd gaps fill /var/lib/tickd

    """
    if action == "list" and names:
        raise ConfigError("list shows every gap", hint="leave the names out")
    state_dir = config if config.is_dir() else load_config(config).state_dir
    command = "gaps" if action == "list" else "gaps_fill"
    answer: Any = asyncio.run(ask(state_dir, command, gaps=list(names)))
    if as_json:
        sys.stdout.write(orjson.dumps(answer).decode() + "\n")
    elif action == "list":
        _print(answer)
    else:
        for venue, count in answer["hurried"].items():
            sys.stdout.write(f"{venue}: {count} gaps to ask for, as the venue's limits allow\n")
        if answer["not_asked_for"]:
            sys.stdout.write(f"{answer['not_asked_for']} gaps are not asked for: {WHY_NOT}\n")
    return 0


def _print(answer: dict[str, Any]) -> None:
    screen = console()
    screen.print(f"{answer['open']:,} gaps, {answer['missing']:,} ids missing")
    if not answer["gaps"]:
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("gap", "topic", "cause", "since", "seconds", "ids", "missing"):
        table.add_column(name)
    for each in answer["gaps"]:
        seconds = (each["until_ns"] - each["since_ns"]) / NS_PER_S
        table.add_row(
            str(each["gap"]),
            each["topic"],
            each["cause"],
            f"{datetime.fromtimestamp(each['since_ns'] // NS_PER_S, UTC):%Y-%m-%d %H:%M:%S}",
            f"{seconds:,.1f}",
            f"{each['first']} to {each['last']}",
            f"{each['missing']:,}" + ("" if each["filled"] else " (not asked for)"),
        )
    screen.print(table)
    if not all(each["filled"] for each in answer["gaps"]):
        screen.print(f"not asked for: {WHY_NOT}")
