"""Events as people see them: every kind, with names, exact decimals and nothing undefined."""

from __future__ import annotations

import numpy as np
import pytest

from tickd.describe import describe_event, time_text
from tickd.events import (
    ID_UNDEF,
    PRICE_UNDEF,
    TS_UNDEF,
    BookState,
    Flag,
    GapCause,
    Kind,
    OrderState,
)
from tickd.topics import CHANNELS

INSTRUMENT = {"price_scale": 2, "size_scale": 3}


def event(kind: Kind, **fields: int) -> dict[str, int]:
    known = dict.fromkeys(("ts_event", "ts_recv", "price", "size", "flags", "aux", "instrument"), 0)
    return {**known, "kind": kind, "side": ord("N"), "seq": 5 << 16 | 2, "id": ID_UNDEF, **fields}


def test_trade_has_exact_decimals_and_its_place_in_the_log() -> None:
    told = describe_event(
        "trade.binance-usdm.BTCUSDT",
        event(Kind.TRADE, price=6_000_025, size=1, id=9, side=ord("A"), ts_event=TS_UNDEF),
        INSTRUMENT,
    )
    assert told["price"] == "60000.25"
    assert told["size"] == "0.001"
    assert (told["frame_no"], told["index"], told["id"], told["side"]) == (5, 2, 9, "A")
    assert told["ts_event"] is None
    assert told["ts_recv"] == "1970-01-01T00:00:00.000000000Z"
    assert "flags" not in told


@pytest.mark.parametrize("kind", [Kind.MARK, Kind.INDEX, Kind.FUNDING])
def test_marks_bring_their_own_scale(kind: Kind) -> None:
    assert describe_event("mark.v.s", event(kind, price=-125, aux=4), None)["value"] == "-0.0125"


def test_undefined_side_of_a_quote_is_left_out() -> None:
    told = describe_event(
        "quote.v.s", event(Kind.QUOTE, price=PRICE_UNDEF, size=PRICE_UNDEF), INSTRUMENT
    )
    assert "price" not in told
    assert "size" not in told


def test_depth_head_tells_ids_and_levels() -> None:
    told = describe_event(
        "depth.v.s", event(Kind.DEPTH_HEAD, price=7, size=PRICE_UNDEF, aux=3, id=8), INSTRUMENT
    )
    assert (told["first_id"], told["previous_id"], told["levels"], told["id"]) == (7, None, 3, 8)


def test_book_state_and_flags_have_names() -> None:
    state = BookState.SYNCED
    told = describe_event(
        "book.v.s", event(Kind.BOOK_STATE, aux=state, flags=Flag.SKEW), INSTRUMENT
    )
    assert told["state"] == "SYNCED"
    assert told["flags"] == "SKEW"


def test_gap_names_cause_channel_and_range() -> None:
    channel = CHANNELS.index("trade")
    aux = GapCause.RESTART | channel << 8
    told = describe_event("gap.v.s", event(Kind.GAP, aux=aux, id=10, price=14, size=5), INSTRUMENT)
    assert (told["cause"], told["channel"]) == ("RESTART", "trade")
    assert (told["id"], told["last_missing_id"], told["missing"]) == (10, 14, 5)
    unknown = event(Kind.GAP, aux=aux, price=PRICE_UNDEF, size=PRICE_UNDEF)
    assert describe_event("gap.v.s", unknown, None)["missing"] is None


def test_without_its_instrument_an_event_shows_mantissas() -> None:
    told = describe_event("trade.v.s", event(Kind.TRADE, price=5, size=6, aux=7), None)
    assert (told["price"], told["size"], told["aux"]) == (5, 6, 7)


def test_times_keep_all_nanoseconds() -> None:
    assert time_text(1_795_219_199_000_000_001) == "2026-11-20T23:59:59.000000001Z"
    assert time_text(TS_UNDEF) is None


def test_a_signal_shows_its_value_and_not_its_bits() -> None:
    bits = int(np.float64(-0.1).view("<u8"))
    told = describe_event("signal.v.s", event(Kind.SIGNAL, id=bits, aux=7), INSTRUMENT)
    assert (told["value"], told["indicator"]) == (-0.1, 7)
    assert told.keys().isdisjoint({"id", "price", "size"})


def test_news_of_an_order_has_its_state_and_its_fill() -> None:
    news = event(Kind.ORDER, id=7, aux=OrderState.PARTLY_FILLED, price=125, size=1_500)
    told = describe_event("order.v.s", news, INSTRUMENT)
    assert (told["id"], told["state"], told["price"], told["size"]) == (
        7,
        "PARTLY_FILLED",
        "1.25",
        "1.500",
    )
    refused = event(Kind.ORDER, aux=OrderState.REJECTED, price=PRICE_UNDEF, size=PRICE_UNDEF)
    assert {"price", "size", "aux"}.isdisjoint(describe_event("order.v.s", refused, INSTRUMENT))


def test_a_clock_tick_says_its_time_and_nothing_else() -> None:
    told = describe_event("clock.node.tick", event(Kind.CLOCK, price=PRICE_UNDEF), None)
    assert set(told) == {
        *("seq", "frame_no", "index", "topic", "kind", "ts_event", "ts_recv", "side"),
    }
