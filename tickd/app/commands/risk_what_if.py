"""`tickd risk what-if`: recorded decisions asked anew under other limits, and what would differ."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import msgspec
import orjson

from backtest.what_if import Difference, WhatIf, what_if
from risk.limits import Limits, LimitsConfig
from tickd.app.asking import state_dir_of
from tickd.app.commands.export import raw_directory
from tickd.app.exit_codes import ExitCode
from tickd.app.terminal import console
from tickd.describe import time_text
from tickd.errors import ConfigError
from tickd.native import NativeError
from tickd.toml_faults import toml_fault
from tickd.units import time_ns

__all__ = ["read_limits", "risk_what_if"]

_NAMES = frozenset(LimitsConfig.__struct_fields__)


def risk_what_if(
    config: Path,
    *,
    limits: Path | None = None,
    from_time: str | None = None,
    to_time: str | None = None,
    as_json: bool = False,
) -> ExitCode:
    """Print which of the recorded decisions other limits would have made otherwise.

    The raw log is read, nothing is changed, no daemon is needed. Exposure is that of what happened;
    what a halt or the router refused is not judged.

    Args:
        config: a config file, or a state directory
        limits: a TOML file with the other limits; default: those of the config file
        from_time: first receive time, e.g. 2026-11-20T12:00:00Z; default the beginning
        to_time: receive time that ends the range and is not in it; default the end
        as_json: print the result as JSON

    Examples:
        tickd risk what-if tickd.toml --limits tighter.toml --from 2026-11-20 --to 2026-11-21

    """
    if limits is None and config.is_dir():
        raise ConfigError(
            f"{config} is a state directory: it says no limits", hint="name a file: --limits"
        )
    other = read_limits(config if limits is None else limits)
    raw = raw_directory(state_dir_of(config))
    try:
        report = what_if(
            raw,
            other,
            from_ns=None if from_time is None else time_ns(from_time),
            to_ns=None if to_time is None else time_ns(to_time),
        )
    except (OSError, NativeError) as error:
        raise ConfigError(
            f"the raw log in {raw} cannot be read: {error}", hint="is it the right directory?"
        ) from error
    if as_json:
        sys.stdout.write(orjson.dumps(_as_dict(report)).decode() + "\n")
    else:
        _print(report)
    return ExitCode.DATA_LOSS if report.damaged else ExitCode.OK


def read_limits(path: Path) -> Limits:
    """Return the limits of a TOML file: those under `risk`, or the file is nothing else.

    Raises ConfigError; LimitsError: they contradict each other.
    """
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text at byte {error.start}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    try:
        content = tomllib.loads(text)
        section = content.get("risk", content)
        # A config file says more under `risk` than limits.
        chosen = section if section is content else {n: section[n] for n in _NAMES & section.keys()}
        return Limits(msgspec.convert(chosen, LimitsConfig))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {toml_fault(error, text)}") from error
    except (msgspec.ValidationError, AttributeError) as error:
        raise ConfigError(f"{path}: {error}", hint="[[risk.limits]], [[risk.venues]]") from error


def _as_dict(report: WhatIf) -> dict[str, object]:
    return {
        "limits": report.limits,
        "recorded_under": dict(report.recorded_under),
        "decisions": report.decisions,
        "same": report.same,
        "changed": [
            {
                "was": was,
                "now": now,
                "count": count,
                "examples": [each._asdict() for each in report.examples[was, now]],
            }
            for (was, now), count in report.changed.most_common()
        ],
        "not_judged": dict(report.not_judged),
        "damaged": report.damaged,
    }


def _print(report: WhatIf) -> None:
    # Lines are for people and for grep: a terminal may wrap them, we do not.
    screen = console()
    screen.soft_wrap = True
    screen.print(
        f"{report.decisions:,} decisions, {report.judged:,} judged under limits {report.limits}:"
        f" {report.same:,} the same, {report.changed.total():,} otherwise",
        highlight=False,
    )
    for (was, now), count in report.changed.most_common():
        screen.print(f"{count:>10,}  {was} → {now}", highlight=False)
        for each in report.examples[was, now]:
            screen.print(f"            {_line(each)}", markup=False, highlight=False)
    for why, count in report.not_judged.most_common():
        screen.print(f"{count:>10,}  not judged: {why}", highlight=False)
    for limits, count in report.recorded_under.most_common():
        screen.print(f"{count:>10,}  were recorded under limits {limits}", highlight=False)
    if report.damaged:
        screen.print(f"{report.damaged} damaged stretches of the raw log could not be read")


def _line(each: Difference) -> str:
    price = "market" if each.price is None else str(each.price)
    figures = "".join(f" {name} {value}" for name, value in each.figures.items())
    return (
        f"{time_text(each.recv_ns)} frame {each.frame_no} order {each.number} {each.action}"
        f" {each.strategy} {each.account} {each.venue}:{each.symbol} {each.side}"
        f" {each.size} @ {price}{figures}"
    )
