"""Definitions as a decoder learns them from records written by hand."""

import json

from recorder.raw.definitions import NewDefinitions
from tests.harness.log_writer import instrument
from tickd.native import Decoder


def defines(frame_no, symbol, **fields):
    text = instrument("binance-usdm", symbol, **fields)
    return f"{frame_no} 1 1 0 C {len(text)} ".encode() + text + b"\n"


def tick(frame_no):
    return f'{frame_no} 1 1 0 C 15 {{"kind":"tick"}}\n'.encode()


def told(definitions):
    said = [json.loads(text) for text in definitions]
    return sorted((each["symbol"], each["price_scale"]) for each in said)


def test_each_instrument_is_told_once():
    decoder = Decoder()
    new = NewDefinitions(decoder)
    chunks = [
        (defines(1, "AUSDT") + defines(2, "BUSDT"), [("AUSDT", 2), ("BUSDT", 2)]),
        (tick(3), []),
        (defines(4, "AUSDT"), []),
        (defines(5, "CUSDT") + tick(6), [("CUSDT", 2)]),
    ]
    for chunk, expected in chunks:
        decoder.decode(chunk)
        assert told(new.after(chunk)) == expected


def test_another_scale_is_another_instrument():
    decoder = Decoder()
    new = NewDefinitions(decoder)
    for scale in (2, 4):
        chunk = defines(scale, "AUSDT", price_scale=scale)
        decoder.decode(chunk)
        assert told(new.after(chunk)) == [("AUSDT", scale)]


def test_the_first_question_is_answered_with_all_that_is_known():
    """As behind a checkpoint, which has definitions that are no records of their own."""
    decoder = Decoder()
    new = NewDefinitions(decoder)
    decoder.decode(tick(1))
    assert new.after(tick(1)) == []
    decoder.decode(defines(2, "AUSDT"))
    assert told(new.after(tick(3))) == [("AUSDT", 2)]
    assert new.after(defines(2, "AUSDT")) == []
