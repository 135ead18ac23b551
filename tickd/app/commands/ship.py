"""`tickd ship`: bring sealed segments into object storage, and remove old ones that are there."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import msgspec
import orjson
from cyclopts import Parameter

from tickd.app.config import Config, NodeConfig, load_config
from tickd.app.control import ask, socket_path
from tickd.app.exit_codes import ExitCode
from tickd.app.raw_view import node_of
from tickd.app.ship_screen import bar, print_shipped
from tickd.app.shipping import ShipParts, offline_keeper, run_once, ship_parts
from tickd.clock import SystemClock
from tickd.errors import ConfigError, TickdError
from tickd.ownership import act_as_owner

POLL_S = 0.2


def ship(
    config: Path,
    *,
    url: str | None = None,
    verify: bool = False,
    dry_run: bool = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> ExitCode:
    """Bring sealed segments into object storage, and remove old ones that are there.

    Asks a running daemon to do it and watches; without one, does it itself. A run that is cut off
    is finished by the next one. Exit code 3 when the store does not hold what it should.

    Args:
        config: the daemon's config file, or its state directory (then --url is needed)
        url: where to, in place of ship.url; not beside a running daemon
        verify: read back everything that was ever shipped, too
        dry_run: say what would be shipped, do nothing
        as_json: print the answer as JSON

    Examples:
        tickd ship tickd.toml
        tickd ship /var/lib/tickd --url s3://my-bucket --dry-run
        tickd ship tickd.toml --verify

    """
    resolved = _resolved(config, url)
    answer = asyncio.run(_ship(resolved, url=url, verify=verify, dry_run=dry_run))
    if as_json:
        sys.stdout.write(orjson.dumps(answer).decode() + "\n")
    elif dry_run:
        for file, size in answer["files"]:
            sys.stdout.write(f"{size:>14,} {file}\n")
    else:
        print_shipped(answer)
    return _code(answer)


def _code(answer: dict[str, Any]) -> ExitCode:
    kinds = {failure["kind"] for failure in answer.get("failures", ())}
    if kinds & {"missing", "different", "damaged"}:
        return ExitCode.DATA_LOSS
    return ExitCode.FAILED if kinds else ExitCode.OK


def _resolved(path: Path, url: str | None) -> Config:
    if path.is_dir():
        config = Config(node=NodeConfig(id=node_of(path), state_dir=str(path)))
    else:
        config = load_config(path)
    if url is None:
        return config
    try:
        section = msgspec.structs.replace(config.ship, url=url)
    except ValueError as error:
        raise ConfigError(f"--url: {error}") from error
    return msgspec.structs.replace(config, ship=section)


async def _ship(config: Config, *, url: str | None, verify: bool, dry_run: bool) -> dict[str, Any]:
    if await _daemon_runs(config.state_dir):
        if url is not None:
            raise ConfigError(
                "a daemon runs here and ships to where its configuration says",
                hint="leave --url away, or set ship.url",
            )
        return await _through_daemon(config.state_dir, verify=verify, dry_run=dry_run)
    act_as_owner(config.state_dir)
    parts = ship_parts(
        config.ship,
        node=config.node.id,
        state_dir=config.state_dir,
        keeper=offline_keeper(config.state_dir),
        clock=SystemClock(),
    )
    if dry_run:
        return {"ok": True, "files": await parts.shipper.wanted()}
    return await _here(parts, verify=verify)


async def _daemon_runs(state_dir: Path) -> bool:
    if not socket_path(state_dir).exists():
        return False
    try:
        await ask(state_dir, "status")
    except TickdError:
        return False
    return True


async def _through_daemon(state_dir: Path, *, verify: bool, dry_run: bool) -> dict[str, Any]:
    if dry_run:
        wanted: Any = await ask(state_dir, "ship_wanted")
        return {"ok": True, **wanted}
    begun: Any = await ask(state_dir, "ship", verify=verify)
    with bar() as show:
        while True:
            status: Any = await ask(state_dir, "ship_status")
            show(status["progress"])
            if status["ended"] >= begun["run"]:
                return dict(status["last"])
            await asyncio.sleep(POLL_S)


async def _here(parts: ShipParts, *, verify: bool) -> dict[str, Any]:
    with bar() as show:

        async def watch() -> None:
            while True:
                show(asdict(parts.shipper.progress))
                await asyncio.sleep(POLL_S)

        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch(), name="progress")
            answer = await run_once(parts, verify=verify)
            watching.cancel()
        return answer
