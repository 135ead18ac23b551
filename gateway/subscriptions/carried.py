"""What one venue's session carries at this moment: wishes, turns and pauses become places.

Pure: orders, listings, loads and the time come in; places and reasons come out. It subscribes
nothing and waits for nothing. A change that is refused changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gateway.config import SubscriptionConfig
from gateway.errors import PlanRefusedError
from gateway.limits import NS_PER_SECOND
from gateway.subscriptions.plan import ConnectionPlan, check, plan, room_of, split
from gateway.subscriptions.turns import Turns
from gateway.subscriptions.wishes import Listing, Wanted, Wisher, Wishes
from gateway.venue import PlanVenue, Stream

# A rotation may use this share of the messages that a connection may send; resyncs, pongs and
# changes of the plan need the rest.
ROTATION_MESSAGE_SHARE = 0.5


class Change(NamedTuple):
    """What a new plan has more, less and elsewhere than the one before, by stream name."""

    cause: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()  # to another connection

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.moved)


class Carried:
    """The plan of one venue and how it became what it is.

    Raises UnknownStreamError, PlanRefusedError when `wanted` breaks a limit as far as it names
    symbols in full.
    """

    def __init__(self, venue: PlanVenue, wanted: Wanted) -> None:
        self._venue = venue
        self._wisher = Wisher(venue)
        self.listing: Listing | None = None  # None: not known yet
        self._turns: dict[str, Turns] = {}
        self._owner: dict[Stream, int] = {}  # -> number of its connection
        self.wanted = wanted
        self.wishes = self.check(wanted)
        self.places: tuple[ConnectionPlan, ...] = ()
        self.refusal: str | None = None  # why less than the wishes is planned
        self.left_out: tuple[str, ...] = ()  # names of streams without a place
        self.floor: int | None = None  # lower priorities are paused
        self.stopped = False  # everything is paused
        self._warned: frozenset[str] = frozenset()

    def check(self, wanted: Wanted) -> Wishes:
        """The wishes of `wanted`, legal as far as known. Raises as the constructor."""
        wishes = self._wisher.make(wanted, self.listing)
        self._check(wanted, wishes)
        return wishes

    # What comes in -----------------------------------------------------------------------------

    def adopt(self, wanted: Wanted) -> None:
        """Have other wishes, and no plan for them yet. Raises as the constructor."""
        self.wanted, self.wishes = wanted, self.check(wanted)

    def want(self, wanted: Wanted, cause: str) -> Change:
        """Plan for other wishes. Raises as the constructor, and then nothing has changed."""
        self.adopt(wanted)
        return self._replan(cause)

    def listed(self, listing: Listing | None, cause: str, *, strict: bool = False) -> Change:
        """Plan for what the venue lists now, as far as its limits allow.

        `strict`: raises PlanRefusedError when they do not allow everything.
        """
        self.listing = listing
        self.wishes = self._wisher.make(self.wanted, listing)
        if strict:
            self._check(self.wanted, self.wishes)
        return self._replan(cause)

    def advance(self, now_ns: int) -> Change:
        """Let the next in the rotations have their turn, where it is time."""
        moved = False
        for name, turns in self._turns.items():
            if name not in self.wishes.turning:
                continue
            if self._rests(name):
                turns.rest(now_ns)
            else:
                moved = turns.advance(now_ns) or moved
        return self._replan("rotation") if moved else Change("rotation")

    # What comes out ----------------------------------------------------------------------------

    def paused(self, stream: Stream) -> bool:
        """Whether a planned stream is to be done without for now."""
        return self.stopped or self._below(self.priority(stream))

    def _below(self, priority: int) -> bool:
        return self.floor is not None and priority < self.floor

    def priority(self, stream: Stream) -> int:
        """The priority of a planned stream."""
        found = self.wishes.always.get(stream)
        if found is None:
            for symbols in self.wishes.turning.values():
                found = symbols.get(stream.symbol, {}).get(stream)
                if found is not None:
                    break
        return self.wanted.config.priority if found is None else found

    def number_of(self, stream: Stream) -> int | None:
        """The connection that has to carry `stream`; None: none."""
        return self._owner.get(stream)

    def take_warnings(self) -> tuple[str, ...]:
        """Sentences on what is wanted and not planned, each once."""
        now = frozenset((*self.wishes.empty, *((self.refusal,) if self.refusal else ())))
        fresh, self._warned = now - self._warned, now
        return tuple(sorted(fresh))

    @property
    def next_ns(self) -> int | None:
        """When the next turn begins; None: nobody waits for one."""
        due = [
            turns.ends_ns
            for name, turns in self._turns.items()
            if turns.ends_ns is not None and not self._rests(name)
        ]
        return min(due, default=None)

    @property
    def turning(self) -> dict[str, tuple[str, ...]]:
        """Group -> symbols whose turn it is."""
        return {name: turns.active for name, turns in self._turns.items()}

    # Within ------------------------------------------------------------------------------------

    def _check(self, wanted: Wanted, wishes: Wishes) -> None:
        widths = {group.name: group.rotation_symbols for group in wanted.groups}
        turning = wishes.turning_max(widths)
        check(self._venue, wanted.config, wishes.ranked(), turning)
        check_turns(self._venue, wanted, turning)

    def _rests(self, name: str) -> bool:
        """Whether all of a rotating group is paused: then its turns wait."""
        priorities = (
            priority
            for streams in self.wishes.turning.get(name, {}).values()
            for priority in streams.values()
        )
        return self.stopped or self._below(max(priorities, default=0))

    def _replan(self, cause: str) -> Change:
        self._line_up()
        streams = self._legal((*self.wishes.always, *self._at_turn()))
        places = plan(self._venue, self.wanted.config, streams, self.places)
        before = self._owner
        after = {stream: each.number for each in places for stream in each.streams}
        self.places, self._owner = places, after
        return Change(
            cause,
            added=tuple(stream.name for stream in streams if stream not in before),
            removed=tuple(stream.name for stream in before if stream not in after),
            moved=tuple(
                stream.name
                for stream in streams
                if before.get(stream, after[stream]) != after[stream]
            ),
        )

    def _line_up(self) -> None:
        """Who takes part in the rotations."""
        for name in [name for name in self._turns if name not in self.wishes.turning]:
            del self._turns[name]
        for group in self.wanted.groups:
            if group.name in self.wishes.turning and group.rotation_seconds is not None:
                slice_ns = round(group.rotation_seconds * NS_PER_SECOND)
                turns = self._turns.get(group.name)
                if turns is None:
                    turns = self._turns[group.name] = Turns(slice_ns, group.rotation_symbols)
                turns.resize(slice_ns, group.rotation_symbols)
                turns.change(self.wishes.turning[group.name])

    def _at_turn(self) -> Iterable[Stream]:
        for name, turns in self._turns.items():
            symbols = self.wishes.turning[name]
            for symbol in turns.active:
                yield from symbols[symbol]

    def _legal(self, streams: Iterable[Stream]) -> tuple[Stream, ...]:
        """`streams`, or those of highest priority when a listing has grown beyond the limits."""
        every = tuple(dict.fromkeys(streams))
        room = room_of(self._venue, self.wanted.config)
        ranked = sorted(every, key=lambda stream: -self.priority(stream))
        kept, left_out = split(room, ranked)
        self.left_out = tuple(stream.name for stream in left_out)
        self.refusal = None
        if not left_out:
            return every
        try:
            check(self._venue, self.wanted.config, ranked)
        except PlanRefusedError as error:
            self.refusal = f"{error}; {error.hint}"
        chosen = frozenset(kept)
        return tuple(stream for stream in every if stream in chosen)


def check_turns(venue: PlanVenue, wanted: Wanted, turning: dict[str, int]) -> None:
    """Refuse rotations that need more messages than a connection may send.

    Raises PlanRefusedError with the shortest legal slice.
    """
    rate = venue.limits.client_messages
    per_message = venue.limits.streams_per_message_max
    capacity = room_of(venue, wanted.config).per_connection
    # All that turns at once may lie on one connection: one part ends, another begins.
    most = max((min(count, capacity) for count in turning.values()), default=0)
    messages = 2 * -(-most // per_message)
    shortest = messages * rate.window_seconds / (rate.events_max * ROTATION_MESSAGE_SHARE)
    for group in wanted.groups:
        if _is_too_fast(group, shortest, venue.name):
            raise PlanRefusedError(
                f"{venue.name}: subscriptions {group.name} take turns every"
                f" {group.rotation_seconds} s, which is more than half of the {rate.events_max}"
                f" messages in {rate.window_seconds:g} s that a connection may send",
                venue=venue.name,
                hint=f"nearest legal plan: rotation_seconds = {shortest:.1f}",
                left_out=(),
            )


def _is_too_fast(group: SubscriptionConfig, shortest: float, venue: str) -> bool:
    if group.rotation_seconds is None or group.rotation_seconds >= shortest:
        return False
    return any(text.partition(":")[0] == venue for text in group.patterns)
