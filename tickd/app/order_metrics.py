"""How long orders take on their way out: decision, write-ahead, the venue's acknowledgement.

Three stretches of one way, each with bounds that fit it. Folded on scrape; nothing is counted here.
"""

from __future__ import annotations

from typing import Final

from risk.router import Router
from tickd.telemetry.metrics import Metrics, buckets

__all__ = ["declare_orders"]

# 1 µs to 8 ms: a decision is some microseconds, what is beyond is the loop's own stall.
_DECISION_S: Final = buckets(first_s=1e-6, count=14)
# 4 µs to 2 s: a write into the page cache at one end, a sync of a slow disk at the other.
_OUTBOX_S: Final = buckets(first_s=4e-6, count=20)
# 64 µs to 8 s, from a paper account to beyond the timeout. The alert's bound is among them; no
# whole number is, as Prometheus 3 writes `le="1"` as `le="1.0"`.
_SLO_ACK_S: Final = (0.5,)
_ACK_S: Final = buckets(slo_s=_SLO_ACK_S, first_s=64e-6, count=18)


def declare_orders(metrics: Metrics, router: Router) -> None:
    """Declare them for the accounts of `router`."""
    metrics.read_histogram(
        "tickd_risk_decision_latency_seconds",
        "The gate's answer to a new order, with the figures that go on record beside it.",
        router.decision_latency,
        bounds_s=_DECISION_S,
    )
    metrics.read_histogram(
        "tickd_risk_outbox_latency_seconds",
        'Decision to the intent being written, or with `durability = "disk"` durable.',
        router.outbox.latency,
        bounds_s=_OUTBOX_S,
    )
    metrics.read_histograms(
        "tickd_risk_ack_latency_seconds",
        "Order handed to its broker to the venue's first word about it.",
        {(account,): each for account, each in router.ack_latency.items()},
        ("account",),
        bounds_s=_ACK_S,
    )
