"""The native decoder gives the bytes of the plain one: random messages and recorded captures."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.binance import Reference
from tests.reference.records import CAPTURES, capture_records, connect, instrument, record
from tickd.events import Kind, as_array
from tickd.native import Decoder

IDS = st.integers(0, 2**62)
TIMES = st.one_of(st.integers(0, 2 * 10**13), st.integers(10**15, 2 * 10**16))
DIGITS = st.text("0123456789", min_size=1, max_size=12)
PLAIN = st.builds(
    lambda whole, part: f"{whole}.{part}" if part else whole,
    DIGITS,
    st.text("0123456789", max_size=9),
)
PRICES = st.one_of(
    st.builds(
        lambda whole, part: f"{whole}.{part:02d}000", st.integers(0, 10**9), st.integers(0, 99)
    ),
    PLAIN,
    st.sampled_from(
        ["1e-7", "1.5E+3", "15e-1", "-0.25", "", "NaN", "Infinity", "1.2.3", "9" * 30, "0e-99"]
    ),
)
LEVELS = st.lists(st.tuples(PRICES, PRICES).map(list), max_size=12)
GOOD_PRICES = st.decimals(0, 10**9, places=2).map(str)
GOOD_LEVELS = st.lists(st.tuples(GOOD_PRICES, GOOD_PRICES).map(list), max_size=40)
SYMBOLS = st.sampled_from(["BTCUSDT"] * 9 + ["UNKNOWN"])
VENUES = st.sampled_from(["binance-spot", "binance-usdm", "binance-coinm"])
NOISE = st.dictionaries(
    st.sampled_from(["ps", "st", "M", "P", "zz", 'x\\"y', "é"]),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=6,
    ),
    max_size=3,
)


def either(good, wild):
    return st.one_of(good, good, good, wild)


def shape(kind, **fields):
    return st.fixed_dictionaries({"e": st.just(kind), "E": TIMES, "s": SYMBOLS, **fields})


PRICE = either(GOOD_PRICES, PRICES)
MESSAGES = st.one_of(
    shape(
        "trade",
        T=TIMES,
        t=IDS,
        p=PRICE,
        q=PRICE,
        m=st.booleans(),
        X=st.sampled_from(["MARKET", "ADL", "NA"]),
    ),
    shape("aggTrade", T=TIMES, a=IDS, p=PRICE, q=PRICE, m=st.booleans(), f=IDS, l=IDS),
    shape("bookTicker", T=TIMES, u=IDS, b=PRICE, B=PRICE, a=PRICE, A=PRICE),
    st.fixed_dictionaries({"s": SYMBOLS, "u": IDS, "b": PRICE, "B": PRICE, "a": PRICE, "A": PRICE}),
    shape(
        "depthUpdate",
        U=IDS,
        u=IDS,
        pu=IDS,
        b=either(GOOD_LEVELS, LEVELS),
        a=either(GOOD_LEVELS, LEVELS),
    ),
    shape("depthUpdate", T=TIMES, U=IDS, u=IDS, b=GOOD_LEVELS, a=GOOD_LEVELS),
    shape(
        "markPriceUpdate",
        T=st.one_of(st.just(0), TIMES),
        p=GOOD_PRICES,
        i=GOOD_PRICES,
        r=st.sampled_from(["", "0.00015640", "-1e-7"]),
    ),
    shape("kline", k=st.just({"x": [1, 2]})),
    st.fixed_dictionaries(
        {
            "e": st.just("forceOrder"),
            "E": TIMES,
            "o": st.fixed_dictionaries(
                {
                    "s": SYMBOLS,
                    "S": st.sampled_from(["BUY", "SELL"]),
                    "o": st.just("LIMIT"),
                    "q": PRICE,
                    "p": PRICE,
                    "ap": PRICE,
                    "T": TIMES,
                }
            ),
        }
    ),
    st.just({"result": None, "id": 1}),
)


def both(data: bytes) -> tuple[bytes, bytes, list[int], list[int]]:
    """Native and plain events (data events, ordered), native and plain refused frames."""
    decoder, reference = Decoder(), Reference()
    events = as_array(decoder.decode(data))
    events = events[(events["kind"] != Kind.GAP) & (events["kind"] != Kind.BOOK_STATE)]
    native = events[np.argsort(events["seq"], kind="stable")].tobytes()
    reference.feed(data)
    refused = [frame for frame, *_ in decoder.take_refusals()]
    return native, b"".join(reference.events), refused, reference.refused


@pytest.mark.timeout(120)
@settings(max_examples=200)
@given(
    venue=VENUES,
    messages=st.lists(
        st.tuples(MESSAGES, NOISE, st.booleans(), st.integers(0, 3), st.randoms()),
        min_size=1,
        max_size=6,
    ),
)
def test_random_messages_give_the_same_bytes(venue, messages):
    data = instrument(1, venue, "BTCUSDT", price_scale=2, size_scale=3) + connect(2, venue)
    for number, (message, noise, wrapped, indent, rng) in enumerate(messages, start=3):
        items = list({**noise, **message}.items())
        rng.shuffle(items)
        body: dict[str, object] = dict(items)
        if wrapped:
            parts: list[tuple[str, object]] = [("stream", "x@y"), ("data", body)]
            rng.shuffle(parts)
            body = dict(parts)
        text = json.dumps(body, indent=indent or None, ensure_ascii=rng.random() < 0.5)
        data += record(number, text.encode())
    native, plain, native_refused, plain_refused = both(data)
    assert native_refused == plain_refused
    assert native == plain


@pytest.mark.proof
@pytest.mark.captures
@pytest.mark.timeout(120)
@pytest.mark.parametrize("venue", sorted(CAPTURES))
def test_every_recorded_frame_gives_the_same_bytes(venue, captures):
    data = b"".join(capture_records(captures, CAPTURES[venue]))
    native, plain, native_refused, plain_refused = both(data)
    assert native_refused == plain_refused == []
    assert native == plain


@pytest.mark.captures
def test_bursts_of_a_capture_give_the_events_of_the_whole(captures):
    lines = list(capture_records(captures, CAPTURES["binance-usdm"]))[:20_000]
    whole = as_array(Decoder().decode(b"".join(lines)))
    decoder, parts, at, rng = Decoder(), [], 0, random.Random(7)
    while at < len(lines):
        size = rng.choice([1, 2, 7, 64, 500])
        parts.append(as_array(decoder.decode(b"".join(lines[at : at + size]))))
        at += size
        if rng.random() < 0.2:
            state, decoder = decoder.state(), Decoder()
            decoder.restore(state)
    joined = np.concatenate(parts)
    assert np.array_equal(np.sort(joined, order="seq"), np.sort(whole, order="seq"))
