"""`tickd rebuild`: make ClickHouse equal to the raw log again, over a range or a whole day."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from recorder.raw.frame_times import frames_between, last_frame
from recorder.raw.stretches import Hole
from recorder.repair.day_swap import DaySwap
from recorder.repair.mend import Difference
from recorder.repair.parts import Part
from tickd.app import terminal
from tickd.app.clickhouse_of import clickhouse_of
from tickd.app.config import Config, NodeConfig, load_config
from tickd.app.control import ask
from tickd.app.exit_codes import ExitCode
from tickd.app.raw_lock import raw_lock
from tickd.app.raw_view import node_of
from tickd.app.rebuilding import (
    BY_HAND,
    INDEX_MAX,
    enter,
    picture_of,
    plan_of,
    repair_of,
    tables_named,
)
from tickd.clock import SystemClock
from tickd.errors import ConfigError, TickdError
from tickd.events import SEQ_INDEX_BITS

POLL_S = 0.5
NS = 10**9
LINES_SHOWN = 40
Show = Callable[[dict[str, Any]], None]


def rebuild(
    config: Path,
    *,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    to: str | None = None,
    tables: str = "",
    dry_run: bool = False,
    replace_day: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> ExitCode:
    """Make ClickHouse equal to the raw log again, rows and bars.

    Compares the raw log with ClickHouse and repairs what differs, step by step; what is right stays
    untouched. A running daemon does it beside its other work, and goes on when this command is cut
    off; without one, this command does it. Exit code 3 when something could not be repaired, or,
    with --dry-run, when something differs.

    Args:
        config: the daemon's config file, or its state directory while it runs
        from_: first moment (ISO 8601, UTC) or frame number; default: the beginning
        to: the moment before which it ends, or the last frame number; default: the end
        tables: event tables, separated by commas; default: all
        dry_run: say what differs, change nothing
        replace_day: a closed UTC day (2026-11-19) to put in place as a whole: quicker where most of
            it is wrong; not beside a running daemon
        as_json: print the answer as JSON

    Examples:
        tickd rebuild tickd.toml --dry-run
        tickd rebuild tickd.toml --from 2026-11-19T10:00 --to 2026-11-19T12:30 --tables trades
        tickd rebuild tickd.toml --replace-day 2026-11-19

    """
    resolved = _resolved(config)
    wanted = tables_named([name.strip() for name in tables.split(",") if name.strip()])
    if replace_day is not None:
        if from_ is not None or to is not None or dry_run:
            raise ConfigError(
                "--replace-day stands alone", hint="leave --from, --to, --dry-run out"
            )
        answer = asyncio.run(_replace(resolved, _day(replace_day), wanted))
    else:
        frames = _frames(resolved.state_dir / "raw", from_, to)
        work = _compare if dry_run else _rebuild
        answer = asyncio.run(work(resolved, frames, wanted))
    if as_json:
        sys.stdout.write(orjson.dumps(answer).decode() + "\n")
    else:
        _print(answer)
    wrong = answer.get("left") or answer.get("differences")
    return ExitCode.DATA_LOSS if wrong else ExitCode.OK


def _resolved(path: Path) -> Config:
    if not path.is_dir():
        return load_config(path)
    # A killed daemon leaves its socket behind, and its ClickHouse may not be the embedded one.
    if not asyncio.run(_daemon_runs(Config(node=NodeConfig(state_dir=str(path))))):
        raise ConfigError(
            f"no daemon runs in {path}", hint="name the config file: it says where ClickHouse is"
        )
    return Config(node=NodeConfig(id=node_of(path), state_dir=str(path)))


async def _rebuild(
    config: Config, frames: tuple[int, int] | None, tables: list[str]
) -> dict[str, Any]:
    if frames is None:
        return {"ranges": 0, "left": []}
    with _bar("rebuild") as show:
        if await _daemon_runs(config):
            return await _ask_the_daemon(config, frames, tables, show)
        with raw_lock(config.state_dir / "raw"):
            return await _do_it(config, frames, tables, show)


async def _daemon_runs(config: Config) -> bool:
    try:
        await ask(config.state_dir, "status")
    except TickdError:
        return False
    return True


async def _ask_the_daemon(
    config: Config, frames: tuple[int, int], tables: list[str], show: Show
) -> dict[str, Any]:
    begun: Any = await ask(config.state_dir, "rebuild", frames=list(frames), tables=tables)
    before = begun
    while True:
        await asyncio.sleep(POLL_S)
        status: Any = await ask(config.state_dir, "status")
        picture = status["repair"]
        show(picture)
        if picture["fault"] is not None and not picture["working"]:
            raise TickdError(
                f"the daemon's repair failed: {picture['fault']}", hint="it tries again by itself"
            )
        if picture["ranges"] == 0 and not picture["working"]:
            totals = {
                name: picture[name] - before[name]
                for name in ("rows_compared", "rows_inserted", "stretches_differing")
            }
            return {**picture, **totals}


async def _do_it(
    config: Config, frames: tuple[int, int], tables: list[str], show: Show
) -> dict[str, Any]:
    clock = SystemClock()
    plan = plan_of(config, clock)
    try:
        async with clickhouse_of(config) as clickhouse:
            repair = repair_of(config, plan=plan, clickhouse=clickhouse, clock=clock)
            try:
                # Nobody is bringing what is above the tables' progress: it is owed, too.
                await plan.spill_to(frames[1] << SEQ_INDEX_BITS | INDEX_MAX, BY_HAND)
                await enter(plan, frames, tables)
                async with asyncio.TaskGroup() as group:
                    watching = group.create_task(
                        _watch(lambda: show(picture_of(repair))), name="progress"
                    )
                    await repair.run()
                    watching.cancel()
                return picture_of(repair)
            finally:
                await asyncio.to_thread(repair.close)
    finally:
        await asyncio.to_thread(plan.close)


async def _compare(
    config: Config, frames: tuple[int, int] | None, tables: list[str]
) -> dict[str, Any]:
    """Say what differs, beside a running daemon up to what ClickHouse has acknowledged."""
    found: list[dict[str, object]] = []
    left: list[dict[str, object]] = []
    if frames is None:
        return {"differences": found, "left": left}
    with ExitStack() as stack:
        if await _daemon_runs(config):
            status: Any = await ask(config.state_dir, "status")
            frames = (frames[0], min(frames[1], int(status["sink"]["frame_settled"])))
        else:
            stack.enter_context(raw_lock(config.state_dir / "raw"))
        first, last = frames[0] << SEQ_INDEX_BITS, frames[1] << SEQ_INDEX_BITS | INDEX_MAX
        if last < first:
            return {"differences": found, "left": left}
        part = Part(first, last, tuple(tables))
        async with clickhouse_of(config) as clickhouse:
            repair = repair_of(config, plan=None, clickhouse=clickhouse, clock=SystemClock())
            try:
                async for each in repair.compare([part]):
                    (left if isinstance(each, Hole) else found).append(_line(each))
            finally:
                await asyncio.to_thread(repair.close)
    return {"differences": found, "left": left}


async def _replace(config: Config, day: int, tables: list[str]) -> dict[str, Any]:
    if await _daemon_runs(config):
        raise ConfigError(
            "--replace-day cannot be done beside a running daemon",
            hint="stop it, or let it repair the range: tickd rebuild --from DAY --to NEXT_DAY",
        )
    clock = SystemClock()
    with raw_lock(config.state_dir / "raw"):
        plan = plan_of(config, clock)
        try:
            async with clickhouse_of(config) as clickhouse:
                repair = repair_of(config, plan=plan, clickhouse=clickhouse, clock=clock)
                swap = DaySwap(
                    config.state_dir / "raw", repair, clickhouse, clock=clock, node=config.node.id
                )
                try:
                    rows = {table: await swap.replace(table, day) for table in tables}
                finally:
                    await asyncio.to_thread(repair.close)
        finally:
            await asyncio.to_thread(plan.close)
    return {"replaced": rows, "left": []}


async def _watch(show: Callable[[], None]) -> None:
    while True:
        show()
        await asyncio.sleep(POLL_S)


class _bar:  # noqa: N801 - a context manager by its use
    """A progress bar on a terminal, nothing elsewhere."""

    def __init__(self, words: str) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn(words),
            BarColumn(),
            TextColumn("{task.fields[words]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(words, total=None, words="")
        self._most = 0

    def __enter__(self) -> Show:
        self._progress.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _show(self, picture: dict[str, Any]) -> None:
        left = picture["frames_left"]
        self._most = max(self._most, left)
        self._progress.update(
            self._task,
            total=self._most,
            completed=self._most - left,
            words=f"{picture['rows_compared']:,} rows compared, "
            f"{picture['rows_inserted']:,} inserted",
        )


def _frames(raw: Path, from_: str | None, to: str | None) -> tuple[int, int] | None:
    """The frames that the options name; None when nothing was received then."""
    first, last = 0, last_frame(raw)
    for text, is_first in ((from_, True), (to, False)):
        if text is None:
            continue
        if text.isdecimal():
            frame = int(text)
        else:
            moment = _moment_ns(text)
            span = (
                frames_between(raw, moment, None) if is_first else frames_between(raw, None, moment)
            )
            if span is None:
                return None
            frame = span[0] if is_first else span[1]
        first, last = (frame, last) if is_first else (first, min(frame, last))
    return (first, last) if first <= last else None


def _moment_ns(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is neither a time nor a frame number", hint="such as 2026-11-19T10:00"
        ) from error
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    return int(moment.timestamp()) * NS + moment.microsecond * 1_000


def _day(text: str) -> int:
    """Days since the epoch."""
    try:
        moment = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise ConfigError(f"{text!r} is no day", hint="such as 2026-11-19") from error
    return int(moment.timestamp()) // 86_400


def _line(each: Difference | Hole) -> dict[str, object]:
    if isinstance(each, Hole):
        return {"seq_from": each.seq_from, "seq_to": each.seq_to, "reason": each.reason}
    return {**each._asdict(), "what": each.what}


def _print(answer: dict[str, Any]) -> None:
    console = terminal.console()
    if "replaced" in answer:
        rows = ", ".join(f"{table} {count:,}" for table, count in answer["replaced"].items())
        console.print(f"put in place: {rows} rows of this node")
        return
    if "differences" in answer:
        _print_differences(console, answer["differences"])
    else:
        console.print(
            f"{answer.get('rows_compared', 0):,} rows compared, "
            f"{answer.get('rows_inserted', 0):,} inserted, "
            f"bars of {answer.get('bar_hours_made', 0)} hours made again"
        )
    for hole in answer["left"]:
        frames = f"{hole['seq_from'] >> SEQ_INDEX_BITS} to {hole['seq_to'] >> SEQ_INDEX_BITS}"
        console.print(f"[yellow]frames {frames} left:[/] {hole['reason']}")


def _print_differences(console: Console, differences: list[dict[str, Any]]) -> None:
    if not differences:
        console.print("[green]no difference[/]")
    for each in differences[:LINES_SHOWN]:
        day = datetime.fromtimestamp(each["day"] * 86_400, UTC).date()
        console.print(
            f"{each['table']} {day} frames {each['seq_from'] >> SEQ_INDEX_BITS} to "
            f"{each['seq_to'] >> SEQ_INDEX_BITS}: {each['what']}, "
            f"{each['raw_log']:,} rows in the raw log, {each['found']:,} found",
            markup=False,
        )
    if len(differences) > LINES_SHOWN:
        console.print(f"… {len(differences)} in all: --json")
