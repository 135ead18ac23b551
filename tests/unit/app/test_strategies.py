"""Who gets what: topics, policies, groups. Processes are tried in tests/proof/."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import orjson
import pytest

from strategy_runner.config import StrategyConfig
from strategy_runner.strategy import Strategy
from strategy_runner.wants import Wants
from tests.unit.strategy_runner.kit import Tape, World
from tickd.app.strategy_wire import Report, Start

NAMES = [
    "trade.okx.A",
    "quote.okx.A",
    "trade.binance-spot.B",
    "clock.node.tick",
    "order.okx.Z",
    "depth.okx.A",
]


def wants(*strategies: dict[str, Any]) -> Wants:
    configs = [
        StrategyConfig(name=f"s{number}", class_="m:C", **fields)
        for number, fields in enumerate(strategies)
    ]
    return Wants(configs, NAMES.__getitem__)


def test_a_topic_has_the_policy_of_the_first_strategy_that_wants_it() -> None:
    group = wants(
        {"topics": ("trade.okx.*",), "policies": {"trade.*.*": "drop_oldest"}},
        {"topics": ("*.okx.A",), "when_full": "disconnect", "policies": {"depth.*.*": "conflate"}},
    )
    assert dict(group.resolve(number) for number in range(len(NAMES))) == {
        "trade.okx.A": "drop_oldest",
        "quote.okx.A": "disconnect",
        "trade.binance-spot.B": None,
        "clock.node.tick": "conflate",
        "order.okx.Z": "disconnect",
        "depth.okx.A": "conflate",
    }


@pytest.mark.parametrize(
    ("venue", "symbol", "wanted"), [("okx", "A", True), ("okx", "B", False), ("x", "A", False)]
)
def test_definitions_go_to_those_who_may_want_a_topic_of_it(
    venue: str, symbol: str, *, wanted: bool
) -> None:
    group = wants({"topics": ("trade.okx.A", "quote.okx.A")})
    assert group.instrument(json.dumps({"venue": venue, "symbol": symbol}).encode()) is wanted


def test_the_start_message_carries_a_strategys_config_as_it_is() -> None:
    config = StrategyConfig(name="a", class_="m:C", params={"x": [1, "2"]}, topics=("trade.*.*",))
    start = Start(strategies=(config,), state_dir="/s", parent=1, feed=(3, 4), answers=(5, 6))
    assert msgspec.json.decode(msgspec.json.encode(start), type=Start) == start


def test_a_report_of_a_host_is_a_report_of_a_process() -> None:
    class Quiet(Strategy):
        pass

    report = World(Quiet).run(Tape().trade(100, 5).take()).host.report()
    said = msgspec.json.decode(orjson.dumps(report), type=Report)
    (mine,) = said.strategies.values()
    assert (mine.running, mine.events, mine.stopped) == (False, 1, "done")
    assert set(said.gc) == {"pauses", "sum_ns", "max_ns"}
    assert msgspec.convert(report, Report) == said
