"""What strategies say: recorded when it makes sense, refused with nothing recorded when not."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from strategy_runner.config import StrategyConfig
from strategy_runner.runner import owner_of
from tickd.app.strategy_answers import PARTS_MAX, Answers, StrategySaidError

CLIENT_ID = owner_of("mine") << 32 | 1
INTENT = {
    "kind": "intent",
    "strategy": "mine",
    "client_id": CLIENT_ID,
    "instrument": 9,
    "venue": "okx",
    "symbol": "A",
    "side": "B",
    "price": None,
    "size": 3,
}


def answers() -> tuple[Answers, list[dict[str, Any]]]:
    recorded: list[dict[str, Any]] = []
    return Answers([StrategyConfig(name="mine", class_="m:C")], recorded.append), recorded


def test_an_intent_is_recorded_and_refused_because_there_is_no_gate() -> None:
    mine, recorded = answers()
    mine.take(orjson.dumps(INTENT))
    intent, order = recorded
    assert intent == INTENT
    assert order == {
        "kind": "order",
        "strategy": "mine",
        "client_id": CLIENT_ID,
        "state": "refused",
        "reason": "no gate",
        "venue": "okx",
        "symbol": "A",
        "instrument": 9,
        "side": "B",
    }
    assert mine.intents == {"mine": 1}


def test_other_lines_are_recorded_as_they_are() -> None:
    mine, recorded = answers()
    lines = [{"kind": kind, "strategy": "mine", "count": 2} for kind in ("cancel", "decisions")]
    for line in lines:
        mine.take(orjson.dumps(line))
    assert recorded == lines
    assert mine.decisions["mine"]["count"] == 2


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b'{"kind":"start","strategy":"mine"}',
        b'{"kind":"order","strategy":"mine"}',
        b'{"kind":"cancel"}',
        b'{"kind":"cancel","strategy":"yours"}',
        orjson.dumps({**INTENT, "client_id": owner_of("yours") << 32}),
        orjson.dumps({**INTENT, "client_id": "1"}),
        orjson.dumps({**INTENT, "client_id": (1 << 64) - 1}),
        orjson.dumps({**INTENT, "client_id": -1}),
        orjson.dumps({**INTENT, "instrument": 1 << 32}),
        orjson.dumps({**INTENT, "instrument": True}),
        orjson.dumps({**INTENT, "venue": None}),
        orjson.dumps({**INTENT, "side": "N"}),
        b'{"kind":"failure","strategy":"mine","seq":"9"}',
        b'{"kind":"restart","strategy":"mine"}',
    ],
)
def test_nonsense_is_refused_and_leaves_nothing(line: bytes) -> None:
    mine, recorded = answers()
    with pytest.raises(StrategySaidError):
        mine.take(line)
    assert recorded == []


def test_failures_and_restarts_are_recorded_and_counted() -> None:
    mine, recorded = answers()
    lines = [
        {"kind": "failure", "strategy": "mine", "seq": 7, "reason": "ValueError: no"},
        {"kind": "restart", "strategy": "mine", "seq": 9},
    ]
    for line in lines:
        mine.take(orjson.dumps(line))
    assert recorded == lines
    assert (mine.restarts["mine"], mine.failures["mine"]) == (1, "ValueError: no")
    assert mine.failed_seqs["mine"] == 7


WARM = {"kind": "warm", "strategy": "mine", "feed": "mine", "seq": 9, "part": 0, "parts": 1}


def test_an_image_is_recorded_as_it_is() -> None:
    mine, recorded = answers()
    mine.take(orjson.dumps({**WARM, "image": "AAAA"}))
    assert recorded == [{**WARM, "image": "AAAA"}]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "image is 'None'"),
        ({"image": 5}, "image is '5'"),
        ({"image": "A", "feed": "yours"}, "of feed 'yours'"),
        ({"image": "A", "part": 1}, "part 1 of 1"),
        ({"image": "A", "part": -1}, "part -1 of 1"),
        ({"image": "A", "parts": PARTS_MAX + 1}, f"part 0 of {PARTS_MAX + 1}"),
        ({"image": "A", "seq": "9"}, "seq is '9'"),
    ],
)
def test_an_image_that_cannot_be_is_refused(change: dict[str, Any], words: str) -> None:
    mine, recorded = answers()
    with pytest.raises(StrategySaidError, match=words):
        mine.take(orjson.dumps(WARM | change))
    assert recorded == []
