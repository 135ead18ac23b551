"""The gap fillers' metrics: what is missing, how long it takes to come, what cannot be had.

Read on scrape; nothing is counted here.
"""

from __future__ import annotations

from collections.abc import Callable

from tickd.app.parts import Parts
from tickd.telemetry.metrics import Metrics, Values


def declare_fill(metrics: Metrics, parts: Parts) -> None:
    """Per venue: gaps open and closed, requests; over all: the time from a gap to its end."""
    fillers = parts.filling.fillers
    by = ("venue",)

    def status(field: str) -> Callable[[], Values]:
        return lambda: {
            (venue,): getattr(filler.status(), field) for venue, filler in fillers.items()
        }

    def counter(field: str) -> Callable[[], Values]:
        return lambda: {
            (venue,): getattr(filler.counters, field) for venue, filler in fillers.items()
        }

    for name, field, text in (
        ("gaps_open", "gaps_open", "Gaps that the venue is asked for and that are not filled."),
        ("gaps_missing_ids", "ids_missing", "Ids missing in them."),
        ("gap_oldest_seconds", "oldest_seconds", "Age of the oldest of them."),
        (
            "gaps_unaskable",
            "gaps_unaskable",
            "Gaps that nobody is asked for: fill.api_key is missing, or the venue has no service.",
        ),
    ):
        metrics.read_gauge(f"tickd_gateway_{name}", text, status(field), by)
    for name, field, text in (
        ("fill_requests", "requests", "Requests for what is missing."),
        ("fill_refusals", "refusals", "Of them, refused by the venue (4xx)."),
        ("fill_failures", "failures", "Of them, without a usable reply."),
        ("gaps_over_slo", "over_slo", "Gaps that were open for longer than fill.slo_seconds."),
    ):
        metrics.read_counter(f"tickd_gateway_{name}_total", text, counter(field), by)
    metrics.read_counter(
        "tickd_gateway_gaps_closed_total",
        "Gaps that are open no more, by outcome.",
        lambda: {
            (venue, outcome): count
            for venue, filler in fillers.items()
            for outcome, count in filler.counters.outcomes.items()
        },
        ("venue", "outcome"),
    )
    slo_s = {venue.fill.slo_seconds for venue in parts.config.venues if venue.fill.slo_seconds}
    metrics.read_histogram(
        "tickd_gateway_gap_fill_seconds",
        "From a gap to its end.",
        parts.fill_time,
        slo_s=sorted(slo_s),
    )
