"""`tickd verify`: prove that raw log, manifest and ClickHouse agree."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import orjson
from cyclopts import Parameter
from rich.console import Console
from rich.progress import Progress

from recorder.verify import VerifyReport
from recorder.verify import verify as compare
from tickd.app.clickhouse_of import clickhouse_of
from tickd.app.config import Config, load_config
from tickd.app.control import ask
from tickd.app.exit_codes import ExitCode
from tickd.errors import TickdError

DIFFERENCES_SHOWN = 20


def verify(
    config: Path,
    *,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> ExitCode:
    """Prove that raw log, manifest and ClickHouse agree.

    Replays the raw log through a fresh decoder and compares rows, sequence numbers and sums per
    segment and table. Beside a running daemon it compares what ClickHouse has acknowledged.
    Exit code 3 on any difference.

    Args:
        config: the daemon's config file
        as_json: print the whole report as JSON

    Example:
        tickd verify tickd.toml

    """
    report = asyncio.run(_verify(load_config(config)))
    if as_json:
        sys.stdout.write(
            orjson.dumps({"ok": report.ok, **msgspec.to_builtins(report)}).decode() + "\n"
        )
    else:
        _print(report)
    return ExitCode.OK if report.ok else ExitCode.DATA_LOSS


async def _verify(config: Config) -> VerifyReport:
    frame_to = await _settled_by_a_running_daemon(config)
    async with clickhouse_of(config) as clickhouse:
        raw = config.state_dir / "raw"
        console = Console(stderr=True)
        with Progress(console=console, disable=not console.is_terminal) as progress:
            bar = progress.add_task("segments", total=sum(1 for _ in raw.glob("segments/*")))
            return await compare(
                raw,
                clickhouse,
                node=config.node.id,
                frame_to=frame_to,
                on_segment=lambda report: progress.update(bar, completed=report.segments),
            )


async def _settled_by_a_running_daemon(config: Config) -> int | None:
    """The last frame that a running daemon's ClickHouse has; None when no daemon runs."""
    try:
        status: Any = await ask(config.state_dir, "status")
    except TickdError:
        return None
    return int(status["sink"]["frame_settled"])


def _print(report: VerifyReport) -> None:
    console = Console()
    rows = ", ".join(f"{table} {count:,}" for table, count in report.rows.items() if count)
    console.print(
        f"{report.segments} segments, {report.segments_sealed} of them sealed, "
        f"frames up to {report.frame_last:,}\nrows: {rows or 'none'}"
    )
    if report.ok:
        console.print("[green]no difference[/]")
        return
    console.print(f"[red]{len(report.differences)} differences[/]")
    for difference in report.differences[:DIFFERENCES_SHOWN]:
        console.print(
            f"  {difference.where}: {difference.what}: "
            f"raw log {difference.raw_log}, found {difference.found}",
            markup=False,
        )
    if len(report.differences) > DIFFERENCES_SHOWN:
        console.print("  … all of them: tickd verify --json")
