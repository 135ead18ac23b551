"""What is asked of a venue's past: ranges to requests, in its own words and within its bounds."""

from __future__ import annotations

import pytest

from gateway.venue import OpenGap, Piece, RestRequest
from gateway.venues.registry import SOCKET_VENUE_NAMES, find


def gap(venue: str, symbol: str, channel: str, *left: Piece) -> OpenGap:
    return OpenGap(7, venue, symbol, channel, 3, 0, 0, 0, left[0][0], left[-1][1], left)


def first(venue: str, symbol: str, channel: str, *left: Piece) -> RestRequest:
    history = find(venue).history
    assert history is not None
    wanted = gap(venue, symbol, channel, *left)
    return history.request(wanted, history.pieces(wanted)[0])


@pytest.mark.parametrize(
    ("venue", "channel", "expected"),
    [
        ("binance-spot", "trade", RestRequest("/api/v3/historicalTrades", 25)),
        ("binance-spot", "aggtrade", RestRequest("/api/v3/aggTrades", 4)),
        ("binance-usdm", "trade", RestRequest("/fapi/v1/historicalTrades", 20, keyed=True)),
        ("binance-usdm", "aggtrade", RestRequest("/fapi/v1/aggTrades", 20)),
        ("binance-coinm", "trade", RestRequest("/dapi/v1/historicalTrades", 20, keyed=True)),
        ("binance-coinm", "aggtrade", RestRequest("/dapi/v1/aggTrades", 20)),
    ],
)
def test_binance_is_asked_from_the_first_missing_id_upwards(
    venue: str, channel: str, expected: RestRequest
) -> None:
    asked = first(venue, "X", channel, (11, 13), (20, 20))
    # As far as the last piece: the weight is the same.
    assert asked == expected._replace(target=f"{expected.target}?symbol=X&fromId=11&limit=10")


def test_a_reply_is_never_asked_to_be_longer_than_the_venue_makes_it() -> None:
    huge = (1, 10**9)
    assert first("binance-usdm", "X", "trade", huge).target.endswith("limit=500")
    assert first("binance-usdm", "X", "aggtrade", huge).target.endswith("limit=1000")
    assert first("binance-spot", "X", "trade", huge).target.endswith("limit=1000")
    assert first("okx", "X", "trade", huge).target.endswith("limit=100")


@pytest.mark.parametrize("channel", ["trade", "aggtrade"])
def test_okx_is_asked_from_the_last_missing_id_downwards(channel: str) -> None:
    asked = first("okx", "BTC-USDT", channel, (11, 13), (20, 22))
    path = "/api/v5/market/history-trades"
    assert asked == RestRequest(f"{path}?instId=BTC-USDT&type=1&after=23&limit=12", 1)


@pytest.mark.parametrize("venue", SOCKET_VENUE_NAMES)
def test_one_request_fits_into_a_quarter_of_the_allowance(venue: str) -> None:
    found = find(venue)
    assert found.history is not None
    for channel in found.history.channels:
        asked = first(venue, "X", channel, (1, 10**9))
        assert asked.weight <= found.limits.rest_weight.events_max / 4
        assert found.limits.key_header is not None or not asked.keyed
