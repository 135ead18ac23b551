"""What a gap filler says about itself. Plain values; the composition root makes metrics of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

__all__ = ["FillCounters", "FillStatus"]


@dataclass(slots=True)
class FillCounters:
    """Totals since the session began; metric `tickd_gateway_fill_<name>_total{venue}`."""

    requests: int = 0
    refusals: int = 0  # 4xx
    failures: int = 0  # 429, 418, 5xx, no reply
    over_slo: int = 0  # gaps that were open for longer than `fill.slo_seconds`
    # Gaps that are open no more, by outcome: filled, arrived (by themselves), gone, refused,
    # expired; metric `tickd_gateway_gaps_closed_total{venue,outcome}`.
    outcomes: dict[str, int] = field(default_factory=dict)

    def closed(self, outcome: str) -> None:
        """Count a gap that is open no more."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


class FillStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is missing of one venue, where the ids are known."""

    gaps_open: int  # that the venue is asked for
    ids_missing: int  # in them
    oldest_seconds: float  # since the GAP event of the oldest of them; 0 without any
    gaps_unaskable: int  # open for good: a key is missing, or the venue has no such service
    keyed: bool  # requests that need a key can be made
