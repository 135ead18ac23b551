"""What is wanted of one venue: groups, patterns and orders of the moment, against its listing.

Pure. Knows no connection: where a stream goes is `plan.py`'s, whose turn it is `turns.py`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from gateway.config import SubscriptionConfig, UniverseConfig, VenueConfig
from gateway.errors import PatternError
from gateway.subscriptions.patterns import ANY, Pattern, explain_nothing, parse
from gateway.subscriptions.shard import WHOLE, Shard
from gateway.venue import PlanVenue, Stream


class Order(NamedTuple):
    """A change of the moment: `adds` what the pattern selects, or takes it away."""

    adds: bool
    pattern: Pattern
    priority: int = 0


class Listing(NamedTuple):
    """The symbols of a venue: all that it names, and those that patterns may select.

    unknown: where single symbols are asked for, those that do not exist; any other may. None: the
    names are all there is.
    """

    names: frozenset[str]
    trading: frozenset[str]
    unknown: frozenset[str] | None = None

    def may_exist(self, symbol: str) -> bool:
        """Whether `symbol` can be planned when it is named in full."""
        return symbol in self.names or (self.unknown is not None and symbol not in self.unknown)


class Wanted(NamedTuple):
    """Everything that one configuration asks of one venue.

    universes: name -> its members of this moment; one that is not there has none yet.
    orders: applied one after the other to what the groups select; of two that concern the same
    topic the later counts.
    """

    config: VenueConfig
    groups: tuple[SubscriptionConfig, ...] = ()
    orders: tuple[Order, ...] = ()
    shard: Shard = WHOLE
    universes: Mapping[str, tuple[str, ...]] = MappingProxyType({})

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """Those that concern this venue, exclusions left out."""
        texts = (parse(text) for group in self.groups for text in group.patterns)
        ordered = (order.pattern for order in self.orders if order.adds)
        return tuple(
            pattern
            for pattern in (*texts, *ordered)
            if pattern.venue == self.config.name and not pattern.excludes
        )

    @property
    def channels(self) -> frozenset[str]:
        """Those that may come to be planned."""
        named = {pattern.channel for pattern in self.patterns} - {ANY}
        return frozenset((*named, *self.config.channels))

    @property
    def needs_listing(self) -> bool:
        """Whether a pattern has to be matched against all symbols of the venue."""
        return any(pattern.is_glob for pattern in self.patterns)

    @property
    def named(self) -> tuple[str, ...]:
        """Symbols that are named in full or in a universe, for this shard."""
        exact = (symbol for pattern in self.patterns for symbol in self.members(pattern))
        return tuple(
            symbol
            for symbol in dict.fromkeys((*self.config.symbols, *exact))
            if self.shard.holds(self.config.name, symbol)
        )

    def members(self, pattern: Pattern) -> tuple[str, ...]:
        """What `pattern` selects whatever the venue lists: its symbol, or a universe's."""
        if pattern.universe is not None:
            return self.universes.get(pattern.universe, ())
        return (pattern.symbol,) if pattern.exact else ()

    def hits(self, pattern: Pattern, topic: tuple[str, str]) -> bool:
        """Whether `pattern` selects a topic (symbol, channel)."""
        if pattern.channel not in (ANY, topic[1]):
            return False
        if pattern.is_glob:
            return pattern.matches(topic[0])
        return topic[0] in self.members(pattern)


@dataclass(slots=True)
class Wishes:
    """The outcome: streams with their priorities, and groups whose symbols take turns.

    empty: sentences on patterns that select nothing.
    """

    always: dict[Stream, int] = field(default_factory=dict)
    turning: dict[str, dict[str, dict[Stream, int]]] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)

    @property
    def priorities(self) -> frozenset[int]:
        """Those that occur."""
        found = set(self.always.values())
        for symbols in self.turning.values():
            for streams in symbols.values():
                found.update(streams.values())
        return frozenset(found)

    def ranked(self) -> tuple[Stream, ...]:
        """What is always wanted, the most important first."""
        return tuple(sorted(self.always, key=lambda stream: -self.always[stream]))

    def turning_max(self, widths: Mapping[str, int]) -> dict[str, int]:
        """Endpoint -> streams that all rotations together have at once, at most.

        Args: `widths`: group -> symbols at a time.
        """
        most: dict[str, int] = {}
        for group, symbols in self.turning.items():
            counts: dict[str, list[int]] = {}
            for streams in symbols.values():
                own: dict[str, int] = {}
                for stream in streams:
                    own[stream.endpoint] = own.get(stream.endpoint, 0) + 1
                for endpoint, count in own.items():
                    counts.setdefault(endpoint, []).append(count)
            for endpoint, each in counts.items():
                top = sum(sorted(each, reverse=True)[: widths[group]])
                most[endpoint] = most.get(endpoint, 0) + top
        return most


