"""What `tickd ship` and `tickd restore` show on a terminal: a bar over the bytes, then a summary.

It shows, it decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from tickd.app import terminal
from tickd.units import format_bytes

__all__ = ["FAILURES_SHOWN", "bar", "print_failures", "print_shipped"]

FAILURES_SHOWN = 20


@contextmanager
def bar() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A bar on stderr if that is a terminal; yields what takes the state of a run."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("looking", total=None)

        def show(state: Mapping[str, Any]) -> None:
            name = str(state["file"]).rsplit("/", 1)[-1]
            progress.update(
                task,
                description=f"{state['doing']} {state['files_done']}/{state['files']} {name}",
                total=state["bytes"] or None,
                completed=state["bytes_done"],
            )

        yield show


def print_shipped(answer: Mapping[str, Any]) -> None:
    console = terminal.console()
    console.print(
        f"{answer.get('shipped', 0)} shipped ({format_bytes(answer.get('shipped_bytes', 0))}), "
        f"{answer.get('present', 0)} were there, {answer.get('verified', 0)} read back, "
        f"{answer.get('removed', 0)} removed here ({format_bytes(answer.get('removed_bytes', 0))})",
        highlight=False,
    )
    print_failures(answer["failures"])


def print_failures(failures: list[dict[str, str]]) -> None:
    console = terminal.console()
    for failure in failures[:FAILURES_SHOWN]:
        words = f"{failure['file']}: {failure['kind']}: {failure['fault']}".removeprefix(": ")
        console.print(words, style="red", markup=False, highlight=False)
    if len(failures) > FAILURES_SHOWN:
        console.print("  … all of them: --json")
