"""What `[[indicators]]` refuses, in which words, and what the number of a definition depends on."""

from __future__ import annotations

from typing import Any

import pytest

from strategy_runner.indicator_config import KINDS, IndicatorConfig
from strategy_runner.indicators import load

GOOD: dict[str, Any] = {
    "name": "flow",
    "kind": "ofi",
    "topics": ("quote.binance-usdm.*",),
    "params": {"window": 100},
}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"name": "Flow 1"}, "indicator 'Flow 1': a name has a-z, 0-9 and _"),
        ({"kind": "magic"}, "indicator flow: no kind 'magic', one of amihud, "),
        ({"topics": ()}, "indicator flow: no topics"),
        ({"topics": ("quote.binance-usdm",)}, "not a topic pattern"),
        ({"topics": ("gossip.*.*",)}, "unknown channel 'gossip'"),
        ({"topics": ("*",)}, "ofi takes quotes, which '\\*' has not; topics of quote or depth"),
        ({"topics": ("trade.*.*",)}, "ofi takes quotes, which 'trade.*.*' has not"),
        (
            {"kind": "mlofi", "params": {"levels": 5}},
            "mlofi takes levels, which 'quote.binance-usdm.*' has not; topics of depth",
        ),
        (
            {"kind": "cvd", "params": {}},
            "cvd takes trades, which 'quote.binance-usdm.*' has not; topics of trade or aggtrade",
        ),
        ({"params": {"window": 0}}, "indicator flow: .*give at most one of window"),
        ({"params": {"window": "ten"}}, "indicator flow: 'str' object"),
        ({"params": {"windw": 10}}, "indicator flow: .*unexpected keyword argument 'windw'"),
        ({"params": {"strict": True}}, "indicator flow: strict has no meaning here"),
        ({"kind": "vpin", "params": {}}, "indicator flow: .*bucket_volume"),
    ],
)
def test_what_cannot_be_computed_is_refused_with_its_reason(
    changed: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        IndicatorConfig(**GOOD | changed)


def test_prices_come_from_trades_quotes_and_books() -> None:
    topics = ("trade.*.*", "aggtrade.*.*", "quote.*.*", "depth.*.*")
    config = IndicatorConfig(name="rv", kind="realized_variance", topics=topics, params={})
    assert config.topics == topics


def test_the_number_is_that_of_the_definition_alone() -> None:
    """Rows in ClickHouse and logs carry it: it may never change with a release."""
    number = IndicatorConfig(**GOOD).number
    assert number == 1_175_260_965
    elsewhere = GOOD | {"topics": ("depth.okx.*",), "publish": "every"}
    assert IndicatorConfig(**elsewhere).number == number
    for changed in ({"name": "flow_2"}, {"params": {"window": 99}}, {"kind": "mid", "params": {}}):
        assert IndicatorConfig(**GOOD | changed).number != number


def test_every_kind_names_a_class_that_twins_have_too() -> None:
    for backend in ("native", "numpy"):
        assert {name for name in KINDS.values() if not hasattr(load(backend), name)} == set()
