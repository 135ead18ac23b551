"""What is particular to OKX: channels, endpoints, messages, lists, frames through the decoder."""

import json
from pathlib import Path

import numpy as np
import pytest

from gateway.errors import MalformedReplyError, UnknownStreamError
from gateway.instruments import control_record
from gateway.venue import RestRequest
from gateway.venues.okx.wire import CHANNELS, instrument_type, pair
from gateway.venues.registry import find
from tickd.events import EVENT, BookState, Kind
from tickd.native import Decoder, L2Book

OKX = find("okx")
FIXTURES = Path(__file__).parents[3] / "fixtures" / "wire" / "okx"


def definitions():
    return OKX.wire.instruments((FIXTURES / "instruments.json").read_bytes())


def test_every_channel_has_its_name_and_endpoint():
    streams = OKX.wire.streams(tuple(CHANNELS), ("BTC-USDT-SWAP",), 100)
    assert [(s.name, s.endpoint) for s in streams] == [
        ("trades-all:BTC-USDT-SWAP", "business"),
        ("trades:BTC-USDT-SWAP", "public"),
        ("bbo-tbt:BTC-USDT-SWAP", "public"),
        ("books:BTC-USDT-SWAP", "public"),
        ("mark-price:BTC-USDT-SWAP", "public"),
        ("index-tickers:BTC-USDT", "public"),
        ("funding-rate:BTC-USDT-SWAP", "public"),
        ("open-interest:BTC-USDT-SWAP", "public"),
    ]
    topics = {s.channel: s.topics for s in streams}
    assert topics["index"] == ("index.okx.BTC-USDT-INDEX",)
    assert topics["open_interest"] == ("open_interest.okx.BTC-USDT-SWAP",)


def test_contracts_of_one_pair_share_its_index():
    (stream,) = OKX.wire.streams(("index",), ("BTC-USDT-SWAP", "BTC-USDT-270326"), None)
    assert stream.name == "index-tickers:BTC-USDT"


@pytest.mark.parametrize(
    ("channel", "interval", "words"),
    [("kline", None, "kline"), ("liquidation", None, "not at all"), ("depth", 10, "every 10 ms")],
)
def test_what_it_does_not_have_is_refused_by_name(channel, interval, words):
    with pytest.raises(UnknownStreamError, match=words):
        OKX.wire.streams((channel,), ("BTC-USDT",), interval)


def test_a_subscription_earns_one_acknowledgement_per_stream():
    streams = OKX.wire.streams(("depth", "aggtrade"), ("BTC-USDT",), None)
    (message,) = OKX.wire.subscribe(streams, 7)
    assert message.acks == 2
    assert json.loads(message.text) == {
        "id": "7",
        "op": "subscribe",
        "args": [
            {"channel": "books", "instId": "BTC-USDT"},
            {"channel": "trades", "instId": "BTC-USDT"},
        ],
    }


def test_an_end_of_streams_is_not_waited_for():
    streams = OKX.wire.streams(("depth",), ("BTC-USDT",), None)
    (message,) = OKX.wire.unsubscribe(streams, 8)
    assert message.acks == 0
    assert json.loads(message.text) == {
        "id": "8",
        "op": "unsubscribe",
        "args": [{"channel": "books", "instId": "BTC-USDT"}],
    }


def test_a_resync_unsubscribes_and_subscribes_again():
    streams = OKX.wire.streams(("depth",), ("BTC-USDT",), None)
    messages = OKX.sync.resync("BTC-USDT", streams, 9)
    bodies = [json.loads(message.text) for message in messages]
    assert [(body["op"], body["id"]) for body in bodies] == [
        ("unsubscribe", "9"),
        ("subscribe", "10"),
    ]
    assert bodies[0]["args"] == bodies[1]["args"] == [{"channel": "books", "instId": "BTC-USDT"}]
    assert [message.acks for message in messages] == [0, 1]


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (b'{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update"', "books:BTC-USDT"),
        (memoryview(b'{"arg":{"channel":"trades","instId":"X"},"data":[]}'), "trades:X"),
        (b'{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"}}', None),
        (b'{"arg":{"channel":"liquidation-orders","instType":"SWAP"}}', None),
        (b"pong", None),
        (b"", None),
    ],
)
def test_stream_name_of_a_frame(payload, name):
    assert OKX.wire.stream_name(payload) == name


@pytest.mark.parametrize(
    ("symbol", "kind", "index"),
    [
        ("BTC-USDT", "SPOT", "BTC-USDT"),
        ("BTC-USDT-SWAP", "SWAP", "BTC-USDT"),
        ("BTC-USD-270326", "FUTURES", "BTC-USD"),
        ("BTC-USD-270326-40000-C", "OPTION", "BTC-USD"),
    ],
)
def test_the_shape_of_a_symbol_tells_its_list(symbol, kind, index):
    assert (instrument_type(symbol), pair(symbol)) == (kind, index)


def test_lists_are_asked_for_once_per_type():
    symbols = ("BTC-USDT", "ETH-USDT", "BTC-USDT-SWAP", "BTC-USD-270326-40000-C")
    path = "/api/v5/public/instruments?instType="
    assert OKX.wire.instrument_requests(symbols) == (
        RestRequest(f"{path}SPOT", 1),
        RestRequest(f"{path}SWAP", 1),
        RestRequest(f"{path}OPTION&instFamily=BTC-USD", 1),
    )


