"""Patterns say what they select, and errors say what to do."""

from __future__ import annotations

import re

import pytest

from gateway.errors import PatternError
from gateway.subscriptions.patterns import Pattern, explain_nothing, parse


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("binance-usdm:*USDT@depth", ("binance-usdm", "*USDT", "depth", False)),
        ("okx:BTC-*@*", ("okx", "BTC-*", "*", False)),
        ("!okx:BTC-*@*", ("okx", "BTC-*", "*", True)),
        ("v:A@B@trade", ("v", "A@B", "trade", False)),
        ("v:A:B@trade", ("v", "A:B", "trade", False)),
    ],
)
def test_parts(text: str, parts: tuple[object, ...]) -> None:
    assert tuple(Pattern.parse(text)) == parts
    assert str(Pattern.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("", "not a pattern", "venue:symbol@channel"),
        ("BTCUSDT", "not a pattern", "venue:symbol@channel"),
        ("okx:BTC-USDT", "not a pattern", "venue:symbol@channel"),
        (":BTC@trade", "not a pattern", "venue:symbol@channel"),
        ("okx:@trade", "not a pattern", "venue:symbol@channel"),
        ("okx:BTC@", "not a pattern", "venue:symbol@channel"),
        ("*:BTC@trade", "a venue is named", "one pattern for each venue"),
        ("okx:BTC@trades", "unknown channel 'trades'", "did you mean trade"),
        ("okx:BTC@xyz", "unknown channel 'xyz'", "one of trade, "),
    ],
)
def test_refusals_say_what_is_wrong_and_what_to_do(text: str, words: str, hint: str) -> None:
    with pytest.raises(PatternError, match=words) as refused:
        Pattern.parse(text)
    assert hint in str(refused.value.hint)


def test_an_exact_symbol_matches_itself_and_a_glob_what_it_covers() -> None:
    assert parse("v:BTCUSDT@trade").exact
    assert parse("v:BTCUSDT@trade").matches("BTCUSDT")
    assert not parse("v:BTCUSDT@trade").matches("BTCUSDT2")
    glob = parse("v:[BE]T?USDT@trade")
    assert not glob.exact
    assert [each for each in ("BTCUSDT", "ETHUSDT", "XRPUSDT") if glob.matches(each)] == [
        "BTCUSDT",
        "ETHUSDT",
    ]
    assert not glob.matches("btcusdt")


@pytest.mark.parametrize(
    ("pattern", "listed", "words"),
    [
        ("v:*USDT@trade", (), "lists no symbol yet"),
        ("v:*usdt@trade", ("BTCUSDT", "ETHUSDT"), "in another case"),
        ("v:BTCUSD*@trade", ("BTC-USD", "ETH-USD"), "did you mean BTC-USD"),
        ("v:*QQQ*@trade", ("AB", "CD", "EF", "GH"), r"none of the 4 symbols of v \(AB, CD, EF"),
    ],
)
def test_a_pattern_that_selects_nothing_is_explained(
    pattern: str, listed: tuple[str, ...], words: str
) -> None:
    assert re.search(words, explain_nothing(parse(pattern), listed))
