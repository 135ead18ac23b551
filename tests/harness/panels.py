"""Dashboards as tests see them: panels of the committed JSON, what they ask, values put in.

Method: only the generated files are read, so whatever made them is checked with them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "dashboards" / "generated"
RULES = ROOT / "deploy" / "prometheus"
Tree = dict[str, Any]
# Parts that a daemon may be without, by its configuration: nothing of them is exposed then, or else
# all of it.
PARTS = (
    "tickd_app_credential_expiry_",
    "tickd_app_credential_unreadable_",
    "tickd_app_trace_",
    "tickd_recorder_probe_",
)
_VARIABLE = re.compile(r"\$\{?(\w+)(?::\w+)?\}?")
_DURATION = re.compile(r"\$__(rate_interval|interval|range)\b")


@dataclass(frozen=True)
class Asked:
    """One question of a dashboard. place: `dashboard / panel`, as failures name it."""

    place: str
    text: str
    is_sql: bool


@dataclass(frozen=True)
class Selector:
    """A metric in an expression; matchers: label -> (operator, value)."""

    name: str
    matchers: dict[str, tuple[str, str]]


def dashboards() -> dict[str, Tree]:
    """The committed dashboards by file name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(GENERATED.glob("*.json"))}


def panels(dashboard: Tree) -> Iterator[Tree]:
    """Every panel that shows something, those of collapsed rows too."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def questions(name: str, dashboard: Tree) -> Iterator[Asked]:
    """What panels, annotations and variables ask."""
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            yield _asked(f"{name} / {panel['title']}", target)
    for each in dashboard["annotations"]["list"]:
        yield _asked(f"{name} / annotation {each['name']}", each.get("target") or each)
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query" and isinstance(variable["query"], dict):
            yield _asked(f"{name} / variable {variable['name']}", variable["query"])


def _asked(place: str, target: Tree) -> Asked:
    is_sql = "rawSql" in target
    return Asked(place, target["rawSql" if is_sql else "expr"], is_sql)


def filled_promql(text: str, *, window: str) -> str:
    """The expression as Grafana sends it with everything chosen; `window` stands for durations."""
    return _VARIABLE.sub(".+", _DURATION.sub(window, text))


def parsed(text: str) -> promql_parser.Expr:
    """Raises ValueError for what is no PromQL."""
    return promql_parser.parse(filled_promql(text, window="1m"))


def selectors(text: str) -> list[Selector]:
    """Every selector of an expression, its variables as they are written."""
    found: list[Selector] = []

    def walk(node: object) -> None:
        if isinstance(node, promql_parser.MatrixSelector):
            walk(node.vector_selector)
        elif isinstance(node, promql_parser.VectorSelector):
            matchers = {m.name: (str(m.op), m.value) for m in node.matchers.matchers}
            found.append(Selector(node.name or "", matchers))
        else:
            for field in ("expr", "lhs", "rhs", "param"):
                if (child := getattr(node, field, None)) is not None:
                    walk(child)
            for child in getattr(node, "args", None) or ():
                walk(child)

    # A variable in a matcher stays as it is, so that rules can see it; a duration cannot.
    walk(promql_parser.parse(_DURATION.sub("1m", text)))
    return found


def rule_files() -> list[Path]:
    """The files of recorded rules and alerts that this repository ships."""
    return [*sorted(RULES.glob("*.rules.yml")), *sorted(RULES.glob("rules/*.yml"))]


def rules() -> Iterator[Tree]:
    """Every rule of every file."""
    for path in rule_files():
        for group in yaml.safe_load(path.read_text()).get("groups", []):
            yield from group["rules"]


def recorded_names() -> set[str]:
    """What the rules record."""
    return {rule["record"] for rule in rules() if "record" in rule}


def names_in_rules() -> set[str]:
    """Metrics that rules read."""
    return {each.name for rule in rules() for each in selectors(rule["expr"])}


def names_in_dashboards() -> set[str]:
    """Metrics that dashboards read."""
    return {
        selector.name
        for name, dashboard in dashboards().items()
        for asked in questions(name, dashboard)
        if not asked.is_sql
        for selector in selectors(asked.text)
    }


def of_absent_parts(names: set[str], exposed: set[str]) -> set[str]:
    """Those of the names that belong to a part of which nothing is exposed."""
    absent = tuple(part for part in PARTS if not any(name.startswith(part) for name in exposed))
    return {name for name in names if name.startswith(absent)}


def folded(names: set[str], families: set[str]) -> set[str]:
    """The families that the samples belong to: `_bucket`, `_sum` and `_count` are parts of one."""
    return {
        name if name in families else re.sub(r"_(bucket|sum|count)$", "", name) for name in names
    }


_MACRO = re.compile(r"\$__(?P<name>\w+?)(?P<ms>_ms)?(?:\((?P<column>[^()]*)\)|(?![\w(]))")


def filled_sql(text: str, values: dict[str, str], *, from_ms: int, to_ms: int, step_ms: int) -> str:
    """The question as the ClickHouse plugin sends it: macros and `${name:format}` put in.

    Source: grafana/clickhouse-datasource, pkg/macros/macros.go, read 2026-11-21.
    """

    def time_of(moment_ms: int, ms: str | None) -> str:
        return (
            f"fromUnixTimestamp64Milli({moment_ms})" if ms else f"toDateTime({moment_ms // 1000})"
        )

    def macro(match: re.Match[str]) -> str:
        name, ms, column = match["name"], match["ms"], match["column"]
        begin, end = time_of(from_ms, ms), time_of(to_ms, ms)
        match name:
            case "timeFilter":
                return f"{column} >= {begin} AND {column} <= {end}"
            case "timeInterval" if ms:
                unit = f"INTERVAL {step_ms} millisecond"
                return f"toStartOfInterval(toDateTime64({column}, 3), {unit})"
            case "timeInterval":
                unit = f"INTERVAL {max(step_ms // 1000, 1)} second"
                return f"toStartOfInterval(toDateTime({column}), {unit})"
            case "fromTime":
                return begin
            case "toTime":
                return end
            case _:
                raise ValueError(f"the plugin has no macro {match[0]}")

    def value(match: re.Match[str]) -> str:
        text = values[match[1]]
        return text if match[2] == "raw" else "'" + text.replace("'", "''") + "'"

    return re.sub(r"\$\{(\w+):(raw|sqlstring)\}", value, _MACRO.sub(macro, text))
