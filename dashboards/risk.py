"""Risk & orders: may orders leave, what was refused, what is open, what is in doubt, PnL."""

from __future__ import annotations

from dashboards.board import Board, Row, labels_variable
from dashboards.queries import prom, rate, total
from dashboards.vocabulary import (
    FORBIDDEN,
    GOOD,
    NO_HALT,
    PanelBuilder,
    count,
    graph,
    heat_graph,
    latency,
    number,
    state,
    timeline,
)


def board() -> Board:
    return Board(
        name="risk",
        title="tickd / Risk & orders",
        description="The kill switch, the gate, orders, accounts, and the record of all of it.",
        rows=[
            Row("At a glance", _glance()),
            Row("Halts", _halts()),
            Row("The gate", _gate()),
            Row("Orders", _orders()),
            Row("Latency of orders", _latency()),
            Row("Accounts", _accounts()),
            Row("The record", _record(), collapsed=True),
        ],
        variables=[labels_variable("account", "Account", "tickd_risk_account_amount")],
    )


def _glance() -> list[PanelBuilder]:
    return [
        state(
            "Orders",
            "Halted after every start, by SIGUSR1, `tickd risk kill`, or a trigger; armed by a "
            "person only: `tickd risk arm`.",
            prom("1 - min(tickd_risk_armed_state)", "halted"),
            NO_HALT,
        ),
        count("Open orders", "Orders that are not over.", total("tickd_risk_open_orders", "open")),
        count(
            "UNKNOWN orders",
            "Nobody knows whether the venue has them. They keep their exposure; nothing is sent "
            "twice. docs/orders.md says how they are resolved.",
            total("tickd_risk_unknown_orders", "unknown"),
            FORBIDDEN,
        ),
        number(
            "Denied",
            "Share of the orders asked for that the gate refused lately.",
            prom(
                'sum(rate(tickd_risk_decisions_total{verdict="denied"}[$__rate_interval]))'
                " / sum(rate(tickd_risk_decisions_total[$__rate_interval]))",
                "denied",
            ),
            "percentunit",
            ((None, GOOD), (0.1, "orange"), (0.9, "red")),
        ),
        number(
            "Profit of the day",
            "Since 00:00 UTC, realised and not, less fees; in units of the account's currency.",
            total('tickd_risk_account_amount{account,kind="day_pnl"}', "day"),
            "locale",
            ((None, "red"), (0, GOOD)),
            decimals=2,
        ),
        number(
            "Halted for",
            "Since when nothing goes out.",
            prom("time() - min(tickd_risk_halt_timestamp_seconds > 0)", "halted for"),
            "dtdurations",
            ((None, "orange"),),
            empty="not halted",
        ),
    ]


def _halts() -> list[PanelBuilder]:
    return [
        timeline(
            "Halts by scope",
            "Global: everything. Reducing: only what makes positions smaller. Else: how many "
            "venues, accounts, strategies or instruments are halted by themselves.",
            {0: ("none", GOOD), 1: ("HALTED", "red")},
            prom("max by (scope) (clamp_max(tickd_risk_halted_state, 1))", "{{scope}}"),
            width=12,
            height=8,
        ),
        timeline(
            "Faults",
            "The latch file that keeps a halt over restarts, the outbox that makes orders durable, "
            "and brokers: a fault of any keeps orders from going out. So does a strategy's stop "
            "for repeated executions, for that strategy.",
            {0: ("well", GOOD), 1: ("FAULT", "red")},
            prom("max by (instance) (tickd_risk_latch_fault_state)", "{{instance}} latch"),
            prom("max by (instance) (tickd_risk_outbox_fault_state)", "{{instance}} outbox"),
            prom(
                "1 - min by (account) (tickd_risk_broker_up_state{account})",
                "broker of {{account}}",
            ),
            prom(
                "max by (strategy) (tickd_risk_strategy_stopped_state)",
                "{{strategy}} stopped for executions",
            ),
            width=12,
            height=8,
        ),
        graph(
            "What people and triggers did",
            "The audit by action: kill, arm, halt, lift, panic, reload, resolve.",
            "cps",
            rate("tickd_risk_audits_total", "{{kind}}", by="kind"),
            width=12,
        ),
        graph(
            "Trips and panic",
            "Trips of the kill switch, runs of `tickd panic` by the latch thread, alerts of the "
            "trading stage.",
            "cps",
            rate("tickd_risk_trips_total", "trips"),
            rate("tickd_risk_panic_runs_total", "panic runs"),
            rate("tickd_risk_alerts_total", "alert: {{kind}}", by="kind"),
            width=12,
        ),
    ]


def _gate() -> list[PanelBuilder]:
    return [
        graph(
            "Decisions",
            "Answers of the gate.",
            "cps",
            rate("tickd_risk_decisions_total", "{{verdict}}", by="verdict"),
        ),
        graph(
            "Refusals by reason",
            "The first check that said no; docs/risk.md names them, docs/risk-tuning.md says what "
            "to do.",
            "cps",
            rate('tickd_risk_decisions_total{verdict="denied"}', "{{reason}}", by="reason"),
        ),
    ]


