"""`tickd gaps`: what is missing and can be asked for again; what was missing, and its end."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from cyclopts import Parameter
from rich.table import Table

from tickd.app.asking import state_dir_of
from tickd.app.control import ask
from tickd.app.gap_history import gap_history
from tickd.app.partial_config import load_tables
from tickd.app.terminal import console
from tickd.errors import ConfigError

NS_PER_S = 1_000_000_000
WHY_NOT = "fill.api_key is not set where it is needed, fill.enabled is false, or nobody keeps them"


def gaps(
    action: Literal["list", "fill", "history"],
    config: Path,
    *names: int,
    hours: float = 24.0,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Show the gaps whose ids are known, let them be asked for at once, or show all of some hours.

    A gap is filled by itself after a few seconds, within the venue's limits; `fill` cuts waiting
    times short. What was filled is on `backfill.*` topics, and in ClickHouse with the flag
    BACKFILLED; the table `gaps` has a second row for a gap that is open no more. `history` asks
    that table: gaps of every cause, open and closed, also with the daemon down.

    Args:
        action: list, fill or history
        config: the daemon's config file, or its state directory
        names: gaps, as `list` names them; all of them without one
        hours: of history: so far back
        as_json: print the answer as JSON

    Examples:
        tickd gaps list tickd.toml
        tickd gaps fill /var/lib/tickd
        tickd gaps history tickd.toml --hours 48

    """
    if action != "fill" and names:
        raise ConfigError(f"{action} shows every gap", hint="leave the names out")
    if action == "history":
        return _history(config, hours, as_json=as_json)
    state_dir = state_dir_of(config)
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


def _history(config: Path, hours: float, *, as_json: bool) -> int:
    """The table, the newest first."""
    if config.is_dir():
        raise ConfigError(
            "history asks ClickHouse", hint="name the config file, which says where it is"
        )
    rows = asyncio.run(gap_history(load_tables(config), hours))
    if as_json:
        sys.stdout.write(orjson.dumps(rows).decode() + "\n")
        return 0
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("since", "seconds", "topic", "cause", "missing", "state"):
        table.add_column(name)
    for row in rows:
        missing = "" if row["missing"] is None else f"{row['missing']:,}"
        since, seconds = row["since"][:19], f"{row['seconds']:,.1f}"
        table.add_row(since, seconds, row["topic"], row["cause"], missing, row["state"])
    states = [row["state"] for row in rows]
    counts = f"{states.count('open'):,} open, {states.count('closed'):,} closed"
    screen = console()
    screen.print(f"{len(rows):,} gaps in {hours:g} hours, {counts}", highlight=False)
    if rows:
        screen.print(table)
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
