"""Topics and the patterns that select them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tickd.errors import TickdError
from tickd.topics import CHANNELS, Pattern, Selection, Topic

RUST = Path(__file__).parents[3] / "native/core/src/topic.rs"


def test_channels_are_those_of_rust() -> None:
    assert tuple(re.findall(r'Channel::\w+ => "(\w+)"', RUST.read_text())) == CHANNELS


@pytest.mark.parametrize("name", ["trade.okx.BTC-USDT", "depth.cme.ES.FUT.202612"])
def test_topic_survives_its_text(name: str) -> None:
    assert str(Topic.parse(name)) == name
    assert str(Pattern.parse(name)) == name


@pytest.mark.parametrize("name", ["", "trade", "trade.okx", "trade..X", ".okx.X", "trade.okx."])
def test_what_is_no_topic_is_refused(name: str) -> None:
    with pytest.raises(TickdError, match="not a topic"):
        Topic.parse(name)


def test_unknown_channel_lists_the_known_ones() -> None:
    with pytest.raises(TickdError, match="unknown channel 'trades'") as caught:
        Pattern.parse("trades.okx.*")
    assert "aggtrade" in (caught.value.hint or "")


def test_selection_matches_exact_names_and_wildcards() -> None:
    topic = Topic.parse("trade.okx.A.B")
    assert Selection("*").matches(topic)
    assert Selection(["quote.*.*", "trade.okx.A.B"]).matches(topic)
    assert Selection("*.*.A.B").matches(topic)
    assert not Selection(["trade.okx.A", "trade.*.B", "*.binance-spot.*"]).matches(topic)
    with pytest.raises(TickdError, match="no pattern"):
        Selection([])
