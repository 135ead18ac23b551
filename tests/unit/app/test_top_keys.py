"""`tickd top` without a terminal: which key leads to which view, what it takes to halt orders."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from tickd.app.top import SORTS
from tickd.app.top_keys import View, Wish, keys_of, press
from tickd.app.top_screen import draw, first_row

ROWS = ("trade.okx.A", "trade.okx.B", "trade.okx.C")


def typed(keys: str | list[str], view: View | None = None) -> tuple[View, list[Wish]]:
    """The view after all keys, and everything that was wished for on the way."""
    view, wishes = view or View(), []
    for key in keys:
        view, wish = press(view, key, ROWS)
        if wish is not None:
            wishes.append(wish)
    return view, wishes


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"s", ["s"]),
        (b"\x1b[A\x1b[B\r", ["up", "down", "enter"]),
        (b"\x1b", ["escape"]),
        (b"\x1b[5~q", ["page_up", "q"]),
        (b"\x1b[15~q", ["q"]),  # F5 is nothing, and swallows nothing behind it
        ("ü/".encode(), ["ü", "/"]),
        (b"\x7f\x15\x03", ["backspace", "clear", "interrupt"]),
        (b"\x00\xff", []),
        (b"", []),
    ],
)
def test_bytes_of_a_terminal_become_keys(data: bytes, keys: list[str]) -> None:
    assert keys_of(data) == keys


def test_s_goes_through_every_order_and_comes_back() -> None:
    view, _ = typed("s" * len(SORTS))
    assert view.sort == SORTS[0]
    assert typed("s")[0].sort == SORTS[1]
    assert typed("S")[0].sort == SORTS[-1]


def test_filter_is_typed_in_a_line_of_its_own() -> None:
    view, wishes = typed(["/", *"qks", "backspace", "enter"])
    assert (view.filter, view.typing, wishes) == ("qk", "", [])
    kept, _ = typed(["/", *"xyz", "escape"], view)
    assert kept.filter == "qk"
    assert typed(["escape"], kept)[0].filter == ""


def test_enter_shows_the_selected_topic_and_escape_goes_back() -> None:
    view, _ = typed(["down", "down", "enter"])
    assert (view.page, view.topic) == ("topic", ROWS[2])
    assert typed(["escape"], view)[0].page == "topics"


def test_selection_stays_within_the_rows() -> None:
    assert typed(["down"] * 9)[0].selected == 2
    assert typed(["up"] * 9)[0].selected == 0
    assert typed(["end"])[0].selected == 2
    assert press(View(), "enter", ())[0].page == "topics"
    assert press(View(selected=5), "down", ())[0].selected == 0


@pytest.mark.parametrize(
    ("key", "page"), [("g", "gaps"), ("t", "strategies"), ("r", "risk"), ("h", "help")]
)
def test_a_page_key_opens_its_page_and_closes_it(key: str, page: str) -> None:
    view, _ = typed(key)
    assert view.page == page
    assert typed(key, view)[0].page == "topics"


def test_p_pauses_and_goes_on() -> None:
    assert typed("p")[0].paused
    assert not typed("pp")[0].paused


def test_only_the_whole_word_halts() -> None:
    assert typed(["k", *"kill", "enter"])[1] == ["kill"]


@pytest.mark.parametrize(
    "keys",
    [
        ["k"],
        ["k", "enter"],
        ["k", "k", "enter"],
        ["k", *"kil", "enter"],
        ["k", *"KILL", "enter"],
        ["k", *"kill", "escape"],
        ["k", *"kill", "escape", "enter"],
        ["k", *"kill", "backspace", "enter"],
        [*"kill", "escape", "q"],
        ["/", *"kill", "enter"],
    ],
)
def test_anything_else_halts_nothing(keys: list[str]) -> None:
    assert "kill" not in typed(keys)[1]


def test_a_word_that_halts_nothing_says_so() -> None:
    assert "nothing was halted" in typed(["k", *"yes", "enter"])[0].said


def test_q_leaves_but_not_out_of_a_line() -> None:
    assert typed("q")[1] == ["quit"]
    assert typed("/q")[1] == []
    assert typed(["/", "interrupt"])[1] == ["quit"]


def answer(page: str = "topics", **more: Any) -> dict[str, Any]:
    """What a daemon answers."""
    row = {
        "events": 1_234,
        "rate": 17.0,
        "silent_s": 0.5,
        "bus_p99_ms": 0.25,
        "depth": 3,
        "high_water": 9,
        "lag_s": 2.0,
        "dropped": 0,
    }
    return {
        "page": page,
        "node": 7,
        "state": "recording",
        "waiting_for": "",
        "uptime_s": 61.0,
        "wall_ns": 1_700_000_000_000_000_000,
        "topics_count": 3,
        "decoder": {"events": 99},
        "raw_log": {
            "frames": 5,
            "compressed_bytes": 6,
            "pending_bytes": 0,
            "paused": False,
            "fault": None,
            "write_p99_ms": 1.0,
            "fsync_p99_ms": 2.0,
        },
        "loop_lag_p99_ms": 0.1,
        "lag_s": 0.0,
        "sink": {
            "state": "live",
            "rows_committed": 8,
            "pending_bytes": 0,
            "ack_p99_ms": 3.0,
            "circuit": "closed",
            "spool_blocks": 0,
        },
        "halt": {"state": "halted", "reason": "a start"},
        "gaps_open": 0,
        "venues": [{"venue": "okx", "lines": 2, "streaming": 1, "fault": "[red]boom[/]"}],
        "sort": "lag",
        "rates_known": True,
        "rows": [{"topic": name, **row} for name in ROWS],
        **more,
    }


def printed(view: View, said: dict[str, Any], lines: int = 24) -> str:
    console = Console(width=120, height=lines, color_system=None)
    with console.capture() as captured:
        console.print(draw(view, said, lines=lines))
    return captured.get()


def test_topics_page_tells_the_figures_and_marks_the_order() -> None:
    page = printed(View(sort="lag"), answer())
    assert "lag ▾" in page
    assert "2,000 ms" in page
    assert all(name in page for name in ROWS)
    assert "okx: 1 of 2 lines stream; [red]boom[/]" in page  # a venue's words are no markup


def test_without_two_readings_no_rate_is_invented() -> None:
    assert " 17 " not in printed(View(), answer(rates_known=False))


def test_every_page_fits_a_small_terminal() -> None:
    many = [{**answer()["rows"][0], "topic": f"trade.okx.S{n}"} for n in range(200)]
    page = printed(View(selected=150), answer(rows=many), lines=24)
    assert len(page.splitlines()) <= 24
    assert "trade.okx.S150" in page
    assert first_row(150, 14) == 137


def test_kill_line_says_what_it_will_do() -> None:
    assert "halt ALL orders" in printed(typed("k")[0], answer())


def test_gaps_page_without_gaps_says_so() -> None:
    assert "no open gaps" in printed(View(page="gaps"), answer("gaps", counts=[], gaps=[]))


def test_a_topic_that_is_not_there_is_no_crash() -> None:
    page = printed(View(page="topic", topic="trade.okx.Z"), answer("topic", topic=None))
    assert "trade.okx.Z has no events" in page
