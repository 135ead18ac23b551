"""Streams onto connections: by endpoint, within the venue's limits, symbols kept together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.config import VenueConfig
from gateway.errors import UnknownStreamError
from gateway.venue import Stream, Venue


class ConnectionPlan(NamedTuple):
    """One connection to keep alive: where it goes and what it carries."""

    endpoint: str
    url: str
    streams: tuple[Stream, ...]


def streams_of(venue: Venue, config: VenueConfig, symbols: Sequence[str]) -> tuple[Stream, ...]:
    """The streams the configuration asks for, for `symbols`. Raises UnknownStreamError."""
    return venue.wire.streams(config.channels, symbols, config.depth_interval_ms)


def plan(
    venue: Venue, config: VenueConfig, streams: Sequence[Stream]
) -> tuple[ConnectionPlan, ...]:
    """Connections for `streams`, each stream on exactly one, evenly filled.

    Raises UnknownStreamError when a stream names an endpoint the venue does not have: asking on
    another one would be answered by silence.
    """
    per_connection = min(config.streams_per_connection, venue.limits.streams_max)
    base = (config.ws_url or venue.wire.ws_url).rstrip("/")
    by_endpoint: dict[str, list[Stream]] = {}
    for stream in streams:
        if stream.endpoint not in venue.wire.endpoints:
            raise UnknownStreamError(
                f"stream {stream.name!r} of {venue.name} has no endpoint", venue=venue.name
            )
        by_endpoint.setdefault(stream.endpoint, []).append(stream)
    plans = []
    for endpoint, members in by_endpoint.items():
        url = base + venue.wire.endpoints[endpoint]
        count = -(-len(members) // per_connection)
        size, longer = divmod(len(members), count)
        start = 0
        for number in range(count):
            end = start + size + (number < longer)
            plans.append(ConnectionPlan(endpoint, url, tuple(members[start:end])))
            start = end
    return tuple(plans)
