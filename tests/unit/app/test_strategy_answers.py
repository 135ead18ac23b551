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
    "time_in_force": "gtc",
    "reduce_only": False,
}
REPLACE = {"kind": "replace", "strategy": "mine", "client_id": CLIENT_ID, "price": 7, "size": 2}


def answers() -> tuple[Answers, list[dict[str, Any]]]:
    recorded: list[dict[str, Any]] = []
    return Answers([StrategyConfig(name="mine", class_="m:C")], recorded.append), recorded


def test_an_intent_without_an_account_is_recorded_and_denied() -> None:
    mine, recorded = answers()
    mine.take(orjson.dumps(INTENT))
    intent, order = recorded
    assert intent == INTENT
    assert order == {
        "kind": "order",
        "strategy": "mine",
        "client_id": CLIENT_ID,
        "state": "denied",
        "reason": "no account",
        "venue": "okx",
        "symbol": "A",
        "instrument": 9,
        "side": "B",
    }
    assert mine.intents == {"mine": 1}


def test_what_asks_for_something_goes_on_once_it_is_recorded() -> None:
    recorded: list[dict[str, Any]] = []
    asked: list[tuple[int, dict[str, Any]]] = []
    config = StrategyConfig(name="mine", class_="m:C")
    mine = Answers(
        [config], recorded.append, trade=lambda fields: asked.append((len(recorded), fields))
    )
    cancel = {"kind": "cancel", "strategy": "mine", "client_id": CLIENT_ID}
    for line in (INTENT, REPLACE, cancel, {"kind": "state", "strategy": "mine"}):
        mine.take(orjson.dumps(line))
    assert asked == [(1, INTENT), (2, REPLACE), (3, cancel)]
    assert mine.intents == {"mine": 1}


def test_other_lines_are_recorded_as_they_are() -> None:
    mine, recorded = answers()
    lines = [{"kind": kind, "strategy": "mine", "count": 2} for kind in ("state", "decisions")]
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
        b'{"kind":"cancel","strategy":"mine"}',
        orjson.dumps({**REPLACE, "client_id": owner_of("yours") << 32}),
        orjson.dumps({**REPLACE, "size": None}),
        orjson.dumps({**REPLACE, "price": 1.5}),
        orjson.dumps({**INTENT, "size": True}),
        orjson.dumps({**INTENT, "price": (1 << 63) - 1}),
        orjson.dumps({**INTENT, "price": "NaN"}),
        orjson.dumps({**INTENT, "time_in_force": "day"}),
        orjson.dumps({**INTENT, "reduce_only": None}),
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
