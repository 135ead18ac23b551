"""Callbacks of a broker's SDK into the loop: a burst at a time against one hand-over per event.

200 codes (tick and five-level book) at 20,000 callbacks a second come from a foreign thread, made
by the stand-in of `tickd.testing` from the SDK's own classes. tickd: stamp, bounded queue, one
wake-up per burst, frames into a real raw log, decoder, bus. Compared are the hand-overs alone, from
the callback to a handler on the loop that counts: tickd's queue beside
`loop.call_soon_threadsafe(handler, item)` for every event, the way every SDK's example shows.
Hand-over costs are CPU time of the calls and of the loop, less that of calls that do nothing. Lag
is the lateness of a timer, probed every 5 ms.

Run: python benchmarks/bench_callback.py [--rounds 10] [--seconds 4]
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import cycle, islice
from typing import Any

import harness
from harness import Figure

os.environ.setdefault("SJ_LOG_PATH", os.devnull)  # else the SDK logs into this directory

from gateway.callbacks.queue import CallbackQueue
from gateway.callbacks.session import CallbackSession
from gateway.callbacks.source import DRAIN_MAX, CallbackSource
from gateway.config import SdkConfig, VenueConfig
from gateway.venue import Rate, VenueLimits
from gateway.venues.registry import find_callback
from gateway.venues.shioaji.sdk import ShioajiClient
from tickd.app.logs import LogConfig, configure_logging
from tickd.app.tap import Tap
from tickd.bus import Bus
from tickd.clock import SystemClock
from tickd.native import Decoder, EventBatch, Histogram, RawLog
from tickd.secrets import Secret
from tickd.testing.shioaji_stand_in import Listing, StandIn

CODES = [f"{1101 + number}" for number in range(200)]
PER_SECOND = 20_000
PROBE_S = 0.005
LAG_MOST_MS = 2.0
RATIO_LEAST = 5.0
SETTLE_S = 10.0


class Paced(threading.Thread):
    """Calls back one by one at the pace, from a thread that the loop does not know.

    It gives the GIL up between two callbacks, as an SDK does whose thread is none of Python's. Only
    the CPU of the calls counts: that of the pace is larger, and not the same from run to run.
    """

    def __init__(self, seconds: float, call: Callable[[object], object]) -> None:
        super().__init__(daemon=True)
        self.count = int(PER_SECOND * seconds)
        self.call = call
        self.cpu_ns = 0

    def run(self) -> None:
        item, call, step = object(), self.call, 1 / PER_SECOND
        due, cpu_ns, spent = time.monotonic(), time.thread_time_ns, 0
        for _ in range(self.count):
            due += step
            time.sleep(max(0.0, due - time.monotonic()))
            before = cpu_ns()
            call(item)
            spent += cpu_ns() - before
        self.cpu_ns = spent


async def handed_over(seconds: float, way: str) -> int:
    """CPU ns of both threads for the callbacks of `seconds`."""
    loop, seen = asyncio.get_running_loop(), 0
    full = asyncio.Event()
    clock = SystemClock()

    def handle(_received: object) -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            full.set()

    def drain() -> None:
        taken = queue.take(DRAIN_MAX)
        if not taken:
            if not queue.rest():
                loop.call_soon(drain)
            return
        for received in taken:
            handle(received)
        if queue.depth >= DRAIN_MAX:
            loop.call_soon(drain)
        else:
            loop.call_later(0.001, drain)

    queue = CallbackQueue(clock, records_max=1 << 20, wake=lambda: loop.call_soon_threadsafe(drain))

    def per_event(item: object) -> None:
        # Stamped, too: whoever wants the time of receipt takes it on the SDK's thread.
        loop.call_soon_threadsafe(handle, (item, clock.wall_ns(), clock.mono_ns()))

    ways = {"none": id, "queue": queue.put, "per_event": per_event}
    thread = Paced(seconds, ways[way])
    count = thread.count
    before = time.thread_time_ns()
    thread.start()
    if way == "none":
        await asyncio.sleep(seconds)
    else:
        async with asyncio.timeout(seconds + SETTLE_S):
            await full.wait()
    thread.join()
    return time.thread_time_ns() - before + thread.cpu_ns


def timed(owner: type, name: str, into: Histogram) -> Callable[[], None]:
    """Record the CPU of every call of a method; return what undoes it."""
    method = getattr(owner, name)

    def measured(self: Any) -> None:
        before = time.thread_time_ns()
        method(self)
        into.record(time.thread_time_ns() - before)

    setattr(owner, name, measured)
    return lambda: setattr(owner, name, method)


async def daemon(seconds: float, by: str) -> dict[str, Any]:
    """The whole way: SDK objects to events on the bus."""
    clock, decoder, lag = SystemClock(), Decoder(), Histogram()
    drains, bursts = Histogram(), Histogram()
    undo = [timed(CallbackSource, "_drain_some", drains), timed(Tap, "_end_burst", bursts)]
    events = 0

    def handler(_topic: str, batch: EventBatch) -> None:
        nonlocal events
        events += len(batch)

    with tempfile.TemporaryDirectory() as directory:
        raw = RawLog(directory, node=1)
        raw.restore_decoder(decoder)
        bus = Bus(decoder.topic_name, clock)
        bus.handle("*", handler, name="handler")
        tap = Tap(raw, decoder, bus, clock=clock)
        stand = StandIn(
            [Listing(code) for code in CODES],
            start=datetime(2026, 7, 14, 9),  # noqa: DTZ001 - the SDK's times have no zone
            subscriptions_max=1000,
        )
        key = Secret("benchmarkonly")
        venue = find_callback("shioaji")
        session = CallbackSession(
            venue._replace(
                client=lambda config, put: ShioajiClient(config, put, stand.client),
                limits=_fast(venue.limits),
            ),
            VenueConfig(
                name="shioaji",
                symbols=tuple(CODES),
                channels=("trade", "depth"),
                streams_per_connection=1000,
                sdk=SdkConfig(api_key=key, secret_key=key),
            ),
            tap=tap,
            clock=clock,
            activity=dict,
            jitter=lambda: 0.5,
        )
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(session.run(), name="session")
            async with asyncio.timeout(60):
                while (sdk := session.status().sdk) is None or sdk.streams_confirmed < 2 * len(
                    CODES
                ):
                    await asyncio.sleep(0.02)
            probing = tasks.create_task(_probe(clock, lag), name="probe")
            fed = int(PER_SECOND * seconds)
            # The SDK makes its objects in native code, 0.2 µs each; made in Python they hold the
            # loop up, so they are made before.
            made = deque(map(stand.event, islice(cycle(stand.newest.subscriptions), fed)))
            vars(stand)["event"] = lambda _key, take=made.popleft: take()
            before, callbacks = time.process_time_ns(), session.counters.callbacks
            if by == "daemon":
                await asyncio.wrap_future(stand.newest.feed(fed, per_second=PER_SECOND))
                async with asyncio.timeout(SETTLE_S):
                    while _arrived(session) - callbacks < fed:
                        await asyncio.sleep(0.005)
            else:  # the objects are made, nobody listens
                stand.newest.deafen()
                await asyncio.wrap_future(stand.newest.feed(fed, per_second=PER_SECOND))
            spent = time.process_time_ns() - before
            probing.cancel()
            running.cancel()
        tap.finish()
        tap.detach()
        raw.close()
        stand.close()
    for each in undo:
        each()
    counters = decoder.counters()
    return {
        "cpu_ns": spent / fed,
        "lag": lag,
        "turn_ms": (drains.quantile(0.99) + bursts.quantile(0.99)) / 1e6,
        "lost": session.counters.callbacks_dropped,
        "gaps": counters.get("gaps", 0) + counters.get("refused", 0),
        "bursts": session.counters.callback_bursts,
        "events": events,
        "slowest_us": stand.slowest_callback_ns / 1e3,
    }


def _fast(limits: VenueLimits) -> VenueLimits:
    """Without the pace of subscribing, all on one login: the measurement is of one thread."""
    return replace(limits, client_messages=Rate(100_000, 1.0), streams_max=1000)


def _arrived(session: CallbackSession) -> int:
    return session.counters.callbacks + session.counters.callbacks_dropped


def _confirmed(session: CallbackSession) -> int:
    sdk = session.status().sdk
    return sdk.streams_confirmed if sdk is not None else 0


async def _probe(clock: SystemClock, lag: Histogram) -> None:
    while True:
        due_ns = clock.mono_ns() + round(PROBE_S * 1e9)
        await asyncio.sleep(PROBE_S)
        lag.record(max(0, clock.mono_ns() - due_ns))


def figures(rounds: int, seconds: float, *, only_checked: bool) -> list[Figure]:
    best: dict[str, int] = {}

    async def turn(way: str, part_s: float) -> None:
        cost = await handed_over(part_s, way)
        best[way] = min(best.get(way, cost), cost)

    for _ in range(rounds):
        for way in ("none", "queue", "per_event"):
            harness.run_loop(lambda way=way: turn(way, 0.5))
    count = int(PER_SECOND * 0.5)
    queue = (best["queue"] - best["none"]) / count
    per_event = (best["per_event"] - best["none"]) / count
    found = [
        Figure("callback.queue", queue, "ns", "callback → handler by the queue, CPU per callback"),
        Figure(
            "callback.per_event", per_event, "ns", "the same by call_soon_threadsafe per callback"
        ),
        Figure(
            "callback.ratio",
            per_event / queue,
            "x",
            "one wake-up per event against one per burst, CPU of the hand-over",
            least=RATIO_LEAST,
        ),
    ]
    if only_checked:
        return found
    results: dict[str, dict[str, Any]] = {}

    async def whole(by: str) -> None:
        results[by] = await daemon(seconds, by)

    for by in ("nobody", "daemon"):
        harness.run_loop(lambda by=by: whole(by))
    run = results["daemon"]
    cost = (run["cpu_ns"] - results["nobody"]["cpu_ns"]) / 1e3
    fed = int(PER_SECOND * seconds)
    about = f"{len(CODES)} codes, {PER_SECOND:,} callbacks/s, {seconds:g} s"
    return [
        *found,
        Figure(
            "callback.cpu", cost, "µs", f"callback → raw log → decoder → bus, CPU each; {about}"
        ),
        Figure(
            "callback.lag.p99",
            run["lag"].quantile(0.99) / 1e6,
            "ms",
            f"loop lag p99 (p50 {run['lag'].quantile(0.5) / 1e6:.2f}, max "
            f"{run['lag'].max / 1e6:.2f} ms); {about}",
            most=LAG_MOST_MS,
        ),
        Figure(
            "callback.lag.idle",
            results["nobody"]["lag"].quantile(0.99) / 1e6,
            "ms",
            "the same while nobody is called: what the machine adds",
        ),
        Figure(
            "callback.turn.p99",
            run["turn_ms"],
            "ms",
            "CPU of one look at the queue and one burst, p99 of each added: what we add to the lag",
            most=LAG_MOST_MS,
        ),
        Figure("callback.lost", run["lost"] + run["gaps"], "", "lost, refused, gaps", most=0),
        Figure(
            "callback.per_burst",
            fed / run["bursts"],
            "",
            f"callbacks per look at the queue; longest single callback {run['slowest_us']:.0f} µs",
        ),
    ]


if __name__ == "__main__":
    parser = harness.arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of the whole way")
    given = parser.parse_args()
    harness.refuse_debug_build()
    configure_logging(LogConfig(level="error"))
    harness.show(
        figures(given.rounds, given.seconds, only_checked=given.checked), as_json=given.json
    )
