"""Who is in a universe: the best by a figure, with patience at the border, named in patterns."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import SubscriptionConfig, UniverseConfig, VenueConfig
from gateway.errors import PatternError
from gateway.subscriptions.carried import Carried
from gateway.subscriptions.patterns import parse
from gateway.subscriptions.universe import Snapshot, rank
from gateway.subscriptions.wishes import Listing, Order, Wanted, check_patterns
from gateway.venue import Figures
from gateway.venues.registry import find

S = 1_000_000_000
USDM = find("binance-usdm")


def config(**fields: object) -> UniverseConfig:
    return msgspec.convert(
        {"name": "best", "venue": "binance-usdm", "count": 2, **fields}, UniverseConfig
    )


def figures(**turnovers: float | None) -> list[Figures]:
    return [Figures(symbol, turnover_f=value) for symbol, value in turnovers.items()]


def test_the_best_are_in_and_the_best_is_first() -> None:
    snapshot = rank(config(), figures(A=1.0, B=3.0, C=2.0), (), 7)
    assert (snapshot.symbols, snapshot.values, snapshot.taken_ns) == (("B", "C"), (3.0, 2.0), 7)


def test_ties_are_decided_by_name_and_what_is_not_known_is_not_in() -> None:
    found = figures(B=1.0, A=1.0, C=None, D=math.nan, E=0.0, F=-1.0)
    assert rank(config(count=9), found, (), 0).symbols == ("A", "B")


def test_globs_say_who_may_be_in() -> None:
    found = figures(BTCUSDT=1.0, BTCUSDC=9.0, ETHUSDT=2.0)
    assert rank(config(symbols=["*USDT"]), found, (), 0).symbols == ("ETHUSDT", "BTCUSDT")


def test_a_member_stays_while_it_is_nearly_good_enough() -> None:
    found = figures(A=4.0, B=3.0, C=2.0, D=1.0)
    assert rank(config(keep=1), found, ("A", "C"), 0).symbols == ("A", "C")
    assert rank(config(keep=1), found, ("A", "D"), 0).symbols == ("A", "B")
    assert rank(config(keep=0), found, ("A", "C"), 0).symbols == ("A", "B")


@given(
    values=st.dictionaries(st.sampled_from("ABCDEFGHIJ"), st.floats(0.1, 9.0)),
    before=st.lists(st.sampled_from("ABCDEFGHIJ"), unique=True),
    count=st.integers(1, 10),
    keep=st.integers(0, 5),
)
def test_nobody_is_in_who_is_not_nearly_good_enough(
    values: dict[str, float], before: list[str], count: int, keep: int
) -> None:
    snapshot = rank(config(count=count, keep=keep), figures(**values), before, 0)
    order = sorted(values, key=lambda symbol: (-values[symbol], symbol))
    assert len(snapshot.symbols) == min(count, len(values))
    assert set(snapshot.symbols) <= set(order[: count + keep])
    for place, symbol in enumerate(order[:count]):
        outsiders = {each for each in order[count : count + keep] if each in before}
        assert symbol in snapshot.symbols or outsiders & set(snapshot.symbols), place
    again = rank(config(count=count, keep=keep), figures(**values), snapshot.symbols, 0)
    assert again.symbols == snapshot.symbols, "nothing moves when nothing has changed"


def test_a_snapshot_is_good_for_its_time_and_for_its_question() -> None:
    asked = config(refresh_seconds=60.0, stale_seconds=600.0)
    snapshot = rank(asked, figures(A=1.0), (), 1_000 * S)
    assert snapshot.is_fresh(asked, 1_059 * S)
    assert not snapshot.is_fresh(asked, 1_060 * S)
    assert snapshot.is_usable(asked, 1_599 * S)
    assert not snapshot.is_usable(asked, 1_600 * S)
    assert not snapshot.is_usable(asked, 999 * S), "a clock that was set back"
    other = config(refresh_seconds=60.0, stale_seconds=600.0, rank="volume")
    assert not snapshot.is_usable(other, 1_000 * S)
    assert msgspec.json.decode(msgspec.json.encode(snapshot), type=Snapshot) == snapshot


def test_the_record_says_who_came_and_who_went() -> None:
    record = rank(config(), figures(A=1.0, B=2.0), ("A", "Z"), 5).record(("A", "Z"))
    assert record["kind"] == "universe"
    assert (record["added"], record["removed"]) == (["B"], ["Z"])
    assert record["values"] == (2.0, 1.0)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "../x"}, "letters, digits"),
        ({"count": 0}, "count must be"),
        ({"keep": -1}, "keep must not"),
        ({"refresh_seconds": 1.0}, "refresh_seconds"),
        ({"refresh_seconds": 90_000.0}, "stale_seconds"),
        ({"lookback_hours": 0}, "lookback_hours"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        config(**fields)


# In patterns -----------------------------------------------------------------------------------


def wanted(*patterns: str, members: tuple[str, ...] = ("A", "B"), **fields: object) -> Wanted:
    group = msgspec.convert({"name": "g", "patterns": patterns, **fields}, SubscriptionConfig)
    venue = VenueConfig(name="binance-usdm", channels=("trade",))
    return Wanted(venue, (group,), universes={"best": members})


def names(carried: Carried) -> list[str]:
    return sorted(stream.name for place in carried.places for stream in place.streams)


def carried_of(asked: Wanted, *listed: str) -> Carried:
    carried = Carried(USDM, asked)
    listing = Listing(frozenset(listed), frozenset(listed)) if listed else None
    carried.listed(listing, "start", strict=True)
    return carried


def test_a_universe_in_a_pattern_is_its_members_as_far_as_they_are_listed() -> None:
    asked = wanted("binance-usdm:{best}@trade", members=("A", "B", "GONE"))
    assert asked.named == ("A", "B", "GONE")
    assert not asked.needs_listing
    assert names(carried_of(asked)) == ["a@trade", "b@trade", "gone@trade"]
    assert names(carried_of(asked, "A", "B", "C")) == ["a@trade", "b@trade"]


def test_a_universe_that_nobody_has_ranked_yet_is_empty() -> None:
    asked = wanted("binance-usdm:{later}@trade")
    assert names(carried_of(asked, "A")) == []
    assert carried_of(asked, "A").take_warnings() == ()


def test_a_universe_can_be_excluded_and_unsubscribed() -> None:
    both = wanted("binance-usdm:*@trade", "!binance-usdm:{best}@trade")
    assert names(carried_of(both, "A", "B", "C")) == ["c@trade"]
    order = Order(False, parse("binance-usdm:{best}@*"))
    everything = wanted("binance-usdm:*@trade")._replace(orders=(order,))
    assert names(carried_of(everything, "A", "C")) == ["c@trade"]


def test_a_swap_moves_only_those_who_come_and_go() -> None:
    asked = wanted("binance-usdm:{best}@trade")
    carried = carried_of(asked, "A", "B", "C")
    change = carried.want(asked._replace(universes={"best": ("B", "C")}), "universe best")
    assert (change.added, change.removed, change.moved) == (("c@trade",), ("a@trade",), ())


def test_members_may_take_turns() -> None:
    asked = wanted(
        "binance-usdm:{best}@trade",
        members=("A", "B", "C"),
        rotation_seconds=60.0,
        rotation_symbols=2,
    )
    assert len(names(carried_of(asked, "A", "B", "C"))) == 2


def test_a_universe_that_is_not_configured_for_the_venue_is_refused() -> None:
    group = (SubscriptionConfig(name="g", patterns=("binance-usdm:{best}@trade",)),)
    check_patterns(group, ["binance-usdm"], (config(),))
    for universes in ((), (config(venue="okx"),)):
        with pytest.raises(PatternError, match="has no universe 'best'"):
            check_patterns(group, ["binance-usdm"], universes)
