"""`tickd support-bundle`: one archive with what somebody needs who helps, and no secret."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
from cyclopts import Parameter

from tickd.app.bundling import (
    README,
    Piece,
    asked,
    collect_files,
    config_piece,
    machine,
    metrics_of,
    read_tree,
    secrets_of,
    versions,
    write_bundle,
)
from tickd.app.commands.doctor import examine
from tickd.app.config import Config, load_config
from tickd.app.control import ask
from tickd.app.exit_codes import ExitCode
from tickd.app.findings import as_rows, summary
from tickd.app.redacting import Redactor
from tickd.clock import SystemClock
from tickd.errors import ConfigError, TickdError


def support_bundle(
    config: Path,
    *,
    out: Path | None = None,
    quick: Annotated[bool, Parameter(negative=())] = False,
) -> ExitCode:
    """Write what somebody needs who helps into one archive; works with the daemon down, too.

    Configuration, status, metrics, gaps, flight recorder, dumps, tickd doctor, versions, the end of
    the manifest, the machine. Secrets are taken out, and balances; there is no market data in it.
    Look through it before you send it.

    Args:
        config: the TOML file, or the state directory, if need be
        out: the archive, which must not exist; otherwise tickd-support-NODE-TIME.tar.gz here
        quick: tickd doctor without network and load on the disk

    Examples:
        tickd support-bundle tickd.toml
        tickd support-bundle tickd.toml --out /tmp/for-support.tar.gz

    """
    moment = datetime.fromtimestamp(SystemClock().wall_ns() // 1_000_000_000, UTC)
    if not config.exists():
        raise ConfigError(f"{config}: no such file", hint="the config file, or the state directory")
    tree = read_tree(config)
    try:
        resolved, fault = _resolved(config)
    except ConfigError as error:
        resolved, fault = None, str(error)
    state_dir = config if config.is_dir() else _state_dir(resolved, tree)
    node = resolved.node.id if resolved is not None else "unknown"
    folder = f"tickd-support-{node}-{moment:%Y%m%dT%H%M%SZ}"
    path = out or Path(f"{folder}.tar.gz")
    redactor = Redactor(secrets_of(resolved, tree, os.environ))
    pieces = _pieces(config, resolved, state_dir, fault=fault, quick=quick)
    try:
        names = write_bundle(path, pieces, redactor, folder=folder, wall_s=int(moment.timestamp()))
    except OSError as error:
        raise TickdError(
            f"{path}: {error.strerror or error}", hint="--out FILE, a new one"
        ) from error
    sys.stdout.write("".join(f"{name}\n" for name in names))
    if lacking := [name for name in names if name.endswith(".error.txt")]:
        sys.stdout.write(f"without an answer, the reason is in it: {', '.join(lacking)}\n")
    sys.stdout.write(f"written: {path}; look through it before you send it\n")
    return ExitCode.OK


def _resolved(path: Path) -> tuple[Config | None, str]:
    """The configuration, or why there is none. Raises ConfigError."""
    if path.is_dir():
        return None, f"{path} is a state directory: the configuration was not named"
    return load_config(path), ""


def _state_dir(config: Config | None, tree: dict[str, Any]) -> Path:
    """Also of a file that is refused: its state directory may still be told."""
    if config is not None:
        return config.state_dir
    node = tree.get("node")
    named = node.get("state_dir") if isinstance(node, dict) else None
    return Path(named) if isinstance(named, str) else Config().state_dir


def _pieces(
    path: Path, config: Config | None, state_dir: Path, *, fault: str, quick: bool
) -> Iterator[Piece]:
    yield "README.txt", README.encode()
    yield config_piece(config) if config is not None else ("config.error.txt", fault.encode())
    status_piece, status = asked(
        "status", lambda: asyncio.run(ask(state_dir, "status", topics=True))
    )
    yield status_piece
    if status is not None:
        yield asked("gaps", lambda: asyncio.run(ask(state_dir, "gaps")))[0]
        if config is not None and status["http_port"]:
            yield metrics_of(config, status["http_port"])
    yield from collect_files(state_dir)
    findings = examine(None if path.is_dir() else path, quick=quick)
    told = {"summary": summary(findings), "findings": as_rows(findings)}
    yield "doctor.json", orjson.dumps(told)
    yield versions()
    yield machine(status["pid"] if status is not None else None)
