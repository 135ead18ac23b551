"""The native cache of last values against dictionaries, over random streams and images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickd.events import EVENT, Flag, Kind, Side, as_array
from tickd.native import LastValues
from tickd.testing.events import EventStream

WHATS = {
    Kind.MARK: "mark",
    Kind.INDEX: "index",
    Kind.FUNDING: "funding",
    Kind.OPEN_INTEREST: "open_interest",
    Kind.LIQUIDATION: "liquidation",
    Kind.STATUS: "status",
}
FIELDS = ("seq", "price", "size", "id", "flags")


class DictCache:
    """The same in the plainest way."""

    def __init__(self) -> None:
        self.last: dict[tuple[int, str], dict[str, Any]] = {}
        self.seq = 0

    def update(self, events: np.ndarray) -> None:
        for row in events:
            event = dict(zip(EVENT.names or (), row.tolist(), strict=True))
            self.seq = max(self.seq, event["seq"])
            kind = Kind(event["kind"])
            what = WHATS.get(kind)
            if kind is Kind.QUOTE:
                what = "ask" if event["side"] == Side.ASK else "bid"
            if kind is Kind.TRADE and not event["flags"] & (Flag.BACKFILLED | Flag.TRIAL):
                what = "trade"
            if what is not None:
                self.last[event["instrument"], what] = event


def same(native: LastValues, plain: DictCache, instruments: list[int]) -> None:
    assert native.seq == plain.seq
    for instrument in instruments:
        for what in ("trade", *WHATS.values()):
            view = getattr(native, what)(instrument)
            event = plain.last.get((instrument, what))
            if event is None:
                assert view is None
            else:
                assert {each: getattr(view, each) for each in FIELDS} == {
                    each: event[each] for each in FIELDS
                }
        quote = native.quote(instrument)
        bid, ask = plain.last.get((instrument, "bid")), plain.last.get((instrument, "ask"))
        if bid is None or ask is None:
            assert quote is None
        else:
            assert quote is not None
            assert (quote.bid_price, quote.bid_size) == (bid["price"], bid["size"])
            assert (quote.ask_price, quote.ask_size) == (ask["price"], ask["size"])


@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_native_and_dictionaries_agree_after_every_batch_and_every_image(
    seed: int, cuts: list[int]
) -> None:
    stream, plain, native = EventStream(seed), DictCache(), LastValues()
    instruments = [11, 22, 33]
    for frames in cuts:
        batch = stream.batch(frames, instruments)
        plain.update(np.sort(as_array(batch), order="seq"))
        native.update(batch)
        same(native, plain, instruments)
        image = native.snapshot()
        native = LastValues()
        assert native.restore(image) == plain.seq
        assert native.snapshot() == image
        same(native, plain, instruments)


@given(seed=st.integers(0, 2**32), at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_damaged_image_is_refused_and_changes_nothing(seed: int, at: int, bit: int) -> None:
    native = LastValues()
    native.update(EventStream(seed).batch(20))
    image = native.snapshot()
    damaged = bytearray(image)
    damaged[at % len(image)] ^= 1 << bit
    for bad in (bytes(damaged), image[: at % len(image)], image + b"x"):
        with pytest.raises(ValueError, match="image"):
            native.restore(bad)
    assert native.snapshot() == image
