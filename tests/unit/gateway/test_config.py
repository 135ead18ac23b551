"""A venue's configuration is refused where it cannot work."""

import msgspec
import pytest

from gateway.config import VenueConfig


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"connections_max": 1}, "one is for replacements"),
        ({"channels": []}, "no channels"),
        ({"symbols": ["A", "A"]}, "listed twice"),
        ({"streams_per_connection": 0}, "at least 1"),
        ({"backoff_first_seconds": 0.0}, "backoff_first_seconds"),
        ({"backoff_first_seconds": 61.0}, "backoff_first_seconds"),
        ({"handover_overlap_seconds": 31.0}, "handover_overlap_seconds"),
        ({"ws_url": "ws://host:1/path"}, "ws_url must be"),
        ({"rest_url": "host:1"}, "rest_url must be"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_refusals(fields, words):
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert({"name": "binance-spot", "symbols": ["A"], **fields}, VenueConfig)


def test_a_name_and_symbols_suffice():
    made = msgspec.convert({"name": "binance-spot", "symbols": ["BTCUSDT"]}, VenueConfig)
    assert made.channels == ("trade", "quote", "depth")
