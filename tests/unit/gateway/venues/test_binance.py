"""What is particular to Binance: names, messages, lists."""

import json
import os
from pathlib import Path

import pytest

from gateway.errors import MalformedReplyError, UnknownStreamError
from gateway.venue import RestRequest
from gateway.venues.registry import find

SPOT, USDM, COINM = find("binance-spot"), find("binance-usdm"), find("binance-coinm")
CAPTURES = Path(os.environ.get("TICKD_CAPTURES", "../shared/data"))


def names(venue, channels, symbols=("BTCUSDT",), interval=None):
    return [s.name for s in venue.wire.streams(channels, symbols, interval)]


def test_stream_names():
    assert names(SPOT, ("trade", "aggtrade", "quote", "depth")) == [
        "btcusdt@trade",
        "btcusdt@aggTrade",
        "btcusdt@bookTicker",
        "btcusdt@depth@100ms",
    ]
    assert names(SPOT, ("depth",), interval=1000) == ["btcusdt@depth"]
    assert names(USDM, ("depth",), interval=0) == ["btcusdt@depth@0ms"]
    assert names(USDM, ("depth",), interval=250) == ["btcusdt@depth"]
    assert names(COINM, ("index", "mark"), ("BTCUSD_PERP", "BTCUSD_261225")) == [
        "btcusd@indexPrice@1s",
        "btcusd_perp@markPrice@1s",
        "btcusd_261225@markPrice@1s",
    ]


def test_one_stream_feeds_several_channels_of_usdm():
    (stream,) = USDM.wire.streams(("mark", "index", "funding"), ("BTCUSDT",), None)
    assert stream.topics == (
        "mark.binance-usdm.BTCUSDT",
        "index.binance-usdm.BTCUSDT",
        "funding.binance-usdm.BTCUSDT",
    )


@pytest.mark.parametrize(
    ("venue", "channel", "interval", "words"),
    [
        (SPOT, "mark", None, "not at all"),
        (SPOT, "depth", 250, "every 250 ms"),
        (USDM, "open_interest", None, "by REST only"),
        (USDM, "kline", None, "kline"),
    ],
)
def test_unknown_channel_is_refused_by_name(venue, channel, interval, words):
    with pytest.raises(UnknownStreamError, match=words):
        venue.wire.streams((channel,), ("BTCUSDT",), interval)


def test_subscriptions_are_cut_into_messages_with_ids_of_their_own():
    streams = SPOT.wire.streams(("trade",), tuple(f"S{n}" for n in range(450)), None)
    messages = SPOT.wire.subscribe(streams, 7)
    bodies = [json.loads(message.text) for message in messages]
    assert [body["id"] for body in bodies] == [7, 8, 9]
    assert [len(body["params"]) for body in bodies] == [200, 200, 50]
    assert [p for body in bodies for p in body["params"]] == [s.name for s in streams]
    assert all(message.acks == 1 for message in messages)


def test_streams_end_as_they_began():
    streams = SPOT.wire.streams(("depth",), ("BTCUSDT",), None)
    (message,) = SPOT.wire.unsubscribe(streams, 9)
    assert json.loads(message.text) == {
        "method": "UNSUBSCRIBE",
        "params": [streams[0].name],
        "id": 9,
    }
    assert message.acks == 1


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (b'{"stream":"btcusdt@depth@100ms","data":{}}', "btcusdt@depth@100ms"),
        (memoryview(b'{"stream":"a@trade","data":{}}'), "a@trade"),
        (b'{"result":null,"id":1}', None),
        (b'{"stream":"' + b"x" * 500, None),
        (b"", None),
    ],
)
def test_stream_name_of_a_frame(payload, name):
    assert SPOT.wire.stream_name(payload) == name


def test_snapshot_requests():
    assert SPOT.sync.resync("BTCUSDT", (), 1) == RestRequest(
        "/api/v3/depth?symbol=BTCUSDT&limit=1000", 50
    )
    assert COINM.sync.resync("BTCUSD_PERP", (), 1) == RestRequest(
        "/dapi/v1/depth?symbol=BTCUSD_PERP&limit=1000", 20
    )


def test_spot_list_is_asked_for_in_chunks_of_symbols():
    requests = SPOT.wire.instrument_requests([f"S{n}" for n in range(21)])
    assert len(requests) == 2
    assert requests[1].target == "/api/v3/exchangeInfo?symbols=%5B%22S20%22%5D"


