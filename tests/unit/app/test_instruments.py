"""What a symbol means: the definition that its venue told last, whatever came before it."""

from __future__ import annotations

from pathlib import Path

from tests.harness.trading_world import SYMBOL, VENUE, definition
from tickd.app.instruments import Instruments
from tickd.app.trading_wiring import definitions_of
from tickd.native import Decoder, RawLog

FINE = {"price_scale": 3, "tick": 5}


def told(*definitions: tuple[int, bytes]) -> tuple[Instruments, list[str]]:
    changes: list[str] = []
    instruments = Instruments()
    instruments.on_meaning(lambda venue, symbol: changes.append(f"{venue}:{symbol}"))
    for number, content in definitions:
        instruments.define(number, content)
    return instruments, changes


def scale(instruments: Instruments) -> int:
    traded = instruments.traded(VENUE, SYMBOL)
    assert traded is not None
    return traded.price_scale


def test_the_newest_definition_counts_and_older_ones_are_known() -> None:
    instruments, changes = told((7, definition()), (3, definition(**FINE)))
    assert scale(instruments) == 3
    assert instruments.numbers(VENUE, SYMBOL) == [7, 3]
    old = instruments.of_number(7)
    assert old is not None
    assert old.price_scale == 2
    assert changes == [f"{VENUE}:{SYMBOL}"] * 2


def test_one_that_is_told_again_with_all_others_says_nothing_new() -> None:
    """The tap tells all that the decoder knows, by number, whatever order they came in."""
    instruments, changes = told(
        (7, definition()), (3, definition(**FINE)), (3, definition(**FINE)), (7, definition())
    )
    assert scale(instruments) == 3
    assert len(changes) == 2


def test_a_venue_that_goes_back_is_heard() -> None:
    instruments, changes = told((7, definition()), (3, definition(**FINE)))
    instruments.hear(1, 1, definition())
    assert scale(instruments) == 2
    instruments.hear(2, 1, definition())
    assert len(changes) == 3


def test_what_is_no_definition_changes_nothing() -> None:
    instruments, changes = told((7, definition()))
    for payload in (
        b'{"kind":"order","venue":"x"}',
        b'{"kind":"instrument","venue":7}',
        b'{"kind":"instrument",',
        definition(symbol="BBBUSDT"),
        definition(**FINE),  # not decoded yet: `define` follows
    ):
        instruments.hear(1, 1, payload)
    assert (scale(instruments), len(changes)) == (2, 1)


def test_what_nobody_defined_has_a_label_all_the_same() -> None:
    instruments, _ = told((7, definition()))
    assert instruments.label(7) == f"{VENUE}:{SYMBOL}"
    assert instruments.label(8) == ":8"
    assert instruments.traded(VENUE, "BBBUSDT") is None
    assert instruments.of_number(8) is None
    assert instruments.numbers(VENUE, "BBBUSDT") == []


def test_after_a_restart_the_one_that_counts_comes_last(tmp_path: Path) -> None:
    """Whichever of two numbers is the larger, both orders occur here."""
    for at, (first, second) in enumerate([({}, FINE), (FINE, {})]):
        decoder = Decoder()
        log = RawLog(str(tmp_path / str(at)), node=1)
        log.restore_decoder(decoder)
        for fields in (first, second):
            log.record(0, "C", definition(**fields))
        log.end_burst(decoder)
        log.close()
        instruments, _ = told(*definitions_of(decoder))
        assert scale(instruments) == second.get("price_scale", 2)
        assert len(instruments.numbers(VENUE, SYMBOL)) == 2
