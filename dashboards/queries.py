"""Targets of panels and variables: PromQL for Prometheus, SQL for the ClickHouse plugin."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.promql import scoped

__all__ = [
    "CLICKHOUSE",
    "PROMETHEUS",
    "Query",
    "SqlQuery",
    "by_venue",
    "heat",
    "per",
    "prom",
    "quantile",
    "rate",
    "rows",
    "series",
    "total",
]

PROMETHEUS: Final = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
CLICKHOUSE: Final = common.DataSourceRef(
    type_val="grafana-clickhouse-datasource", uid="${clickhouse}"
)
# The plugin's numbers for what comes back.
_FORMATS: Final = {"timeseries": 0, "table": 1}

Query = Builder[Dataquery]


class SqlQuery(Dataquery, Builder[Dataquery]):
    """The plugin has no builder in the SDK; this is the part of its query that it needs."""

    def __init__(self, sql: str, kind: str) -> None:
        self.sql, self.kind, self.ref_id = sql.strip(), kind, "A"

    def build(self) -> Dataquery:
        return self

    def to_json(self) -> dict[str, object]:
        return {
            "datasource": CLICKHOUSE,
            "editorType": "sql",
            "format": _FORMATS[self.kind],
            "pluginVersion": "4.0.0",
            "queryType": self.kind,
            "rawSql": self.sql,
            "refId": self.ref_id,
        }


def prom(expression: str, legend: str) -> Query:
    """Return a series per label set; `legend` names it, in Grafana's `{{label}}`."""
    query = prometheus.Dataquery().expr(scoped(expression)).legend_format(legend)
    return query.datasource(PROMETHEUS).range()


def rate(metric: str, legend: str, *, by: str = "") -> Query:
    """The rate of a counter over everything chosen, or of each value of the label `by`."""
    return prom(f"{_sum(by)}(rate({metric}[$__rate_interval]))", legend)


def total(metric: str, legend: str, *, by: str = "") -> Query:
    """A gauge over everything chosen, or of each value of the label `by`."""
    return prom(f"{_sum(by)}({metric})", legend)


def _sum(by: str) -> str:
    return f"sum by ({by}) " if by else "sum"


def per(label: str, metric: str, legend: str = "") -> Query:
    """The rate of a counter of each value that is chosen of a variable, which names it."""
    return rate(f"{metric}{{{label}}}", f"{{{{{label}}}}} {legend}".strip(), by=label)


def by_venue(metric: str, legend: str = "") -> Query:
    """The rate of a counter per venue."""
    return per("venue", metric, legend)


def quantile(share: str, histogram: str, legend: str, labels: str = "") -> Query:
    """A quantile of a histogram: below it is that share of what happened."""
    buckets = f"sum by (le) (rate({histogram}_bucket{labels}[$__rate_interval]))"
    return prom(f"histogram_quantile({share}, {buckets})", legend)


def heat(histogram: str, labels: str = "") -> Query:
    """Return the classic buckets of a histogram, as a heatmap takes them."""
    text = f"sum by (le) (increase({histogram}_bucket{labels}[$__rate_interval]))"
    query = prometheus.Dataquery().expr(scoped(text)).legend_format("{{le}}")
    return query.datasource(PROMETHEUS).format(PromQueryFormat.HEATMAP).range()


def series(sql: str) -> Query:
    """Return columns over time: the first column is the time, in order."""
    return SqlQuery(sql, "timeseries")


def rows(sql: str) -> Query:
    """Return rows as they are."""
    return SqlQuery(sql, "table")


def numbered(queries: tuple[Query, ...]) -> list[Query]:
    """Return the queries with ids A, B, C …, as a panel wants them."""
    assert len(queries) <= 26, "a panel with so many queries shows nothing"
    for place, query in enumerate(queries):
        name = chr(ord("A") + place)
        if isinstance(query, prometheus.Dataquery):
            query.ref_id(name)
        elif isinstance(query, SqlQuery):
            query.ref_id = name
    return list(queries)
