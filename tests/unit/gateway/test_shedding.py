"""Which streams a connection has to end and begin again when channels are given up."""

from __future__ import annotations

import json

from gateway.shedding import Shedding, difference, shed_record
from gateway.venue import Stream

TRADE = Stream("btcusdt@trade", "trade", "BTCUSDT", "market", ("trade.v.BTCUSDT",))
DEPTH = Stream("btcusdt@depth", "depth", "BTCUSDT", "market", ("depth.v.BTCUSDT",))
MARK = Stream("btcusdt@markPrice", "mark", "BTCUSDT", "market", ("mark.v.BTCUSDT", "index.v.BTC"))
PLANNED = (TRADE, DEPTH, MARK)


def test_a_connection_ends_what_is_not_wanted_and_begins_what_it_lacks() -> None:
    assert difference(PLANNED, PLANNED) == ((), ())
    assert difference((TRADE, MARK), PLANNED) == ((DEPTH,), ())
    assert difference(PLANNED, (TRADE, MARK)) == ((), (DEPTH,))


def test_nothing_is_given_up_at_first() -> None:
    assert Shedding().channels == frozenset()
    assert not Shedding().covers(frozenset({"trade"}))


def test_only_a_change_is_something_new() -> None:
    shedding = Shedding()
    assert not shedding.give_up([], "disk")
    assert shedding.give_up(["depth"], "disk")
    assert not shedding.give_up(["depth"], "disk")
    assert shedding.channels == {"depth"}
    assert shedding.covers(frozenset({"depth"}))
    assert not shedding.covers(frozenset({"quote", "depth"})), "quotes would go with the books"
    assert not shedding.covers(frozenset())
    assert shedding.give_up([], "")
    assert shedding.channels == frozenset()


def test_the_record_names_the_topics_of_the_streams_and_their_channels() -> None:
    assert json.loads(shed_record("shed", 7, [MARK, DEPTH], "disk")) == {
        "kind": "shed",
        "connection": 7,
        "channels": ["depth", "index", "mark"],
        "topics": ["depth.v.BTCUSDT", "index.v.BTC", "mark.v.BTCUSDT"],
        "cause": "disk",
    }
