"""What every dashboard keeps to, read from the committed JSON.

Method: each rule is a function from a dashboard to its violations; each is shown to fail on a
dashboard that one edit has broken.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import combinations

import pytest

from dashboards.promql import UNSCOPED
from tests.harness.panels import (
    Tree,
    dashboards,
    folded,
    names_in_dashboards,
    panels,
    parsed,
    questions,
    recorded_names,
    rules,
    selectors,
)

Rule = Callable[[str, Tree], Iterator[str]]
BOARDS = dashboards()
# Units of Grafana that mean something here; `short` is for counts of things, which have none.
UNITS = {
    "Bps",
    "bytes",
    "cps",
    "dtdurations",
    "eps",
    "locale",
    "ms",
    "percentunit",
    "reqps",
    "rowsps",
    "s",
    "short",
}
# What has no axis and asks nothing.
TEXT = {"text"}
RATES = re.compile(r"\b(rate|irate|increase|changes|resets|deriv|delta)\(")
WINDOWS = re.compile(r"\[(?!\$__(rate_interval|range)\])(?P<other>[^\]]+)\]")
SOURCES = {
    "prometheus": "${datasource}",
    "grafana-clickhouse-datasource": "${clickhouse}",
}


def every_panel_says_what_it_shows(name: str, board: Tree) -> Iterator[str]:
    for panel in panels(board):
        place = f"{name} / {panel.get('title')}"
        if not panel.get("title"):
            yield f"{place}: no title"
        if len(panel.get("description", "")) < 10 or not panel["description"].endswith("."):
            yield f"{place}: no sentence that describes it"
    if not board.get("description", "").endswith("."):
        yield f"{name}: no description"


def every_panel_has_a_unit(name: str, board: Tree) -> Iterator[str]:
    for panel in panels(board):
        unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit")
        if panel["type"] not in TEXT and unit not in UNITS:
            yield f"{name} / {panel['title']}: unit {unit}"


def every_question_has_a_templated_source(name: str, board: Tree) -> Iterator[str]:
    for panel in panels(board):
        asked = [panel, *panel.get("targets", [])] if panel["type"] not in TEXT else []
        for each in asked:
            source = each.get("datasource", {})
            if not is_templated(source):
                yield f"{name} / {panel['title']}: datasource {source}"
        if panel["type"] not in TEXT and not panel.get("targets"):
            yield f"{name} / {panel['title']}: asks nothing"
    for each in [*board["annotations"]["list"], *_queried(board)]:
        source = each.get("datasource", {})
        if not is_templated(source):
            yield f"{name} / {each['name']}: datasource {source}"


def is_templated(source: Tree) -> bool:
    return source.get("uid") in SOURCES.values() and SOURCES[source["type"]] == source["uid"]


def _queried(board: Tree) -> list[Tree]:
    return [each for each in board["templating"]["list"] if each["type"] == "query"]


def every_selector_is_of_the_chosen_daemons(name: str, board: Tree) -> Iterator[str]:
    wanted = {label: ("MatchOp.Re", f"${label}") for label in ("job", "instance")}
    for asked in questions(name, board):
        for each in [] if asked.is_sql else selectors(asked.text):
            if each.name not in UNSCOPED and not wanted.items() <= each.matchers.items():
                yield f"{asked.place}: {each.name} of all daemons"


def every_variable_is_there_and_used(name: str, board: Tree) -> Iterator[str]:
    declared = {each["name"] for each in board["templating"]["list"]}
    texts = [asked.text for asked in questions(name, board)]
    texts += [str(each.get("query")) for each in board["templating"]["list"]]
    used = set(re.findall(r"\$\{?(\w+)", " ".join(texts))) | {"datasource", "clickhouse"}
    used = {each for each in used if not each.startswith("__")}
    if board_asks_sql(board):
        declared_sql = {"clickhouse"}
    else:
        used.discard("clickhouse")
        declared_sql = set()
    for each in sorted(used - declared):
        yield f"{name}: ${each} is used and not declared"
    for each in sorted((declared | declared_sql) - used):
        yield f"{name}: ${each} is declared and not used"


def board_asks_sql(board: Tree) -> bool:
    return any(asked.is_sql for asked in questions("", board))


def every_expression_is_promql(name: str, board: Tree) -> Iterator[str]:
    for asked in questions(name, board):
        if asked.is_sql:
            continue
        try:
            parsed(asked.text)
        except ValueError as error:
            yield f"{asked.place}: {error}: {asked.text}"


def every_sql_reads_a_bounded_part(name: str, board: Tree) -> Iterator[str]:
    for asked in questions(name, board):
        if not asked.is_sql or "/ variable " in asked.place:
            continue
        for wanted in (r"\$__(timeFilter|toTime)", r"\$\{node:raw\}", r"\bWHERE\b"):
            if not re.search(wanted, asked.text):
                yield f"{asked.place}: no {wanted}: {asked.text}"
        is_summed = re.search(r"GROUP BY time|^SELECT count\(\) AS \w+ FROM \w+ WHERE", asked.text)
        if not is_summed and not re.search(r"LIMIT \d+$", asked.text):
            yield f"{asked.place}: as many rows as there are"
        if re.search(r"'\$|\$(market|symbol|node)\b", asked.text):
            yield f"{asked.place}: a variable that is not quoted by Grafana"


def every_rate_has_the_window_of_the_graph(name: str, board: Tree) -> Iterator[str]:
    for panel in panels(board):
        for target in panel.get("targets", []):
            for found in WINDOWS.finditer(target.get("expr", "")):
                if "predict_linear" not in target["expr"]:
                    yield f"{name} / {panel['title']}: window {found['other']}"


def every_counter_is_asked_for_its_rate(name: str, board: Tree) -> Iterator[str]:
    for asked in questions(name, board):
        if asked.is_sql:
            continue
        for found in re.finditer(r"(\w+\()?(tickd_\w+_(total|bucket)|process_cpu\w+)", asked.text):
            if not found[1] or not RATES.match(found[1]):
                yield f"{asked.place}: {found[2]} without a rate"


def every_series_has_a_name(name: str, board: Tree) -> Iterator[str]:
    for panel in panels(board):
        targets = [each for each in panel.get("targets", []) if "expr" in each]
        legends = Counter(each.get("legendFormat", "") for each in targets)
        if "" in legends or "__auto" in legends:
            yield f"{name} / {panel['title']}: a series without a name"
        if max(legends.values(), default=0) > 1:
            yield f"{name} / {panel['title']}: two series of one name"
        refs = Counter(each["refId"] for each in panel.get("targets", []))
        if max(refs.values(), default=0) > 1:
            yield f"{name} / {panel['title']}: two questions of one id"


def graphs_have_a_legend(name: str, board: Tree) -> Iterator[str]:
    for panel in panels(board):
        if panel["type"] != "timeseries":
            continue
        legend = panel["options"].get("legend", {})
        if not legend.get("showLegend"):
            yield f"{name} / {panel['title']}: no legend"
        several = len(panel["targets"]) > 1
        if several and (legend.get("displayMode"), legend.get("calcs")) != (
            "table",
            ["mean", "max"],
        ):
            yield f"{name} / {panel['title']}: several series without a table of mean and max"


def no_panel_lies_on_another(name: str, board: Tree) -> Iterator[str]:
    for group in [board["panels"], *(each.get("panels", []) for each in board["panels"])]:
        for one, two in combinations(group, 2):
            a, b = one["gridPos"], two["gridPos"]
            apart_x = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
            if not (apart_x or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]):
                yield f"{name}: {one['title']} and {two['title']} overlap"
        for each in group:
            if each["gridPos"]["x"] + each["gridPos"]["w"] > 24:
                yield f"{name} / {each['title']}: wider than the page"


def ids_are_unique(name: str, board: Tree) -> Iterator[str]:
    rows = [each for each in board["panels"] if each["type"] == "row"]
    counts = Counter(each["id"] for each in [*panels(board), *rows])
    for number, count in counts.items():
        if count > 1:
            yield f"{name}: {count} panels have id {number}"
    titles = Counter(
        (row["title"], each["title"]) for row in rows for each in row.get("panels", [])
    )
    yield from (f"{name}: two panels {title}" for title, count in titles.items() if count > 1)


def latency_is_a_heatmap_beside_quantiles(name: str, board: Tree) -> Iterator[str]:
    heat = {
        each.name
        for panel in panels(board)
        if panel["type"] == "heatmap"
        for target in panel["targets"]
        for each in selectors(target["expr"])
    }
    lines = {
        each.name
        for panel in panels(board)
        if panel["type"] == "timeseries"
        for target in panel["targets"]
        if "histogram_quantile(0.999" in target.get("expr", "")
        for each in selectors(target["expr"])
    }
    # How long gaps and scrapes take is no latency of the flow; of a collector quantiles say little.
    alone = r"tickd_(gateway_gap_fill|telemetry_scrape|app_gc_pause)_seconds_bucket"
    for metric in sorted(heat ^ lines):
        if not re.fullmatch(alone, metric):
            yield f"{name}: {metric} is a heatmap or quantiles, not both"


def it_is_set_up_like_the_others(name: str, board: Tree) -> Iterator[str]:
    wanted = {
        "editable": False,
        "graphTooltip": 1,
        "timezone": "utc",
        "schemaVersion": 42,
        "uid": f"tickd-{name}",
    }
    for key, value in wanted.items():
        if board.get(key) != value:
            yield f"{name}: {key} is {board.get(key)}"
    if board.get("refresh") not in {"10s", "30s"}:
        yield f"{name}: refresh {board.get('refresh')}"
    if "tickd" not in board["tags"] or not board["title"].startswith("tickd / "):
        yield f"{name}: tags {board['tags']}, title {board['title']}"
    (menu,) = board["links"]
    if not (menu["asDropdown"] and menu["keepTime"] and menu["includeVars"]):
        yield f"{name}: its menu does not keep time and choice"
    for each in _queried(board):
        if each["refresh"] != 2:
            yield f"{name}: ${each['name']} does not follow the time"
    first = board["templating"]["list"][0]
    if (first["name"], first["type"]) != ("datasource", "datasource"):
        yield f"{name}: the first variable is {first['name']}"


RULES: list[Rule] = [
    every_panel_says_what_it_shows,
    every_panel_has_a_unit,
    every_question_has_a_templated_source,
    every_selector_is_of_the_chosen_daemons,
    every_variable_is_there_and_used,
    every_expression_is_promql,
    every_sql_reads_a_bounded_part,
    every_rate_has_the_window_of_the_graph,
    every_counter_is_asked_for_its_rate,
    every_series_has_a_name,
    graphs_have_a_legend,
    no_panel_lies_on_another,
    ids_are_unique,
    latency_is_a_heatmap_beside_quantiles,
    it_is_set_up_like_the_others,
]


def of_type(board: Tree, kind: str) -> Tree:
    return next(each for each in panels(board) if each["type"] == kind)


def with_expression(board: Tree, text: str) -> None:
    of_type(board, "timeseries")["targets"][0]["expr"] = text


SCOPED = 'job=~"$job",instance=~"$instance"'
MARKET_RULES = {every_sql_reads_a_bounded_part}
SQL = "SELECT a FROM b WHERE $__timeFilter(t) AND node = ${node:raw}"
BREAKS: dict[Rule, list[Callable[[Tree], object]]] = {
    every_panel_says_what_it_shows: [
        lambda board: of_type(board, "stat").pop("description"),
        lambda board: of_type(board, "stat").update(title=""),
    ],
    every_panel_has_a_unit: [
        lambda board: of_type(board, "stat")["fieldConfig"]["defaults"].pop("unit"),
        lambda board: of_type(board, "stat")["fieldConfig"]["defaults"].update(unit="seconds"),
    ],
    every_question_has_a_templated_source: [
        lambda board: of_type(board, "stat")["targets"][0]["datasource"].update(uid="abc"),
        lambda board: board["annotations"]["list"][0].pop("datasource"),
    ],
    every_selector_is_of_the_chosen_daemons: [
        lambda board: with_expression(board, 'up{job=~"$job"}'),
        lambda board: with_expression(board, f'sum(up{{{SCOPED}}}) / sum(up{{job="a"}})'),
    ],
    every_variable_is_there_and_used: [
        lambda board: board["templating"]["list"].pop(),
        lambda board: with_expression(board, f'up{{{SCOPED},color="$color"}}'),
        lambda board: board["templating"]["list"].append({"name": "unused", "type": "custom"}),
    ],
    every_expression_is_promql: [lambda board: with_expression(board, "sum(up")],
    every_sql_reads_a_bounded_part: [
        lambda board: of_type(board, "table")["targets"][0].update(rawSql=SQL),
        lambda board: of_type(board, "table")["targets"][0].update(rawSql="SELECT 1 LIMIT 1"),
        lambda board: of_type(board, "table")["targets"][0].update(
            rawSql=f"{SQL} AND symbol = '$symbol' LIMIT 5"
        ),
    ],
    every_rate_has_the_window_of_the_graph: [
        lambda board: with_expression(board, f"rate(process_cpu_seconds_total{{{SCOPED}}}[5m])")
    ],
    every_counter_is_asked_for_its_rate: [
        lambda board: with_expression(board, f"sum(tickd_bus_dropped_events_total{{{SCOPED}}})")
    ],
    every_series_has_a_name: [
        lambda board: of_type(board, "timeseries")["targets"][0].update(legendFormat=""),
        lambda board: [
            each.update(legendFormat="same")
            for panel in panels(board)
            for each in panel.get("targets", [])
        ],
    ],
    graphs_have_a_legend: [
        lambda board: [panel["options"].clear() for panel in panels(board)],
    ],
    no_panel_lies_on_another: [
        lambda board: of_type(board, "timeseries")["gridPos"].update(y=0, h=300),
        lambda board: of_type(board, "timeseries")["gridPos"].update(x=20),
    ],
    ids_are_unique: [lambda board: [panel.update(id=7) for panel in panels(board)]],
    latency_is_a_heatmap_beside_quantiles: [
        lambda board: board.update(
            panels=[each for each in board["panels"] if each["type"] != "heatmap"]
        )
    ],
    it_is_set_up_like_the_others: [
        lambda board: board.update(editable=True),
        lambda board: board.update(refresh="1m"),
        lambda board: board["links"][0].update(keepTime=False),
        lambda board: board["templating"]["list"][1].update(refresh=1),
    ],
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_dashboard_obeys(rule: Rule) -> None:
    found = [each for name, board in BOARDS.items() for each in rule(name, board)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "edit"),
    [(rule, edit) for rule, edits in BREAKS.items() for edit in edits],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_rule_sees_what_it_is_for(rule: Rule, edit: Callable[[Tree], object]) -> None:
    name = "market" if rule in MARKET_RULES else "recorder"
    board = copy.deepcopy(BOARDS[name])
    before = list(rule(name, board))
    edit(board)
    assert list(rule(name, board)) != before == []


def test_every_rule_is_shown_to_fail() -> None:
    assert set(BREAKS) == set(RULES)


def test_all_dashboards_are_there() -> None:
    names = {"overview", "feeds", "recorder", "strategies", "risk", "slo", "runtime", "market"}
    assert set(BOARDS) == names


def test_a_snapshot_of_the_overview_tells_risk_latency_and_gaps() -> None:
    """A snapshot keeps what panels show: these are stats, so it says them without a graph."""
    overview = BOARDS["overview"]
    shown = {
        each.name
        for panel in panels(overview)
        if panel["type"] == "stat"
        for target in panel["targets"]
        for each in selectors(target["expr"])
    }
    assert {
        "tickd_risk_armed_state",
        "tickd_gateway_publish_latency_seconds_bucket",
        "tickd_recorder_raw_write_latency_seconds_bucket",
        "tickd_gateway_decoded_gaps_total",
    } <= shown


def test_recorded_names_are_recorded_by_the_rules_that_are_shipped() -> None:
    recorded = {name for name in names_in_dashboards() if ":" in name}
    assert recorded <= recorded_names()
    (words,) = (panel for panel in panels(BOARDS["slo"]) if panel["type"] == "text")
    named = {rule.get("labels", {}).get("slo") for rule in rules()} - {None}
    assert {each for each in named if f"**{each}**" not in words["options"]["content"]} == set()
    assert folded({"a_seconds_bucket", "b_total"}, {"a_seconds", "b_total"}) == {
        "a_seconds",
        "b_total",
    }
