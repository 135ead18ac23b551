"""What /metrics says of gate, orders, accounts and rows is what the picture shows."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tickd.app.risk_metrics import RiskPicture, declare_risk
from tickd.telemetry.metrics import Metrics

PICTURE: RiskPicture = {
    "decisions": {("approved", ""): 5, ("denied", "MAX_ORDER_QTY"): 2},
    "order_news": {"sent": 5, "filled": 1},
    "open_orders": 3,
    "unknown_orders": 1,
    "late_fills": 0,
    "halted": {"global": 1, "venue": 2},
    "flips": {"kill": 1},
    "accounts": {"paper": {"equity": 150_000_000, "net": -50_000_000}},
    "rows": {
        "rows": {"orders": 6, "audit": 1},
        "waiting": 4,
        "reading": True,
        "forgotten": 0,
        "malformed": 0,
        "segments_absent": 0,
        "stretches_damaged": 0,
        "fault": "no server",
    },
    "unknown_since_ns": 1_795_219_200_500_000_000,
    "stopped": {"chaser": 1, "maker": 0},
    "brokers": {"paper": 1},
    "router": {"sent": 5, "denied": 2},
    "alerts": {"orphan": 1},
    "outbox": (4_096, 1_048_576, 2, 0, 1, 3),
}


def shown(picture: RiskPicture) -> dict[tuple[str, str], float]:
    metrics = Metrics()
    declare_risk(metrics, lambda: picture)
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if sample.name.startswith("tickd_risk_")
    }


def test_everything_of_the_picture_is_shown_once() -> None:
    assert shown(PICTURE) == {
        ("tickd_risk_decisions_total", "approved,"): 5,
        ("tickd_risk_decisions_total", "denied,MAX_ORDER_QTY"): 2,
        ("tickd_risk_order_news_total", "sent"): 5,
        ("tickd_risk_order_news_total", "filled"): 1,
        ("tickd_risk_open_orders", ""): 3,
        ("tickd_risk_unknown_orders", ""): 1,
        ("tickd_risk_late_fills_total", ""): 0,
        ("tickd_risk_halted_state", "global"): 1,
        ("tickd_risk_halted_state", "venue"): 2,
        ("tickd_risk_audits_total", "kill"): 1,
        ("tickd_risk_account_amount", "paper,equity"): 1.5,
        ("tickd_risk_account_amount", "paper,net"): -0.5,
        ("tickd_risk_unknown_oldest_timestamp_seconds", ""): 1_795_219_200.5,
        ("tickd_risk_strategy_stopped_state", "chaser"): 1,
        ("tickd_risk_strategy_stopped_state", "maker"): 0,
        ("tickd_risk_broker_up_state", "paper"): 1,
        ("tickd_risk_router_orders_total", "sent"): 5,
        ("tickd_risk_router_orders_total", "denied"): 2,
        ("tickd_risk_alerts_total", "orphan"): 1,
        ("tickd_risk_outbox_used_bytes", ""): 4_096,
        ("tickd_risk_outbox_size_bytes", ""): 1_048_576,
        ("tickd_risk_outbox_waiting", ""): 2,
        ("tickd_risk_outbox_fault_state", ""): 0,
        ("tickd_risk_outbox_rotations_total", ""): 1,
        ("tickd_risk_outbox_failures_total", ""): 3,
        ("tickd_risk_rows_total", "orders"): 6,
        ("tickd_risk_rows_total", "audit"): 1,
        ("tickd_risk_rows_waiting", ""): 4,
        ("tickd_risk_rows_reading_state", ""): 1,
        ("tickd_risk_rows_forgotten_total", ""): 0,
        ("tickd_risk_rows_malformed_total", ""): 0,
        ("tickd_risk_rows_absent_segments_total", ""): 0,
        ("tickd_risk_rows_damaged_stretches_total", ""): 0,
    }


def test_what_is_not_drawn_is_not_shown() -> None:
    assert shown({"open_orders": 0}) == {("tickd_risk_open_orders", ""): 0}