def test_definitions_of_every_type_and_of_their_indexes():
    found = {d.symbol: d for d in definitions()}
    rows = {
        symbol: (d.asset_class, d.price_scale, d.tick, d.size_scale, d.lot, d.multiplier)
        for symbol, d in found.items()
    }
    assert rows == {
        "BTC-USDT": ("spot", 1, 1, 8, 1, "1"),
        "BTC-USDT-SWAP": ("perpetual", 1, 1, 2, 1, "0.01"),
        "BTC-USD-270326": ("future", 1, 5, 0, 1, "100"),
        "BTC-USD-270326-40000-C": ("option", 4, 5, 0, 1, "0.01"),
        "BTC-USDT-INDEX": ("index", 8, 1, 0, 1, "1"),
        "BTC-USD-INDEX": ("index", 8, 1, 0, 1, "1"),
    }


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"code":"50011","data":[],"msg":"Too Many Requests"}', b'{"code":"0"}'],
)
def test_what_is_no_list_is_refused(body):
    with pytest.raises(MalformedReplyError):
        OKX.wire.instruments(body)


class Wire:
    """A decoder that knows the fixture's instruments, fed frame by frame."""

    def __init__(self):
        self.decoder = Decoder()
        self.frame_no = 0
        connect = {"kind": "connect", "connection": 1, "venue": "okx", "url": "", "streams": []}
        self.send(b"C", json.dumps(connect).encode(), 1)
        for definition in definitions():
            self.send(b"C", control_record(definition), 0)

    def send(self, kind, payload, connection=1):
        self.frame_no += 1
        head = b"%d %d 0 %d %s %d " % (self.frame_no, 10**18, connection, kind, len(payload))
        return self.decoder.decode(head + payload + b"\n")


def test_the_fixture_of_the_public_endpoint_decodes_whole():
    wire = Wire()
    ids = {json.loads(text)["symbol"]: number for number, text in wire.decoder.instruments()}
    book = L2Book("okx", ids["BTC-USDT"])
    kinds, states = [], []
    for line in (FIXTURES / "public.jsonl").read_bytes().splitlines():
        batch = wire.send(b"W", line)
        events = np.frombuffer(batch, dtype=EVENT)
        kinds += [Kind(kind) for kind in events["kind"]]
        states += [BookState(e["aux"]) for e in events if e["kind"] == Kind.BOOK_STATE]
        book.apply(batch)
    assert states == [BookState.SYNCED]
    assert (book.state, book.last_id) == (BookState.SYNCED, 7)
    assert book.top(9) == (
        [(300_000, 125_000_000), (299_999, 400_000_000)],
        [(300_002, 200_000_000), (300_003, 100_000_000)],
    )
    assert kinds.count(Kind.DEPTH_HEAD) == 4
    assert kinds.count(Kind.TRADE) == kinds.count(Kind.QUOTE) == 2
    assert {Kind.MARK, Kind.INDEX, Kind.FUNDING} <= set(kinds)
    assert Kind.GAP not in kinds
    notices = [(kind, text) for _, _, kind, text in wire.decoder.take_notices()]
    assert notices == [
        ("subscribed", "books:BTC-USDT"),
        ("subscribed", "trades:BTC-USDT"),
        ("pong", ""),
    ]
    assert wire.decoder.take_refusals() == []


def test_topics_of_the_streams_are_those_of_the_decoder():
    """The watchdog waits for the topics that `wire.streams` promises."""
    wire = Wire()
    for name in ("public.jsonl", "business.jsonl"):
        for line in (FIXTURES / name).read_bytes().splitlines():
            wire.send(b"W", line)
    said = {wire.decoder.topic_name(topic) for topic in range(wire.decoder.topic_count)}
    channels = ("trade", "aggtrade", "quote", "depth", "index")
    spot = OKX.wire.streams(channels, ("BTC-USDT",), None)
    swap = OKX.wire.streams(("mark", "funding"), ("BTC-USDT-SWAP",), None)
    promised = {topic for stream in (*spot, *swap) for topic in stream.topics}
    assert promised <= said
    assert said - promised == {"book_state.okx.BTC-USDT", "gap.okx.BTC-USDT"}


# Made by hand with the field names that third-party clients read; no reply of OKX's.
TICKERS = {
    "code": "0",
    "data": [
        {"instId": "BTC-USDT", "last": "100", "high24h": "110", "low24h": "90"}
        | {"vol24h": "5", "volCcy24h": "500"},
        {"instId": "BTC-USDT-SWAP", "last": "100", "high24h": "120", "low24h": "100"}
        | {"vol24h": "7", "volCcy24h": "3"},
        {"instId": "NEW-USDT", "last": "", "high24h": "", "low24h": "", "vol24h": "0"}
        | {"volCcy24h": ""},
    ],
}


def test_tickers_are_figures_in_money_and_what_is_not_said_is_none():
    spot, swap, new = OKX.wire.rankings(json.dumps(TICKERS).encode())
    assert (spot.volume_f, spot.turnover_f, spot.volatility_f) == (5.0, 500.0, 0.2)
    assert (swap.volume_f, swap.turnover_f, swap.volatility_f) == (7.0, 300.0, 0.2)
    assert (new.symbol, new.turnover_f, new.volatility_f) == ("NEW-USDT", None, None)
    targets = [each.target for each in OKX.wire.ranking_requests()]
    assert "/api/v5/market/tickers?instType=SWAP" in targets
    for body in (b"{", b'{"code":"50011","data":[]}', b'{"code":"0","data":[{}]}'):
        with pytest.raises(MalformedReplyError):
            OKX.wire.rankings(body)
