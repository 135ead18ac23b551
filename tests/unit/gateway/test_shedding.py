"""Which streams a connection has to end and begin again when channels are given up."""

from __future__ import annotations

import json

from gateway.shedding import Shedding, shed_record
from gateway.venue import Stream

TRADE = Stream("btcusdt@trade", "trade", "BTCUSDT", "market", ("trade.v.BTCUSDT",))
DEPTH = Stream("btcusdt@depth", "depth", "BTCUSDT", "market", ("depth.v.BTCUSDT",))
MARK = Stream("btcusdt@markPrice", "mark", "BTCUSDT", "market", ("mark.v.BTCUSDT", "index.v.BTC"))
PLANNED = (TRADE, DEPTH, MARK)


def test_nothing_is_given_up_at_first() -> None:
    shedding = Shedding()
    assert shedding.wanted(PLANNED) == PLANNED
    assert shedding.difference(PLANNED, PLANNED) == ((), ())


def test_giving_up_ends_the_channel_s_streams_and_restoring_begins_them() -> None:
    shedding = Shedding()
    assert shedding.give_up(["depth"], "disk")
    assert shedding.difference(PLANNED, PLANNED) == ((DEPTH,), ())
    assert shedding.give_up([], "")
    assert shedding.difference(PLANNED, (TRADE, MARK)) == ((), (DEPTH,))


def test_only_a_change_is_something_new() -> None:
    shedding = Shedding()
    assert not shedding.give_up([], "disk")
    assert shedding.give_up(["depth"], "disk")
    assert not shedding.give_up(["depth"], "disk")
    assert shedding.version == 1


def test_the_record_names_the_channels_of_the_topics() -> None:
    assert json.loads(shed_record("shed", 7, [MARK, DEPTH], "disk")) == {
        "kind": "shed",
        "connection": 7,
        "channels": ["depth", "index", "mark"],
        "cause": "disk",
    }
