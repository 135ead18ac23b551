"""What people see on a terminal.

The status page, also the demo's live table. It shows, it measures nothing.
"""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tickd.app.terminal import console
from tickd.app.trading_screen import trading_page
from tickd.units import format_bytes

TOPIC_ROWS = 20


def print_status(status: dict[str, Any], rates: dict[str, float] | None) -> None:
    console().print(render(status, rates=rates, topic_rows=None))


def render(
    status: dict[str, Any],
    *,
    rates: dict[str, float] | None,
    topic_rows: int | None = TOPIC_ROWS,
) -> RenderableType:
    """The page; `rates`: events per second by topic, None where no earlier picture exists."""
    parts: list[RenderableType] = [_head(status)]
    if status["waiting_for"]:
        parts.append(Text(f"waiting for {status['waiting_for']}", style="yellow"))
    parts.extend(
        Text(
            f"disk {disk['level']}: {format_bytes(disk['free_bytes'])} of"
            f" {format_bytes(disk['total_bytes'])} free for {', '.join(disk['places'])}",
            style="yellow" if disk["level"] in ("low", "tight") else "bold red",
        )
        for disk in status["disks"]
        if disk["level"] != "ok"
    )
    if trouble := _sink_trouble(status["sink"]):
        parts.append(Text(trouble, style="yellow"))
    if status["ship"]["enabled"]:
        parts.append(_ship(status["ship"]))
    if status["repair"]["ranges"] or status["repair"]["left"]:
        parts.append(_repair(status["repair"]))
    parts.extend(Text(words, style="yellow") for words in other_sinks_trouble(status))
    parts.extend(Text(words, style="yellow") for words in plan_trouble(status))
    parts.append(_venues(status))
    if status["strategies"]:
        parts.append(strategies_table(status["strategies"]))
    if status["trading"]["accounts"]:
        parts.append(trading_page(status["risk"], status["trading"]))
    parts.append(_quotas(status))
    if status.get("topics"):
        parts.append(_topics(status["topics"], rates, topic_rows))
    return Group(*parts)


def _head(status: dict[str, Any]) -> RenderableType:
    raw, sink, decoder = status["raw_log"], status["sink"], status["decoder"]
    table = Table.grid(padding=(0, 3))
    for _ in range(4):
        table.add_column()
    state = Text(
        status["state"], style="bold green" if status["state"] == "recording" else "bold yellow"
    )
    table.add_row(
        Text("tickd", style="bold"),
        state,
        f"node {status['node']}",
        f"up {status['uptime_s']:.0f} s",
    )
    table.add_row(
        "raw log",
        f"{raw['frames']:,} frames",
        f"{format_bytes(raw['compressed_bytes'])} on disk",
        f"recv→raw p99 {raw['write_p99_ms']:.1f} ms"
        + ("  [red]sockets paused[/]" if raw["paused"] else ""),
    )
    table.add_row(
        "decoder",
        f"{decoder.get('events', 0):,} events",
        f"{decoder.get('refused', 0):,} refused, {decoder.get('gaps', 0):,} gaps",
        f"{status['topics_count']:,} topics",
    )
    table.add_row(
        "clickhouse",
        f"{sink['rows_committed']:,} rows",
        f"{sink['state']}, {format_bytes(sink['pending_bytes'])} waiting",
        f"recv→ack p99 {sink['ack_p99_ms']:.0f} ms",
    )
    for choice in status["backends"]:
        table.add_row(choice["what"], choice["backend"], choice["reason"])
    if status["signals"]["indicators"]:
        table.add_row(
            "signals",
            f"{status['signals']['signals']:,} of {status['signals']['values']:,} values",
            f"{len(status['signals']['indicators'])} indicators",
        )
    return table