def test_spot_definitions():
    """Shape of binance-spot-api-docs @a5e0bc3; the second has its price filter switched off."""
    body = json.dumps(
        {
            "timezone": "UTC",
            "symbols": [
                {
                    "symbol": "BTCUSDT",
                    "status": "TRADING",
                    "filters": [
                        {
                            "filterType": "PRICE_FILTER",
                            "minPrice": "0.01",
                            "tickSize": "0.01000000",
                        },
                        {"filterType": "LOT_SIZE", "stepSize": "0.00001000"},
                    ],
                },
                {
                    "symbol": "OLD",
                    "filters": [
                        {"filterType": "PRICE_FILTER", "tickSize": "0.00000000"},
                        {"filterType": "LOT_SIZE", "stepSize": "1"},
                    ],
                },
            ],
        }
    ).encode()
    (found,) = SPOT.wire.instruments(body)
    assert (found.symbol, found.asset_class, found.multiplier) == ("BTCUSDT", "spot", "1")
    assert (found.price_scale, found.tick, found.size_scale, found.lot) == (2, 1, 5, 1)


def test_the_scale_holds_what_the_venue_prints_not_only_the_step():
    """Orders from before a change of the step rest on, finer; levels are sums of orders."""

    def listed(max_qty: str) -> bytes:
        price = {"filterType": "PRICE_FILTER", "tickSize": "0.01000000", "maxPrice": "1000000.0"}
        lot = {"filterType": "LOT_SIZE", "stepSize": "0.00001000", "maxQty": max_qty}
        symbol = {
            "symbol": "BTCUSDT",
            "baseAssetPrecision": 8,
            "quoteAssetPrecision": 8,
            "filters": [price, lot],
        }
        return json.dumps({"symbols": [symbol]}).encode()

    (found,) = SPOT.wire.instruments(listed("9000.00000000"))
    assert (found.price_scale, found.tick) == (8, 1_000_000)
    assert (found.size_scale, found.lot) == (8, 1_000)
    (huge,) = SPOT.wire.instruments(listed("92141578000.00000000"))
    assert (huge.size_scale, huge.lot) == (5, 1)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"symbols":[{}]}', b'{"symbols":"x"}'])
def test_what_is_no_list_is_refused(body):
    with pytest.raises(MalformedReplyError):
        SPOT.wire.instruments(body)


def listed(venue, name):
    path = CAPTURES / "wire/cryptofeed" / name
    if not path.exists():
        pytest.skip(f"no recorded wire data at {CAPTURES}")
    line = next(line for line in path.read_text().splitlines() if "exchangeInfo" in line)
    return {d.symbol: d for d in venue.wire.instruments(line.split(": ", 1)[1].encode())}


@pytest.mark.captures
def test_recorded_lists_of_the_futures_markets():
    usdm = listed(USDM, "BINANCE_FUTURES.0")
    btc = usdm["BTCUSDT"]
    assert (btc.asset_class, btc.price_scale, btc.tick, btc.size_scale) == ("perpetual", 2, 1, 3)
    coinm = listed(COINM, "BINANCE_DELIVERY.0")
    contracts = [d for d in coinm.values() if d.asset_class != "index"]
    assert len(contracts) == 36
    assert sorted(d.multiplier for d in contracts).count("100") == 3
    assert coinm["BTCUSD_PERP"].asset_class == "perpetual"
    assert {d.asset_class for d in contracts} == {"perpetual", "future"}
    assert coinm["BTCUSD"].asset_class == "index"


@pytest.mark.parametrize(
    ("venue", "target", "extra", "turnover"),
    [
        ("binance-spot", "/api/v3/ticker/24hr", {"quoteVolume": "1000.5"}, 1000.5),
        ("binance-usdm", "/fapi/v1/ticker/24hr", {"quoteVolume": "1000.5"}, 1000.5),
        ("binance-coinm", "/dapi/v1/ticker/24hr", {"baseVolume": "2"}, 200.0),
    ],
)
def test_24hr_tickers_are_figures(venue, target, extra, turnover):
    """Made by hand with the field names of third-party clients; no replies of Binance's."""
    ticker = {"symbol": "X", "volume": "10", "highPrice": "110", "lowPrice": "90"}
    ticker |= {"lastPrice": "100", "count": 7, "openTime": 1, **extra}
    wire = find(venue).wire
    (figures,) = wire.rankings(json.dumps([ticker]).encode())
    assert (figures.symbol, figures.volume_f, figures.trades) == ("X", 10.0, 7)
    assert (figures.turnover_f, figures.volatility_f) == (turnover, 0.2)
    never = ticker | {"lastPrice": "0", "highPrice": "0", "lowPrice": "0"}
    assert wire.rankings(json.dumps([never]).encode())[0].volatility_f is None
    assert [each.target for each in wire.ranking_requests()] == [target]
    with pytest.raises(MalformedReplyError):
        wire.rankings(b'{"code":-1003,"msg":"Too many requests"}')
