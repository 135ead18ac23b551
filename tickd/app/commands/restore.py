"""`tickd restore`: fetch segments back from object storage, proved and in their place."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import orjson
from cyclopts import Parameter

from recorder.ship.config import ShipConfig
from recorder.ship.files import Folders
from recorder.ship.keeper import Keeper
from tickd.app import terminal
from tickd.app.config import load_config
from tickd.app.control import ask, socket_path
from tickd.app.exit_codes import ExitCode
from tickd.app.ship_screen import bar, print_failures
from tickd.app.shipping import RemoteKeeper, offline_keeper, open_store
from tickd.clock import SystemClock
from tickd.errors import ConfigError, TickdError
from tickd.ownership import act_as_owner
from tickd.units import format_bytes

POLL_S = 0.2
LOST_SHOWN = 10


def restore(
    *,
    to: Path,
    config: Path | None = None,
    url: str | None = None,
    prefix: str | None = None,
    node: int | None = None,
    from_time: Annotated[str | None, Parameter(name="--from")] = None,
    to_time: str | None = None,
    frames: str | None = None,
    manifest: bool = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> ExitCode:
    """Fetch segments back from object storage.

    Every file is checked against the manifest before it gets its name; what is here already is
    compared and never overwritten. A run that is cut off is finished by the next one. An empty
    directory gets the newest manifest from the store first. Exit code 3 when something is missing.

    Args:
        to: the state directory: of the node itself, or an empty one
        config: the daemon's config file, for the store's settings and the node
        url: the store, in place of ship.url
        prefix: in place of ship.prefix
        node: in place of node.id
        from_time: only what was received from then on, e.g. 2026-11-20T08:00 (UTC)
        to_time: only what was received until then
        frames: only the segments of these frame numbers, e.g. 1000-2000
        manifest: the manifest only
        as_json: print the answer as JSON

    Examples:
        tickd restore --config tickd.toml --to /var/lib/tickd --from 2026-11-01 --to-time 2026-11-02
        tickd restore --url s3://my-bucket --node 1 --to /mnt/new

    """
    section, node_id = _section(config, url, prefix, node)
    wish = _wish(from_time, to_time, frames)
    answer = asyncio.run(_restore(section, node=node_id, to=to, wish=wish, manifest_only=manifest))
    if as_json:
        sys.stdout.write(orjson.dumps(answer).decode() + "\n")
    else:
        _print(answer)
    return ExitCode.OK if answer["ok"] else ExitCode.DATA_LOSS


def _section(
    config: Path | None, url: str | None, prefix: str | None, node: int | None
) -> tuple[ShipConfig, int]:
    section, node_id = ShipConfig(), node
    if config is not None:
        loaded = load_config(config)
        section, node_id = loaded.ship, loaded.node.id if node is None else node
    if node_id is None:
        raise ConfigError("which node?", hint="--node N, or --config with node.id")
    given = {"url": url, "prefix": prefix}
    try:
        changed = {name: value for name, value in given.items() if value is not None}
        return msgspec.structs.replace(section, **changed), node_id
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _wish(from_time: str | None, to_time: str | None, frames: str | None) -> dict[str, int]:
    wish: dict[str, int] = {}
    if from_time is not None:
        wish["recv_from_ns"] = _ns(from_time, "--from")
    if to_time is not None:
        wish["recv_to_ns"] = _ns(to_time, "--to-time")
    if frames is not None:
        first, _, last = frames.partition("-")
        if not (first.isdigit() and (last or first).isdigit()):
            raise ConfigError(f"--frames {frames!r} is not a-b", hint="e.g. --frames 1000-2000")
        wish["frame_from"], wish["frame_to"] = int(first), int(last or first)
    return wish


def _ns(text: str, name: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"{name} {text!r} is no time", hint="e.g. 2026-11-20 or 2026-11-20T08:00:00 (UTC)"
        ) from error
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1_000


async def _restore(
    section: ShipConfig, *, node: int, to: Path, wish: dict[str, int], manifest_only: bool
) -> dict[str, Any]:
    act_as_owner(to)  # beside a daemon as well: it is to read, and remove, what comes back
    bucket = open_store(section)
    from recorder.ship.restore import Restorer, Wish  # noqa: PLC0415 - an extra

    keeper: Keeper = offline_keeper(to)
    running = await _running_node(to)
    if running is not None:
        if running != node:
            raise ConfigError(f"the daemon in {to} is node {running}, not {node}")
        keeper = RemoteKeeper(to)
    restorer = Restorer(
        section,
        node=node,
        folders=Folders(to),
        bucket=bucket,
        keeper=keeper,
        clock=SystemClock(),
    )
    with bar() as show:

        async def watch() -> None:
            while True:
                show(asdict(restorer.progress))
                await asyncio.sleep(POLL_S)

        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch(), name="progress")
            report = await restorer.run(Wish(**wish), manifest_only=manifest_only)
            watching.cancel()
    failures = [
        {"file": file, "kind": kind, "fault": words} for file, kind, words in report.failures
    ]
    return {**asdict(report), "ok": report.ok, "failures": failures}


async def _running_node(to: Path) -> int | None:
    """The node that a daemon in `to` records; None when none does.

    A killed daemon leaves its socket behind. One that is there and does not answer is no danger:
    it holds the raw log's lock, without which the manifest takes no line.
    """
    if not socket_path(to).exists():
        return None
    try:
        status: Any = await ask(to, "status")
    except TickdError:
        return None
    return int(status["node"])


def _print(answer: dict[str, Any]) -> None:
    console = terminal.console()
    console.print(
        f"manifest {answer['manifest']} ({answer['lines']:,} lines), "
        f"{len(answer['restored']):,} restored ({format_bytes(answer['restored_bytes'])}), "
        f"{len(answer['present']):,} were here, {len(answer['left']):,} left in the store",
        highlight=False,
    )
    for name in answer["lost"][:LOST_SHOWN]:
        console.print(f"never shipped, and not here: {name}", style="red", highlight=False)
    if len(answer["lost"]) > LOST_SHOWN:
        console.print(f"  … {len(answer['lost'])} in all", style="red")
    print_failures(answer["failures"])
