"""Trading on a terminal: whether orders may leave, and what each account has.

It shows, it measures nothing.
"""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from risk.halt_names import named
from tickd.units import MONEY_SCALE, mantissa_to_text

__all__ = ["trading_page"]

_MONEY = ("equity", "free", "unrealised", "day_pnl", "fees")


def trading_page(risk: dict[str, Any], trading: dict[str, Any]) -> RenderableType:
    """The kill switch in a line, what keeps it from being armed, a line per account."""
    counts = trading["counts"]
    head = Text(f"trading {risk['state']}", style="green" if risk["state"] == "armed" else "yellow")
    head.append(
        f": {trading['orders_open']:,} orders open, {trading['orders_unknown']:,} unknown,"
        f" {counts['sent']:,} sent, {counts['denied']:,} denied, {counts['fills']:,} fills",
        style="default",
    )
    parts: list[RenderableType] = [head]
    if risk["state"] != "armed" and risk["reason"]:
        parts.append(Text(f"halted: {risk['reason']}", style="yellow"))
    parts += [Text(f"not to be armed: {each}", style="yellow") for each in risk["blockers"]]
    parts += [
        Text(f"halted: {_named(each)}: {each['reason']}", style="yellow") for each in risk["halts"]
    ]
    parts += [
        Text(f"stopped for repeated executions: strategy {each}", style="yellow")
        for each in risk["stopped"]
    ]
    parts += [Text(f"not flattened: {each}", style="red") for each in trading["not_flattened"]]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("account")
    for name in ("broker", *_MONEY):
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column("positions", overflow="fold")
    for account in trading["accounts"]:
        broker = account["broker"] if account["up"] else f"{account['broker']} down"
        held = [f"{each['symbol']} {each['size']:+d}" for each in account["positions"]]
        money = [_money(account[name]) for name in _MONEY]
        table.add_row(account["name"], broker, *money, ", ".join(held) or "flat")
    parts.append(table)
    return Group(*parts)


def _named(halted: dict[str, Any]) -> str:
    return named(halted["scope"], halted["key"], halted.get("side", ""))


def _money(amount: int | None) -> str:
    return "-" if amount is None else mantissa_to_text(amount, MONEY_SCALE)
