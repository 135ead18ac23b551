"""The composition root of the live daemon: constructs every stage and joins them; it runs nothing.

Raw log (recovery) → decoder → bus → tap → storage and sinks → sessions.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import structlog

from gateway.callbacks.session import CallbackSession
from gateway.session import Session
from gateway.venues import registry
from recorder.raw.log import open_raw_log
from recorder.raw.watermark import Watermark
from strategy_runner.garbage import GarbageWatch
from tickd.app.backends import decide
from tickd.app.config import Config
from tickd.app.cores import LoopCore
from tickd.app.disk import DiskWatch, make_room
from tickd.app.filling import Filling, SharedGaps, day_fillers, fillers_of
from tickd.app.halting import Halting
from tickd.app.parts import AnySession, Entrance, Parts
from tickd.app.picture import lag_rows
from tickd.app.planning import Planning, wanted_of
from tickd.app.probes import LatencyProbes
from tickd.app.recorder_queues import RecorderQueues
from tickd.app.sdk_files import keep_sdk_files
from tickd.app.shipping import Shipping
from tickd.app.signals import Signals, require_native
from tickd.app.sinks import RunningSink, running_sinks
from tickd.app.storage import Storage
from tickd.app.strategies import Strategies
from tickd.app.tails import is_watcher
from tickd.app.tap import Tap
from tickd.app.tracing_parts import Traces
from tickd.app.trading import Trading
from tickd.app.trading_wiring import join_trading, trading_of
from tickd.app.universe_sources import own_tables, scanners
from tickd.app.universes import Universes
from tickd.app.watchdog import Watchdog
from tickd.bus import Bus, HandlerFailure
from tickd.bus_queue import BurstSubscription, Dropped, Limits, WhenFull
from tickd.clock import SystemClock
from tickd.events import SEQ_INDEX_BITS
from tickd.native import VENUES, Decoder, Histogram, RawLog
from tickd.ports import Clock

log = structlog.get_logger(__name__)

# Events that may wait for the sink in whole bursts (64 B each, 16 MiB in all): a second and more of
# the highest rates. Beyond them the range is read from the raw log again.
SINK_QUEUE = Limits(records_total_max=256 << 10)
ACTIVITY_AGE_NS = 200_000_000


def wire(config: Config, halting: Halting | None = None) -> Parts:
    """Construct and join everything that `config` asks for; on a running loop.

    Raises TickdError(FATAL): the raw log cannot be opened, a venue or sink is not known, the
    backend that TICKD_NATIVE_BACKEND demands cannot be had.
    """
    backends = decide()
    require_native(config.indicators, backends)
    clock = SystemClock()
    halting = halting or Halting(config, clock)
    loop_core = LoopCore(config.node.loop_core, clock)
    make_room(config.state_dir / "raw", config.disk_guard)
    entrance = _entrance(config, clock)
    raw_log, decoder, bus, tap = entrance
    watermark = _watermark(config, raw_log, tap, clock)
    trading = trading_of(config, halting, entrance, clock)
    storage = _storage(config, raw_log, decoder, tap=tap, bus=bus, watermark=watermark)
    sinks = _other_sinks(config, bus, decoder, clock)
    signals = _signals(config, decoder, bus, storage=storage, clock=clock)
    for define in (storage.define, *(sink.define for sink in sinks), signals.define):
        tap.on_definition(define)
    fill_time = Histogram()
    gaps = SharedGaps(decoder)
    universes = _universes(config, storage, tap, clock)
    sessions = _sessions(config, universes, tap, decoder, clock, gaps=gaps, fill_time=fill_time)
    universes.ask_with("venue", scanners(sessions))
    disk = _disk_watch(config, raw_log, tap, storage=storage, sessions=sessions, sinks=sinks)
    planning = Planning(config, sessions, universes=universes, bus=bus, tap=tap, clock=clock)
    join_trading(trading, config, entrance, storage=storage, watermark=watermark, planning=planning)
    return Parts(
        config=config,
        backends=backends,
        clock=clock,
        loop_lag=Histogram(),
        garbage=GarbageWatch(clock.mono_ns, tune=False),
        raw_log=raw_log,
        decoder=decoder,
        bus=bus,
        tap=tap,
        storage=storage,
        queues=RecorderQueues(tap=tap, watermark=watermark, storage=storage, clock=clock),
        sinks=tuple(sinks),
        signals=signals,
        sessions=sessions,
        universes=universes,
        planning=planning,
        filling=_filling(sessions, tap, clock, gaps, fill_time),
        fill_time=fill_time,
        disk=disk,
        shipping=_shipping(config, raw_log, storage, disk=disk, trading=trading, clock=clock),
        trading=trading,
        strategies=_strategies(
            config, bus, tap, decoder, raw_log=raw_log, signals=signals, trading=trading
        ),
        traces=Traces(config, clock),
        probes=LatencyProbes(config),
        loop_core=loop_core,
        halting=halting,
        watchdog=Watchdog(raw_log, tap, storage, group_ms=config.raw_log.group_ms, clock=clock),
    )


def _entrance(config: Config, clock: Clock) -> Entrance:
    """Open the raw log where its last life ended."""
    raw_log = open_raw_log(config.raw_log, config.state_dir / "raw", node=config.node.id)
    decoder = Decoder()
    raw_log.restore_decoder(decoder)
    bus = Bus(
        decoder.topic_name,
        clock,
        seq=raw_log.recovery["frame_last"] << SEQ_INDEX_BITS | 0xFFFF,
        on_dropped=lambda rows: _record_drops(tap, rows),
        on_failure=_failed,
    )
    tap = Tap(raw_log, decoder, bus, clock=clock)
    return Entrance(raw_log, decoder, bus, tap)


def _signals(
    config: Config, decoder: Decoder, bus: Bus, *, storage: Storage, clock: Clock
) -> Signals:
    signals = Signals(config.indicators, decoder=decoder, bus=bus)
    if config.indicators:
        signals.store_with(config, storage, bus, clock)
    return signals


def _storage(
    config: Config,
    raw_log: RawLog,
    decoder: Decoder,
    *,
    tap: Tap,
    bus: Bus,
    watermark: Watermark,
) -> Storage:
    return Storage(
        config,
        subscription=_for_clickhouse(bus),
        progress=watermark,
        frame_recovered=raw_log.recovery["frame_last"],
        frame_next=_frame_next(raw_log),
        definitions=decoder.instruments,
        lag=partial(lag_rows, decoder, bus),
        record=tap.note,
        clock=SystemClock(),
    )


def _watermark(config: Config, raw_log: RawLog, tap: Tap, clock: Clock) -> Watermark:
    watermark = Watermark(raw_log, durable=config.sink.durability == "disk", clock=clock)
    tap.on_watermark(watermark.moved)
    return watermark


def _other_sinks(config: Config, bus: Bus, decoder: Decoder, clock: Clock) -> list[RunningSink]:
    return running_sinks(
        config.sinks,
        state_dir=config.state_dir,
        bus=bus,
        topic_name=decoder.topic_name,
        clock=clock,
        random=random.random,
    )


def _strategies(
    config: Config,
    bus: Bus,
    tap: Tap,
    decoder: Decoder,
    *,
    raw_log: RawLog,
    signals: Signals,
    trading: Trading,
) -> Strategies:
    strategies = Strategies(
        config.strategies,
        bus=bus,
        behind=signals.behind,
        tap=tap,
        topic_name=decoder.topic_name,
        clock=SystemClock(),
        state_dir=config.state_dir.absolute() / "strategies",
        raw_log=config.state_dir.absolute() / "raw",
        write_now=raw_log.write_now,
        trade=trading.ask,
    )
    if config.strategies:
        tap.on_definition(strategies.define)
    return strategies


def _universes(config: Config, storage: Storage, tap: Tap, clock: Clock) -> Universes:
    """Made before the sessions: what a file remembers is planned at once."""
    universes = Universes(
        config.universes,
        directory=config.state_dir / "universes",
        record=tap.note,
        clock=clock,
    )
    ours = own_tables(storage.clickhouse, clock, ready=lambda: storage.migrated)
    universes.ask_with("clickhouse", ours)
    return universes


def _for_clickhouse(bus: Bus) -> BurstSubscription:
    return bus.subscribe_bursts(name="clickhouse", when_full=WhenFull.SPILL, limits=SINK_QUEUE)


def _frame_next(raw_log: RawLog) -> int:
    """The first number that this life gives out."""
    skipped = raw_log.recovery["gap"]
    return 1 + (skipped[1] if skipped else raw_log.recovery["frame_last"])


def _shipping(
    config: Config,
    raw_log: RawLog,
    storage: Storage,
    *,
    disk: DiskWatch,
    trading: Trading,
    clock: Clock,
) -> Shipping:
    shipping = Shipping(
        config.ship,
        node=config.node.id,
        state_dir=config.state_dir,
        raw_log=raw_log,
        frame_needed=lambda: min(
            storage.sink.frame_settled + 1,
            raw_log.next_frame_no if trading.rows is None else trading.rows.frame_needed,
        ),
        clock=clock,
    )
    disk.on_tight(shipping.ship_now_and_reclaim)
    return shipping


def _disk_watch(
    config: Config,
    raw_log: RawLog,
    tap: Tap,
    *,
    storage: Storage,
    sessions: Sequence[AnySession],
    sinks: Sequence[RunningSink],
) -> DiskWatch:
    state_dir = config.state_dir
    return DiskWatch(
        config.disk_guard,
        {
            "raw": state_dir / "raw",
            "state": state_dir,
            "spool": state_dir / "sink" / "spool",
            "clickhouse": state_dir / "clickhouse",
        },
        raw_log=raw_log,
        sockets=tap,
        spool=storage.sink.delivery.spool.figures,
        sources=sessions,
        optional=sinks,
        clock=SystemClock(),
    )


def _sessions(
    config: Config,
    universes: Universes,
    tap: Tap,
    decoder: Decoder,
    clock: Clock,
    *,
    gaps: SharedGaps,
    fill_time: Histogram,
) -> tuple[AnySession, ...]:
    activity = _activity(decoder, clock)
    sessions: list[AnySession] = []
    for wanted in wanted_of(config, universes.members):
        venue = wanted.config
        if registry.is_callback(venue.name):
            keep_sdk_files(config.state_dir)
            sessions.append(
                CallbackSession(
                    registry.find_callback(venue.name, VENUES),
                    wanted,
                    tap=tap,
                    clock=clock,
                    activity=activity,
                    jitter=random.random,
                )
            )
        else:
            sessions.append(
                Session(
                    registry.find(venue.name, VENUES),
                    wanted,
                    tap=tap,
                    clock=clock,
                    activity=activity,
                    jitter=random.random,
                    gaps=gaps,
                    observe_fill=fill_time.record,
                )
            )
    return tuple(sessions)


def _filling(
    sessions: Sequence[AnySession], tap: Tap, clock: Clock, gaps: SharedGaps, fill_time: Histogram
) -> Filling:
    days = day_fillers(
        sessions,
        tap=tap,
        clock=clock,
        gaps=gaps,
        jitter=random.random,
        observe=fill_time.record,
    )
    return Filling(gaps, fillers_of(sessions), days)


def _activity(decoder: Decoder, clock: Clock) -> Callable[[], Mapping[str, int]]:
    """Topic -> time of its last event; one answer serves all lines that ask within a moment."""
    known: dict[str, int] = {}
    known_at_ns = 0

    def ask() -> Mapping[str, int]:
        nonlocal known, known_at_ns
        now_ns = clock.mono_ns()
        if now_ns - known_at_ns > ACTIVITY_AGE_NS:
            stats = decoder.topic_stats()
            known = {decoder.topic_name(topic): mono_ns for topic, _, mono_ns in stats}
            known_at_ns = now_ns
        return known

    return ask


def _record_drops(tap: Tap, rows: list[Dropped]) -> None:
    """What a queue let go is a fact of the node: it goes into the raw log."""
    for row in rows:
        if is_watcher(row.subscription):
            continue  # a terminal that is too slow: told to it, and nobody's loss
        tap.control({"kind": "drop", **row._asdict()})


def _failed(failure: HandlerFailure) -> None:
    log.error(
        "handler_failed",
        handler=failure.name,
        switched_off=failure.switched_off,
        exc_info=failure.error,
    )
