"""Frames that a venue should never send, through the real raw log and the real decoder.

Random bytes, cut messages, flipped bytes, foreign encodings, huge ones: each is counted, kept in
the raw log byte for byte, reported with its frame, and the good frames around it lose nothing.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.reference.raw_log import read_log
from tickd.events import EVENT, Kind, as_array
from tickd.native import Decoder, EventBatch, RawLog, RawLogReader

VENUES = {
    "binance-usdm": "BTCUSDT",
    "binance-spot": "BTCUSDT",
    "okx": "BTC-USDT",
    "shioaji": "2330",
}
CONNECTION = 1
HUGE_BYTES = 3 << 20


class Outcome(NamedTuple):
    """What a run of frames gave."""

    live: np.ndarray
    replayed: np.ndarray
    kept: list[bytes]
    counters: dict[str, int]
    refusals: list[tuple[int, int, str, int]]
    numbers: list[int]


def trade(venue: str, number: int) -> bytes:
    """A good trade."""
    if venue == "okx":
        row = {"instId": "BTC-USDT", "tradeId": str(number), "px": "1.5", "sz": "2", "side": "buy"}
        row |= {"ts": "1700000000000"}
        return json.dumps(
            {"arg": {"channel": "trades-all", "instId": "BTC-USDT"}, "data": [row]}
        ).encode()
    if venue == "shioaji":
        fields = {"v": 1, "class": "TickSTKv1", "exchange": "TSE", "code": "2330"}
        fields |= {"date": "2023-11-15", "time": "09:00:01.123456", "close": "1.5", "volume": 1}
        return json.dumps(fields | {"total_volume": number, "tick_type": 1}).encode()
    data = {"e": "trade", "E": 1_700_000_000_000, "T": 1_700_000_000_000, "s": "BTCUSDT"}
    data |= {"t": number, "p": "1.50", "q": "2.000", "X": "MARKET", "m": True}
    return json.dumps({"stream": "btcusdt@trade", "data": data}, separators=(",", ":")).encode()


def depth(venue: str) -> bytes:
    """A good depth message, to be damaged."""
    if venue == "okx":
        data = {"asks": [["1.6", "1", "0", "1"]], "bids": [], "ts": "1", "seqId": 2}
        arg = {"channel": "books", "instId": "BTC-USDT"}
        return json.dumps(
            {"arg": arg, "action": "update", "data": [data | {"prevSeqId": 1}]}
        ).encode()
    if venue == "shioaji":
        fields = {"v": 1, "class": "BidAskSTKv1", "code": "2330", "date": "2023-11-15"}
        fields |= {"time": "09:00:01", "bid_price": ["1.5"], "bid_volume": [1]}
        return json.dumps(fields | {"ask_price": ["1.6"], "ask_volume": [2]}).encode()
    data = {"e": "depthUpdate", "E": 1, "T": 1, "s": "BTCUSDT", "U": 1, "u": 2, "pu": 0}
    data |= {"b": [["1.50", "1.000"]], "a": [["1.60", "0.000"]]}
    return json.dumps({"stream": "btcusdt@depth@0ms", "data": data}).encode()


@contextmanager
def opened(venue: str) -> Iterator[tuple[Path, RawLog, Decoder]]:
    with tempfile.TemporaryDirectory() as folder:
        log, decoder = RawLog(folder, node=1, group_bytes=4096), Decoder()
        log.restore_decoder(decoder)
        definition = {
            "kind": "instrument",
            "venue": venue,
            "symbol": VENUES[venue],
            "asset_class": "spot",
            "price_scale": 2,
            "size_scale": 3,
            "tick": 1,
            "lot": 1,
            "multiplier": "1",
        }
        log.record(0, "C", json.dumps(definition).encode())
        opening = {"kind": "connect", "connection": CONNECTION, "venue": venue, "url": ""}
        log.record(CONNECTION, "C", json.dumps({**opening, "streams": []}).encode())
        yield Path(folder), log, decoder


def play(venue: str, frames: list[bytes], burst: int) -> Outcome:
    """Frames through the log and the decoder, as the tap does it, and back from the log."""
    batches: list[EventBatch | None] = []
    with opened(venue) as (folder, log, decoder):
        numbers = []
        for count, frame in enumerate(frames, 1):
            numbers.append(log.next_frame_no)
            log.frame(CONNECTION, frame)
            if count % burst == 0:
                batches.append(log.end_burst(decoder))
        batches.append(log.end_burst(decoder))
        log.close()
        kept = [record.payload for record in read_log(folder) if record.kind == "W"]
        again = Decoder()
        replayed = [again.decode(chunk) for _, chunk in RawLogReader(str(folder))]
        return Outcome(
            _in_order(batches),
            _in_order(list(replayed)),
            kept,
            decoder.counters(),
            decoder.take_refusals(),
            numbers,
        )


def _in_order(batches: list[EventBatch | None]) -> np.ndarray:
    arrays = [as_array(batch) for batch in batches if batch is not None]
    events = np.concatenate([*arrays, np.empty(0, EVENT)])
    return events[np.argsort(events["seq"], kind="stable")]


@st.composite
def hostile(draw: st.DrawFn, venue: str) -> bytes:
    """One frame that is no good message; sometimes harmless by luck."""
    whole = draw(st.sampled_from([trade(venue, 7), depth(venue)]))
    kind = draw(st.sampled_from(["bytes", "cut", "flip", "insert", "json", "encoding", "nested"]))
    at = draw(st.integers(0, len(whole) - 1))
    match kind:
        case "bytes":
            return draw(st.binary(max_size=300))
        case "cut":
            return whole[:at]
        case "flip":
            flipped = bytearray(whole)
            flipped[at] ^= draw(st.integers(1, 255))
            return bytes(flipped)
        case "insert":
            return whole[:at] + draw(st.binary(min_size=1, max_size=20)) + whole[at:]
        case "json":
            values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
            tree = st.recursive(values, lambda v: st.lists(v) | st.dictionaries(st.text(), v))
            return json.dumps(draw(tree)).encode()
        case "encoding":
            return whole.decode().encode(draw(st.sampled_from(["utf-16", "utf-32", "cp037"])))
        case _:
            return b'{"data":' + b"[" * draw(st.integers(1, 5_000))


@pytest.mark.timeout(90)  # sixty raw logs, each synced several times: a busy disk takes 19 s
@pytest.mark.parametrize("venue", sorted(VENUES))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_hostile_frames_are_kept_and_cost_the_good_ones_nothing(
    venue: str, data: st.DataObject
) -> None:
    frames: list[bytes] = []
    good = 0
    for is_good in data.draw(st.lists(st.booleans(), min_size=1, max_size=30)):
        good += is_good
        frames.append(trade(venue, 1_000 + good) if is_good else data.draw(hostile(venue)))
    outcome = play(venue, frames, data.draw(st.integers(1, 8)))
    assert outcome.kept == frames
    assert outcome.live.tobytes() == outcome.replayed.tobytes()
    trades = outcome.live[outcome.live["kind"] == Kind.TRADE]
    ids = [int(number) for number in trades["id"] if number >= 1_000]
    assert set(range(1_001, 1_001 + good)) <= set(ids)
    assert outcome.counters.get("refused", 0) == len(outcome.refusals)
    refused = {frame_no for frame_no, _, _, _ in outcome.refusals}
    assert refused <= set(outcome.numbers)
    assert not refused & {int(seq) >> 16 for seq in outcome.live["seq"]}, "refused and decoded"


@pytest.mark.parametrize("venue", sorted(VENUES))
def test_every_cut_of_a_message_is_refused_counted_and_kept(venue: str) -> None:
    whole = trade(venue, 7)
    frames = [whole[:at] for at in range(len(whole))]
    outcome = play(venue, frames, 16)
    assert outcome.kept == frames
    assert outcome.counters["refused"] == len(frames)
    assert len(outcome.live) == 0
    assert [number for number, _, _, _ in outcome.refusals] == outcome.numbers
    assert {connection for _, connection, _, _ in outcome.refusals} == {CONNECTION}


@pytest.mark.parametrize("venue", sorted(VENUES))
@pytest.mark.parametrize("byte", [0x00, 0x80, 0xC0, 0xFF])
def test_a_byte_that_is_no_utf8_anywhere_never_makes_a_wrong_event(venue: str, byte: int) -> None:
    """Bytes that JSON or UTF-8 forbids, at every place of a message."""
    whole = trade(venue, 7)
    frames = [whole[:at] + bytes([byte]) + whole[at + 1 :] for at in range(len(whole))]
    outcome = play(venue, frames, 16)
    assert outcome.kept == frames
    assert len(outcome.live) == 0
    assert outcome.counters["refused"] == len(frames)


@pytest.mark.parametrize("venue", sorted(VENUES))
def test_huge_messages_are_kept_whole_and_read_or_refused(venue: str) -> None:
    """A valid giant is decoded; garbage of that size is refused; the frames after both are fine."""
    valid = trade(venue, 1)[:-1] + b',"filler":"' + b"x" * HUGE_BYTES + b'"}'
    garbage = b"\xff" * HUGE_BYTES
    frames = [valid, garbage, trade(venue, 2)]
    outcome = play(venue, frames, 2)
    assert outcome.kept == frames
    assert [int(number) for number in outcome.live["id"]] == [1, 2]
    assert outcome.counters["refused"] == 1
    assert [reason for _, _, reason, _ in outcome.refusals] == ["malformed"]