def _sink_trouble(sink: dict[str, Any]) -> str:
    """What keeps rows from ClickHouse, and where they are meanwhile; empty when nothing does."""
    words: list[str] = []
    spool, spilled = sink["spool"], sink["spilled"]
    if sink["circuit"] != "closed":
        words.append("ClickHouse does not answer")
    if sink["tables_refused"]:
        words.append(f"refused: {', '.join(sink['tables_refused'])}")
    if spool["blocks"]:
        words.append(
            f"spool: {spool['blocks']:,} blocks, {format_bytes(spool['bytes'])},"
            f" oldest {spool['oldest_age_s']:.0f} s"
        )
    if spilled:
        words.append(f"{len(spilled)} ranges left to repair")
    if words and sink["fault"]:
        words.append(sink["fault"])
    return "; ".join(words)


def _repair(repair: dict[str, Any]) -> RenderableType:
    words = (
        f"repair: {repair['frames_left']:,} frames to go, {repair['rows_compared']:,} rows"
        f" compared, {repair['rows_inserted']:,} inserted"
    )
    if repair["left"]:
        words += f"; {len(repair['left'])} ranges wait: {repair['left'][0]['reason']}"
    if repair["fault"]:
        words += f"; {repair['fault']}"
    return Text(words, style="yellow" if repair["left"] or repair["fault"] else "")


def _ship(ship: dict[str, Any]) -> RenderableType:
    last = ship["last"]
    failed = len(last["failures"]) if last else 0
    words = (
        f"shipping to {ship['url']}: {ship['segments']:,} segments, {format_bytes(ship['bytes'])}"
        f" sent, {ship['removed']:,} removed here"
    )
    if ship["running"]:
        progress = ship["progress"]
        words += f", {progress['doing']} {progress['files_done'] + 1} of {progress['files']}"
    if failed:
        words += f", the last run failed: {last['failures'][0]['fault']}"
    return Text(words, style="yellow" if failed else "")


def other_sinks_trouble(status: dict[str, Any]) -> list[str]:
    """What the sinks beside ClickHouse did without, a sentence for each that did."""
    dropped = {queue["subscription"]: queue["dropped"] for queue in status["bus"]["queues"]}
    words = []
    for sink in status["sinks"]:
        parts = []
        if dropped.get(sink["name"], 0):
            parts.append(f"{dropped[sink['name']]:,} events dropped, its queue was full")
        if sink["failures"]:
            parts.append(f"failed {sink['failures']:,} times, the last time: {sink['fault']}")
        if parts:
            words.append(f"sink {sink['name']}: {'; '.join(parts)}")
    return words


def rates_of(before: dict[str, Any], now: dict[str, Any]) -> dict[str, float]:
    """Events per second of each topic, between two pictures of one daemon."""
    seconds = max(now["uptime_s"] - before["uptime_s"], 1e-9)
    earlier = {row["topic"]: row["events"] for row in before["topics"]}
    return {
        row["topic"]: (row["events"] - earlier.get(row["topic"], 0)) / seconds
        for row in now["topics"]
    }


def plan_trouble(status: dict[str, Any]) -> list[str]:
    """What is recorded less than wanted, a sentence for each reason."""
    words = []
    below = status["plan"]["paused_below"]
    if below is not None:
        paused = sum(venue["streams_paused"] for venue in status["venues"])
        words.append(
            f"{paused:,} streams of priority below {below} are paused,"
            f" lag {status['plan']['lag_s']:.1f} s"
        )
    words += [_rationed(venue) for venue in status["venues"] if venue["sdk"] is not None]
    words += [venue["refusal"] for venue in status["venues"] if venue["refusal"]]
    if status["plan"]["refused"]:
        words.append(f"the file is refused, what ran before goes on: {status['plan']['refused']}")
    return [each for each in words if each]


def _rationed(venue: dict[str, Any]) -> str:
    """What a venue goes without so that its traffic lasts; empty when it does not."""
    if venue["stopped"]:
        return f"{venue['venue']}: everything is paused until its traffic begins anew"
    sdk = venue["sdk"]
    if venue["paused_below"] is None or not sdk["usage_cap_bytes"]:
        return ""
    forecast, cap = sdk["usage_forecast_bytes"], sdk["usage_cap_bytes"]
    return (
        f"{venue['venue']}: {venue['streams_paused']:,} streams of priority below"
        f" {venue['paused_below']} are paused, {forecast / cap:.0%} of its traffic is forecast"
    )


