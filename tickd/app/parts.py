"""What a daemon consists of: one value that those who run it and those who show it share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gateway.callbacks.session import CallbackSession
from gateway.session import Session
from strategy_runner.garbage import GarbageWatch
from tickd.app.config import Config
from tickd.app.cores import LoopCore
from tickd.app.disk import DiskWatch
from tickd.app.filling import Filling
from tickd.app.halting import Halting
from tickd.app.planning import Planning
from tickd.app.probes import LatencyProbes
from tickd.app.recorder_queues import RecorderQueues
from tickd.app.shipping import Shipping
from tickd.app.signals import Signals
from tickd.app.sinks import RunningSink
from tickd.app.storage import Storage
from tickd.app.strategies import Strategies
from tickd.app.tap import Tap
from tickd.app.tracing_parts import Traces
from tickd.app.trading import Trading
from tickd.app.universes import Universes
from tickd.app.watchdog import Watchdog
from tickd.backend import Choice
from tickd.bus import Bus
from tickd.native import Decoder, Histogram, RawLog
from tickd.ports import Clock

AnySession = Session | CallbackSession


class Entrance(NamedTuple):
    """What every frame goes through."""

    raw_log: RawLog
    decoder: Decoder
    bus: Bus
    tap: Tap


@dataclass(frozen=True, slots=True)
class Parts:
    """The stages of one daemon in the order of the flow, joined by `tickd/app/wiring.py`."""

    config: Config
    backends: tuple[Choice, ...]
    clock: Clock
    loop_lag: Histogram
    garbage: GarbageWatch
    raw_log: RawLog
    decoder: Decoder
    bus: Bus
    tap: Tap
    storage: Storage
    queues: RecorderQueues
    sinks: tuple[RunningSink, ...]
    signals: Signals
    sessions: tuple[AnySession, ...]
    universes: Universes
    planning: Planning
    filling: Filling
    fill_time: Histogram
    disk: DiskWatch
    shipping: Shipping
    trading: Trading
    strategies: Strategies
    traces: Traces
    probes: LatencyProbes
    loop_core: LoopCore
    halting: Halting
    watchdog: Watchdog

    async def put_away(self) -> None:
        """Close what wiring opened, of a daemon that never ran; one that runs drains instead."""
        self.tap.finish()
        self.tap.detach()
        self.raw_log.close()
        await self.trading.close()
        self.halting.stop()
