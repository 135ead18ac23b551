"""A callback session in its whole surroundings: stand-in broker, real SDK classes, raw log, bus.

`world` runs a session of Shioaji against a `StandIn`; what the bus delivered is kept, and can be
compared with what the raw log gives again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from gateway.callbacks.session import CallbackSession
from gateway.config import SdkConfig, SubscriptionConfig, VenueConfig
from gateway.subscriptions.wishes import Wanted
from gateway.venue import Rate
from gateway.venues.registry import find_callback
from gateway.venues.shioaji.sdk import ShioajiClient
from tickd.app.tap import Tap
from tickd.bus import Bus
from tickd.clock import SystemClock
from tickd.events import EVENT, Flag, GapCause, Kind, as_array
from tickd.native import Decoder, EventBatch, RawLog, RawLogReader
from tickd.secrets import Secret
from tickd.testing.shioaji_stand_in import Listing, StandIn

API_KEY, SECRET_KEY = "an-api-key-of-tests", "a-secret-key-of-tests"
# A Tuesday, in the continuous trading of stocks and futures.
START = datetime(2026, 7, 14, 9)  # noqa: DTZ001 - the SDK's times have no zone
LISTINGS = (Listing("2330"), Listing("2317"), Listing("TXFR1", "FUT", "TXFF6"))
PATIENCE_S = 15


@dataclass
class World:
    """Everything that a test looks at."""

    broker: StandIn
    session: CallbackSession
    decoder: Decoder
    tap: Tap
    directory: Path
    live: list[EventBatch] = field(default_factory=list)
    activity: Callable[[], Mapping[str, int]] = dict

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Poll. Raises TimeoutError, with the session's status."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():  # noqa: ASYNC110 - of another thread, too
                    await asyncio.sleep(0.005)
        except TimeoutError as error:
            raise TimeoutError(f"{what}: {self.session.status()}") from error

    async def confirmed(self, count: int) -> None:
        await self.until(lambda: self.sdk.streams_confirmed >= count, f"{count} confirmed")

    def confirmed_names(self) -> set[str]:
        held = [each.subscriptions for each in self.session._every()]
        return {name for each in held if each is not None for name in each.confirmed}

    @property
    def sdk(self) -> Any:
        return self.session.status().sdk

    async def feed(self, count: int, *, per_second: float | None = None) -> None:
        """Deliver from the broker's thread, and wait until the loop has taken everything."""
        await asyncio.wrap_future(self.broker.newest.feed(count, per_second=per_second))
        await self.settled()

    async def settled(self) -> None:
        await self.until(lambda: not self.sdk.queue_depth, "the queue empties")
        await asyncio.sleep(0.02)

    def events(self) -> np.ndarray:
        arrays = [as_array(batch) for batch in self.live] or [np.empty(0, EVENT)]
        events = np.concatenate(arrays)
        return events[np.argsort(events["seq"], kind="stable")]

    def of(self, kind: Kind) -> np.ndarray:
        events = self.events()
        return events[events["kind"] == kind]

    def trades(self) -> np.ndarray:
        """Of round and odd lots; no trial matches."""
        trades = self.of(Kind.TRADE)
        return trades[trades["flags"] & Flag.TRIAL == 0]

    def gaps(self, channel: int = 0) -> list[tuple[GapCause, int]]:
        """(cause, lots missing) of every gap of a channel; 0 is that of trades."""
        gaps = self.of(Kind.GAP)
        return [
            (GapCause(int(gap["aux"]) & 0xFF), int(gap["size"]))
            for gap in gaps
            if int(gap["aux"]) >> 8 == channel and not gap["flags"] & Flag.BACKFILLED
        ]

    def replayed(self) -> np.ndarray:
        decoder = Decoder()
        chunks = (chunk for _, chunk in RawLogReader(str(self.directory), 0))
        arrays = [as_array(decoder.decode(chunk)) for chunk in chunks]
        events = np.concatenate(arrays)
        return events[np.argsort(events["seq"], kind="stable")]

    def frames(self) -> bytes:
        return b"".join(chunk for _, chunk in RawLogReader(str(self.directory), 0))


@asynccontextmanager
async def world(
    directory: Path,
    *,
    symbols: tuple[str, ...] = ("2330", "2317", "TXFR1"),
    channels: tuple[str, ...] = ("trade", "depth"),
    asynchronous: bool = False,
    broker: Mapping[str, Any] | None = None,
    sdk: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    venue: Mapping[str, Any] | None = None,
    activity: Callable[[], Mapping[str, int]] | None = None,
    groups: tuple[SubscriptionConfig, ...] = (),
) -> AsyncIterator[World]:
    """Run a session; afterwards the log is closed, so that it can be read from its files."""
    clock = SystemClock()
    raw_log = RawLog(str(directory), node=1, group_ms=20)
    decoder = Decoder()
    raw_log.restore_decoder(decoder)
    bus = Bus(decoder.topic_name, clock)
    tap = Tap(raw_log, decoder, bus, clock=clock)
    stand_in = StandIn(**{"listings": LISTINGS, "start": START, **(broker or {})})
    factory = stand_in.async_client if asynchronous else stand_in.client
    found = find_callback("shioaji")
    limits = replace(found.limits, client_messages=Rate(100_000, 1.0))
    fast = {
        "seconds_min": 0.01,
        "suspended_seconds": 0.05,
        "refused_seconds": 0.05,
    }
    rests = replace(found.rests, **fast)
    session = CallbackSession(
        found._replace(
            client=lambda config, put: ShioajiClient(config, put, factory, rests),
            limits=limits,
            rests=rests,
            **(venue or {}),
        ),
        Wanted(
            VenueConfig(
                name="shioaji",
                symbols=symbols,
                channels=channels,
                watchdog_interval_seconds=0.02,
                backoff_first_seconds=0.02,
                backoff_cap_seconds=0.1,
                **(config or {}),
                sdk=SdkConfig(
                    **{
                        "api_key": Secret(API_KEY),
                        "secret_key": Secret(SECRET_KEY),
                        "client": "async" if asynchronous else "sync",
                        **(sdk or {}),
                    }
                ),
            ),
            groups,
        ),
        tap=tap,
        clock=clock,
        activity=activity or dict,
        jitter=lambda: 0.5,
    )
    made = World(stand_in, session, decoder, tap, directory)
    bus.handle_bursts(made.live.append, name="witness")
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(session.run(), name="session")
            await made.until(lambda: made.session.status().sdk.logins_left < 100, "a login")
            yield made
            running.cancel()
    finally:
        stand_in.close()
        tap.finish()
        tap.detach()
        raw_log.close()
