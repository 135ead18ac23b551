"""What people see of a plan: the answers to orders, the connections of a file. Shows only."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from gateway.subscriptions.carried import Carried
from tickd.app.asking import state_dir_of
from tickd.app.control import ask


def order(
    config: Path, command: str, patterns: Sequence[str], *, priority: int | None = None
) -> int:
    """Send an order to the daemon of `config` and print what changed."""
    answer: Any = asyncio.run(
        ask(state_dir_of(config), command, patterns=list(patterns), priority=priority)
    )
    _print_changes(answer)
    return 0


def reload_now(config: Path) -> int:
    """Let the daemon of `config` read its file again and print what changed."""
    answer: Any = asyncio.run(ask(state_dir_of(config), "reload"))
    _print_changes(answer)
    if answer["wait_for_restart"]:
        sys.stdout.write(f"waits for a restart: {', '.join(answer['wait_for_restart'])}\n")
    return 0


def _print_changes(answer: Any) -> None:
    for venue, change in answer["venues"].items():
        nothing = "" if change["added"] or change["removed"] else " (it was so already)"
        sys.stdout.write(
            f"{venue}: {change['added']} streams more, {change['removed']} less{nothing}\n"
        )


def drawn(carried: Carried, notes: Sequence[str] = ()) -> dict[str, Any]:
    """A plan as plain values; `notes` go with those of the plan itself."""
    wanted = carried.wanted
    return {
        "venue": wanted.config.name,
        "shard": str(wanted.shard),
        "streams": sum(len(place.streams) for place in carried.places),
        "notes": [*carried.wishes.empty, *notes],
        "connections": [
            {
                "number": place.number,
                "endpoint": place.endpoint,
                "url": place.url,
                "streams": [stream.name for stream in place.streams],
            }
            for place in carried.places
        ],
        "priorities": {
            str(priority): count
            for priority, count in sorted(Counter(_priorities(carried)).items(), reverse=True)
        },
        "rotations": {
            name: {"symbols": len(symbols), "at_once": len(carried.turning.get(name, ()))}
            for name, symbols in carried.wishes.turning.items()
        },
    }


def _priorities(carried: Carried) -> Iterator[int]:
    for place in carried.places:
        yield from map(carried.priority, place.streams)


def table(plan: dict[str, Any]) -> RenderableType:
    """A plan for a terminal."""
    rows = Table(
        box=None, pad_edge=False, header_style="dim", title_justify="left", caption_justify="left"
    )
    priorities = ", ".join(
        f"{count} streams of {each}" for each, count in plan["priorities"].items()
    )
    rows.title = (
        f"{plan['venue']}, shard {plan['shard']}: {plan['streams']} streams on"
        f" {len(plan['connections'])} connections"
    )
    for name in ("connection", "endpoint", "streams", "the first of them"):
        rows.add_column(name)
    for each in plan["connections"]:
        first = ", ".join(each["streams"][:3])
        more = " …" if len(each["streams"]) > 3 else ""
        rows.add_row(str(each["number"]), each["endpoint"], str(len(each["streams"])), first + more)
    turns = [
        f"{name}: {each['symbols']} symbols take turns, {each['at_once']} at a time"
        for name, each in plan["rotations"].items()
    ]
    rows.caption = "\n".join((f"by priority: {priorities}", *turns, *plan["notes"]))
    return rows
