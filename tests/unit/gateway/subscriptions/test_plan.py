"""Every stream is on exactly one connection, on its own endpoint, within the limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import VenueConfig
from gateway.errors import UnknownStreamError
from gateway.subscriptions.plan import plan, streams_of
from gateway.venue import Stream
from gateway.venues.registry import find

USDM = find("binance-usdm")


def config(**fields: object) -> VenueConfig:
    return VenueConfig(**{"name": "binance-usdm", "symbols": ("BTCUSDT",), **fields})  # type: ignore[arg-type]


@given(
    st.integers(1, 400),
    st.integers(1, 2000),
    st.sets(
        st.sampled_from(
            ["trade", "aggtrade", "quote", "depth", "mark", "index", "funding", "liquidation"]
        ),
        min_size=1,
    ),
)
def test_a_plan_is_a_partition_within_the_limits(symbols_count, per_connection, channels):
    made = config(
        symbols=tuple(f"S{number}USDT" for number in range(symbols_count)),
        channels=tuple(sorted(channels)),
        streams_per_connection=per_connection,
    )
    streams = streams_of(USDM, made, made.symbols)
    connections = plan(USDM, made, streams)
    planned = [s.name for c in connections for s in c.streams]
    assert sorted(planned) == sorted(s.name for s in streams)
    for connection in connections:
        assert 1 <= len(connection.streams) <= min(per_connection, 1024)
        assert {s.endpoint for s in connection.streams} == {connection.endpoint}
    for endpoint in {c.endpoint for c in connections}:
        sizes = [len(c.streams) for c in connections if c.endpoint == endpoint]
        assert max(sizes) - min(sizes) <= 1


def test_usdm_is_split_by_path():
    """Asked for on the wrong path, a stream is silently not delivered."""
    made = config(channels=("trade", "quote", "depth", "aggtrade", "mark", "liquidation"))
    public, market = plan(USDM, made, streams_of(USDM, made, made.symbols))
    assert public.url == "wss://fstream.binance.com/public/stream"
    assert [s.name for s in public.streams] == [
        "btcusdt@trade",
        "btcusdt@bookTicker",
        "btcusdt@depth@100ms",
    ]
    assert market.url == "wss://fstream.binance.com/market/stream"
    assert [s.name for s in market.streams] == [
        "btcusdt@aggTrade",
        "btcusdt@markPrice@1s",
        "btcusdt@forceOrder",
    ]


def test_override_replaces_scheme_and_host_only():
    made = config(ws_url="ws://127.0.0.1:9")
    assert plan(USDM, made, streams_of(USDM, made, made.symbols))[0].url == (
        "ws://127.0.0.1:9/public/stream"
    )


def test_stream_without_an_endpoint_is_refused_by_name():
    stranger = Stream("btcusdt@rpiDepth", "depth", "BTCUSDT", "elsewhere", ())
    with pytest.raises(UnknownStreamError, match="btcusdt@rpiDepth"):
        plan(USDM, config(), [stranger])
