"""The panels of the dashboards: each with a title, a description, a unit, a width, its queries.

What is the same everywhere is said here once: legends, thresholds, state colours, log axes. Where a
panel stands is `board.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol, Self, TypeVar

from grafana_foundation_sdk.builders import (
    candlestick,
    common,
    dashboard,
    heatmap,
    stat,
    statetimeline,
    table,
    text,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heatmap_model

from dashboards.queries import CLICKHOUSE, PROMETHEUS, Query, SqlQuery, heat, numbered, quantile

__all__ = [
    "FORBIDDEN",
    "GOOD",
    "NEUTRAL",
    "NO_HALT",
    "UNWANTED",
    "PanelBuilder",
    "candles",
    "count",
    "graph",
    "heat_graph",
    "latency",
    "listing",
    "notice",
    "number",
    "state",
    "timeline",
]

PanelBuilder = Builder[model.Panel]
# Value -> (what it is called, its colour).
States = Mapping[int, tuple[str, str]]
# (from this value on, this colour); None: from the beginning.
Steps = Sequence[tuple[float | None, str]]

GOOD, NEUTRAL = "green", "blue"
# Of what should not be, and of what must not: from the first on.
UNWANTED: Final[Steps] = ((None, GOOD), (1, "orange"))
FORBIDDEN: Final[Steps] = ((None, GOOD), (1, "red"))
NO_HALT: Final[States] = {0: ("armed", GOOD), 1: ("HALTED", "red")}
_QUANTILES: Final = (("0.5", "p50"), ("0.99", "p99"), ("0.999", "p99.9"))


class _Dressable(Protocol):
    """What every panel builder of the SDK can do."""

    def title(self, title: str) -> Self: ...
    def description(self, description: str) -> Self: ...
    def datasource(self, datasource: common_model.DataSourceRef) -> Self: ...
    def span(self, w: int) -> Self: ...
    def height(self, h: int) -> Self: ...
    def unit(self, unit: str) -> Self: ...
    def targets(self, targets: list[Builder[Dataquery]]) -> Self: ...


Dressed = TypeVar("Dressed", bound=_Dressable)


def _dressed(
    panel: Dressed,
    words: tuple[str, str],
    unit: str,
    size: tuple[int, int],
    queries: Sequence[Query],
) -> Dressed:
    title, description = words
    is_sql = any(isinstance(query, SqlQuery) for query in queries)
    panel.title(title).description(description).unit(unit).span(size[0]).height(size[1])
    panel.datasource(CLICKHOUSE if is_sql else PROMETHEUS).targets(numbered(tuple(queries)))
    return panel


def _thresholds(steps: Steps) -> Builder[model.ThresholdsConfig]:
    made = [model.Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(made)


def _mappings(states: States) -> list[model.ValueMapping]:
    options = {
        str(value): model.ValueMappingResult(text=text, color=color, index=place)
        for place, (value, (text, color)) in enumerate(states.items())
    }
    return [model.ValueMap(options=options)]


def _legend(*, is_table: bool) -> common.VizLegendOptions:
    legend = common.VizLegendOptions().show_legend(True)
    if is_table:
        legend.display_mode(common_model.LegendDisplayMode.TABLE).calcs(["mean", "max"])
    else:
        legend.display_mode(common_model.LegendDisplayMode.LIST).calcs([])
    return legend.placement(common_model.LegendPlacement.BOTTOM)


def number(
    title: str,
    description: str,
    query: Query,
    unit: str,
    steps: Steps = ((None, NEUTRAL),),
    *,
    width: int = 4,
    decimals: int | None = None,
    empty: str = "no data",
) -> PanelBuilder:
    """One figure with its recent past; its colour says whether it is well.

    empty: what stands there when there is no figure.
    """
    panel = _dressed(stat.Panel(), (title, description), unit, (width, 4), (query,))
    panel.thresholds(_thresholds(steps)).no_value(empty)
    panel.graph_mode(common_model.BigValueGraphMode.AREA)
    panel.color_mode(common_model.BigValueColorMode.VALUE)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    if decimals is not None:
        panel.decimals(decimals)
    return panel


def count(
    title: str,
    description: str,
    query: Query,
    steps: Steps = ((None, NEUTRAL),),
    *,
    width: int = 4,
) -> PanelBuilder:
    """How many there are, a whole number."""
    return number(title, description, query, "short", steps, width=width, decimals=0)


def state(
    title: str, description: str, query: Query, states: States, *, width: int = 4
) -> PanelBuilder:
    """One state as a word on its colour."""
    panel = _dressed(stat.Panel(), (title, description), "short", (width, 4), (query,))
    panel.mappings(_mappings(states)).no_value("no data")
    panel.graph_mode(common_model.BigValueGraphMode.NONE)
    panel.color_mode(common_model.BigValueColorMode.BACKGROUND)
    return panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: int = 12,
    height: int = 8,
    is_log: bool = False,
    is_stacked: bool = False,
    floor: float | None = 0,
    lines: Steps = (),
    negative: str = "",
    display: str = "",
    points: bool = False,
) -> PanelBuilder:
    """Lines over time.

    floor: where the axis begins, None: where the data does; lines: limits that are drawn; negative:
    a regular expression of series that are drawn downwards.
    """
    panel = _dressed(timeseries.Panel(), (title, description), unit, (width, height), queries)
    several = len(queries) > 1 or any("{{" in legend_of(query) for query in queries)
    several = several or any(isinstance(query, SqlQuery) for query in queries)
    panel.legend(_legend(is_table=several))
    panel.tooltip(common.VizTooltipOptions().mode(common_model.TooltipDisplayMode.MULTI))
    panel.fill_opacity(30 if is_stacked else 8).line_width(1)
    visible = common_model.VisibilityMode
    panel.show_points(visible.ALWAYS if points else visible.NEVER)
    if points:
        panel.draw_style(common_model.GraphDrawStyle.POINTS)
    if display:
        panel.display_name(display)
    if floor is not None and not is_log and not negative:
        panel.min(floor)
    if is_log:
        scale = common.ScaleDistributionConfig().type(common_model.ScaleDistribution.LOG)
        panel.scale_distribution(scale.log(10))
    if is_stacked:
        panel.stacking(common.StackingConfig().mode(common_model.StackingMode.NORMAL).group("A"))
    if lines:
        panel.thresholds(_thresholds([(None, "transparent"), *lines]))
        style = common_model.GraphThresholdsStyleMode.DASHED
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(style))
    if negative:
        turned = model.DynamicConfigValue(id_val="custom.transform", value="negative-Y")
        panel.override_by_regexp(f"/{negative}/", [turned])
    return panel


def legend_of(query: Query) -> str:
    """Return what a query calls its series; its columns do it where it is SQL."""
    return str(getattr(query.build(), "legend_format", None) or "")


def heat_graph(
    title: str, description: str, histogram: str, *, labels: str = "", width: int = 12
) -> PanelBuilder:
    """How often which duration occurred: the shape that a quantile hides."""
    queries = (heat(histogram, labels),)
    panel = _dressed(heatmap.Panel(), (title, description), "s", (width, 8), queries)
    panel.calculate(False).cell_gap(1).show_legend()
    panel.y_axis(heatmap.YAxisConfig().unit("s").axis_placement(common_model.AxisPlacement.LEFT))
    colors = heatmap.HeatmapColorOptions().mode(heatmap_model.HeatmapColorMode.SCHEME)
    panel.color(colors.scheme("Spectral").steps(64).exponent(0.5).reverse(True))
    return panel.tooltip(
        heatmap.HeatmapTooltip().mode(common_model.TooltipDisplayMode.SINGLE).y_histogram(True)
    )


def latency(
    title: str,
    description: str,
    histogram: str,
    *,
    labels: str = "",
    lines: Steps = (),
    width: int = 12,
) -> PanelBuilder:
    """Three quantiles of a histogram, on a log axis."""
    queries = [quantile(share, histogram, name, labels) for share, name in _QUANTILES]
    return graph(title, description, "s", *queries, width=width, is_log=True, lines=lines)


def timeline(
    title: str,
    description: str,
    states: States,
    *queries: Query,
    width: int = 24,
    height: int = 6,
) -> PanelBuilder:
    """Which state when, a band per series."""
    size = (width, height)
    panel = _dressed(statetimeline.Panel(), (title, description), "short", size, queries)
    panel.mappings(_mappings(states)).merge_values(True).row_height(0.8).fill_opacity(80)
    panel.show_value(common_model.VisibilityMode.AUTO).line_width(0)
    return panel.legend(_legend(is_table=False))


def listing(
    title: str, description: str, unit: str, query: Query, *, width: int = 24, height: int = 8
) -> PanelBuilder:
    """Rows of an SQL question."""
    panel = _dressed(table.Panel(), (title, description), unit, (width, height), (query,))
    return panel.filterable(True)


def candles(title: str, description: str, query: Query, *, height: int = 10) -> PanelBuilder:
    """Open, high, low, close and volume."""
    size = (24, height)
    panel = _dressed(candlestick.Panel(), (title, description), "locale", size, (query,))
    names = candlestick.CandlestickFieldMap().open("open").high("high").low("low")
    return panel.fields(names.close("close").volume("volume")).legend(_legend(is_table=False))


def notice(title: str, description: str, markdown: str, *, height: int = 3) -> PanelBuilder:
    """A text; for what a reader must know before the first figure."""
    panel = text.Panel().title(title).description(description).span(24).height(height)
    return panel.content(markdown)
