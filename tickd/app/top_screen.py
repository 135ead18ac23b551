"""The pages of `tickd top`: a view and the daemon's answer in, something to print out.

It shows, it measures nothing. What the daemon or a venue said is text, never markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tickd.app.fitting import FittingLine, FittingTable
from tickd.app.screen import strategies_table
from tickd.app.top_keys import KILL_WORD, View
from tickd.app.trading_screen import trading_page
from tickd.units import format_bytes

__all__ = ["draw", "first_row", "topics_of"]

NS_PER_S: Final = 1_000_000_000
# Lines that the head, the titles and the foot take.
LINES_AROUND: Final = 10
# A figure beyond its bound is coloured: ms from the socket, s in a queue.
P99_MS: Final = 5.0
LAG_S: Final = 1.0
KEYS: Final = (
    "s sort · / filter · p pause · ↑↓ enter topic · g gaps · t strategies · r risk · k kill ·"
    " h help · q quit"
)
HELP: Final = (
    ("s, S", "sort by the next column, by the one before"),
    ("/", "show only topics with this text in their names; Esc takes it away"),
    ("↑ ↓ PgUp PgDn", "select a topic; Enter shows its queues and gaps, Esc goes back"),
    ("p", "pause: the picture stands, the daemon goes on"),
    ("g  t  r", "open gaps; strategies; kill switch, limits and accounts"),
    ("k", f"halt all orders: asks for the word {KILL_WORD!r} and Enter"),
    ("q", "leave; the daemon goes on"),
    ("", ""),
    ("rate", "events per second, between readings that are a second apart"),
    ("lag, queue", "of the subscription that is furthest behind: age of its oldest, how many wait"),
    ("to bus p99", "from the socket to the bus, 99 % of the events since the start"),
)

Justify = Literal["left", "right"]
# Where a column's title differs from the name of its order.
_TITLES: Final = {"depth": "queue", "p99": "to bus p99"}
_COLUMNS: Final[tuple[tuple[str, Justify], ...]] = (
    ("topic", "left"), ("events", "right"), ("rate", "right"), ("silent", "right"),
    ("to bus p99", "right"), ("queue", "right"), ("lag", "right"), ("dropped", "right"),
)  # fmt: skip
# On a narrow terminal, not the one that they are sorted by. What is wrong is seen in the others.
_DROPPED_FIRST: Final = ("to bus p99", "events", "queue", "silent")


def topics_of(answer: dict[str, Any]) -> list[str]:
    """Names of the topics that a page lists, in their order."""
    return [row["topic"] for row in answer.get("rows", ())]


def first_row(selected: int, shown: int) -> int:
    """The first of the rows on the screen, so that the selected one is among them."""
    return max(0, selected - shown + 1)


def draw(view: View, answer: dict[str, Any], *, lines: int) -> RenderableType:
    """The whole screen. Args: `lines`: of the terminal; 0 = all rows, nobody scrolls."""
    shown = max(3, lines - LINES_AROUND) if lines else len(answer.get("rows", ())) or 1
    body = {
        "topics": _topics,
        "topic": _topic,
        "gaps": _gaps,
        "strategies": _strategies,
        "risk": _risk,
        "help": _help,
    }[view.page if view.page in ("help", answer["page"]) else answer["page"]]
    return Group(_head(answer, view), Text(), body(view, answer, shown), *_foot(view, lines))


def _head(answer: dict[str, Any], view: View) -> RenderableType:
    raw, sink, decoder = answer["raw_log"], answer["sink"], answer["decoder"]
    good = answer["state"] == "recording"
    halt = answer["halt"]
    moment = datetime.fromtimestamp(answer["wall_ns"] / NS_PER_S, UTC)
    rows = (
        (
            Text("tickd top", "bold"),
            Text(answer["state"], "bold green" if good else "bold yellow"),
            Text(f"node {answer['node']}, up {answer['uptime_s']:,.0f} s"),
            Text(f"{moment:%H:%M:%S} UTC" + ("  PAUSED" if view.paused else "")),
            Text(f"loop p99 {answer['loop_lag_p99_ms']:.1f} ms"),
        ),
        (
            Text("raw log"),
            Text("sockets paused" if raw["paused"] else "", "bold red"),
            Text(f"{raw['frames']:,} frames, {format_bytes(raw['compressed_bytes'])}"),
            Text(f"write p99 {raw['write_p99_ms']:.1f} ms"),
            Text(f"fsync p99 {raw['fsync_p99_ms']:.1f} ms"),
        ),
        (
            Text("clickhouse"),
            Text(sink["state"], "" if sink["circuit"] == "closed" else "yellow"),
            Text(f"{sink['rows_committed']:,} rows"),
            Text(f"{format_bytes(sink['pending_bytes'])} waiting"),
            Text(f"ack p99 {sink['ack_p99_ms']:.0f} ms, spool {sink['spool_blocks']}"),
        ),
        (
            Text("events"),
            Text(f"orders {halt['state']}", "" if halt["state"] == "armed" else "yellow"),
            Text(f"{decoder.get('events', 0):,} of {answer['topics_count']:,} topics"),
            Text(f"{answer['gaps_open']:,} gaps open", "yellow" if answer["gaps_open"] else ""),
            Text(f"{decoder.get('refused', 0):,} frames refused"),
        ),
    )
    grid = Table.grid(padding=(0, 3))
    for _ in range(5):
        grid.add_column(no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    return Group(FittingLine(grid, rows), *_trouble(answer))


def _trouble(answer: dict[str, Any]) -> Iterable[Text]:
    if answer["waiting_for"]:
        yield Text(f"waiting for {answer['waiting_for']}", "yellow")
    if answer["raw_log"]["fault"]:
        yield Text(f"raw log: {answer['raw_log']['fault']}", "bold red")
    for venue in answer.get("venues", ()):
        if venue["streaming"] < venue["lines"]:
            words = f"{venue['venue']}: {venue['streaming']} of {venue['lines']} lines stream"
            yield Text(f"{words}; {venue['fault'] or ''}".rstrip("; "), "yellow")


def _topics(view: View, answer: dict[str, Any], shown: int) -> RenderableType:
    mark = _TITLES.get(answer["sort"], str(answer["sort"]))
    rows = answer["rows"]
    selected = min(view.selected, len(rows) - 1)
    start = first_row(selected, shown)

    def made(without: frozenset[str]) -> RenderableType:
        columns = [each for each in _COLUMNS if each[0] not in without]
        table = _table(*columns, mark=mark)
        for number, row in enumerate(rows[start : start + shown], start):
            figures = _figures(row, rates_known=answer["rates_known"])
            table.add_row(
                *(figures[name] for name, _ in columns),
                style="reverse" if number == selected and view.page == "topics" else "",
            )
        return table

    table = FittingTable(made, [name for name in _DROPPED_FIRST if name != mark])
    if view.filter:
        return Group(Text(f"only topics with {view.filter!r}", "dim"), table)
    return table


def _figures(row: dict[str, Any], *, rates_known: bool) -> dict[str, Text]:
    silent = row["silent_s"]
    return {
        "topic": Text(row["topic"]),
        "events": Text(f"{row['events']:,}"),
        "rate": Text(f"{row['rate']:,.0f}" if rates_known else "…"),
        "silent": Text("" if silent is None else f"{silent:,.1f} s"),
        "to bus p99": Text(
            f"{row['bus_p99_ms']:.2f} ms", "yellow" if row["bus_p99_ms"] > P99_MS else ""
        ),
        "queue": Text(f"{row['depth']:,}"),
        "lag": Text(f"{row['lag_s'] * 1e3:,.0f} ms", "bold red" if row["lag_s"] > LAG_S else ""),
        "dropped": Text(f"{row['dropped']:,}", "bold red" if row["dropped"] else ""),
    }


def _topic(view: View, answer: dict[str, Any], shown: int) -> RenderableType:
    row = answer["topic"]
    if row is None:
        return Text(f"{view.topic} has no events in this daemon", "yellow")
    head = Table.grid(padding=(0, 3))
    head.add_row(Text(row["topic"], "bold"), Text(f"{row['events']:,} events"))
    head.add_row("now", Text(f"{row['rate']:,.0f} events a second"))
    silent = row["silent_s"]
    head.add_row("last", Text("never" if silent is None else f"{silent:,.1f} s ago"))
    head.add_row("to bus", Text(f"p99 {row['bus_p99_ms']:.2f} ms"))
    queues = _table(
        ("queue of", "left"), ("waiting", "right"), ("most", "right"), ("lag", "right"),
        ("dropped", "right"), ("taken in", "right"),
    )  # fmt: skip
    for each in answer["queues"][:shown]:
        queues.add_row(
            Text(each["subscription"]),
            f"{each['depth']:,}",
            f"{each['high_water']:,}",
            f"{each['lag_s'] * 1e3:,.0f} ms",
            f"{each['dropped']:,}",
            f"{each['events']:,}",
        )
    gaps = _gap_table(answer["gaps"][:shown]) if answer["gaps"] else Text("no open gaps", "dim")
    return Group(head, Text(), queues, Text(), gaps)


def _gaps(_view: View, answer: dict[str, Any], shown: int) -> RenderableType:
    if not answer["gaps_open"]:
        return Text("no open gaps", "green")
    counts = _table(("venue", "left"), ("cause", "left"), ("open", "right"))
    for each in answer["counts"][:shown]:
        counts.add_row(Text(each["venue"]), Text(each["cause"]), f"{each['open']:,}")
    return Group(counts, Text(), _gap_table(answer["gaps"][:shown]))


def _gap_table(gaps: Sequence[dict[str, Any]]) -> Table:
    table = _table(
        ("gap", "right"), ("topic", "left"), ("cause", "left"), ("since", "left"),
        ("seconds", "right"), ("ids missing", "right"),
    )  # fmt: skip
    for each in gaps:
        seconds = (each["until_ns"] - each["since_ns"]) / NS_PER_S
        table.add_row(
            str(each["gap"]),
            Text(each["topic"]),
            each["cause"],
            f"{datetime.fromtimestamp(each['since_ns'] // NS_PER_S, UTC):%Y-%m-%d %H:%M:%S}",
            f"{seconds:,.1f}",
            f"{each['missing']:,}",
        )
    return table


def _strategies(_view: View, answer: dict[str, Any], _shown: int) -> RenderableType:
    if not answer["strategies"]:
        return Text("no strategies are configured", "dim")
    return strategies_table(answer["strategies"])


def _risk(_view: View, answer: dict[str, Any], _shown: int) -> RenderableType:
    return trading_page(answer["risk"], answer["trading"])


def _help(_view: View, _answer: dict[str, Any], _shown: int) -> RenderableType:
    table = Table.grid(padding=(0, 3))
    for keys, words in HELP:
        table.add_row(Text(keys, "bold"), Text(words))
    return table


def _foot(view: View, lines: int) -> Iterable[RenderableType]:
    if not lines:
        return
    yield Text()
    if view.typing == "filter":
        yield Text(f"/{view.typed}▏", "bold")
    elif view.typing == "kill":
        words = f"type {KILL_WORD} and Enter to halt ALL orders of this daemon, Esc to leave it: "
        yield Text(f"{words}{view.typed}▏", "bold red")
    elif view.said:
        yield Text(view.said, "bold yellow")
    else:
        yield Text(KEYS, "dim")


def _table(*columns: tuple[str, Justify], mark: str = "") -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, justify in columns:
        title = Text(f"{name} ▾", "bold") if name == mark else Text(name)
        table.add_column(title, justify=justify, no_wrap=True)
    return table