def _orders() -> list[PanelBuilder]:
    return [
        graph(
            "News of orders",
            "By the state that they tell.",
            "cps",
            rate("tickd_risk_order_news_total", "{{state}}", by="state"),
            width=8,
        ),
        graph(
            "Open and UNKNOWN",
            "Orders that are not over, and those in doubt.",
            "short",
            total("tickd_risk_open_orders", "open"),
            total("tickd_risk_unknown_orders", "UNKNOWN"),
            width=8,
        ),
        graph(
            "Oldest UNKNOWN order",
            "Since it changed last. Older than `unknown_age_ms_max` it halts its instrument.",
            "s",
            prom("time() - min(tickd_risk_unknown_oldest_timestamp_seconds > 0)", "oldest"),
            width=8,
        ),
        graph(
            "Router",
            "Orders sent and denied, reports, fills, timeouts, what came for unknown orders.",
            "cps",
            rate("tickd_risk_router_orders_total", "{{kind}}", by="kind"),
            rate("tickd_risk_late_fills_total", "late fills"),
            width=8,
        ),
        graph(
            "Outbox",
            "Bytes used of its file; it begins a new one before it is full.",
            "bytes",
            total("tickd_risk_outbox_used_bytes", "used"),
            total("tickd_risk_outbox_size_bytes", "size"),
            width=8,
        ),
        graph(
            "Outbox: waiting",
            "Orders that wait for its sync.",
            "short",
            total("tickd_risk_outbox_waiting", "waiting"),
            width=8,
        ),
        graph(
            "Outbox: files and failures",
            "New files begun, failures of its disk.",
            "cps",
            rate("tickd_risk_outbox_rotations_total", "new files"),
            rate("tickd_risk_outbox_failures_total", "FAILURES"),
            width=24,
            height=5,
        ),
    ]


def _latency() -> list[PanelBuilder]:
    decision = "tickd_risk_decision_latency_seconds"
    outbox = "tickd_risk_outbox_latency_seconds"
    ack = "tickd_risk_ack_latency_seconds"
    return [
        heat_graph(
            "Decision of the gate",
            "The gate's answer to a new order, with the figures that go on record. Above some tens "
            "of microseconds it is the machine: another process on the loop's core.",
            decision,
        ),
        latency("Decision of the gate, quantiles", "Of new orders, denied ones too.", decision),
        heat_graph(
            "Write-ahead",
            'Decision to the intent being written, or with `durability = "disk"` on the disk: '
            "then it is the disk's sync.",
            outbox,
        ),
        latency("Write-ahead, quantiles", "What durability costs an order.", outbox),
        heat_graph(
            "Send to acknowledgement",
            "Order handed to its broker to the venue's first word about it; what never came is an "
            "UNKNOWN order.",
            ack,
            labels="{account}",
            width=8,
        ),
        latency(
            "Send to acknowledgement, quantiles",
            "Over the accounts chosen.",
            ack,
            labels="{account}",
            width=8,
        ),
        graph(
            "Send to acknowledgement, p99 by account",
            "One order in a hundred waits longer. Dashed: TickdAckSlow, 500 ms.",
            "s",
            prom(
                "histogram_quantile(0.99, sum by (account, le)"
                f" (rate({ack}_bucket{{account}}[$__rate_interval])))",
                "{{account}}",
            ),
            is_log=True,
            lines=((0.5, "red"),),
            width=8,
        ),
    ]


def _accounts() -> list[PanelBuilder]:
    def amounts(kinds: str) -> str:
        return f'sum by (account, kind) (tickd_risk_account_amount{{account,kind=~"{kinds}"}})'

    return [
        graph(
            "Equity and free balance",
            "In units of the account's currency.",
            "locale",
            prom(amounts("equity|free|margin_used"), "{{account}} {{kind}}"),
            floor=None,
        ),
        graph(
            "Profit and fees",
            "Realised, unrealised, fees paid, the day (since 00:00 UTC).",
            "locale",
            prom(amounts("realised|unrealised|fees|day_pnl"), "{{account}} {{kind}}"),
            floor=None,
        ),
    ]


def _record() -> list[PanelBuilder]:
    return [
        graph(
            "Rows",
            "Of decisions, orders, fills, accounts and audits that ClickHouse took.",
            "rowsps",
            rate("tickd_risk_rows_total", "{{table}}", by="table"),
            width=8,
        ),
        graph(
            "Rows that wait",
            "Records that are not stored yet; the raw log has them.",
            "short",
            total("tickd_risk_rows_waiting", "wait"),
            width=8,
        ),
        graph(
            "What rows could not be made of",
            "Records that found no room in memory (read again), that are no row, segments and "
            "stretches that are not to be read.",
            "cps",
            rate("tickd_risk_rows_forgotten_total", "read again"),
            rate("tickd_risk_rows_malformed_total", "MALFORMED"),
            rate("tickd_risk_rows_absent_segments_total", "segments not here"),
            rate("tickd_risk_rows_damaged_stretches_total", "DAMAGED"),
            width=8,
        ),
        timeline(
            "Rows are read again",
            "Made from the raw log again, as memory was too small or after a start.",
            {0: ("live", GOOD), 1: ("reading", "orange")},
            prom("max by (instance) (tickd_risk_rows_reading_state)", "{{instance}}"),
            height=4,
        ),
    ]


__all__ = ["board"]
