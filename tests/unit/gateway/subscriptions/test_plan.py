"""Every stream is on exactly one connection, on its own endpoint, within the limits."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import VenueConfig
from gateway.errors import PlanRefusedError, UnknownStreamError
from gateway.subscriptions.plan import plan, streams_of
from gateway.venue import Stream
from gateway.venues.registry import find, find_callback

USDM, SHIOAJI = find("binance-usdm"), find_callback("shioaji")


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


STREAMS = {
    venue.name: streams_of(
        venue,
        config(name=venue.name, channels=channels),
        [f"S{number}USDT" for number in range(40)],
    )
    for venue, channels in (
        (USDM, ("trade", "quote", "mark")),
        (SHIOAJI, ("trade", "depth", "summary")),
    )
}
CHOICES = st.lists(st.sets(st.integers(0, 119)), min_size=1, max_size=8)


def by_stream(places):
    return {stream: place.number for place in places for stream in place.streams}


@given(st.sampled_from([USDM, SHIOAJI]), CHOICES, st.integers(1, 30))
def test_a_stream_that_stays_stays_where_it_is(venue, choices, per_connection):
    made = config(name=venue.name, streams_per_connection=per_connection)
    if venue is SHIOAJI:  # it has four logins beside the one kept for replacements
        per_connection = max(per_connection, 30)
        made = config(name=venue.name, streams_per_connection=per_connection)
    streams = STREAMS[venue.name]
    places = ()
    for numbers in choices:
        chosen = {streams[number] for number in numbers}
        before = by_stream(places)
        places = plan(venue, made, [s for s in streams if s in chosen], places)
        after = by_stream(places)
        assert set(after) == chosen
        assert sum(len(place.streams) for place in places) == len(chosen), "a stream twice"
        assert all(after[stream] == number for stream, number in before.items() if stream in after)
        assert len({place.number for place in places}) == len(places)


@given(st.sampled_from([USDM, SHIOAJI]), CHOICES, st.integers(1, 30), st.integers(2, 12))
def test_a_plan_within_the_limits_stays_within_them(
    venue, choices, per_connection, connections_max
):
    """One connection of those allowed is kept for replacements: the plan never uses it."""
    made = config(
        name=venue.name, streams_per_connection=per_connection, connections_max=connections_max
    )
    allowed = min(connections_max, venue.limits.connections_max or connections_max)
    places = ()
    for numbers in choices:
        wanted = [each for number, each in enumerate(STREAMS[venue.name]) if number in numbers]
        try:
            after = plan(venue, made, wanted, places)
        except PlanRefusedError as refused:
            legal = [stream for stream in wanted if stream.name not in refused.left_out]
            after = plan(venue, made, legal, places)
            for name in refused.left_out:
                more = [s for s in wanted if s in legal or s.name == name]
                with pytest.raises(PlanRefusedError):
                    plan(venue, made, more)
        places = after
        assert len(places) < allowed
        for place in places:
            assert 1 <= len(place.streams) <= per_connection
            assert {stream.endpoint for stream in place.streams} == {place.endpoint}


def test_a_limit_on_all_streams_together_is_a_limit():
    """Shioaji's 200 subscriptions are of this kind."""
    limits = dataclasses.replace(USDM.limits, streams_total_max=10, connections_max=5)
    venue = USDM._replace(limits=limits)
    assert sum(len(p.streams) for p in plan(venue, config(), STREAMS[USDM.name][:10])) == 10
    with pytest.raises(PlanRefusedError, match="11 streams are wanted, 10 are allowed") as refused:
        plan(venue, config(), STREAMS[USDM.name][:11])
    assert refused.value.left_out == (STREAMS[USDM.name][10].name,)


def test_only_the_emptiest_connection_is_drained_and_only_when_it_must():
    made = config(streams_per_connection=10)
    public = [stream for stream in STREAMS[USDM.name] if stream.endpoint == "public"]
    places = plan(USDM, made, public[:30])
    places = plan(USDM, made, [*public[:10], *public[10:14], *public[20:28]], places)
    assert [len(place.streams) for place in places] == [10, 4, 8]
    tight = config(streams_per_connection=14, connections_max=3)
    before, after = by_stream(places), plan(USDM, tight, list(by_stream(places)), places)
    moved = [stream for stream, number in by_stream(after).items() if before[stream] != number]
    assert moved == public[10:14]
    assert sorted(len(place.streams) for place in after) == [8, 14]
