"""`StrategyHost`: the stage's heart, the same in a child, inside the daemon and in a replay.

Events go in, decisions and their hash come out. It decides who wants what of an instrument; the
calls per event are native (`Dispatch`); what one strategy is stands in `host.py`. It reads no
socket, ring or file of events.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, final
from weakref import WeakMethod

import msgspec
import orjson

from strategy_runner.config import StrategyConfig
from strategy_runner.context import Context, Instrument, Instruments
from strategy_runner.decisions import DecisionLog, line_of
from strategy_runner.errors import StrategyError
from strategy_runner.garbage import GarbageWatch
from strategy_runner.host import HostedStrategy
from strategy_runner.image import (
    Image,
    KeptPosition,
    batch_of,
    book_of,
    events_of,
    order_rows,
    pack,
    position_rows,
    unpack,
)
from strategy_runner.restarts import ByPolicy, Restarts
from strategy_runner.state import State
from tickd.events import SEQ_INDEX_MAX, BookState
from tickd.native import Dispatch, EventBatch, Histogram, RingReader, xxh3_hex
from tickd.ports import Clock
from tickd.telemetry.latency_bounds import BOUNDS_NS
from tickd.topics import CHANNELS, Selection, Topic

__all__ = ["StrategyHost", "owner_of"]

_Failed = WeakMethod[Callable[[int, BaseException], None]]
QUANTILES: Final = (("p50_ns", 0.5), ("p99_ns", 0.99), ("p999_ns", 0.999))


def owner_of(strategy: str) -> int:
    """Return the upper half of a strategy's client ids; 31 bits, so that an id fits int64."""
    return int(xxh3_hex(strategy.encode())[-8:], 16) & 0x7FFF_FFFF


