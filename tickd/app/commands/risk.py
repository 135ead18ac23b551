"""`tickd risk`: ask a running daemon whether orders may leave, halt them, arm them again."""

from __future__ import annotations

import asyncio
import getpass
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from cyclopts import Parameter

from risk.halt_names import named
from risk.latch import HaltedSide, Scope
from tickd.app.asking import AS_WHOM, state_dir_of
from tickd.app.control import ask
from tickd.app.exit_codes import ExitCode
from tickd.app.service_unit import unit_in_words
from tickd.errors import ConfigError, TickdError


def risk(
    action: Literal["status", "kill", "arm", "acknowledge", "what-if"],
    config: Path,
    *,
    operator: str = "",
    reason: str = "",
    confirm: str = "",
    scope: Scope = "global",
    key: str = "",
    side: HaltedSide = "",
    limits: Path | None = None,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    to: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> ExitCode:
    """Ask a running daemon whether orders may leave; halt them; arm them again, in two steps.

    `kill` lets no order leave any more and cancels what is open. It needs no reason and asks
    nothing back. `arm` prints a token and what to type next; it is refused while orders are
    unknown or open, data is stale, or the venues' word differs from ours. `acknowledge`: you have
    looked at the venue for what a damaged file has lost; with `--scope account --key NAME`, at why
    its equity fell, which is counted anew. `what-if` needs no daemon: it prints which of the
    recorded decisions other limits would have made otherwise.

    Args:
        action: status, kill, arm, acknowledge or what-if
        config: the daemon's config file, or its state directory
        operator: who arms or acknowledges; of a kill, you unless said otherwise
        reason: why; it goes on record
        confirm: the token of the first step: arms
        scope: what is halted or armed: global, or one venue, account, strategy or instrument
        key: which one, unless everything
        side: of what is halted or armed, one side alone: B buys, A sells
        limits: of what-if: a TOML file with the other limits, in place of the config file's
        from_: of what-if: first receive time, e.g. 2026-11-20T12:00:00Z
        to: of what-if: the receive time that ends the range
        as_json: print the answer as JSON

    Examples:
        tickd risk status tickd.toml
        tickd risk kill tickd.toml --reason "prices look wrong"
        tickd risk kill tickd.toml --side B --scope account --key main --reason "no more of it"
        tickd risk arm tickd.toml --operator ada --reason "checked with the venue"
        tickd risk arm tickd.toml --confirm 5f1c09aa
        tickd risk what-if tickd.toml --limits tighter.toml --from 2026-11-20 --to 2026-11-21

    """
    if action == "what-if":
        from tickd.app.commands.risk_what_if import risk_what_if  # noqa: PLC0415 - numpy and all

        return risk_what_if(config, limits=limits, from_time=from_, to_time=to, as_json=as_json)
    if action == "arm" and not confirm and not (operator.strip() and reason.strip()):
        raise ConfigError("arming needs a person and a reason", hint="--operator and --reason")
    who = getpass.getuser() if action == "kill" and not operator else operator
    what = {"scope": scope, "key": key, **({"side": side} if side else {})}
    request = {"token": confirm} if confirm else {**what, "reason": reason, "operator": who}
    answer = _asked(state_dir_of(config), "risk_confirm" if confirm else f"risk_{action}", request)
    said = _said(config, answer, named(scope, key, side))
    sys.stdout.write(orjson.dumps(answer).decode() + "\n" if as_json else said)
    return ExitCode.OK


def _said(config: Path, answer: dict[str, Any], what: str) -> str:
    """What was answered: an offer, a picture, or that something is halted now."""
    if "token" in answer:
        return _next_step(config, answer)
    if "latch" in answer:
        return "".join(f"{line}\n" for line in described(answer))
    if "acknowledged" in answer:
        return "".join(f"acknowledged: {each}\n" for each in answer["acknowledged"])
    return f"halted: {what}\n"


def _asked(state_dir: Path, command: str, request: dict[str, str]) -> dict[str, Any]:
    try:
        answer: Any = asyncio.run(ask(state_dir, command, **request))
    except TickdError as error:
        cause = error.__cause__
        if command == "risk_kill" and isinstance(cause, OSError):
            # Whoever kills must not be told to start something, or to wait.
            error.hint = "kill -USR1 PID halts a daemon that does not answer"
            unit = unit_in_words(state_dir)
            error.hint += f" (systemctl kill --kill-whom=main -s USR1 {unit})"
            if isinstance(cause, PermissionError):
                error.hint = f"{AS_WHOM}; {error.hint}"
        raise
    return dict(answer)


def _next_step(config: Path, offer: dict[str, Any]) -> str:
    typed = f"tickd risk arm {shlex.quote(str(config))} --confirm {offer['token']}"
    what = named(offer["scope"], offer["key"], offer.get("side", ""))
    return f"to arm {what}, within {offer['expires_s']:g} s:\n    {typed}\n"


def described(answer: dict[str, Any]) -> list[str]:
    """Lines for people: state, why and since when, what is halted beside, what keeps it so."""
    source = answer["source"]
    who = f"{source['kind']} {source['name']}".rstrip().removeprefix("call ")
    if source["uid"] is not None:
        who += f" from uid {source['uid']}, pid {source['pid']}"
    lines = [
        f"{answer['state']} since {_time(answer['since_ns'])} by {who}: {answer['reason']}",
    ]
    lines += [
        f"halted: {named(each['scope'], each['key'], each.get('side', ''))} "
        f"since {_time(each['wall_ns'])} "
        f"by {each['source']}: {each['reason']}"
        for each in answer["halts"]
    ]
    lines += [
        f"stopped: strategy {each} by executions_max; look at it, then halt and arm its scope"
        for each in answer["stopped"]
    ]
    lines += [f"not to be armed: {each}" for each in answer["blockers"]]
    latch = answer["latch"]
    if latch["panic_runs"]:
        ended = latch["panic_exit_code"]
        how = "still runs" if ended is None else f"ended with code {ended}"
        lines.append(f"tickd panic was run {latch['panic_runs']} times, {how}")
    if latch["panic_fault"]:
        lines.append(f"tickd panic could not be run: {latch['panic_fault']}")
    return lines


def _time(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns / 1e9, UTC):%Y-%m-%d %H:%M:%S}"
