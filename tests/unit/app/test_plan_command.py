"""`tickd plan`: the connections of a file, and what would be legal where it asks for too much."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

HEAD = """
[[venues]]
name = "binance-usdm"
symbols = ["BTCUSDT", "ETHUSDT", "XRPUSDT"]
channels = ["trade", "mark"]
"""


@pytest.fixture
def write(tmp_path: Path):
    def write_text(text: str) -> Path:
        path = tmp_path / "tickd.toml"
        path.write_text(text)
        return path

    return write_text


def test_a_plan_is_printed_connection_by_connection(command, write) -> None:
    ended = command("plan", write(HEAD + "streams_per_connection = 2\n"))
    assert ended.code == 0
    assert "binance-usdm, shard 0/1: 6 streams on 4 connections" in ended.out
    assert "by priority: 6 streams of 100" in ended.out
    assert "btcusdt@trade" in ended.out


def test_a_file_without_venues_records_nothing_and_the_plan_says_so(command, write) -> None:
    ended = command("plan", write("[node]\nid = 3\n"))
    assert ended.code == 0
    assert ended.out == "nothing to record: no [[venues]]\n"


def test_a_universe_whose_members_nobody_has_asked_for_is_said(
    command, write, tmp_path: Path
) -> None:
    universe = (
        '[[universes]]\nname = "top"\nvenue = "binance-usdm"\ncount = 5\n'
        '[[subscriptions]]\nname = "books"\npatterns = ["binance-usdm:{top}@depth"]\n'
    )
    ended = command("plan", write(f'[node]\nstate_dir = "{tmp_path}"\n{HEAD}{universe}'))
    assert "pattern binance-usdm:{top}@depth selects nothing before a daemon has" in ended.out


def test_shards_together_are_the_whole(command, write) -> None:
    path = write(HEAD)
    streams = []
    for part in ("0/2", "1/2"):
        ended = command("plan", path, "--shard", part, "--json")
        (plan,) = json.loads(ended.out)
        assert plan["shard"] == part
        streams += [name for each in plan["connections"] for name in each["streams"]]
    whole = json.loads(command("plan", path, "--json").out)[0]["connections"]
    assert sorted(streams) == sorted(name for each in whole for name in each["streams"])


def test_a_plan_beyond_the_limits_ends_with_code_2_and_the_nearest_legal_one(
    command, write
) -> None:
    ended = command("plan", write(HEAD + "streams_per_connection = 2\nconnections_max = 4\n"))
    assert ended.code == 2
    assert "6 streams need 4 connections of at most 2 streams, 3 are possible" in ended.err
    assert "hint: nearest legal plan: the " in ended.err
    ended = command("check", write(HEAD + "streams_per_connection = 2\nconnections_max = 4\n"))
    assert ended.code == 2


@pytest.mark.parametrize("shard", ["2/2", "x"])
def test_what_is_no_shard_is_refused(command, write, shard: str) -> None:
    ended = command("plan", write(HEAD), "--shard", shard)
    assert ended.code == 2
    assert "not a shard" in ended.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('patterns = ["okx:BTC@trade"]', "names a venue that has no"),
        ('patterns = ["binance-usdm:BTC@trades"]', "unknown channel 'trades'"),
        ('patterns = ["!binance-usdm:BTC@trade"]', "only exclusions"),
        ("patterns = []", "name and patterns are needed"),
        ('patterns = ["binance-usdm:*@trade"]\nrotation_seconds = 0.5', "rotation_seconds must be"),
        ('patterns = ["binance-usdm:*@trade"]\nrotation_symbols = 0', "rotation_symbols must be"),
    ],
)
def test_a_wrong_group_is_refused_in_words(command, write, text: str, words: str) -> None:
    ended = command("check", write(f'{HEAD}[[subscriptions]]\nname = "x"\n{text}\n'))
    assert ended.code == 2
    assert words in ended.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('shard = "3/2"', "not a shard"),
        ("lag_pause_ms = 500", "lag_resume_ms must be in"),
        ("hold_seconds = 0.0", "must be positive"),
    ],
)
def test_wrong_bounds_are_refused_in_words(command, write, text: str, words: str) -> None:
    ended = command("check", write(f"[plan]\n{text}\n{HEAD}"))
    assert ended.code == 2
    assert words in ended.err


def test_a_broker_is_planned_without_a_login_and_its_patterns_wait(command, write) -> None:
    text = """
[[venues]]
name = "shioaji"
symbols = ["2330", "2330-ODD", "IX0001"]
channels = ["trade", "quote", "depth", "index"]
streams_per_connection = 3

[[subscriptions]]
name = "x"
patterns = ["shioaji:23*@trade"]
"""
    ended = command("plan", write(text))
    assert ended.code == 0
    assert "shioaji, shard 0/1: 5 streams on 2 connections" in ended.out
    assert "bid_ask:2330-ODD" in ended.out
    assert "only a login can ask" in ended.err


def test_a_universe_is_planned_as_the_daemon_took_it_last(command, write, tmp_path: Path) -> None:
    text = f"""
[node]
state_dir = "{tmp_path}"
{HEAD}
[[universes]]
name = "best"
venue = "binance-usdm"
count = 2
stale_seconds = 1e12

[[subscriptions]]
name = "x"
patterns = ["binance-usdm:{{best}}@depth"]
"""
    before = command("plan", write(text))
    assert "6 streams" in before.out
    snapshot = {"name": "best", "venue": "binance-usdm", "source": "venue", "rank": "turnover"}
    snapshot |= {"taken_ns": 1, "symbols": ["SOLUSDT"], "values": [1.0]}
    (tmp_path / "universes").mkdir()
    (tmp_path / "universes/best.json").write_text(json.dumps(snapshot))
    assert "7 streams" in command("plan", write(text)).out