@final
class StrategyHost:
    """Some strategies on one thread: define, start, feed, stop.

    `record` gets the canonical line of every intent and cancel, the state that a strategy began
    with and what its decisions came to; `on_stopped` the name of one that ended, and why.
    """

    def __init__(
        self,
        strategies: Sequence[StrategyConfig],
        *,
        record: Callable[[bytes], None],
        clock: Clock,
        state_dir: Path | None,
        on_stopped: Callable[[str, str], None],
        own_process: bool = False,
        on_decision: Callable[[bytes], None] | None = None,
        states: dict[str, State] | None = None,
        restarts: Mapping[str, Restarts] | None = None,
        over: Collection[str] = (),
    ) -> None:
        """Args.

        `state_dir`: None keeps nothing. `own_process`: nobody else is hurt by a slow write or a
        tuned garbage collector. `on_decision`: gets every line that is hashed. `states`: what
        strategies begin with instead of what their files hold, `restarts`: when they come back
        instead of what their configs say, both for replays. `over`: who ended before and is not
        made again; orders and positions stay known.
        """
        owners = [owner_of(config.name) for config in strategies]
        if len(set(owners)) != len(owners):
            raise StrategyError("two strategies have the same name, or names of the same hash")
        self._record = record
        self._clock = clock
        self._state_dir = state_dir
        self._on_stopped = on_stopped
        self._own_process = own_process
        self._on_decision = on_decision
        self._states = states or {}
        self._over = frozenset(over)
        by_policy = {config.name: ByPolicy(config) for config in strategies}
        self._restarts: dict[str, Restarts] = {**by_policy, **(restarts or {})}
        self._configs = tuple(strategies)
        self._wants = [Selection(config.topics) for config in strategies]
        self._owners = owners
        # The native loop is no part of a cycle that Python can find: it must not hold its host.
        failed: _Failed = WeakMethod(self._failed)
        self._dispatch = Dispatch(owners, lambda number, error: _told(failed, number, error))
        self._instruments = Instruments()
        # Empty before `start`; one that could not be loaded is None.
        self._hosted: list[HostedStrategy | None] = []
        self._unloaded: dict[str, str] = {}
        self._garbage = GarbageWatch(clock.mono_ns, tune=own_process)
        # Receipt of a batch's oldest frame to its arrival here.
        self._delay = Histogram()
        self._ended = False
        # Above this number every wanted event is in what is known; 0: since the first one fed.
        self.known_from = 0
        # Instruments with positions that nobody defined any more.
        self._traded: set[int] = set()

    def define(self, instrument: int, definition: bytes) -> None:
        """Take the JSON definition of an instrument, before its first event."""
        fields = orjson.loads(definition)
        known = msgspec.convert({**fields, "id": instrument}, Instrument)
        self._instruments.add(known)
        topics = [Topic(channel, known.venue, known.symbol) for channel in CHANNELS]
        wants = [
            sum(1 << bit for bit, topic in enumerate(topics) if selection.matches(topic))
            for selection in self._wants
        ]
        self._dispatch.define(instrument, known.venue, known.price_scale, known.size_scale, wants)

    def start(self) -> None:
        """Make every strategy and call `on_start`; one that fails is reported, the others run."""
        for number, config in enumerate(self._configs):
            if config.name in self._over:
                self._hosted.append(None)
                continue
            hosted = self._host(number, config)
            self._hosted.append(hosted)
            if hosted is None:
                self._on_stopped(config.name, self._unloaded[config.name])
                continue
            self._begin(number, hosted)
        self._garbage.begin()

    def tell(self, ring: RingReader) -> None:
        """Say in the header of the ring since when each callback runs."""
        self._dispatch.tell(ring)

    def feed(self, events: EventBatch) -> None:
        """Hand out a batch. Events of topics that no strategy wants are passed over.

        Raises ValueError where numbers do not rise from batch to batch.
        """
        if events.ts_mono_ns:
            # The oldest frame of a burst speaks for all: never better than the truth.
            taken_ns = max(0, self._clock.mono_ns() - events.ts_mono_ns)
            self._delay.record(taken_ns, len(events))
        self._dispatch.feed(events)

    def warm(self, events: EventBatch) -> None:
        """Bring last values, books and orders up to what came before the start; call nobody."""
        self._dispatch.warm(events)

    def image(self, seq: int | None = None, *, books: bool = True) -> bytes:
        """Return what is known now as another host can begin with it: values, books, orders.

        `seq`: the number up to which that is everything; None: that of the last event. Levels of
        books that are not live are not kept. Raises StrategyError: there is too much of it.
        """
        last = self._dispatch.last
        instruments = [*self._instruments, *self._traded]
        positions = {
            (owner, each): last.position(owner, each)
            for owner in self._owners
            for each in instruments
        }
        kept = (
            book_of(known.venue, book)
            for number, known in self._instruments.items()
            if books and (book := self._dispatch.book(number)) is not None
        )
        image = Image(
            # The last number of its frame, as the node counts.
            seq=(seq if seq is not None else self._dispatch.seq) | SEQ_INDEX_MAX,
            now_ns=self._dispatch.now_ns,
            known_from=self.known_from,
            values=last.snapshot(),
            books=tuple(each for each in kept if each is not None),
            orders=order_rows([each for owner in self._owners for each in last.open_orders(owner)]),
            positions=tuple(
                KeptPosition(owner, instrument, size, str(cost))
                for (owner, instrument), (size, cost) in positions.items()
                if size or cost
            ),
        )
        return pack(image)

    def restore(self, image: bytes) -> int:
        """Begin with such an image; return its number: what is above it is still to be warmed.

        Instruments must be defined, and nothing may have been fed. Raises StrategyError: damaged,
        another version; values may have changed then.
        """
        kept = unpack(image)
        dispatch = self._dispatch
        try:
            dispatch.last.restore(kept.values)
            if kept.orders:
                dispatch.warm(batch_of(kept.orders))
            fills = []
            for owner, instrument, size, cost in map(msgspec.structs.astuple, kept.positions):
                # Part of it is in the news of the orders that are open.
                has_size, has_cost = dispatch.last.position(owner, instrument)
                fills += position_rows(owner, instrument, size - has_size, int(cost) - has_cost)
            dispatch.warm(events_of(kept, fills))
        except (ValueError, OverflowError) as error:
            raise StrategyError(f"the image makes no sense: {error}") from error
        self._traded = {each.instrument for each in kept.positions} - set(self._instruments)
        self.known_from = kept.known_from
        return kept.seq

    @property
    def has_waiting_books(self) -> bool:
        """Whether a book has changes and waits for its snapshot, which no image can hold."""
        books = map(self._dispatch.book, self._instruments)
        return any(book is not None and book.state == BookState.BUFFERING for book in books)

    def stop(self, reason: str) -> None:
        """Call `on_stop`, keep every state, record what the decisions came to. Idempotent."""
        if self._ended:
            return
        self._ended = True
        self._garbage.end()
        for number, hosted in enumerate(self._hosted):
            if hosted is None:
                continue
            if not hosted.is_over:
                hosted.waits = False
                self._dispatch.detach(number)
                hosted.stop(reason)
                self._on_stopped(hosted.config.name, hosted.stopped or reason)
            log = hosted.context.decisions
            self._record(
                line_of(
                    {
                        "kind": "decisions",
                        "strategy": hosted.config.name,
                        "count": log.count,
                        "hash": log.digest,
                    }
                )
            )

    @property
    def running(self) -> int:
        """How many strategies have not ended, or come back."""
        return sum(each is not None and not each.is_over for each in self._hosted)

    def report(self) -> dict[str, object]:
        """Return what status and metrics show, plain values only."""
        pauses = self._garbage.pauses
        last = self._dispatch.last
        return {
            "strategies": {
                config.name: self._report(number, config)
                for number, config in enumerate(self._configs)
            },
            "delay": _quantiles(self._delay),
            "delay_counts": self._delay.counts(BOUNDS_NS),
            "gc": {"pauses": pauses.count, "sum_ns": pauses.sum, "max_ns": pauses.max},
            "cache": {"instruments": last.count, "refused": last.refused, "seq": last.seq},
        }

    def _report(self, number: int, config: StrategyConfig) -> dict[str, object]:
        hosted = self._hosted[number] if self._hosted else None
        if hosted is None:
            return {"running": False, "stopped": self._unloaded.get(config.name)}
        log = hosted.context.decisions
        return {
            "running": hosted.stopped is None,
            "stopped": hosted.stopped,
            "events": self._dispatch.events(number),
            "decisions": log.count,
            "hash": log.digest,
            "failures": hosted.failures,
            "restarts": hosted.restarts,
            "waits": hosted.waits,
            "timers": len(hosted.context.timers),
            "latency": _quantiles(self._dispatch.latency(number)),
        }

    def _host(self, number: int, config: StrategyConfig) -> HostedStrategy | None:
        """A strategy with what it kept, which is recorded: a replay begins with the same."""
        try:
            state = self._states.get(config.name)
            if state is None:
                state = State.load(self._state_dir and self._state_dir / f"{config.name}.state")
            self._record(
                line_of({"kind": "state", "strategy": config.name, **orjson.loads(state.image())})
            )
        except StrategyError as error:
            self._unloaded[config.name] = str(error)
            return None
        return HostedStrategy(config, self._context(number, state), saves=self._own_process)

    def _context(self, number: int, state: State, decisions: DecisionLog | None = None) -> Context:
        return Context(
            self._configs[number].name,
            owner=self._owners[number],
            dispatch=self._dispatch,
            instruments=self._instruments,
            state=state,
            record=self._record,
            on_decision=self._on_decision,
            known_from=self.known_from,
            decisions=decisions,
        )

    def _begin(self, number: int, hosted: HostedStrategy) -> None:
        handlers = hosted.start()
        if handlers is None:
            self._ended_by_itself(number, hosted, self._dispatch.seq)
        else:
            self._dispatch.attach(number, handlers)

    def _failed(self, number: int, error: BaseException) -> None:
        hosted = self._hosted[number]
        if hosted is not None:
            hosted.fail(error)
            self._ended_by_itself(number, hosted, self._dispatch.seq)

    def interrupt(self, strategy: str, seq: int) -> None:
        """Have a strategy, if it runs, fail at an event that lies behind: as it did live."""
        for number, hosted in enumerate(self._hosted):
            if hosted is not None and hosted.config.name == strategy and hosted.stopped is None:
                hosted.fail(StrategyError("it failed here live, for what is not in the events"))
                self._ended_by_itself(number, hosted, seq)

    def _ended_by_itself(self, number: int, hosted: HostedStrategy, seq: int) -> None:
        """Let it wait for its time to come back, or be over."""
        name, reason = hosted.config.name, hosted.stopped or ""
        now_ns = self._dispatch.now_ns
        self._dispatch.detach(number)  # it may have waited until now
        self._record(line_of({"kind": "failure", "strategy": name, "seq": seq, "reason": reason}))
        if self._ended or not self._restarts[name].comes_back(seq=seq, now_ns=now_ns):
            self._on_stopped(name, reason)
            return
        try:
            state = hosted.context.state.again()
        except StrategyError as error:
            self._on_stopped(name, f"{reason}; it cannot come back: {error}")
            return
        hosted.waits = True
        self._dispatch.rest(number, lambda: self._come_back(number, hosted, state))

    def _come_back(self, number: int, before: HostedStrategy, state: State) -> None:
        """Called at every clock record: make it again when its time has come."""
        name, seq, now_ns = before.config.name, self._dispatch.seq, self._dispatch.now_ns
        if not self._restarts[name].is_due(seq=seq, now_ns=now_ns):
            return
        context = self._context(number, state, before.context.decisions)
        hosted = HostedStrategy(before.config, context, saves=self._own_process)
        hosted.failures, hosted.restarts = before.failures, before.restarts + 1
        self._hosted[number] = hosted
        self._record(line_of({"kind": "restart", "strategy": name, "seq": seq}))
        context.log.warning("strategy_restarted", restarts=hosted.restarts)
        self._begin(number, hosted)


def _told(failed: _Failed, number: int, error: BaseException) -> None:
    host = failed()
    if host is not None:
        host(number, error)


def _quantiles(histogram: Histogram) -> dict[str, int]:
    values = {name: histogram.quantile(q) for name, q in QUANTILES}
    return {**values, "max_ns": histogram.max, "count": histogram.count, "sum_ns": histogram.sum}
