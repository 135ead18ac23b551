"""SLO: objective, what was achieved, what is left of the budget, how fast it goes.

Everything is read from the recorded rules of deploy/prometheus/slo.rules.yml.
"""

from __future__ import annotations

from dashboards.board import Board, Row, labels_variable
from dashboards.queries import Query, prom
from dashboards.vocabulary import GOOD, PanelBuilder, graph, notice, number

_WORDS = """\
**ingest-latency**: frames in the raw log within 0.5 s of the socket. **delivery**: time in which
ClickHouse is at most 5 s behind. **completeness**: time without an open gap that a venue is asked
for; gaps that nobody is asked for, for want of a key (`fill.api_key`) or of such a service, are not
judged: *Feeds*, *Gaps open* has them. **availability**: planned connections that stream. A budget
is what an objective leaves over in 30 days; burning at 1 spends it in exactly 30 days, at 14.4 two
percent of it in an hour. Needs the rules of `deploy/prometheus/slo.rules.yml`."""

# What an objective leaves over: a ratio that is as large burns the budget at 1.
_ALLOWED = " / on (slo) group_left () (1 - slo:objective:ratio{slo})"


def board() -> Board:
    return Board(
        name="slo",
        title="tickd / SLO",
        description="Service levels of 30 days: objective, budget left, speed of burning.",
        rows=[
            Row("Objectives", [notice("How to read this", "The objectives in words.", _WORDS)]),
            Row("30 days", [*_figures(), *_budget()]),
            Row("How fast it goes", _burning()),
        ],
        variables=[labels_variable("slo", "SLO", "slo:sli_error:ratio_rate5m")],
        since="now-24h",
        refresh="30s",
    )


def _figures() -> list[PanelBuilder]:
    return [
        number(
            "Objective",
            "Share that must be good over 30 days; of several chosen the strictest.",
            prom("max(slo:objective:ratio{slo})", "objective"),
            "percentunit",
            width=6,
            decimals=3,
        ),
        number(
            "Achieved",
            "Share that was good over 30 days, or since there are figures; the worst chosen.",
            prom("min(1 - slo:sli_error:ratio_rate30d{slo})", "achieved"),
            "percentunit",
            ((None, "red"), (0.995, "orange"), (0.999, GOOD)),
            width=6,
            decimals=3,
        ),
        number(
            "Budget left",
            "Share of the error budget of 30 days that is not spent; below 0 the objective is "
            "missed.",
            prom("min(slo:period_error_budget_remaining:ratio{slo})", "left"),
            "percentunit",
            ((None, "red"), (0, "orange"), (0.25, GOOD)),
            width=6,
            decimals=1,
        ),
        number(
            "Burning now",
            "Times faster than the budget allows, over 5 minutes. At 1 it lasts exactly 30 days.",
            prom("max(slo:current_burn_rate:ratio{slo})", "burn rate"),
            "short",
            ((None, GOOD), (1, "orange"), (6, "red")),
            width=6,
            decimals=2,
        ),
    ]


def _budget() -> list[PanelBuilder]:
    return [
        graph(
            "Error budget left",
            "What is left of the budget of the 30 days before each moment. A cliff is an incident; "
            "annotations say what happened then.",
            "percentunit",
            prom(
                "min by (slo, instance) (slo:period_error_budget_remaining:ratio{slo})",
                "{{slo}} {{instance}}",
            ),
            width=24,
            height=9,
            floor=None,
            lines=((0, "red"),),
        )
    ]


def _windows(*windows: str, against: str = "") -> list[Query]:
    """The error ratio of each objective over each window, as it is or against something."""
    return [
        prom(
            f"max by (slo) (slo:sli_error:ratio_rate{window}{{slo}}{against})",
            f"{{{{slo}}}} {window}",
        )
        for window in windows
    ]


def _burning() -> list[PanelBuilder]:
    return [
        graph(
            "Speed of burning, short windows",
            "Pages: above 14.4 in 1 h and 5 min, or above 6 in 6 h and 30 min.",
            "short",
            *_windows("5m", "30m", "1h", "6h", against=_ALLOWED),
            lines=((6, "orange"), (14.4, "red")),
        ),
        graph(
            "Speed of burning, long windows",
            "Tickets: above 3 in 1 d and 2 h, or above 1 in 3 d and 6 h.",
            "short",
            *_windows("2h", "1d", "3d", against=_ALLOWED),
            lines=((1, "orange"), (3, "red")),
        ),
        graph(
            "Share that was not good",
            "The error ratio of each objective, by window.",
            "percentunit",
            *_windows("5m", "1h", "6h", "1d", "3d"),
            width=24,
        ),
    ]