class Wisher:
    """Makes wishes for one venue; remembers the streams it has asked the venue's wire for."""

    def __init__(self, venue: PlanVenue) -> None:
        self._venue = venue
        # None: the symbol cannot have the channel.
        self._streams: dict[tuple[str, str, int | None], Stream | None] = {}
        # Several symbols may share one stream (the index of a pair): asked for once.
        self._by_name: dict[str, Stream] = {}

    def make(self, wanted: Wanted, listing: Listing | None) -> Wishes:
        """The wishes of `wanted`; without a listing only what is named in full.

        Raises UnknownStreamError: the venue has no such channel.
        """
        wishes = Wishes()
        config = wanted.config
        topics = dict.fromkeys(_topics(config.symbols, config.channels), config.priority)
        turning: dict[str, dict[tuple[str, str], int]] = {}
        for group in wanted.groups:
            selected = self._select(group, wanted, listing, wishes.empty)
            into = topics
            if group.rotation_seconds is not None and selected:
                into = turning.setdefault(group.name, {})
            for topic in selected:
                into[topic] = max(group.priority, into.get(topic, group.priority))
        for order in wanted.orders:
            if order.pattern.venue == config.name:
                self._obey(order, topics, turning, wanted, listing)
        for topic, priority in self._ours(topics, wanted, listing):
            self._wish(wishes.always, topic, priority, config)
        for name, members in turning.items():
            symbols = wishes.turning.setdefault(name, {})
            for topic, priority in self._ours(members, wanted, listing):
                if self._stream(topic, config) not in wishes.always:
                    self._wish(symbols.setdefault(topic[0], {}), topic, priority, config)
        return wishes

    def _select(
        self,
        group: SubscriptionConfig,
        wanted: Wanted,
        listing: Listing | None,
        empty: list[str],
    ) -> Iterable[tuple[str, str]]:
        """The topics of a group, in the order of its patterns."""
        patterns = [parse(text) for text in group.patterns]
        patterns = [each for each in patterns if each.venue == wanted.config.name]
        excluding = [each for each in patterns if each.excludes]
        selected: dict[tuple[str, str], None] = {}
        for pattern in patterns:
            if pattern.excludes:
                continue
            symbols = _matching(pattern, wanted, listing)
            if not symbols and listing is not None and pattern.is_glob:
                empty.append(explain_nothing(pattern, listing.trading))
            selected.update(dict.fromkeys(_topics(symbols, _channels(pattern, wanted.config))))
        return [
            topic for topic in selected if not any(wanted.hits(each, topic) for each in excluding)
        ]

    def _obey(
        self,
        order: Order,
        topics: dict[tuple[str, str], int],
        turning: Mapping[str, dict[tuple[str, str], int]],
        wanted: Wanted,
        listing: Listing | None,
    ) -> None:
        if order.adds:
            symbols = _matching(order.pattern, wanted, listing)
            for topic in _topics(symbols, _channels(order.pattern, wanted.config)):
                topics[topic] = order.priority
            return
        for members in (topics, *turning.values()):
            for topic in [each for each in members if wanted.hits(order.pattern, each)]:
                del members[topic]

    def _ours(
        self, topics: Mapping[tuple[str, str], int], wanted: Wanted, listing: Listing | None
    ) -> Iterable[tuple[tuple[str, str], int]]:
        """Those of this shard that the venue lists, symbols together."""
        venue = wanted.config.name
        places: dict[str, int] = {}
        for symbol in dict.fromkeys(symbol for symbol, _ in topics):
            is_listed = listing is None or listing.may_exist(symbol)
            if is_listed and wanted.shard.holds(venue, symbol):
                places[symbol] = len(places)
        found = [item for item in topics.items() if item[0][0] in places]
        return sorted(found, key=lambda item: places[item[0][0]])

    def _wish(
        self,
        streams: dict[Stream, int],
        topic: tuple[str, str],
        priority: int,
        config: VenueConfig,
    ) -> None:
        stream = self._stream(topic, config)
        if stream is not None:
            streams[stream] = max(priority, streams.get(stream, priority))

    def _stream(self, topic: tuple[str, str], config: VenueConfig) -> Stream | None:
        symbol, channel = topic
        key = (symbol, channel, config.depth_interval_ms)
        if key not in self._streams:
            found = self._venue.wire.streams((channel,), (symbol,), config.depth_interval_ms)
            self._streams[key] = (
                self._by_name.setdefault(found[0].name, found[0]) if found else None
            )
        return self._streams[key]


def check_patterns(
    groups: Sequence[SubscriptionConfig],
    venues: Collection[str],
    universes: Sequence[UniverseConfig] = (),
) -> None:
    """Every pattern names a venue and a universe that are configured. Raises PatternError."""
    for group in groups:
        for text in group.patterns:
            check_universe(parse(text), universes)
            venue = parse(text).venue
            if venue not in venues:
                raise PatternError(
                    f"subscriptions {group.name}: pattern {text[:80]!r} names a venue that has no"
                    " [[venues]] table",
                    hint=f"add one with name = {venue[:40]!r}; its symbols may stay empty",
                )


def check_universe(pattern: Pattern, universes: Sequence[UniverseConfig]) -> None:
    """A universe that `pattern` names is configured, for its venue. Raises PatternError."""
    name = pattern.universe
    if name is None:
        return
    own = [each.name for each in universes if each.venue == pattern.venue]
    if name not in own:
        raise PatternError(
            f"pattern {pattern}: {pattern.venue} has no universe {name[:40]!r}",
            hint=f"[[universes]] of {pattern.venue}: {', '.join(own) or 'none'}",
        )


def _topics(symbols: Iterable[str], channels: Sequence[str]) -> Iterable[tuple[str, str]]:
    return [(symbol, channel) for symbol in symbols for channel in channels]


def _channels(pattern: Pattern, config: VenueConfig) -> tuple[str, ...]:
    return config.channels if pattern.channel == ANY else (pattern.channel,)


def _matching(pattern: Pattern, wanted: Wanted, listing: Listing | None) -> Sequence[str]:
    if not pattern.is_glob:
        return wanted.members(pattern)
    if listing is None:
        return ()
    return sorted(symbol for symbol in listing.trading if pattern.matches(symbol))
