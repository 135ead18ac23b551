"""`tickd selftest`: what this machine can do, in numbers, within a minute."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import orjson
from cyclopts import Parameter

from tickd.app.asking import state_dir_of
from tickd.app.disk_checks import nearest
from tickd.app.exit_codes import ExitCode
from tickd.app.findings import as_rows, failed, table
from tickd.app.selftest import judge, measure
from tickd.app.terminal import console
from tickd.errors import ConfigError, TickdError
from tickd.native import BUILD_PROFILE

SECONDS_MIN, SECONDS_MAX = 1.0, 60.0


def selftest(
    config: Path | None = None,
    *,
    seconds: float = 20.0,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> ExitCode:
    """Measure what this machine can do: decode, bus, raw log, encoding for ClickHouse, event loop.

    A simulated market through the daemon's own parts, each alone; a daemon at work beside it makes
    both slower. The raw log is written below the state directory, in a directory of its own that is
    gone afterwards. Exit codes: 0 every stage carries twice 150,000 messages a second, 1 one does
    not.

    Args:
        config: the TOML file, for the disk of its state directory; otherwise the current directory
        seconds: in all, 1 to 60
        as_json: print JSON

    Examples:
        tickd selftest tickd.toml
        tickd selftest --seconds 5 --json

    """
    if not SECONDS_MIN <= seconds <= SECONDS_MAX:
        raise ConfigError(f"--seconds is {SECONDS_MIN:g} to {SECONDS_MAX:g}")
    if BUILD_PROFILE != "release":
        raise TickdError("the native module is a debug build, its numbers mean nothing")
    directory = nearest(state_dir_of(config)) if config is not None else Path.cwd()
    try:
        figures = list(measure(directory, seconds))
    except OSError as error:
        raise TickdError(f"{directory}: {error}", hint="tickd doctor") from error
    findings = [judge(each) for each in figures]
    if as_json:
        rows = [
            {**row, "value": figure.value, "unit": figure.unit, "budget": figure.budget}
            for row, figure in zip(as_rows(findings), figures, strict=True)
        ]
        sys.stdout.write(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        console().print(table(findings))
    return ExitCode.FAILED if failed(findings) else ExitCode.OK
