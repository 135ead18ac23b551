"""PromQL as the dashboards write it: a name gets the variables of the dashboard by itself.

`tickd_bus_dropped_events_total{kind="x"}` becomes
`tickd_bus_dropped_events_total{job=~"$job",instance=~"$instance",kind="x"}`; a bare label that is a
variable as well, `{venue}`, becomes `venue=~"$venue"`.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["SCOPE", "UNSCOPED", "scoped"]

SCOPE: Final = ("job", "instance")
# Constants of the rule files: they are the same for every daemon.
UNSCOPED: Final = frozenset({"slo:objective:ratio"})
# What a selector may begin with: our metrics, those of the process and its runtime, recorded rules.
_SELECTOR: Final = re.compile(
    r'(?<![\w:"$])(?P<name>(?:tickd|process|slo)[_:][\w:]+|up\b|ALERTS\b)(?:\{(?P<labels>[^}]*)\})?'
)
_TEXT: Final = re.compile(r'"[^"]*"')


def scoped(expression: str) -> str:
    """Return the expression with `job` and `instance` in every selector."""

    def dressed(match: re.Match[str]) -> str:
        name, labels = match["name"], match["labels"] or ""
        given = [each.strip() for each in labels.split(",") if each.strip()]
        matchers = [each if _TEXT.search(each) else f'{each}=~"${each}"' for each in given]
        if name not in UNSCOPED:
            matchers = [*(f'{label}=~"${label}"' for label in SCOPE), *matchers]
        return f"{name}{{{','.join(matchers)}}}" if matchers else name

    # `by (process_…)` does not occur: labels of ours have no such prefix.
    return _SELECTOR.sub(dressed, expression)
