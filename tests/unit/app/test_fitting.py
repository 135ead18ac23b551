"""`tickd top` on a narrow terminal: every figure that is shown is whole."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from tickd.app.top_keys import View
from tickd.app.top_screen import draw

ROW = {
    "topic": "quote.binance-usdm.BTCUSDT", "events": 1_234_567, "rate": 98_765.0, "silent_s": 3.5,
    "bus_p99_ms": 201.33, "depth": 4_321, "lag_s": 2.5, "dropped": 77_777,
}  # fmt: skip
ANSWER: dict[str, Any] = {
    "page": "topics", "state": "recording", "node": 1, "uptime_s": 76.0, "wall_ns": 0,
    "loop_lag_p99_ms": 260.0, "waiting_for": "", "sort": "rate", "rates_known": True,
    "raw_log": {
        "paused": True, "frames": 37_184, "compressed_bytes": 522_000, "write_p99_ms": 1.0,
        "fsync_p99_ms": 2.0, "fault": None,
    },
    "sink": {
        "state": "live", "circuit": "closed", "rows_committed": 5, "pending_bytes": 6,
        "ack_p99_ms": 7.0, "spool_blocks": 8,
    },
    "decoder": {"events": 9, "refused": 0}, "topics_count": 1, "gaps_open": 0,
    "halt": {"state": "armed"}, "rows": [ROW],
}  # fmt: skip
ALWAYS = ("quote.binance-usdm.BTCUSDT", "98,765", "2,500 ms", "77,777")


def drawn(columns: int, **changes: Any) -> list[str]:
    screen = Console(width=columns, file=io.StringIO(), color_system=None)
    page: RenderableType = draw(View(), ANSWER | changes, lines=20)
    screen.print(page)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue().splitlines()


@pytest.mark.parametrize("columns", [60, 72, 80, 100, 200])
def test_every_figure_that_is_shown_is_whole(columns: int) -> None:
    lines = drawn(columns)
    assert all(len(line) <= columns for line in lines)
    (row,) = (line for line in lines if line.startswith("quote."))
    assert "…" not in row
    for figure in ALWAYS:
        assert figure in row
    (titles,) = (line for line in lines if line.startswith("topic"))
    assert "…" not in titles


def test_a_wide_terminal_has_every_column() -> None:
    (row,) = (line for line in drawn(100) if line.startswith("quote."))
    for figure in ("1,234,567", "3.5 s", "201.33 ms", "4,321", *ALWAYS):
        assert figure in row


@pytest.mark.parametrize(("sort", "figure"), [("p99", "201.33 ms"), ("events", "1,234,567")])
def test_what_they_are_sorted_by_stays(sort: str, figure: str) -> None:
    (row,) = (line for line in drawn(76, sort=sort) if line.startswith("quote."))
    assert figure in row


def test_the_head_has_a_line_each_and_begins_with_what_matters() -> None:
    head = drawn(60)[:4]
    assert [line.split("  ")[0] for line in head] == [
        "tickd top",
        "raw log",
        "clickhouse",
        "events",
    ]
    assert "recording  node 1, up 76 s  00:00:00 UTC" in head[0]
    assert "sockets paused  37,184 frames" in head[1]
    assert drawn(60)[4].strip() == ""
