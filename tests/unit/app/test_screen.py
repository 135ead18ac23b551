"""What the status page says of the way to ClickHouse."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from tickd.app.screen import (
    _head,
    _sink_trouble,
    other_sinks_trouble,
    plan_trouble,
    rates_of,
    strategies_table,
)

FINE: dict[str, Any] = {
    "circuit": "closed",
    "tables_refused": [],
    "spool": {"blocks": 0, "bytes": 0, "oldest_age_s": 0.0},
    "spilled": [],
    "fault": None,
}


def test_the_head_says_what_computes_indicators_and_why() -> None:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(
            _head(
                {
                    "state": "recording",
                    "node": 1,
                    "uptime_s": 1.0,
                    "raw_log": {
                        "frames": 1,
                        "compressed_bytes": 1,
                        "write_p99_ms": 1.0,
                        "paused": False,
                    },
                    "sink": {
                        "rows_committed": 1,
                        "state": "live",
                        "pending_bytes": 0,
                        "ack_p99_ms": 1.0,
                    },
                    "decoder": {},
                    "topics_count": 0,
                    "signals": {"indicators": ["flow"], "values": 3_000, "signals": 1_500},
                    "backends": [
                        {
                            "what": "indicators",
                            "backend": "numpy",
                            "reason": "the module is missing",
                        }
                    ],
                }
            )
        )
    backend, signals = (line.rstrip() for line in captured.get().splitlines()[-2:])
    assert backend.split(maxsplit=2) == ["indicators", "numpy", "the module is missing"]
    assert signals.split(maxsplit=5) == [
        *("signals", "1,500", "of", "3,000", "values"),
        "1 indicators",
    ]


def test_a_sink_without_trouble_is_no_line() -> None:
    assert _sink_trouble(FINE) == ""
    assert _sink_trouble(FINE | {"fault": "an old one"}) == ""


def test_an_outage_tells_what_waits_where_and_why() -> None:
    spool = {"blocks": 1_200, "bytes": 3 << 20, "oldest_age_s": 61.4}
    line = _sink_trouble(
        FINE | {"circuit": "open", "spool": spool, "spilled": [{}], "fault": "no route"}
    )
    assert line == (
        "ClickHouse does not answer; spool: 1,200 blocks, 3 MiB, oldest 61 s;"
        " 1 ranges left to repair; no route"
    )


def test_a_refused_table_is_named() -> None:
    assert _sink_trouble(FINE | {"tables_refused": ["marks"]}) == "refused: marks"


def test_what_is_recorded_less_than_wanted_is_said_with_its_reason() -> None:
    plan = {"paused_below": None, "lag_s": 0.0, "refused": None}
    venue = {"streams_paused": 0, "refusal": None, "sdk": None}
    assert plan_trouble({"plan": plan, "venues": [venue]}) == []
    busy = plan | {"paused_below": 50, "lag_s": 2.25, "refused": "tickd.toml: not TOML"}
    venues = [venue | {"streams_paused": 1_200}, venue | {"refusal": "okx: too many"}]
    assert plan_trouble({"plan": busy, "venues": venues}) == [
        "1,200 streams of priority below 50 are paused, lag 2.2 s",
        "okx: too many",
        "the file is refused, what ran before goes on: tickd.toml: not TOML",
    ]


def test_a_strategy_that_ended_shows_its_reason() -> None:
    row: dict[str, Any] = {
        "name": "mine",
        "state": "stopped",
        "restarts": 2,
        "events": 12_345,
        "p99_us": 7.6,
        "decisions": 9,
        "hash": "ab" * 32,
        "merged": 4,
        "dropped": 0,
        "undelivered": 24_001,
        "rss_bytes": 0,
        "reason": "RuntimeError: a bad day",
        "warmth": {"notes": ["no image was kept: the raw log alone"]},
    }
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(strategies_table([row]))
    text = console.export_text()
    for word in (
        "mine",
        "stopped (2 restarts)",
        "12,345",
        "24,001",
        "8 µs",
        "ab" * 8,
        row["reason"],
    ):
        assert word in text
    assert "ab" * 9 not in text
    assert "image" not in text
    console.print(strategies_table([row | {"reason": ""}]))
    assert "no image was kept: the raw log alone" in console.export_text()


def test_a_sink_beside_clickhouse_that_did_without_something_is_a_line() -> None:
    queue = {"subscription": "jsonl", "dropped": 0}
    sink = {"name": "jsonl", "failures": 0, "fault": None}
    status = {"bus": {"queues": [queue]}, "sinks": [sink]}
    assert other_sinks_trouble(status) == []
    status = {
        "bus": {"queues": [queue | {"dropped": 4_117}]},
        "sinks": [sink | {"failures": 2, "fault": "OSError: no space"}],
    }
    assert other_sinks_trouble(status) == [
        (
            "sink jsonl: 4,117 events dropped, its queue was full;"
            " failed 2 times, the last time: OSError: no space"
        )
    ]


def test_a_rate_is_what_came_between_two_pictures() -> None:
    before = {"uptime_s": 10.0, "topics": [{"topic": "a", "events": 100}]}
    now = {
        "uptime_s": 12.0,
        "topics": [{"topic": "a", "events": 700}, {"topic": "b", "events": 4}],
    }
    assert rates_of(before, now) == {"a": 300.0, "b": 2.0}