def _venues(status: dict[str, Any]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("venue", "line", "endpoint", "state", "streams", "connections", "tries"):
        table.add_column(name)
    for name in ("messages", "received", "last end or fault"):
        table.add_column(name)
    for venue in status["venues"]:
        for line in venue["lines"]:
            table.add_row(
                venue["venue"],
                str(line["number"]),
                line["endpoint"],
                line["state"]
                + (" (paused)" if line["paused"] else "")
                + (f" (without {', '.join(venue['shed'])})" if venue["shed"] else ""),
                str(line["streams_count"]),
                ", ".join(map(str, line["connections"])),
                f"{line['tries']}" + (f" ({line['attempts']} in vain)" if line["attempts"] else ""),
                f"{line['messages_used']}/{line['messages_max']}",
                format_bytes(line["bytes_received"]),
                line["fault"] or line["last_end"] or "",
            )
    return table


def strategies_table(strategies: list[dict[str, Any]]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("strategy", "state", "events", "p99", "decisions", "hash"):
        table.add_column(name)
    for name in ("merged", "dropped", "undelivered", "memory", "reason"):
        table.add_column(name)
    for each in strategies:
        table.add_row(
            each["name"],
            each["state"] + (f" ({each['restarts']} restarts)" if each["restarts"] else ""),
            f"{each['events']:,}",
            f"{each['p99_us']:.0f} µs",
            f"{each['decisions']:,}",
            each["hash"][:16],
            f"{each['merged']:,}",
            f"{each['dropped']:,}",
            f"{each['undelivered']:,}",
            format_bytes(each["rss_bytes"]) if each["rss_bytes"] else "",
            each["reason"] or "; ".join(each["warmth"]["notes"]),
        )
    return table


def _quotas(status: dict[str, Any]) -> RenderableType:
    """What the venues allow, and how much of it is used up."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("venue", "connects or logins", "REST weight", "traffic"):
        table.add_column(name)
    for venue in status["venues"]:
        weight = f"{venue['rest_weight_used']}/{venue['rest_weight_max']}"
        table.add_row(
            venue["venue"],
            f"{venue['connects_used']}/{venue['connects_max']}",
            weight if venue["rest_weight_max"] else "",
            _traffic(venue["sdk"]) if venue["sdk"] is not None else "",
        )
    return table


def _traffic(sdk: dict[str, Any]) -> str:
    if sdk["usage_cap_bytes"] is None:
        return "not known yet"
    return (
        f"{format_bytes(sdk['usage_bytes'])} of {format_bytes(sdk['usage_cap_bytes'])},"
        f" {format_bytes(sdk['usage_forecast_bytes'])} at the reset,"
        f" {sdk['usage_queries_left']:,} queries left for now"
    )


def _topics(
    topics: list[dict[str, Any]], rates: dict[str, float] | None, rows: int | None
) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, justify in (
        ("topic", "left"), ("events", "right"), ("ev/s", "right"), ("silent", "right"),
        ("to bus p99", "right"), ("queue", "right"), ("lag", "right"), ("dropped", "right"),
    ):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for topic in topics[:rows]:
        rate = "" if rates is None else f"{rates.get(topic['topic'], 0.0):,.0f}"
        table.add_row(
            topic["topic"],
            f"{topic['events']:,}",
            rate,
            f"{topic['silent_s']:.1f} s",
            f"{topic['bus_p99_ms']:.2f} ms",
            f"{topic['depth']:,}",
            f"{topic['oldest_age_s'] * 1e3:.0f} ms",
            f"{topic['dropped']:,}",
        )
    if rows is not None and len(topics) > rows:
        table.caption = f"{len(topics) - rows} more: tickd status --topics"
    return table
