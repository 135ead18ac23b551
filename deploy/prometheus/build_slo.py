"""Writes `slo.rules.yml`: the service levels of tickd as multi-window burn rates.

Run `python deploy/prometheus/build_slo.py` after a change here; a test compares the file with what
this gives. Windows and factors are those of the SRE workbook (and of Sloth's 30-day default): a
page when 2 % of a month's budget goes in an hour or 5 % in six, a ticket when 10 % goes in a day or
in three. It states objectives; what is measured, the daemon decides.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TARGET: Final = Path(__file__).with_name("slo.rules.yml")
WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
PERIOD: Final = "30d"
BY: Final = "job, instance"
# Severity -> (long window, short window, factor): the budget is spent `factor` times too fast in
# both; the short one ends the alert soon after the fault.
BURNS: Final = {
    "page": (("1h", "5m", 14.4), ("6h", "30m", 6.0)),
    "ticket": (("1d", "2h", 3.0), ("3d", "6h", 1.0)),
}


@dataclass(frozen=True, slots=True)
class Slo:
    """One objective.

    name: label `slo`; alert: name of its alerts; objective: share that must be good over 30 days;
    why: reason of threshold and objective. Either `good` and `total` are counters (`WINDOW` stands
    for the range), or `bad` is a share between 0 and 1 of this moment, recorded under `moment`.
    """

    name: str
    alert: str
    objective: float
    what: str
    why: str
    good: str = ""
    total: str = ""
    bad: str = ""

    @property
    def moment(self) -> str:
        """What the share of this moment is recorded as."""
        return f"tickd:{self.name.replace('-', '_')}_bad:ratio"

    def error(self, window: str) -> str:
        """The share of what was not good in `window`; absent where nothing happened."""
        if self.bad:
            return f"avg_over_time({self.moment}[{window}])"
        total = f"sum by ({BY}) (rate({self.total}[{window}]))"
        good = f"sum by ({BY}) (rate({self.good}[{window}]))"
        # No traffic, no sample: a division by zero would be NaN and spoil the mean of 30 days.
        return f"clamp_min(1 - {good} / ({total} > 0), 0)"


SLOS: Final = (
    Slo(
        name="ingest-latency",
        alert="TickdIngestLatencyBudget",
        objective=0.999,
        what="frames on disk within 0.5 s of the socket",
        why="A group is written every 250 ms (raw_log.group_ms): 0.5 s is one group missed, and"
        " a bound of the histogram, so that the share is exact.",
        good='tickd_recorder_raw_write_latency_seconds_bucket{le="0.5"}',
        total="tickd_recorder_raw_write_latency_seconds_count",
    ),
    Slo(
        name="delivery",
        alert="TickdDeliveryBudget",
        objective=0.995,
        what="time in which ClickHouse is at most 5 s behind",
        why="Waiting is judged, not acknowledgements: while ClickHouse is away there are none."
        " 3.6 h a month leave room for its upgrades; nothing is lost meanwhile.",
        bad="clamp_max("
        f"(max by ({BY}) (tickd_recorder_queue_oldest_age_seconds"
        '{queue=~"batches|blocks|in_flight"}) > bool 5)'
        f" + (max by ({BY}) (tickd_recorder_spool_blocks) > bool 0)"
        f" + (sum by ({BY}) (tickd_recorder_spilled_frames) > bool 0), 1)",
    ),
    Slo(
        name="completeness",
        alert="TickdCompletenessBudget",
        objective=0.999,
        what="time without an open gap that a venue is asked for",
        why="A gap that the filler closes within its minute (fill.slo_seconds) costs a minute; 43"
        " minutes a month are what reconnects and venues' own resets take. Gaps that nobody is"
        " asked for, for want of a key, would spend it for ever: they are gaps_unaskable.",
        bad=f"max by ({BY}) (tickd_gateway_gaps_open) > bool 0",
    ),
    Slo(
        name="availability",
        alert="TickdAvailabilityBudget",
        objective=0.999,
        what="planned connections that stream",
        why="43 minutes a month: a daily restart of a minute and the venues' maintenance. A"
        " connection that is being replaced still streams on the one before it.",
        bad=f"(1 - (sum by ({BY}) (tickd_gateway_lines"
        '{state=~"streaming|replacing"})'
        f" or 0 * sum by ({BY}) (tickd_gateway_lines))"
        f" / (sum by ({BY}) (tickd_gateway_lines) > 0))"
        f' or max by ({BY}) (1 - up{{job="tickd"}})',
    ),
)


def lines() -> Iterator[str]:
    """The file, line by line."""
    yield "# Made by deploy/prometheus/build_slo.py: change that and run it."
    yield "groups:"
    for slo in SLOS:
        yield f"  - name: tickd-slo-{slo.name}"
        yield "    rules:"
        if slo.bad:
            yield from _rule(slo.moment, slo.bad, "")
        for window in WINDOWS:
            yield from _rule(f"slo:sli_error:ratio_rate{window}", slo.error(window), slo.name)
        mean = f'avg_over_time(slo:sli_error:ratio_rate5m{{slo="{slo.name}"}}[{PERIOD}])'
        yield from _rule(f"slo:sli_error:ratio_rate{PERIOD}", mean, slo.name)
        yield from _rule("slo:objective:ratio", f"vector({slo.objective})", slo.name)
        budget = _number(1 - slo.objective)
        now = f'slo:sli_error:ratio_rate5m{{slo="{slo.name}"}} / {budget}'
        yield from _rule("slo:current_burn_rate:ratio", now, slo.name)
        spent = f'slo:sli_error:ratio_rate{PERIOD}{{slo="{slo.name}"}} / {budget}'
        yield from _rule("slo:period_error_budget_remaining:ratio", f"1 - {spent}", slo.name)
        for severity in BURNS:
            yield from _alert(slo, severity)


def _rule(record: str, expression: str, slo: str) -> Iterator[str]:
    yield f"      - record: {record}"
    yield f"        expr: {_quoted(expression)}"
    if slo:
        yield "        labels:"
        yield f"          slo: {slo}"


def _alert(slo: Slo, severity: str) -> Iterator[str]:
    budget = 1 - slo.objective
    parts = []
    for long, short, factor in BURNS[severity]:
        limit = _number(factor * budget)
        of = [f'slo:sli_error:ratio_rate{w}{{slo="{slo.name}"}} > {limit}' for w in (long, short)]
        # The shorter one in front: its value is what the text shows.
        parts.append(f"({of[1]} and {of[0]})")
    yield f"      # {slo.why}"
    yield f"      - alert: {slo.alert}"
    yield f"        expr: {_quoted(' or '.join(parts))}"
    yield "        labels:"
    yield f"          severity: {severity}"
    yield "        annotations:"
    summary = f"{{{{ $labels.instance }}}} spends its budget too fast: {slo.what}"
    yield f"          summary: {_quoted(summary)}"
    told = (
        "{{ $value | humanizePercentage }} was not good lately; the objective of 30 days is"
        f" {_number(slo.objective * 100)} %: {slo.what}."
    )
    yield f"          description: {_quoted(told)}"
    yield f"          runbook_url: docs/runbooks/{slo.alert}.md"


def _number(value: float) -> str:
    return f"{value:.9g}"


def _quoted(text: str) -> str:
    """A scalar of YAML in single quotes."""
    return "'" + text.replace("'", "''") + "'"


def text() -> str:
    """The whole file."""
    return "\n".join(lines()) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text())
    sys.stdout.write(f"wrote {TARGET.name}\n")
