"""`tickd doctor`: whether this machine, disk, network and server can do what a config file asks."""

from __future__ import annotations

import asyncio
import sys
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import orjson
from cyclopts import Parameter

from tickd.app.asking import state_dir_of
from tickd.app.clickhouse_checks import check_clickhouse
from tickd.app.config import Config, load_config
from tickd.app.credential_checks import check_credentials
from tickd.app.disk_checks import check_disk
from tickd.app.exit_codes import ExitCode
from tickd.app.findings import Finding, as_rows, fail, failed, ok, safely, summary, table
from tickd.app.machine_checks import check_machine
from tickd.app.network_checks import check_network, doors_of
from tickd.app.requirements import check_requirements
from tickd.app.terminal import console
from tickd.clock import SystemClock
from tickd.errors import ConfigError, TickdError


def doctor(
    config: Path | None = None,
    *,
    quick: Annotated[bool, Parameter(negative=())] = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> ExitCode:
    """Look whether this machine can do what a config file asks: OK, WARN or FAIL, and the remedy.

    Clock, open files, kernel limits, rights, room and speed of the disk, credentials, names and TLS
    of the venues, ClickHouse's version, settings and rights. It changes nothing; the disk's speed
    is measured with a file of 64 MiB that is gone afterwards. Exit codes: 0 nothing fails, 1
    something does.

    Args:
        config: the TOML file; without it only the machine and the current directory's disk
        quick: within a second, no network, no load on the disk: before every start
        as_json: print JSON

    Examples:
        tickd doctor tickd.toml
        tickd doctor tickd.toml --json | jq '.findings[] | select(.verdict != "OK")'
        tickd doctor --quick tickd.toml

    """
    findings = examine(config, quick=quick)
    if as_json:
        answer = {"summary": summary(findings), "findings": as_rows(findings)}
        sys.stdout.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        screen = console()
        screen.print(table(findings))
        counts = ", ".join(f"{count} {name}" for name, count in summary(findings).items())
        screen.print(counts, highlight=False)
    return ExitCode.FAILED if failed(findings) else ExitCode.OK


def examine(config: Path | None, *, quick: bool) -> list[Finding]:
    """Ask everything; what one check cannot tell keeps no other from telling. Raises nothing."""
    clock = SystemClock()
    findings = safely("machine", check_machine)
    resolved = Config()
    tree: dict[str, Any] = {}
    state_dir = Path.cwd()
    if config is not None:
        findings += safely("config", lambda: [_checked(config)])
        state_dir = resolved.state_dir
        with suppress(OSError, ValueError, TickdError):  # it is among the findings
            state_dir = state_dir_of(config)
            tree = tomllib.loads(config.read_text())
            resolved = load_config(config)

    def disk() -> list[Finding]:
        return check_disk(
            state_dir,
            guard=resolved.disk_guard,
            fsync_ms=resolved.raw_log.fsync_ms,
            quick=quick,
            mono_ns=clock.mono_ns,
        )

    findings += safely("disk", disk)
    findings += safely("credentials", lambda: check_credentials(tree, clock.wall_ns()))
    findings += safely("requirements", lambda: check_requirements(resolved))
    if not quick and config is not None:
        findings += safely("network", lambda: asyncio.run(_outside(resolved, clock)))
    return findings


def _checked(config: Path) -> Finding:
    if config.is_dir():
        return fail("config", f"{config} is a directory", "name the config file in its place")
    try:
        resolved = load_config(config)
    except ConfigError as error:
        return fail("config", str(error), error.hint or "tickd check says the same")
    words = f"{config}, venues: {len(resolved.venues)}"
    if not resolved.http.enabled or resolved.http.host in ("127.0.0.1", "::1", "localhost"):
        return ok("config", words)
    return ok("config", f"{words}, HTTP open at {resolved.http.host}")


async def _outside(config: Config, clock: SystemClock) -> list[Finding]:
    doors = await check_network(doors_of(config), mono_ns=clock.mono_ns, wall_ns=clock.wall_ns())
    return [*doors, *await check_clickhouse(config.clickhouse, clock.wall_ns)]
