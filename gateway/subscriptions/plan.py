"""Streams onto connections: by endpoint, within the venue's limits, each where it was. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gateway.config import VenueConfig
from gateway.errors import PlanRefusedError, UnknownStreamError
from gateway.venue import PlanVenue, Stream


class ConnectionPlan(NamedTuple):
    """One connection to keep alive: where it goes and what it carries.

    number: of the connection within its venue, from 1; the lowest that is free.
    """

    endpoint: str
    url: str
    streams: tuple[Stream, ...]
    number: int = 0


class Room(NamedTuple):
    """What a venue and the configuration allow together; None: no limit known."""

    per_connection: int
    connections: int | None
    streams: int | None

    def holds(self, counts: Mapping[str, int]) -> bool:
        """Whether so many streams of each endpoint have a place."""
        if self.streams is not None and sum(counts.values()) > self.streams:
            return False
        return self.connections is None or self.needed(counts) <= self.connections

    def needed(self, counts: Mapping[str, int]) -> int:
        """Connections for so many streams of each endpoint: an endpoint shares none."""
        return sum(-(-count // self.per_connection) for count in counts.values())


def room_of(venue: PlanVenue, config: VenueConfig) -> Room:
    """The room for `config` at `venue`. One connection allowed is kept free for a replacement."""
    limits = venue.limits
    allowed = [n for n in (config.connections_max, limits.connections_max) if n is not None]
    return Room(
        per_connection=min(config.streams_per_connection, limits.streams_max),
        connections=max(1, min(allowed) - 1) if allowed else None,
        streams=limits.streams_total_max,
    )


def streams_of(venue: PlanVenue, config: VenueConfig, symbols: Sequence[str]) -> tuple[Stream, ...]:
    """The streams the configuration asks for, for `symbols`. Raises UnknownStreamError."""
    return venue.wire.streams(config.channels, symbols, config.depth_interval_ms)


def check(
    venue: PlanVenue,
    config: VenueConfig,
    ranked: Sequence[Stream],
    turning: Mapping[str, int] | None = None,
) -> None:
    """Refuse a plan that breaks a limit.

    Args: `ranked`: what is always wanted, the most important first; `turning`: endpoint -> streams
    that a rotation has at once, at most.
    Raises PlanRefusedError with the nearest legal plan; UnknownStreamError.
    """
    _check_endpoints(venue, ranked)
    room = room_of(venue, config)
    counts = Counter(stream.endpoint for stream in ranked)
    counts.update(turning or {})
    if room.holds(counts):
        return
    left_out = tuple(stream.name for stream in split(room, ranked)[1])
    wanted = sum(counts.values())
    reason = f"{venue.name}: {wanted} streams"
    if room.streams is not None and wanted > room.streams:
        reason += f" are wanted, {room.streams} are allowed in all"
    else:
        reason += (
            f" need {room.needed(counts)} connections of at most {room.per_connection} streams,"
            f" {room.connections} are possible beside the one kept for replacements"
        )
    raise PlanRefusedError(
        reason, venue=venue.name, hint=_advice(ranked, left_out, turning), left_out=left_out
    )


def _advice(
    ranked: Sequence[Stream], left_out: Sequence[str], turning: Mapping[str, int] | None
) -> str:
    if not left_out:
        count = sum((turning or {}).values())
        return (
            f"everything that is always wanted has a place; make room for fewer than {count}"
            " rotating streams: a smaller rotation_symbols"
        )
    more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
    return (
        f"nearest legal plan: the {len(ranked) - len(left_out)} streams of highest priority,"
        f" without {', '.join(left_out[:3])}{more}; or let those take turns (rotation_seconds), or"
        " share them over daemons (--shard)"
    )


def split(
    room: Room, ranked: Iterable[Stream], taken: Mapping[str, int] | None = None
) -> tuple[tuple[Stream, ...], tuple[Stream, ...]]:
    """The nearest legal plan, and what is left out of it: greedy, in the order given.

    `taken`: endpoint -> streams that have their places already.
    """
    counts = Counter(taken or {})
    kept, left_out = [], []
    for stream in ranked:
        counts[stream.endpoint] += 1
        if room.holds(counts):
            kept.append(stream)
        else:
            counts[stream.endpoint] -= 1
            left_out.append(stream)
    return tuple(kept), tuple(left_out)


def plan(
    venue: PlanVenue,
    config: VenueConfig,
    streams: Sequence[Stream],
    previous: Sequence[ConnectionPlan] = (),
) -> tuple[ConnectionPlan, ...]:
    """Connections for `streams`, each stream on exactly one.

    A stream of `previous` stays where it is; the others fill free places, the emptiest connection
    first, then new connections, evenly. Connections without a stream are gone. Only where
    `connections_max` leaves no other way are streams moved.

    Raises UnknownStreamError when a stream names an endpoint the venue does not have (asking on
    another one would be answered by silence), PlanRefusedError.
    """
    check(venue, config, streams)
    room = room_of(venue, config)
    base = (config.ws_url or venue.wire.ws_url).rstrip("/")
    by_endpoint: dict[str, list[Stream]] = {}
    for stream in streams:
        by_endpoint.setdefault(stream.endpoint, []).append(stream)
    numbers = {each.number for each in previous}
    placed: list[ConnectionPlan] = []
    for endpoint, members in by_endpoint.items():
        before = [each for each in previous if each.endpoint == endpoint]
        url = base + venue.wire.endpoints[endpoint]
        for number, carried in _place(members, before, room.per_connection):
            free = number or next(n for n in range(1, len(numbers) + 2) if n not in numbers)
            numbers.add(free)
            placed.append(ConnectionPlan(endpoint, url, tuple(carried), free))
    return tuple(_drained(placed, room))


def _check_endpoints(venue: PlanVenue, streams: Iterable[Stream]) -> None:
    for stream in streams:
        if stream.endpoint not in venue.wire.endpoints:
            raise UnknownStreamError(
                f"stream {stream.name!r} of {venue.name} has no endpoint", venue=venue.name
            )


def _place(
    streams: Sequence[Stream], previous: Sequence[ConnectionPlan], size_max: int
) -> list[tuple[int, list[Stream]]]:
    """(number, streams) of one endpoint's connections; number 0: a new one."""
    wanted = dict.fromkeys(streams)
    lines: list[tuple[int, list[Stream]]] = []
    kept: set[Stream] = set()
    for each in previous:
        stay = [stream for stream in each.streams if stream in wanted][:size_max]
        kept.update(stay)
        lines.append((each.number, stay))
    fresh = [stream for stream in wanted if stream not in kept]
    start = 0
    for carried in sorted((line[1] for line in lines), key=len):
        end = min(len(fresh), start + size_max - len(carried))
        carried.extend(fresh[start:end])
        start = end
    rest = fresh[start:]
    count = -(-len(rest) // size_max)
    size, longer = divmod(len(rest), count) if count else (0, 0)
    start = 0
    for number in range(count):
        end = start + size + (number < longer)
        lines.append((0, rest[start:end]))
        start = end
    return [line for line in lines if line[1]]


def _drained(placed: Sequence[ConnectionPlan], room: Room) -> list[ConnectionPlan]:
    """The same streams on no more connections than there may be."""
    lines = list(placed)
    while room.connections is not None and len(lines) > room.connections:
        counts = Counter(each.endpoint for each in lines)
        streams: Counter[str] = Counter()
        for each in lines:
            streams[each.endpoint] += len(each.streams)
        wasteful = {
            endpoint
            for endpoint, count in counts.items()
            if count > -(-streams[endpoint] // room.per_connection)
        }
        # `check` has made sure that there is one.
        source = min(
            (each for each in lines if each.endpoint in wasteful),
            key=lambda each: (len(each.streams), -each.number),
        )
        lines = _poured(lines, source, room.per_connection)
    return lines


def _poured(
    lines: Sequence[ConnectionPlan], source: ConnectionPlan, size_max: int
) -> list[ConnectionPlan]:
    """`lines` without `source`, whose streams fill the free places of its endpoint."""
    moving = list(source.streams)
    left = []
    for each in lines:
        if each is source:
            continue
        if each.endpoint == source.endpoint and moving:
            free = size_max - len(each.streams)
            each = each._replace(streams=each.streams + tuple(moving[:free]))  # noqa: PLW2901
            del moving[:free]
        left.append(each)
    return left
