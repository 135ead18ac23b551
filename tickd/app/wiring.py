"""The composition root of the live daemon: constructs every stage and joins them.

Up: raw log (recovery) → decoder → bus → storage → sessions. Down, in the order of the flow:
sessions → tap → bus → storage → raw log, within `node.shutdown_timeout_ms`; then what is left is
cancelled.
"""

from __future__ import annotations

import asyncio
import random
import signal

import structlog

from gateway.config import VenueConfig
from gateway.session import Session
from gateway.venues import registry
from recorder.raw_log import open_raw_log
from recorder.watermark import Watermark
from tickd.app.config import Config
from tickd.app.control import ControlServer
from tickd.app.exit_codes import ExitCode
from tickd.app.http import HttpServer
from tickd.app.metrics import metrics_of
from tickd.app.picture import Picture
from tickd.app.sinks import running_sinks
from tickd.app.storage import Storage
from tickd.app.tap import Tap
from tickd.bus import Bus, HandlerFailure
from tickd.bus_queue import Dropped, Limits, WhenFull
from tickd.clock import SystemClock
from tickd.events import SEQ_INDEX_BITS
from tickd.native import VERSION, Decoder, Histogram, NativeError
from tickd.telemetry.loop_lag import probe_loop_lag

log = structlog.get_logger(__name__)

# Events that may wait for the sink in whole bursts (64 B each); beyond, the range is read from the
# raw log again.
SINK_QUEUE = Limits(records_total_max=2 << 20)
REFUSALS_LOGGED_MAX = 10
HOUSEKEEPING_S = 1.0
ACTIVITY_AGE_NS = 200_000_000


