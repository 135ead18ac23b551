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
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TimeRemainingColumn

from recorder.verify.promises import read_promises
from recorder.verify.report import Pending, VerifyReport
from recorder.verify.sql import HOLE_FRAMES, verify_in_sql
from recorder.verify.verify import Step
from recorder.verify.verify import verify as compare
from tickd.app.clickhouse_of import clickhouse_of
from tickd.app.config import Config, load_config
from tickd.app.control import ask
from tickd.app.exit_codes import ExitCode
from tickd.app.verified import note_run
from tickd.clock import SystemClock
from tickd.errors import ConfigError, TickdError
from tickd.ownership import act_as_owner

FINDINGS_SHOWN = 20
# The records of a segment are about so many times its bytes; only the bar depends on it.
RATIO_GUESS = 5


def verify(
    config: Path,
    *,
    sql: bool = False,
    hole_frames: int = HOLE_FRAMES,
    remote: bool = False,
    strict: bool = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> ExitCode:
    """Prove that raw log, manifest and ClickHouse agree.

    Checks every checksum, decodes the raw log again and compares every row of ClickHouse with it;
    says of every frame what became of it. Beside a running daemon it compares what ClickHouse has
    acknowledged. Exit codes: 0 nothing differs, 3 something differs, 1 something could not be
    checked, 2 bad config. The daemon shows the last run in its metrics.

    Args:
        config: the daemon's config file
        sql: ask ClickHouse only and do not read the raw log: finds rows that are there twice, rows
            of no segment, and stretches without rows, in seconds
        hole_frames: with --sql, a stretch of so many frames without a row is a finding
        remote: ask the store of [ship] whether each shipped file is there, whole
        strict: count what is promised to ClickHouse and not there yet as a difference
        as_json: print the whole report as JSON (docs/formats/verify-report.md)

    Example:
        tickd verify tickd.toml
        tickd verify tickd.toml --remote --strict
        tickd verify tickd.toml --sql --json

    """
    resolved = load_config(config)
    if not sql and not (resolved.state_dir / "raw" / "segments").is_dir():
        raise ConfigError(
            f"no raw log at {resolved.state_dir / 'raw'}",
            hint="is node.state_dir right? without the raw log: --sql",
        )
    clock = SystemClock()
    act_as_owner(resolved.state_dir)
    begin_ns = clock.mono_ns()
    work = _verify_in_sql(resolved, hole_frames) if sql else _verify(resolved, remote=remote)
    report = asyncio.run(work)
    report.seconds = (clock.mono_ns() - begin_ns) / 1e9
    note_run(resolved.state_dir, report, wall_ns=clock.wall_ns())
    code = _judge(report, strict=strict)
    if as_json:
        body = {"ok": code is ExitCode.OK, **msgspec.to_builtins(report)}
        sys.stdout.write(orjson.dumps(body).decode() + "\n")
    else:
        _print(report, code)
    return code


def _judge(report: VerifyReport, *, strict: bool) -> ExitCode:
    if report.findings_count or (strict and report.pending):
        return ExitCode.DATA_LOSS
    return ExitCode.FAILED if report.unchecked else ExitCode.OK


async def _verify(config: Config, *, remote: bool) -> VerifyReport:
    frame_to = await _settled_by_a_running_daemon(config)
    raw = config.state_dir / "raw"
    sizes = sum(path.stat().st_size for path in raw.glob("segments/*"))
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:1], BarColumn(), DownloadColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        progress.disable = not console.is_terminal
        bars: dict[Step, TaskID] = {
            "files": progress.add_task("checksums", total=sizes),
            "rows": progress.add_task("rows", total=sizes * RATIO_GUESS),
        }
        async with clickhouse_of(config) as clickhouse:
            return await compare(
                raw,
                clickhouse,
                node=config.node.id,
                frame_to=frame_to,
                sink=config.state_dir / "sink",
                remote=config.ship if remote else None,
                on_progress=lambda step, size: progress.advance(bars[step], size),
            )


async def _verify_in_sql(config: Config, hole_frames: int) -> VerifyReport:
    pending: list[Pending] = []
    if (config.state_dir / "sink").is_dir():  # it may be asked from another machine
        pending = read_promises(config.state_dir / "sink", config.node.id).pending
    async with clickhouse_of(config) as clickhouse:
        return await verify_in_sql(
            clickhouse, node=config.node.id, pending=pending, hole_frames=hole_frames
        )


async def _settled_by_a_running_daemon(config: Config) -> int | None:
    """The last frame that a running daemon's ClickHouse has; None when no daemon runs."""
    try:
        status: Any = await ask(config.state_dir, "status")
    except TickdError:
        return None
    # -1 before ClickHouse has the first row: then no row is compared, frame numbers begin with 1.
    return max(0, int(status["sink"]["frame_settled"]))


def _print(report: VerifyReport, code: ExitCode) -> None:
    console = Console()
    segments, numbers, frames = report.segments, report.numbers, report.frames
    due = report.checked.hours_due
    rows = ", ".join(
        f"{table} {totals.stored:,}" for table, totals in report.tables.items() if totals.stored
    )
    classes = sorted(frames.without_rows.items(), key=lambda item: -item[1])
    console.print(
        f"{segments.sealed} sealed segments, {segments.unsealed} not sealed, "
        f"{segments.removed} removed; {report.checked.chunks:,} chunks checked\n"
        f"frame numbers {numbers.first:,} to {numbers.last:,}: {numbers.recorded:,} recorded, "
        f"{numbers.announced:,} in announced gaps, {numbers.quarantined:,} in quarantine, "
        f"{numbers.removed:,} removed, {numbers.missing:,} missing\n"
        f"{frames.all:,} frames: {frames.with_rows:,} with rows"
        + "".join(f", {name} {count:,}" for name, count in classes)
        + f"\nrows: {rows or 'none'}; {report.checked.bars:,} bars"
        + (f", of {due} hours left out: repair has to make them" if due else ""),
        markup=False,
        soft_wrap=True,
    )
    _print_pending(console, report)
    for reason in report.unchecked:
        console.print(f"not checked: {reason}", style="yellow", markup=False, soft_wrap=True)
    for finding in report.findings[:FINDINGS_SHOWN]:
        line = f"  {finding.kind.value}: {finding.where}: {finding.text}"
        console.print(line, markup=False, soft_wrap=True)
    if report.findings_count > FINDINGS_SHOWN:
        console.print("  … all of them: tickd verify --json")
    verdicts = {
        ExitCode.OK: "[green]no difference[/]",
        ExitCode.FAILED: "[yellow]not everything could be checked[/]",
        ExitCode.DATA_LOSS: f"[red]{_differences(report)}[/]",
    }
    console.print(f"{verdicts[code]} ({report.mode}, {report.seconds:.1f} s)")


def _differences(report: VerifyReport) -> str:
    """What code 3 is about: findings, or with --strict nothing but what is pending."""
    if report.findings_count:
        return f"differences: {report.findings_count}"
    return "no difference but what is pending, which --strict counts as one"


def _print_pending(console: Console, report: VerifyReport) -> None:
    """What is promised and not there: ranges by state, with their tables."""
    states: dict[str, list[Pending]] = {}
    for entry in report.pending:
        states.setdefault(entry.state, []).append(entry)
    for state, entries in states.items():
        tables = ", ".join(sorted({entry.table for entry in entries}))
        rows = sum(entry.rows or 0 for entry in entries)
        console.print(f"pending: {len(entries)} ranges {state} ({tables}), {rows:,} rows known")
