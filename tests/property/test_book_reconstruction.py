"""Recorded diffs through Decoder and L2Book against the Decimal book, at every depth message."""

import gzip
import json
from decimal import Decimal

import pytest

from tests.reference.book import ReferenceBook
from tickd.events import BookState
from tickd.native import Decoder, L2Book

# file, venue, symbol, price scale, size scale, REST path, index of the first live depth message.
# Spot's lot is 0.00001, but three recorded sizes have 6 decimals: its sizes need all 8.
STREAMS = [
    ("usdm_btcusdt_20240808", "binance-usdm", "BTCUSDT", 2, 3, "/fapi/v1/depth", 5),
    ("spot_btcusdt_20240808", "binance-spot", "BTCUSDT", 2, 8, "/api/v3/depth", 3),
    ("cm_btcusd_perp_20240808", "binance-coinm", "BTCUSD_PERP", 1, 0, "/dapi/v1/depth", 24),
]
TOP = 20
FULL_EVERY = 100


def record(frame_no, recv_ns, connection, kind, payload):
    return b"%d %d 0 %d %s %d %s\n" % (frame_no, recv_ns, connection, kind, len(payload), payload)


def control(frame_no, **fields):
    return record(frame_no, 1, fields.get("connection", 0), b"C", json.dumps(fields).encode())


def prepared(venue, symbol, price_scale, size_scale):
    """A decoder that knows the instrument and connection 1, and the instrument's book."""
    decoder = Decoder()
    decoder.decode(
        control(1, kind="connect", connection=1, venue=venue, url="ws://x", streams=[])
        + control(
            2,
            kind="instrument",
            venue=venue,
            symbol=symbol,
            asset_class="spot",
            price_scale=price_scale,
            size_scale=size_scale,
            tick=1,
            lot=1,
            multiplier="1",
        )
    )
    ((instrument, _),) = decoder.instruments()
    return decoder, L2Book(venue, instrument)


def mantissas(levels, price_scale, size_scale):
    exact = []
    for price, size in levels:
        pair = (price.scaleb(price_scale), size.scaleb(size_scale))
        assert all(value == value.to_integral_value() for value in pair)
        exact.append((int(pair[0]), int(pair[1])))
    return exact


def depth_lines(path):
    """(receive ns, JSON, whether it is the snapshot) of every depth message, in order."""
    with gzip.open(path) as lines:
        for line in lines:
            recv, body = line.rstrip(b"\n").split(b" ", 1)
            snapshot = b'"lastUpdateId"' in body[:40]
            if snapshot or b"depthUpdate" in body[:120]:
                yield int(recv), body, snapshot


@pytest.mark.proof
@pytest.mark.captures
@pytest.mark.timeout(120)
@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream[1])
def test_native_book_equals_the_decimal_book_at_every_message(stream, captures):
    file, venue, symbol, price_scale, size_scale, rest_path, joins_at = stream
    decoder, book = prepared(venue, symbol, price_scale, size_scale)
    reference = ReferenceBook(futures=venue != "binance-spot")
    request = f"GET {rest_path}?symbol={symbol}&limit=1000 200\n".encode()
    compared, depth_no, snapshot_at = 0, 0, None
    for number, (recv, body, snapshot) in enumerate(
        depth_lines(captures / "wire/binance" / f"{file}.gz"), start=3
    ):
        if snapshot:
            frame = record(number, recv, 1, b"R", request + body)
            snapshot_at = depth_no
        else:
            frame = record(number, recv, 1, b"W", body)
            depth_no += 1
        book.apply(decoder.decode(frame))
        reference.message(body)
        assert (book.state == BookState.SYNCED) == reference.live, f"depth message {depth_no}"
        if not reference.live:
            continue
        compared += 1
        assert book.last_id == reference.last
        count = None if compared % FULL_EVERY == 1 else TOP
        bids, asks = (book.levels("B"), book.levels("A")) if count is None else book.top(count)
        assert bids == mantissas(reference.top("b", count), price_scale, size_scale)
        assert asks == mantissas(reference.top("a", count), price_scale, size_scale)
        assert book.bid_count == len(reference.prices["b"])
        assert book.ask_count == len(reference.prices["a"])
    assert snapshot_at is not None
    assert compared >= depth_no - max(snapshot_at, joins_at)
    assert decoder.counters().get("gaps", 0) == 0
    assert decoder.take_refusals() == []
    known = book.known_limit("B")
    assert known is not None
    assert Decimal(known) < Decimal(book.top(1)[0][0][0])


@pytest.mark.captures
@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream[1])
def test_every_dropped_diff_is_a_gap_and_a_snapshot_is_wanted(stream, captures):
    """The recorded stream has no gap: each deleted line must make one."""
    file, venue, symbol, price_scale, size_scale, rest_path, _ = stream
    request = f"GET {rest_path}?symbol={symbol}&limit=1000 200\n".encode()
    lines = []
    for line in depth_lines(captures / "wire/binance" / f"{file}.gz"):
        lines.append(line)
        if len(lines) == 80:
            break
    decoder, _ = prepared(venue, symbol, price_scale, size_scale)
    number = 2
    for index, (recv, body, snapshot) in enumerate(lines):
        if index == 60:
            continue
        number += 1
        payload = (b"R", request + body) if snapshot else (b"W", body)
        decoder.decode(record(number, recv, 1, *payload))
    assert decoder.counters()["gaps"] == 1
    wanted = [notice for notice in decoder.take_notices() if notice[2] == "snapshot_wanted"]
    assert [notice[3] for notice in wanted] == [symbol, symbol]