class Daemon:
    """One daemon: `run` records until `stop` is set. Construct it on a running loop."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.clock = SystemClock()
        self.loop_lag = Histogram()
        self.raw_log = open_raw_log(config.raw_log, config.state_dir / "raw", node=config.node.id)
        self.decoder = Decoder()
        self.raw_log.restore_decoder(self.decoder)
        frame_recovered = self.raw_log.recovery["frame_last"]
        self.bus = Bus(
            self.decoder.topic_name,
            self.clock,
            seq=frame_recovered << SEQ_INDEX_BITS | 0xFFFF,
            on_dropped=self._dropped,
            on_failure=_failed,
        )
        self.tap = Tap(
            self.raw_log,
            self.decoder,
            self.bus,
            clock=self.clock,
        )
        self.watermark = Watermark(self.raw_log, durable=config.sink.durability == "disk")
        self.tap.on_watermark(self.watermark.moved)
        self.picture = Picture(self)
        self.storage = Storage(
            config,
            subscription=self.bus.subscribe_bursts(
                name="clickhouse", when_full=WhenFull.SPILL, limits=SINK_QUEUE
            ),
            progress=self.watermark,
            frame_recovered=frame_recovered,
            definitions=self.decoder.instruments,
            lag=self.picture.lag,
            clock=self.clock,
        )
        self.tap.on_definition(self.storage.define)
        self._active: dict[str, int] = {}
        self._active_at_ns = 0
        self.sinks = running_sinks(
            config.sinks,
            state_dir=config.state_dir,
            bus=self.bus,
            topic_name=self.decoder.topic_name,
            clock=self.clock,
            random=random.random,
        )
        for sink in self.sinks:
            self.tap.on_definition(sink.define)
        self.sessions = [self._session(venue) for venue in config.venues]
        self.http = HttpServer(
            host=config.http.host,
            port=config.http.port,
            metrics=metrics_of(self),
            ready=self.picture.waiting_for,
        )
        self.control = ControlServer(
            config.state_dir,
            {"status": self.picture.answer, "histograms": self.picture.histograms},
        )

    async def run(self, stop: asyncio.Event) -> ExitCode:
        """Record until `stop` is set, then drain down the flow.

        Raises TickdError(FATAL): the raw log failed for good, or a stage cannot run at all.
        """
        self.tap.control({"kind": "start", "version": VERSION, "node": self.config.node.id})
        if self.config.http.enabled:
            await self.http.start()
        await self.control.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                storing = tasks.create_task(self.storage.run(), name="storage")
                sinking = [
                    tasks.create_task(sink.run(), name=f"sink {sink.name}") for sink in self.sinks
                ]
                keeping = tasks.create_task(self._keep_house(), name="housekeeping")
                probing = tasks.create_task(
                    probe_loop_lag(self.clock, self.loop_lag), name="loop probe"
                )
                recording = [
                    tasks.create_task(session.run(), name=f"session {session.venue.name}")
                    for session in self.sessions
                ]
                await stop.wait()
                self.picture.stopping = True
                log.info("daemon_stopping", frames=self.raw_log.stats()["frames"])
                drained = await self._drain(recording, storing, sinking)
                keeping.cancel()
                probing.cancel()
        finally:
            await self.control.stop()
            await self.http.stop()
            self.tap.finish()
            self.tap.detach()
            whole = await self._close_log()
        log.info("daemon_stopped", drained=drained, whole=whole)
        if not whole:
            return ExitCode.DATA_LOSS
        return ExitCode.OK if drained else ExitCode.FAILED

    async def _drain(
        self,
        recording: list[asyncio.Task[None]],
        storing: asyncio.Task[bool],
        sinking: list[asyncio.Task[None]],
    ) -> bool:
        """Stop the sources, close the queues, wait for the storage; False when the time is up."""
        try:
            async with asyncio.timeout(self.config.node.shutdown_timeout_ms / 1000):
                for session in recording:
                    session.cancel()
                if recording:
                    await asyncio.wait(recording)
                self.tap.control({"kind": "stop", "node": self.config.node.id})
                self.tap.finish()
                self.raw_log.write_now(sync=True)
                self.bus.close()
                if sinking:
                    await asyncio.wait(sinking)
                return await storing
        except TimeoutError:
            storing.cancel()
            for sink in sinking:
                sink.cancel()
            return False

    async def _close_log(self) -> bool:
        """Write and seal what is left; False when the disk did not take it in time."""
        try:
            await asyncio.to_thread(self.raw_log.close, self.config.node.shutdown_timeout_ms)
        except NativeError as error:
            words = str(error.args[-1])
            log.error("frames_lost", words=words, hint="the next start records which")  # noqa: TRY400
            return False
        return True

    async def _keep_house(self) -> None:
        """Once a second: refusals to the log, unknown instruments to the sessions."""
        while True:
            await self.clock.sleep(HOUSEKEEPING_S)
            self._report_refusals()

    def _report_refusals(self) -> None:
        refusals = self.decoder.take_refusals()
        for frame_no, connection, reason, position in refusals[:REFUSALS_LOGGED_MAX]:
            log.warning(
                "frame_refused",
                frame_no=frame_no,
                connection=connection,
                reason=reason,
                position=position,
                hint=f"tickd inspect {self.config.state_dir} --frames "
                f"--from {frame_no} --to {frame_no}",
            )
        if len(refusals) > REFUSALS_LOGGED_MAX:
            log.warning("frames_refused", more=len(refusals) - REFUSALS_LOGGED_MAX)
        if any(reason == "unknown_instrument" for _, _, reason, _ in refusals):
            for session in self.sessions:
                session.refresh_instruments()

    def _session(self, config: VenueConfig) -> Session:
        return Session(
            registry.find(config.name),
            config,
            tap=self.tap,
            clock=self.clock,
            activity=self._activity,
            jitter=random.random,
        )

    def _activity(self) -> dict[str, int]:
        """Topic -> time of its last event; one answer serves all lines that ask within a moment."""
        now_ns = self.clock.mono_ns()
        if now_ns - self._active_at_ns > ACTIVITY_AGE_NS:
            name = self.decoder.topic_name
            stats = self.decoder.topic_stats()
            self._active = {name(topic): mono_ns for topic, _, mono_ns in stats}
            self._active_at_ns = now_ns
        return self._active

    def _dropped(self, rows: list[Dropped]) -> None:
        """What a queue let go is a fact of the node: it goes into the raw log."""
        for row in rows:
            self.tap.control({"kind": "drop", **row._asdict()})


def _failed(failure: HandlerFailure) -> None:
    log.error(
        "handler_failed",
        handler=failure.name,
        switched_off=failure.switched_off,
        exc_info=failure.error,
    )


async def run_until_signalled(config: Config) -> ExitCode:
    """Run a daemon until INT or TERM; a second signal cancels at once."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    task = asyncio.current_task()
    assert task is not None

    def on_signal() -> None:
        if stop.is_set():
            task.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    return await Daemon(config).run(stop)
