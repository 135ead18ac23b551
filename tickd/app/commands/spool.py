"""`tickd spool`: what waits for ClickHouse in files, and what it refused."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from cyclopts import Parameter
from rich.table import Table

from recorder.spool.quarantine import Quarantine
from recorder.spool.spool import Spool
from recorder.spool.thread import SpoolThread
from tickd.app.asking import state_dir_of
from tickd.app.config import NodeConfig
from tickd.app.control import ask
from tickd.app.exit_codes import ExitCode
from tickd.app.partial_config import SpoolConfig, load_spool
from tickd.app.raw_lock import raw_lock
from tickd.app.raw_view import node_of
from tickd.app.rebuilding import plan_of
from tickd.app.spooling import Spooling
from tickd.app.terminal import console
from tickd.clock import SystemClock
from tickd.errors import ConfigError, TickdError
from tickd.units import format_bytes


def spool(
    action: Literal["list", "retry", "drop"],
    config: Path,
    *tokens: str,
    reason: str = "",
    all_: Annotated[bool, Parameter(name="--all")] = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> ExitCode:
    """Show what waits for ClickHouse in files, and what it refused; try that again, or let it go.

    `retry` plans refused blocks again: a running daemon sends them at once, otherwise the next one
    does. `drop` lets them go for good and writes down who, when and why (quarantine/dropped.jsonl);
    their rows stay in the raw log.

    Args:
        action: list, retry or drop
        config: the daemon's config file, or its state directory
        tokens: refused blocks, as `list` names them
        reason: why blocks are dropped
        all_: every refused block, in place of tokens
        as_json: print the answer as JSON

    Examples:
        tickd spool list tickd.toml
        tickd spool retry /var/lib/tickd --all
        tickd spool drop tickd.toml --reason "test data of 11-19" trades-1-20411-...

    """
    if action != "list" and bool(tokens) == all_:
        raise ConfigError("name the blocks, or say --all", hint="see: tickd spool list")
    if action == "drop" and not reason.strip():
        raise ConfigError("a block is dropped for a reason", hint="say it: --reason TEXT")
    request = {"action": action, "tokens": list(tokens), "reason": reason, "who": getpass.getuser()}
    answer = asyncio.run(_answer(config, request))
    if as_json:
        sys.stdout.write(orjson.dumps(answer).decode() + "\n")
    elif action == "list":
        _print(answer)
    else:
        done = answer.get("retried") or answer.get("dropped") or []
        sys.stdout.write("".join(f"{token}\n" for token in done))
    return ExitCode.OK


async def _answer(path: Path, request: Mapping[str, object]) -> dict[str, Any]:
    """A running daemon's answer, or our own under the raw log's lock."""
    state_dir = state_dir_of(path)
    try:
        await ask(state_dir, "status")
    except TickdError as error:
        if isinstance(error.__cause__, TimeoutError | PermissionError):
            raise  # it is there, and has the lock
        return await _own_answer(_resolved(path), request)
    answer: Any = await ask(state_dir, "spool", **request)
    return dict(answer)


def _resolved(path: Path) -> SpoolConfig:
    if path.is_dir():
        return SpoolConfig(node=NodeConfig(id=node_of(path), state_dir=str(path)))
    return load_spool(path)


async def _own_answer(config: SpoolConfig, request: Mapping[str, object]) -> dict[str, Any]:
    clock = SystemClock()
    sink = config.state_dir / "sink"
    with raw_lock(config.state_dir / "raw"):
        plan = plan_of(config, clock)
        files = SpoolThread(
            Spool(sink / "spool", bytes_max=config.sink.spool_bytes_max, clock=clock)
        )
        try:
            await files.open()
            spooling = Spooling(
                plan=plan, spool=files, quarantine=Quarantine(sink / "quarantine"), clock=clock
            )
            answer: Any = await spooling.answer(request)
            return dict(answer)
        finally:
            await asyncio.to_thread(files.close)
            await asyncio.to_thread(plan.close)


def _print(answer: dict[str, Any]) -> None:
    screen = console()
    screen.print(
        f"spool: {answer['blocks']:,} blocks, {format_bytes(answer['bytes'])}"
        + (f", since {_time(answer['oldest_ns'])}" if answer["blocks"] else "")
    )
    for table, each in answer["tables"].items():
        screen.print(
            f"  {table}: {each['blocks']:,} blocks, {format_bytes(each['bytes'])}, "
            f"since {_time(each['oldest_ns'])}"
        )
    kept = answer["quarantine"]
    screen.print(f"quarantine: {len(kept):,} blocks; {len(answer['dropped']):,} dropped so far")
    if not kept:
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("token", "rows", "bytes", "refused", "reason"):
        table.add_column(name, overflow="fold")
    for each in kept:
        body = format_bytes(each["bytes"]) if each["bytes"] else "no body"
        table.add_row(
            each["token"], f"{each['rows']:,}", body, _time(each["kept_ns"]), each["reason"][:200]
        )
    screen.print(table)


def _time(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns / 1e9, UTC):%Y-%m-%d %H:%M:%S}"
