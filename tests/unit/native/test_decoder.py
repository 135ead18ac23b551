"""The Python face of the native decoder, and the recorded truth of one capture."""

from __future__ import annotations

import array
import json

import numpy as np
import pytest

from tests.reference.records import CAPTURES, capture_records, connect, control, instrument, record
from tickd.events import BookState, Flag, Kind, as_array
from tickd.native import Decoder, NativeError

TRADE = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1700000000001,"T":1700000000000,'
    b'"s":"BTCUSDT","t":%d,"p":"61800.30","q":"0.006","X":"MARKET","m":true}}'
)


def setup() -> bytes:
    return instrument(1, "binance-usdm", "BTCUSDT", price_scale=2, size_scale=3) + connect(
        2, "binance-usdm"
    )


def test_a_trade_becomes_one_event_with_its_topic():
    decoder = Decoder()
    batch = decoder.decode(setup() + record(3, TRADE % 5))
    event = as_array(batch)[0]
    assert (event["kind"], event["id"], event["side"]) == (Kind.TRADE, 5, ord("A"))
    assert (event["price"], event["size"], event["aux"]) == (6_180_030, 6, 1)
    assert event["ts_event"] == 1_700_000_000_000_000_000
    assert event["seq"] == 3 << 16
    assert event["flags"] == Flag.LAST
    assert [decoder.topic_name(topic) for topic, *_ in batch.topics] == [
        "trade.binance-usdm.BTCUSDT"
    ]
    assert (batch.frame_last, batch.ts_mono_ns) == (3, 1)
    assert decoder.topic_count == 1
    assert decoder.topic_stats() == [(0, 1, 3)]


def test_any_buffer_is_decoded():
    data = setup() + record(3, TRADE % 5)
    for buffer in (bytearray(data), memoryview(data), array.array("B", data)):
        assert len(Decoder().decode(buffer)) == 1
    with pytest.raises(BufferError):
        Decoder().decode(memoryview(data)[::2])
    assert len(Decoder().decode(b"")) == 0


def test_bytes_that_are_no_records_raise_and_what_was_before_stays():
    decoder = Decoder()
    good = setup() + record(3, TRADE % 5)
    with pytest.raises(NativeError) as raised:
        decoder.decode(good + b"junk")
    reason, position, _detail = raised.value.args
    assert (reason, position >= len(good)) == ("malformed", True)
    assert len(decoder.decode(b"")) == 1


def test_a_refused_frame_is_reported_with_its_number_and_place():
    decoder = Decoder()
    batch = decoder.decode(setup() + record(3, b'{"e":"kline","k":{}}') + record(4, b'{"e":"tra'))
    assert len(batch) == 0
    assert decoder.take_refusals() == [(3, 7, "unknown_message", 6), (4, 7, "truncated", 9)]
    assert decoder.take_refusals() == []
    counters = decoder.counters()
    assert (counters["frames"], counters["refused"]) == (4, 2)
    assert counters["refused_unknown_message"] == 1


def test_refusals_are_bounded_and_their_count_is_exact():
    decoder = Decoder()
    decoder.decode(setup() + b"".join(record(3 + n, b"[]") for n in range(2000)))
    assert len(decoder.take_refusals()) == 1024
    assert decoder.counters()["refused"] == 2000


def test_answers_of_the_venue_become_notices():
    decoder = Decoder()
    decoder.decode(
        setup()
        + record(3, b'{"result":null,"id":12}')
        + record(4, b'{"error":{"code":2,"msg":"Invalid request"},"id":3}')
        + record(5, b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}')
    )
    assert decoder.take_notices() == [
        (7, 3, "subscribed", "12"),
        (7, 4, "refused", '{"error":{"code":2,"msg":"Invalid request"},"id":3}'),
        (7, 5, "shutdown", ""),
    ]
    assert decoder.take_notices() == []


def test_a_state_is_versioned_and_taken_back():
    decoder = Decoder()
    decoder.decode(setup() + record(3, TRADE % 5))
    state = decoder.state()
    other = Decoder()
    other.restore(state)
    assert other.state() == state
    following = record(4, TRADE % 9)
    first, second = (as_array(each.decode(following)) for each in (decoder, other))
    assert np.array_equal(first, second)
    assert list(first["kind"]) == [Kind.TRADE, Kind.GAP]
    newer = json.loads(state) | {"version": 99}
    with pytest.raises(NativeError, match="unsupported"):
        other.restore(json.dumps(newer).encode())
    assert other.state() == decoder.state()


def test_a_checkpoint_record_fills_a_fresh_decoder_only():
    decoder = Decoder()
    decoder.decode(setup() + record(3, TRADE % 5))
    checkpoint = record(4, decoder.state(), kind=b"K", connection=0)
    fresh = Decoder()
    fresh.decode(checkpoint)
    assert fresh.state() == decoder.state()
    decoder.decode(checkpoint)
    assert "checkpoint_mismatch" not in decoder.counters()
    decoder.decode(record(5, TRADE % 6) + checkpoint)
    assert decoder.counters()["checkpoint_mismatch"] == 1


def test_unknown_topics_raise_index_error():
    with pytest.raises(IndexError):
        Decoder().topic_name(0)


def test_instruments_are_listed_with_their_definition():
    decoder = Decoder()
    decoder.decode(setup())
    [(identity, definition)] = decoder.instruments()
    assert identity > 0
    assert json.loads(definition)["symbol"] == "BTCUSDT"


def test_a_control_record_of_a_later_version_is_counted_only():
    decoder = Decoder()
    decoder.decode(control(1, {"kind": "from_the_future"}))
    assert decoder.counters()["unknown_control"] == 1
    assert decoder.take_refusals() == []


@pytest.mark.captures
def test_the_recorded_futures_capture_is_whole_and_in_sync(captures):
    data = b"".join(capture_records(captures, CAPTURES["binance-usdm"]))
    decoder = Decoder()
    events = as_array(decoder.decode(data))
    kinds = dict(zip(*np.unique(events["kind"], return_counts=True), strict=True))
    assert kinds[Kind.QUOTE] == 2 * 66_089
    assert kinds[Kind.TRADE] == 21_313
    assert kinds[Kind.DEPTH_HEAD] == 6_551 + 1
    assert Kind.GAP not in kinds
    snapshots = (events["kind"] == Kind.DEPTH_HEAD) & (events["flags"] & Flag.SNAPSHOT != 0)
    assert np.count_nonzero(snapshots) == 1
    states = events[events["kind"] == Kind.BOOK_STATE]["aux"]
    assert list(states) == [BookState.BUFFERING, BookState.SYNCED]
    assert decoder.take_refusals() == []
    # The recorder's clock was 1.27 s behind the venue: every event lies in its future.
    assert np.all(events[events["kind"] == Kind.TRADE]["flags"] & Flag.SKEW)
