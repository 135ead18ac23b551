"""`tickd replay`: recorded events through strategies, and the hash of what they decided."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
import orjson
from cyclopts import Parameter

from backtest.live_runs import LiveRun, live_runs
from backtest.run import Replayed
from backtest.run import replay as run
from backtest.sources import source_of
from strategy_runner.config import StrategyConfig
from tickd.app.config import load_config
from tickd.app.exit_codes import ExitCode
from tickd.clock import SystemClock
from tickd.errors import ConfigError

DIFFERENT = "NOT as live"


def replay(
    path: Path,
    *,
    strategy: str = "",
    params: str = "",
    topics: tuple[str, ...] = ("*",),
    config: Path | None = None,
    burst_frames: int | None = None,
    decisions: bool = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> ExitCode:
    """Run strategies over recorded events; print what they decided, and its hash.

    The same events give the same decisions, however they are cut and on whatever day. Of a strategy
    that ran live on a raw log, its last run is repeated, and the hashes are compared: exit code 3
    when they differ. With other topics or parameters than live it gets everything that is there and
    is not compared. A strategy that fails is told with its reason, and the exit code is 1.

    Args:
        path: a capture ("recv_ns json" lines, gzip or plain), a state directory or a raw log
        strategy: "module:Class" or "path/to/file.py:Class"
        params: its parameters: JSON, or a .json or .toml file
        topics: what it gets, e.g. "trade.*.BTCUSDT"
        config: a config file, whose [[strategies]] are run instead, with its [[indicators]]
        burst_frames: frames per batch; decisions do not depend on it
        decisions: print every decision, one JSON object per line
        as_json: print the result as JSON

    Examples:
        tickd replay usdm_btcusdt.gz --strategy examples/ofi_chaser.py:OfiChaser
        tickd replay /var/lib/tickd --config tickd.toml --json
        tickd replay capture.gz --strategy mine:Maker --params '{"levels": 3}' --decisions

    """
    strategies = _strategies(strategy, params, topics, config)
    runs, others = _live(path, strategies)
    cuts = {cut for each in runs.values() for cut in each.cuts}
    computed_from = max((each.life_from for each in runs.values()), default=0)
    indicators = load_config(config).indicators if config is not None else ()
    source = source_of(path, burst_frames, cuts, indicators, computed_from, ticks=not runs)
    show = _show if decisions else None
    try:
        result = run(source, strategies, clock=SystemClock(), runs=runs, on_decision=show)
        verdicts = {name: _verdict(run, result.strategies[name]) for name, run in runs.items()}
        live = verdicts | others
        plain = [orjson.dumps(_plain(result, live)).decode()] if as_json else None
        for line in plain or _lines(result, live):
            _say(line)
        sys.stdout.flush()
    except (_NobodyReadsError, BrokenPipeError):
        return _left_alone()
    if DIFFERENT in live.values():
        return ExitCode.DATA_LOSS
    failed = any(each.get("failures", 1) for each in result.strategies.values())
    return ExitCode.FAILED if failed else ExitCode.OK


def _live(
    path: Path, strategies: tuple[StrategyConfig, ...]
) -> tuple[dict[str, LiveRun], dict[str, str]]:
    """Return the live runs that are repeated, and why others are not."""
    runs: dict[str, LiveRun] = {}
    others: dict[str, str] = {}
    known = live_runs(path) if path.is_dir() else {}
    for config in strategies:
        run = known.get(config.name)
        if run is None:
            continue
        if differing := run.differing(config):
            others[config.name] = f"not compared: it ran live with other {' and '.join(differing)}"
        else:
            runs[config.name] = run
    return runs, others


def _strategies(
    strategy: str, params: str, topics: tuple[str, ...], config: Path | None
) -> tuple[StrategyConfig, ...]:
    if config is not None:
        if strategy or params or topics != ("*",):
            raise ConfigError(
                "--config stands alone", hint="leave --strategy, --params and --topics out"
            )
        strategies = load_config(config).strategies
        if not strategies:
            raise ConfigError(f"{config} has no [[strategies]]")
        return strategies
    if not strategy:
        raise ConfigError("no strategy", hint="--strategy module:Class, or --config FILE")
    name = strategy.rpartition(":")[2].lower()
    fields = {"name": name, "class": strategy, "topics": topics, "params": _params(params)}
    try:
        return (msgspec.convert(fields, StrategyConfig),)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error)) from error


def _params(text: str) -> dict[str, Any]:
    """JSON itself, or the name of a file."""
    if not text:
        return {}
    try:
        if text.lstrip().startswith("{"):
            return dict(orjson.loads(text))
        content = Path(text).read_bytes()
        if text.endswith(".toml"):
            return tomllib.loads(content.decode())
        return dict(orjson.loads(content))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"--params {text!r}: {error}", hint="a JSON object or a file") from error


class _NobodyReadsError(KeyboardInterrupt):
    """`| head` has enough: a strategy that decides must not be told that it failed."""


def _show(line: bytes) -> None:
    _say(line.decode())


def _say(line: str) -> None:
    try:
        sys.stdout.write(line + "\n")
    except BrokenPipeError as error:
        raise _NobodyReadsError from error


def _left_alone() -> ExitCode:
    """Give what is still in the buffer to nobody."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.OK


def _verdict(run: LiveRun, replayed: dict[str, Any]) -> str:
    if run.hash is None:
        return "was ended live before it could tell its hash"
    same = (run.hash, run.decisions) == (replayed.get("hash"), replayed.get("decisions"))
    if not same:
        return DIFFERENT
    return f"as live, {run.missed:,} records merged or dropped as then" if run.missed else "as live"


def _plain(result: Replayed, live: dict[str, str]) -> dict[str, Any]:
    return {
        "events": result.events,
        "batches": result.batches,
        "ns_per_event": round(result.ns_per_event, 1),
        "strategies": {
            name: {**each, "live": live.get(name)} for name, each in result.strategies.items()
        },
    }


def _lines(result: Replayed, live: dict[str, str]) -> list[str]:
    sums = f"{result.events:,} events in {result.batches:,} batches"
    lines = [f"{sums}, {result.ns_per_event:.0f} ns per event in the host"]
    for name, each in result.strategies.items():
        if "latency" not in each:
            lines.append(f"{name}: not started: {each['stopped']}")
            continue
        latency = each["latency"]
        lines.append(
            f"{name}: {each['events']:,} events, {each['decisions']:,} decisions, "
            f"p50 {latency['p50_ns']:,} ns, p99 {latency['p99_ns']:,} ns, "
            f"p99.9 {latency['p999_ns']:,} ns per callback"
        )
        if not each["events"] and result.events and not each["failures"]:
            lines.append("  none of its topics occurs")
        if each["restarts"]:
            lines.append(f"  failed {each['failures']} times, came back {each['restarts']} times")
        if each["failures"] > each["restarts"]:
            lines.append(f"  failed: {each['stopped']}")
        lines.append(f"  decisions {each['hash']}")
        if name in live:
            lines.append(f"  {live[name]}")
    return lines
