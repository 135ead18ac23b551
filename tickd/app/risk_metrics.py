"""The metrics of gate, router, accounts and kill switch, and of the rows that tell of them.

Everything is read on scrape out of one plain picture, whoever draws it; nothing is counted here.
Names of accounts are the configuration's, reasons and states those of their enums: bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypedDict

from tickd.telemetry.metrics import Metrics, Values

__all__ = ["RiskPicture", "declare_risk"]

_MONEY: Final = 1e8


class RiskPicture(TypedDict, total=False):
    """What is shown; what is absent shows nothing. Counts only grow in the life of a daemon.

    decisions: by (verdict, reason), reason "" where approved. order_news: by state. halted: 1 or 0
    for `global` and `reducing`, else how many of the scope are halted; `side`: of everything, buys
    or sells. stopped: by strategy with an account, 1 or 0. flips: by action (kill, arm, halt, lift,
    panic, reload, resolve). accounts: by name, then figure; money in units of 1e-8.
    rows: as `TradingSink.draw` has them. unknown_since_ns: wall clock, 0 without such an order.
    brokers: by account, 1 while it can be reached. router: by field of `RouterCounts`. outbox:
    bytes used, bytes, waiting, 1 while it takes nothing, rotations, failures.
    """

    decisions: Mapping[tuple[str, str], int]
    order_news: Mapping[str, int]
    open_orders: int
    unknown_orders: int
    unknown_since_ns: int
    late_fills: int
    halted: Mapping[str, int]
    stopped: Mapping[str, int]
    flips: Mapping[str, int]
    accounts: Mapping[str, Mapping[str, int]]
    rows: Mapping[str, Any]
    brokers: Mapping[str, int]
    router: Mapping[str, int]
    alerts: Mapping[str, int]
    outbox: tuple[int, int, int, int, int, int]


# Key of the picture -> name, meaning, label of its keys.
_PLAIN: Final[Mapping[str, tuple[str, str, str]]] = {
    "order_news": ("order_news_total", "News of orders, by the state they tell.", "state"),
    "open_orders": ("open_orders", "Orders that are not over.", ""),
    "unknown_orders": (
        "unknown_orders",
        "Orders of which nobody knows whether the venue has them; they keep their exposure.",
        "",
    ),
    "late_fills": ("late_fills_total", "Fills of orders that were over.", ""),
    "halted": (
        "halted_state",
        "1 while everything is halted, or only reduces; else how many of the scope are halted.",
        "scope",
    ),
    "stopped": (
        "strategy_stopped_state",
        "1 while a strategy is stopped for repeated executions, until its scope is armed again.",
        "strategy",
    ),
    "brokers": ("broker_up_state", "1 while the broker of an account can be reached.", "account"),
    "router": ("router_orders_total", "What the router sent, denied and heard.", "kind"),
    "alerts": ("alerts_total", "What brokers and reconciliation called attention to.", "kind"),
    "flips": ("audits_total", "What the audit says was done, by action.", "kind"),
}
# Field of `TradingSink.draw` -> name and meaning.
_ROWS: Final[Mapping[str, tuple[str, str]]] = {
    "waiting": ("rows_waiting", "Records in memory that are not stored yet."),
    "reading": ("rows_reading_state", "1 while rows are made from the raw log again."),
    "forgotten": (
        "rows_forgotten_total",
        "Live records that found no room and are read again from the raw log.",
    ),
    "malformed": ("rows_malformed_total", "Records that are no row."),
    "segments_absent": (
        "rows_absent_segments_total",
        "Segments that were to be read for rows and are in object storage only.",
    ),
    "stretches_damaged": (
        "rows_damaged_stretches_total",
        "Damaged stretches of the raw log that rows were to be made of.",
    ),
}
# In the order of `RiskPicture.outbox`.
_OUTBOX: Final[Mapping[str, str]] = {
    "outbox_used_bytes": "Bytes of the outbox that are used; a new file is begun in time.",
    "outbox_size_bytes": "Bytes that the outbox may have.",
    "outbox_waiting": "Orders that wait for the outbox's disk.",
    "outbox_fault_state": "1 while the outbox takes nothing, and so no order leaves.",
    "outbox_rotations_total": "New files of the outbox.",
    "outbox_failures_total": "Failures of the outbox's disk.",
}


def declare_risk(metrics: Metrics, draw: Callable[[], RiskPicture]) -> None:
    """Declare everything that `draw` may show."""
    picture = metrics.once_per_scrape(draw)

    def declare(name: str, text: str, read: Callable[[], Values], label: str = "") -> None:
        labels = (label,) if label else ()
        declared = metrics.read_counter if name.endswith("_total") else metrics.read_gauge
        declared(f"tickd_risk_{name}", text, read, labels)

    def plain(key: str) -> Callable[[], Values]:
        return lambda: _values(picture().get(key))

    def of_rows(key: str) -> Callable[[], Values]:
        return lambda: _values(picture().get("rows", {}).get(key))

    def of_outbox(number: int) -> Callable[[], Values]:
        def values() -> Values:
            outbox = picture().get("outbox")
            return {} if outbox is None else outbox[number]

        return values

    metrics.read_counter(
        "tickd_risk_decisions_total",
        "Answers of the gate, by verdict and the first reason.",
        lambda: {key: float(n) for key, n in picture().get("decisions", {}).items()},
        ("verdict", "reason"),
    )
    for key, (name, text, label) in _PLAIN.items():
        declare(name, text, plain(key), label)
    metrics.read_gauge(
        "tickd_risk_unknown_oldest_timestamp_seconds",
        "Since when the oldest order is one of which nobody knows; 0: there is none.",
        lambda: _seconds(picture().get("unknown_since_ns")),
    )
    for number, (name, text) in enumerate(_OUTBOX.items()):
        declare(name, text, of_outbox(number))
    metrics.read_gauge(
        "tickd_risk_account_amount",
        "Figures of an account, in units of its currency.",
        lambda: {
            (account, figure): amount / _MONEY
            for account, figures in picture().get("accounts", {}).items()
            for figure, amount in figures.items()
        },
        ("account", "kind"),
    )
    declare(
        "rows_total",
        "Rows of decisions, orders, fills, accounts and audits that ClickHouse took.",
        of_rows("rows"),
        "table",
    )
    for key, (name, text) in _ROWS.items():
        declare(name, text, of_rows(key))


def _seconds(shown_ns: int | None) -> Values:
    return {} if shown_ns is None else shown_ns / 1e9


def _values(shown: object) -> Values:
    """A number, or numbers by their key; nothing for what is absent."""
    if isinstance(shown, Mapping):
        return {(str(key),): float(value) for key, value in shown.items()}
    return {(): float(shown)} if isinstance(shown, (int, float)) else {}
