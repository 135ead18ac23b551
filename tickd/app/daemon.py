"""The life of a daemon: starts its parts, keeps house, takes them down in the order of the flow.

Down: sessions → strategies → trading → tap → bus → storage and sinks → raw log → embedded
ClickHouse, within `node.shutdown_timeout_ms`; then what is left is cancelled.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import signal
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

import structlog

from tickd.app.allocator import give_free_pages_back
from tickd.app.backends import described
from tickd.app.config import Config
from tickd.app.control import ControlServer
from tickd.app.credentials import HTTP, Credentials
from tickd.app.door_metrics import declare_doors, declare_flight
from tickd.app.dumping import write_dump
from tickd.app.exit_codes import ExitCode
from tickd.app.flight import FlightKeeper
from tickd.app.flight_watch import FlightWatch, LagNotes
from tickd.app.halting import Halting
from tickd.app.http import HttpServer
from tickd.app.metrics import metrics_of
from tickd.app.parts import Parts
from tickd.app.picture import Picture
from tickd.app.process_metrics import watch_garbage
from tickd.app.streaming import Streams
from tickd.app.supervision import NOBODY, Supervision, Supervisor, recovering, supervisor_here
from tickd.app.tails import Tails
from tickd.app.top import Top
from tickd.app.wiring import wire
from tickd.native import VERSION, NativeError
from tickd.telemetry.flight import FlightRing
from tickd.telemetry.loop_lag import probe_loop_lag

log = structlog.get_logger(__name__)

REFUSALS_LOGGED_MAX = 10
HOUSEKEEPING_S = 1.0


class Daemon:
    """One daemon: `run` records until `stop` is set."""

    def __init__(
        self,
        parts: Parts,
        supervisor: Supervisor = NOBODY,
        *,
        flight: FlightKeeper | None = None,
    ) -> None:
        self.parts = parts
        parts.traces.join(parts)
        parts.probes.join(parts)
        self.picture = Picture(parts)
        self.flight = flight
        self.ring = flight.ring if flight is not None else FlightRing(parts.clock.wall_ns)
        self.supervision = Supervision(parts, supervisor)
        metrics = metrics_of(parts, self.picture)
        self.http = HttpServer(parts.config.http, metrics=metrics, ready=self.picture.waiting_for)
        self.http.exemplars = parts.traces.exemplars
        tails = Tails(parts.bus)
        parts.tap.on_definition(tails.define)
        self.control = ControlServer(
            parts.config.state_dir,
            {
                "status": self.picture.answer,
                "histograms": self.picture.histograms,
                **Top(parts, self.picture).commands(),
                **parts.shipping.commands(),
                **parts.storage.rebuilding.commands(),
                **parts.storage.spooling.commands(),
                **parts.planning.commands(),
                **parts.filling.commands(),
                **parts.halting.commands(),
                **parts.trading.commands(),
                **parts.traces.commands(),
            },
            Streams(tails.streams()),
        )
        self.credentials = Credentials(parts.config, clock=parts.clock)
        self.credentials.when_renewed(HTTP, self.http.renew)
        declare_doors(
            metrics,
            parts.config,
            http=self.http,
            control=self.control,
            credentials=self.credentials,
        )
        declare_flight(metrics, flight)

    async def run(self, stop: asyncio.Event) -> ExitCode:
        """Record until `stop` is set, then drain down the flow.

        Raises TickdError(FATAL): the raw log failed for good, or a stage cannot run at all.
        """
        self._say_start()
        await self._open_doors()
        try:
            async with asyncio.TaskGroup() as tasks:
                storing = tasks.create_task(self.parts.storage.run(), name="storage")
                sinking = [
                    tasks.create_task(run(), name=name) for name, run in self._sinks().items()
                ]
                side = [tasks.create_task(run(), name=name) for name, run in self._side().items()]
                trading = tasks.create_task(self.parts.trading.run(), name="trading")
                recording = [
                    tasks.create_task(session.run(), name=f"session {session.venue.name}")
                    for session in self.parts.sessions
                ]
                recording += [
                    tasks.create_task(filler.run(), name=f"gaps {venue}")
                    for venue, filler in self.parts.filling.days.items()
                ]
                deciding = tasks.create_task(
                    self.parts.strategies.run(self._venues_known), name="strategies"
                )
                await stop.wait()
                self.picture.stopping = True
                self.supervision.stopping()
                log.info("daemon_stopping", frames=self.parts.raw_log.stats()["frames"])
                self.parts.shipping.stop()
                drained = await self._drain(recording, deciding, trading, storing, sinking)
                for task in side:
                    task.cancel()
        finally:
            await self.control.stop()
            await self.http.stop()
            await asyncio.to_thread(self.parts.halting.stop)
            self.parts.tap.finish()
            self.parts.tap.detach()
            whole = await self._close_log()
        log.info("daemon_stopped", drained=drained, whole=whole)
        if not whole:
            return ExitCode.DATA_LOSS
        return ExitCode.OK if drained else ExitCode.FAILED

    def dump(self) -> None:
        """Write the whole picture and the flight recorder to files; changes nothing."""
        if self.flight is not None:
            self.flight.dump("signal")
        try:
            path = write_dump(
                self.parts.config.state_dir / "dumps",
                self.picture.draw(topics=True),
                wall_ns=self.parts.clock.wall_ns(),
            )
        except OSError as error:
            log.warning("dump_failed", words=str(error))
        else:
            log.info("state_dumped", path=str(path))

    def _sinks(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What stores beside the tables of events; each ends when its queue does."""
        parts = self.parts
        named = {f"sink {sink.name}": sink.run for sink in parts.sinks}
        named["signals"] = parts.signals.run
        if parts.trading.rows is not None:
            named["trading rows"] = parts.trading.rows.run
        return named

    def _side(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What goes on for ever beside the flow, and is cancelled when that has ended."""
        parts = self.parts
        return {
            "housekeeping": self._keep_house,
            "kill switch": parts.halting.switch.run,
            "disk guard": parts.disk.run,
            "shipping": parts.shipping.run,
            "plan": parts.planning.run,
            "universes": parts.universes.run,
            "credentials": self.credentials.run,
            "loop core": parts.loop_core.run,
            "traces": parts.traces.run,
            "probes": parts.probes.run,
            "supervision": self.supervision.run,
            "flight watch": FlightWatch(self.ring, parts, self.picture).run,
            "loop probe": partial(probe_loop_lag, parts.clock, LagNotes(parts.loop_lag, self.ring)),
            "garbage watch": partial(watch_garbage, parts.garbage),
        }

    async def _open_doors(self) -> None:
        """Listen to operators: HTTP and the control socket."""
        if self.parts.config.http.enabled:
            await self.http.start()
            self.picture.http_port = self.http.port
        await self.control.keep()

    def _say_start(self) -> None:
        for choice in self.parts.backends:
            say = log.info if choice.name == "native" else log.warning
            say("backend_chosen", **described(choice))
        fields = {"version": VERSION, "node": self.parts.config.node.id}
        # This build's decoder keeps the ledger of gaps; the log may be one from before (ADR 24).
        self.parts.tap.control({"kind": "start", **fields, "ledger": True})

    def _venues_known(self) -> bool:
        """Whether the instruments of every venue are defined."""
        return all(session.started for session in self.parts.sessions)

    async def _drain(
        self,
        recording: list[asyncio.Task[None]],
        deciding: asyncio.Task[None],
        trading: asyncio.Task[None],
        storing: asyncio.Task[bool],
        sinking: list[asyncio.Task[None]],
    ) -> bool:
        """Stop the sources, close the queues, wait for the storage; False when the time is up."""
        try:
            async with asyncio.timeout(self.parts.config.node.shutdown_timeout_ms / 1000):
                for session in recording:
                    session.cancel()
                if recording:
                    await asyncio.wait(recording)
                # What the sources left is published first, and what strategies say is recorded.
                await self.parts.strategies.stop("the daemon stops")
                deciding.cancel()
                await asyncio.wait([deciding])
                await self.parts.trading.stop()
                trading.cancel()
                await asyncio.wait([trading])
                await self.parts.trading.close()
                self.parts.tap.control({"kind": "stop", "node": self.parts.config.node.id})
                self.parts.tap.finish()
                self.parts.raw_log.write_now(sync=True)
                if self.parts.trading.rows is not None:
                    self.parts.trading.rows.close()
                await self.parts.signals.finish()
                self.parts.bus.close()
                if sinking:
                    await asyncio.wait(sinking)
                return await storing
        except TimeoutError:
            deciding.cancel()
            trading.cancel()
            storing.cancel()
            for sink in sinking:
                sink.cancel()
            return False

    async def _close_log(self) -> bool:
        """Write and seal what is left; False when the disk did not take it in time."""
        try:
            await asyncio.to_thread(
                self.parts.raw_log.close, self.parts.config.node.shutdown_timeout_ms
            )
        except NativeError as error:
            words = str(error.args[-1])
            log.error("frames_lost", words=words, hint="the next start records which")  # noqa: TRY400
            return False
        return True

    async def _keep_house(self) -> None:
        """Once a second: refusals to the log, unknown instruments to the sessions, the socket.

        Once a minute: memory that is free.
        """
        for second in itertools.count():
            await self.parts.clock.sleep(HOUSEKEEPING_S)
            await self.control.keep()
            self._report_refusals()
            self.parts.halting.watch(
                fault=self.parts.raw_log.fault, lag_s=self.parts.planning.lag_s
            )
            if second % 60 == 59:
                await asyncio.to_thread(give_free_pages_back)

    def _report_refusals(self) -> None:
        refusals = self.parts.decoder.take_refusals()
        for frame_no, connection, reason, position in refusals[:REFUSALS_LOGGED_MAX]:
            log.warning(
                "frame_refused",
                frame_no=frame_no,
                connection=connection,
                reason=reason,
                position=position,
                hint=f"tickd inspect {self.parts.config.state_dir} --frames "
                f"--from {frame_no} --to {frame_no}",
            )
        if len(refusals) > REFUSALS_LOGGED_MAX:
            log.warning("frames_refused", more=len(refusals) - REFUSALS_LOGGED_MAX)
        if any(reason == "unknown_instrument" for _, _, reason, _ in refusals):
            for session in self.parts.sessions:
                session.refresh_instruments()


async def run_until_signalled(
    config: Config,
    reread: Callable[[], Config],
    halting: Halting,
    flight: FlightKeeper | None = None,
) -> ExitCode:
    """Run a daemon until INT or TERM; a second signal cancels at once. HUP reads the file again.

    USR1 halts orders, from before this is called; USR2 writes down the state. HUP and USR2 have
    waited since the process began (`tickd/__main__.py`), and count once the daemon stands.

    Args: `reread`: the configuration as the file has it now; raises ConfigError.
    """
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
    supervisor = supervisor_here()
    with recovering(supervisor):
        daemon = Daemon(wire(config, halting), supervisor, flight=flight)
    daemon.parts.planning.reread_with(reread)
    loop.add_signal_handler(signal.SIGHUP, daemon.parts.planning.on_hangup)
    loop.add_signal_handler(signal.SIGUSR2, daemon.dump)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP, signal.SIGUSR2})
    # What stands by now stays for the daemon's life: a full collection would only walk it again and
    # again, and stop the loop meanwhile.
    gc.collect()
    gc.freeze()
    return await daemon.run(stop)
