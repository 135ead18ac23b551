"""A dashboard out of rows of panels: where each stands, its number, variables, links, annotations.

Panels flow from left to right in 24 columns and get their numbers in this order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.promql import scoped
from dashboards.queries import CLICKHOUSE, PROMETHEUS, SqlQuery, prom, rows
from dashboards.vocabulary import PanelBuilder

__all__ = ["COLUMNS", "Board", "Row", "Variable", "built"]

COLUMNS: Final = 24
TAG: Final = "tickd"
# Matches what has the label; "no venue chosen" is all of them.
_ALL: Final = ".+"

Variable = Builder[model.VariableModel]


@dataclass(frozen=True)
class Row:
    """A headline and what stands below it; collapsed: it asks nothing until somebody opens it."""

    title: str
    panels: Sequence[PanelBuilder]
    collapsed: bool = False


@dataclass(frozen=True)
class Board:
    """A dashboard. variables: behind datasource, job and instance; sql: it asks ClickHouse too."""

    name: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = ()
    annotations: Sequence[Builder[model.AnnotationQuery]] = ()
    since: str = "now-1h"
    refresh: str = "10s"
    sql: bool = False
    tags: tuple[str, ...] = field(default=())

    @property
    def uid(self) -> str:
        """What links point to; never changes."""
        return f"tickd-{self.name}"


def labels_variable(name: str, label: str, metric: str) -> Variable:
    """A variable whose values are those of a label; several may be chosen, all of them at first."""
    asked = f"label_values({scoped(metric)}, {name})"
    everything = model.VariableOption(text="All", value="$__all", selected=True)
    made = dashboard.QueryVariable(name).label(label).datasource(PROMETHEUS).query(asked)
    made.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(
        model.VariableSort.ALPHABETICAL_ASC
    )
    return made.multi(True).include_all(True).all_value(_ALL).current(everything)


def sql_variable(name: str, label: str, sql: str) -> Variable:
    """A variable with one value, out of those that ClickHouse knows."""
    query = rows(sql).build()
    assert isinstance(query, SqlQuery)
    made = dashboard.QueryVariable(name).label(label).datasource(CLICKHOUSE)
    made.query({**query.to_json(), "refId": f"variable-{name}"}).definition(sql)
    made.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
    return made.sort(model.VariableSort.ALPHABETICAL_ASC).multi(False)


VENUE: Final = ("venue", "Venue", "tickd_gateway_connects_total")


def _scope() -> list[Variable]:
    """Where the figures come from: datasource, job, instance."""
    source = dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    job = labels_variable("job", "Job", "tickd_build_info")
    # The first of them cannot be narrowed by itself, nor by what follows it.
    job.build().query = "label_values(tickd_build_info, job)"
    instance = labels_variable("instance", "Instance", "tickd_build_info")
    instance.build().query = 'label_values(tickd_build_info{job=~"$job"}, instance)'
    return [source, job, instance]


def _annotation(
    name: str, expression: str, color: str, title: str, text: str
) -> Builder[model.AnnotationQuery]:
    query = prom(expression, "").build()
    expr = str(getattr(query, "expr", ""))
    made = dashboard.AnnotationQuery().name(name).datasource(PROMETHEUS).enable(True)
    made.expr(expr).step("15s").icon_color(color).title_format(title).text_format(text)
    return made.hide(False)


def sql_annotation(name: str, sql: str, color: str) -> Builder[model.AnnotationQuery]:
    """Marks out of rows with `time`, perhaps `timeEnd`, `text` and `tags`."""
    made = dashboard.AnnotationQuery().name(name).datasource(CLICKHOUSE).enable(True)
    return made.icon_color(color).target(rows(sql)).hide(False)


def usual_annotations() -> list[Builder[model.AnnotationQuery]]:
    """What explains a step in any curve: restart, reload, halt, another version."""
    return [
        _annotation(
            "Restart",
            "changes(process_start_time_seconds[1m]) > 0",
            "orange",
            "Restart",
            "{{instance}} was started again",
        ),
        _annotation(
            "Config reload",
            "increase(tickd_gateway_reloads_total[1m]) > 0",
            "blue",
            "Reload: {{state}}",
            "{{instance}} read its config again",
        ),
        _annotation(
            "Halt",
            'max by (job, instance) (tickd_risk_halted_state{scope="global"}) > 0',
            "red",
            "Orders halted",
            "{{instance}}: nothing goes out until a person arms it",
        ),
        _annotation(
            "Version",
            "count by (job, instance, version) (tickd_build_info) unless on (instance, version)"
            " (tickd_build_info offset 1m)",
            "purple",
            "Version {{version}}",
            "{{instance}} runs {{version}}",
        ),
    ]


def _links() -> list[Builder[model.DashboardLink]]:
    """One menu of all dashboards of ours, at the same time with the same choice."""
    menu = dashboard.DashboardLink("tickd").type(model.DashboardLinkType.DASHBOARDS).tags([TAG])
    menu.as_dropdown(True).include_vars(True).keep_time(True).icon("external link").tooltip(
        "The other dashboards, at the same time"
    )
    return [menu]


def built(board: Board) -> model.Dashboard:
    """Return the dashboard as Grafana takes it."""
    made = dashboard.Dashboard(board.title).uid(board.uid).description(board.description)
    made.tags([TAG, *board.tags]).refresh(board.refresh).time(board.since, "now")
    made.timezone("utc").tooltip(model.DashboardCursorSync.CROSSHAIR).readonly()
    made.links(_links())
    made.annotations([*usual_annotations(), *board.annotations])
    scope = _scope()
    if board.sql:
        source = dashboard.DatasourceVariable("clickhouse").label("ClickHouse")
        scope.append(source.type("grafana-clickhouse-datasource"))
    made.variables([*scope, *board.variables])
    result = made.build()
    result.panels = _placed(board.rows)
    return result


def _placed(listed: Sequence[Row]) -> list[model.Panel | model.RowPanel]:
    panels: list[model.Panel | model.RowPanel] = []
    top, last_id = 0, 0
    for row in listed:
        last_id += 1
        line = model.RowPanel(
            collapsed=row.collapsed,
            title=row.title,
            id_val=last_id,
            grid_pos=model.GridPos(x=0, y=top, w=COLUMNS, h=1),
            panels=[],
        )
        panels.append(line)
        inside, bottom = _flowed(row.panels, top + 1, last_id)
        last_id += len(inside)
        if row.collapsed:
            line.panels = inside
            top += 1  # closed, it takes one line; Grafana moves the rest when it opens
        else:
            panels += inside
            top = bottom
    return panels


def _flowed(
    builders: Sequence[PanelBuilder], top: int, last_id: int
) -> tuple[list[model.Panel], int]:
    """Return the panels at their places, and the first free line below them."""
    inside: list[model.Panel] = []
    left, tallest = 0, 0
    for builder in builders:
        panel = builder.build()
        assert panel.grid_pos is not None, "every panel has a size"
        if left + panel.grid_pos.w > COLUMNS:
            left, top, tallest = 0, top + tallest, 0
        panel.grid_pos.x, panel.grid_pos.y = left, top
        panel.id_val = last_id + len(inside) + 1
        left += panel.grid_pos.w
        tallest = max(tallest, panel.grid_pos.h)
        inside.append(panel)
    return inside, top + tallest
