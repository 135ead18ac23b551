"""`tickd order`: the orders of a running daemon, and a person's word about one in doubt."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from cyclopts import Parameter
from rich.table import Table

from tickd.app.asking import state_dir_of
from tickd.app.control import ask
from tickd.app.exit_codes import ExitCode
from tickd.app.terminal import console
from tickd.errors import ConfigError

_COLUMNS = ("ref", "state", "account", "strategy", "symbol", "side", "price", "size", "filled")


def order(
    action: Literal["list", "show", "cancel", "resolve", "adopt"],
    config: Path,
    ref: str = "",
    *,
    all_: Annotated[bool, Parameter(name="--all")] = False,
    end: Literal["", "filled", "cancelled", "expired", "rejected"] = "",
    filled: str = "0",
    price: str | None = None,
    operator: str = "",
    reason: str = "",
    account: str = "",
    strategy: str = "",
    instrument: str = "",
    size: str = "",
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> ExitCode:
    """List the orders of a running daemon, look at one, take one back, settle one in doubt.

    An order is UNKNOWN while nobody can say what became of it; it keeps its exposure, and nothing
    is armed. Usually the venue's lists settle it within seconds. `resolve` is for the rest: look at
    the venue, then say how it ended and how much of it traded; who said so goes on record. `adopt`
    counts a position as ours that no order of ours made, such as one from before.

    Args:
        action: list, show, cancel, resolve or adopt
        config: the daemon's config file, or its state directory
        ref: the order, as `list` names it
        all_: those that are over, too
        end: how it ended, of one that is UNKNOWN
        filled: how much of it traded in all, in units, as the venue says
        price: what that was paid with, of a market order
        operator: who settles or adopts it
        reason: why that is so
        account: whose position is adopted
        strategy: which strategy's it is from now on; none: nobody's
        instrument: what is held, venue:SYMBOL
        size: all of it, in units, negative when it is short
        as_json: print the answer as JSON

    Examples:
        tickd order list tickd.toml
        tickd order show tickd.toml 1k2f9a
        tickd order cancel tickd.toml 1k2f9a
        tickd order resolve tickd.toml 1k2f9a --end cancelled --filled 0.5
            --operator ada --reason "as the venue's page has it"
        tickd order adopt tickd.toml --account main --instrument binance-usdm:BTCUSDT --size 0.5
            --operator ada --reason "from before"

    """
    _refuse_misuse(action, ref, settles=bool(end and operator.strip() and reason.strip()))
    state_dir = state_dir_of(config)
    request: dict[str, object] = {"ref": ref, "all": all_, "operator": operator, "reason": reason}
    if action == "resolve":
        request |= {"end": end, "filled": filled, "price": price}
    if action == "adopt":
        said = {"account": account, "strategy": strategy, "instrument": instrument}
        request |= {**said, "size": size}
    _show(action, asyncio.run(ask(state_dir, f"order_{action}", **request)), as_json=as_json)
    return ExitCode.OK


def _refuse_misuse(action: str, ref: str, *, settles: bool) -> None:
    if action not in ("list", "adopt") and not ref:
        raise ConfigError("name the order", hint="see: tickd order list")
    if action == "resolve" and not settles:
        raise ConfigError(
            "a person says how it ended", hint="--end cancelled --operator NAME --reason TEXT"
        )


def _show(action: str, answer: Any, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(orjson.dumps(answer).decode() + "\n")
    elif action == "list":
        _print(answer)
    else:
        sys.stdout.write("".join(f"{key}: {_shown(value)}\n" for key, value in answer.items()))


def _print(answer: dict[str, Any]) -> None:
    screen = console()
    if not answer["orders"]:
        screen.print("no orders")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in _COLUMNS:
        table.add_column(name, overflow="fold")
    for each in answer["orders"]:
        table.add_row(*(_shown(each[name]) for name in _COLUMNS))
    screen.print(table)
    if answer["more"]:
        screen.print(f"and {answer['more']:,} older ones")


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)
