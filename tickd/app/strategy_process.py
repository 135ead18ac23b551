"""One strategy process as the daemon sees it: started, fed, listened to, watched, ended.

One object is one life; whether there is another decides `tickd/app/strategies.py`. It hurts nobody
when the child does anything: a slow child finds its events merged, one that hangs, grows or says
nonsense is killed, and why is in `ended`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, final

import msgspec
import structlog

from strategy_runner.config import StrategyConfig
from tickd.app.strategy_answers import Answers, StrategySaidError
from tickd.app.strategy_wire import (
    ANSWER_SLOTS,
    Report,
    Said,
    Start,
    Stopped,
    Told,
)
from tickd.app.tracing import Tracing
from tickd.bus import BurstHandler, Bus, Handling
from tickd.native import FeedWriter, NativeError, RingReader
from tickd.ports import Clock

__all__ = ["StrategyProcess"]

log = structlog.get_logger(__name__)

WATCH_S: Final = 0.05
# To import, to make the strategies, and their `on_start`; and to warm up before that, which ends by
# itself after 30 s of reading.
START_MS_MAX: Final = 30_000
WARM_START_MS_MAX: Final = 75_000
# What its events may still take when it is told to stop, and what `on_stop` may.
STOP_S_MAX: Final = 5.0
# Events that may wait outside of the ring: 64 B each, so 64 MiB; of one topic a quarter.
WAITING_MAX: Final = 1 << 20
# Answers taken in one turn of the loop, so that a chatty strategy delays nobody.
ANSWERS_A_TURN: Final = 64
# Warming is repeated while it takes longer than this and less than half of the time before, so that
# little is left for the start: what comes during that waits in the ring.
WARMUP_NS_MAX: Final = 100_000_000
KEEP_NS: Final = 5_000_000_000
LOG_BYTES_MAX: Final = 8 << 20
REASON_CHARACTERS_MAX: Final = 512
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@final
class StrategyProcess:
    """One life of the process of a group."""

    def __init__(
        self,
        group: str,
        strategies: Sequence[StrategyConfig],
        *,
        resolve: Callable[[int], tuple[str, str | None]],
        answers: Answers,
        on_start: Callable[[], None],
        on_stopped: Callable[[str, str], None],
        bus: Bus,
        clock: Clock,
        state_dir: Path,
        behind: Callable[[BurstHandler], BurstHandler] = lambda handler: handler,
        raw_log: Path | None = None,
        write_now: Callable[[], None] = lambda: None,
        warms_only: bool = False,
        over: Sequence[str] = (),
        tracing: Tracing | None = None,
    ) -> None:
        """Raises NativeError: no shared memory.

        `behind`: puts signals behind their causes. `raw_log`: what it warms up from; None: nothing;
        `write_now`: has what was recorded so far written to it. `warms_only`: it warms up for
        others, is given no event, and ends. `over`: strategies that are not made again.
        """
        self.group: Final = group
        self._strategies = tuple(strategies)
        self._resolve = resolve
        self._answers_of = answers
        self._on_start = on_start
        self._on_stopped = on_stopped
        self._bus = bus
        self._behind = behind
        self._clock = clock
        self._state_dir = state_dir
        self._raw_log = raw_log
        self._write_now = write_now
        self._warms_only = warms_only
        self._over = tuple(over)
        self._tracing = tracing
        self._is_begun = False
        self._warmed_ns = 0
        self._keep_due_ns = 0
        self.feed: Final = FeedWriter(
            resolve,
            capacity=_slots(strategies),
            records=WAITING_MAX // 4,
            records_total=WAITING_MAX,
        )
        self._answers = RingReader(ANSWER_SLOTS)
        self._handling: Handling | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._spawned_ns = 0
        self._is_told_to_stop = False
        self.is_started = False
        self.report = Report()
        self.rss_bytes = 0
        self.ended = ""

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    def define(self, instrument: int, definition: bytes) -> None:
        """Tell it an instrument, before its first event."""
        self.feed.define(instrument, definition)

    async def spawn(self) -> None:
        """Start the process; it says when it can begin. Raises OSError."""
        self._spawned_ns = self._clock.mono_ns()
        log_path = self._state_dir / f"{self.group}.log"
        self._state_dir.mkdir(parents=True, exist_ok=True)
        descriptors = (*self.feed.descriptors(), *self._answers.descriptors())
        with log_path.open("ab") as output:
            # -P: the daemon's working directory must not shadow modules of the child.
            self._child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "tickd.app.strategy_child",
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=descriptors,
                start_new_session=True,
            )
        start = Start(
            strategies=self._strategies,
            state_dir=str(self._state_dir),
            parent=os.getpid(),
            feed=self.feed.descriptors(),
            answers=self._answers.descriptors(),
            group=self.group,
            raw_log="" if self._raw_log is None else str(self._raw_log),
            warmup_seconds=max(config.warmup_seconds for config in self._strategies),
            warms_only=self._warms_only,
            over=self._over,
            traces_slow_ns=0 if self._tracing is None else self._tracing.slow_ns,
        )
        assert self._child.stdin is not None
        self._child.stdin.write(msgspec.json.encode(start) + b"\n")
        if self._raw_log is not None:
            self._warm()
        asyncio.get_running_loop().add_reader(self._answers.fileno(), self._on_bell)
        self._on_bell()

    def _warm(self) -> None:
        """Let it read the raw log as far as it goes; what comes meanwhile is read afterwards."""
        self._write_now()
        self.feed.text(Told.WARM, b"%d" % self._bus.seq)

    def _ready(self, took_ns: int) -> None:
        if self._is_begun or self._is_told_to_stop:
            return
        shrinks = not self._warmed_ns or took_ns < self._warmed_ns // 2
        self._warmed_ns = took_ns
        if took_ns > WARMUP_NS_MAX and shrinks:
            self._warm()
        else:
            self._start()

    def _start(self) -> None:
        """Let it make its strategies, and give it every event from now on.

        Not earlier: what came while it loads its modules would wait, and be merged.
        """
        self._is_begun = True
        self._on_start()
        self._write_now()
        self.feed.text(Told.START, b"%d" % self._bus.seq)
        if self._warms_only:
            return
        if self._tracing is not None:
            self._tracing.ask_with(self.group, self.feed.text)
        take = self._behind(self.feed.publish)
        self._handling = self._bus.handle_bursts(take, name=f"strategies {self.group}")

    async def watch(self) -> str:
        """Wait for the end of the process and return why it ended; kill it when it has to be."""
        assert self._child is not None
        try:
            while self._child.returncode is None:
                self.feed.flush()
                if self._clock.mono_ns() >= self._keep_due_ns:
                    self.keep()
                if fault := self._fault():
                    self.kill(fault)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WATCH_S):
                        await self._child.wait()
            self._take_answers(every=True)
            self.ended = self.ended or self._exit_text(self._child.returncode)
            return self.ended
        finally:
            self._release()

    def keep(self) -> None:
        """Have it keep what it knows, if it is given everything there is at this moment."""
        self._keep_due_ns = self._clock.mono_ns() + KEEP_NS
        if self._raw_log is not None and self.is_started and not self.feed.waiting:
            self.feed.text(Told.KEEP, b"%d" % self._bus.seq)

    async def stop(self, reason: str) -> None:
        """Let it take what is on its way and stop its strategies; kill it when the time is up.

        `watch` must be running.
        """
        self._is_told_to_stop = True
        if self._handling is not None:
            self._handling.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S_MAX):
                while self.feed.waiting and self.feed.closed is None and not self.ended:
                    await self._clock.sleep(WATCH_S)
                self.keep()
                self.feed.text(Told.STOP, reason.encode())
                if self._child is not None:
                    await self._child.wait()
        if self._child is not None and self._child.returncode is None:
            self.kill(f"it did not stop within {STOP_S_MAX:g} s")

    def kill(self, reason: str) -> None:
        """End the process at once; the first reason stands."""
        self.ended = self.ended or reason
        if self._child is not None and self._child.returncode is None:
            # It has a session of its own: whatever it started goes with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)

    def _fault(self) -> str:
        """Why the process has to be killed; empty when it has not."""
        if self.feed.closed is not None:
            return f"its feed ended: {self._named(self.feed.closed)}"
        if self._handling is not None and not (self._handling.active or self._is_told_to_stop):
            return "its feed failed, see handler_failed in the log"
        now_ns = self._clock.mono_ns()
        if not self.is_started:
            hang_ms = START_MS_MAX if self._raw_log is None else WARM_START_MS_MAX
            since_ns = self._spawned_ns
        else:
            hang_ms = max(config.hang_ms_max for config in self._strategies)
            since_ns = self.feed.progress()[0]
        if since_ns and (now_ns - since_ns) > hang_ms * 1_000_000:
            return f"it hangs: {hang_ms} ms and more over what it has in hand"
        self.rss_bytes = self._resident_bytes()
        bytes_max = sum(config.memory_bytes_max for config in self._strategies)
        if self.rss_bytes > bytes_max:
            return f"it has {self.rss_bytes:,} bytes of memory, at most {bytes_max:,}"
        self._trim_log()
        return ""

    def _resident_bytes(self) -> int:
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):  # gone meanwhile
            return 0
        return int(pages) * _PAGE_BYTES

    def _trim_log(self) -> None:
        """A strategy that prints without end must not fill the disk of the recorder."""
        path = self._state_dir / f"{self.group}.log"
        with contextlib.suppress(OSError):
            if path.stat().st_size > LOG_BYTES_MAX:
                os.truncate(path, 0)

    def _on_bell(self) -> None:
        self._answers.hush()
        self._take_answers()

    def _take_answers(self, *, every: bool = False) -> None:
        """Take some answers, the others in later turns of the loop; `every`: all at once."""
        left = ANSWERS_A_TURN
        try:
            while every or left:
                left -= 1
                entry = self._answers.take(1)
                if isinstance(entry, tuple):
                    self._answer(entry[1], entry[2])
                elif every or not self._answers.arm():
                    return
        except (NativeError, StrategySaidError, msgspec.DecodeError) as error:
            self.kill(f"it says what makes no sense: {error}"[:REASON_CHARACTERS_MAX])
            return
        except Exception as error:
            log.exception("answers_failed", group=self.group)
            reason = f"the daemon failed at what it said: {type(error).__name__}: {error}"
            self.kill(reason[:REASON_CHARACTERS_MAX])
            return
        asyncio.get_running_loop().call_soon(self._take_answers)

    def _answer(self, what: int, content: bytes) -> None:
        if what == Said.RECORD:
            self._record(content)
        elif what == Said.READY:
            self._ready(int(content) if content.isdigit() else 0)
        elif what == Said.STARTED:
            self.is_started = True
        elif what == Said.REPORT:
            self.report = msgspec.json.decode(content, type=Report)
        elif what == Said.TRACE and self._tracing is not None:
            self._tracing.ran(self.group, content)
        elif what == Said.STOPPED:
            stopped = msgspec.json.decode(content, type=Stopped)
            if stopped.strategy in {config.name for config in self._strategies}:
                self._on_stopped(stopped.strategy, stopped.reason[:REASON_CHARACTERS_MAX])
        else:
            raise StrategySaidError(f"message {what}")

    def _record(self, content: bytes) -> None:
        try:
            self._answers_of.take(content)
        except (NativeError, StrategySaidError):
            raise
        except Exception:
            # A bug below an order is not the strategy's: its cancels must still be read.
            log.exception("ask_failed", group=self.group, line=content[:REASON_CHARACTERS_MAX])

    def _release(self) -> None:
        """Give up rings and pipe; the process has ended, or ends now."""
        self.kill("the daemon ends")
        asyncio.get_running_loop().remove_reader(self._answers.fileno())
        if self._handling is not None:
            self._handling.close()
            # It belongs to this thread; a later collection may run on another.
            self._handling = None
        if self._child is not None and self._child.stdin is not None:
            self._child.stdin.close()

    def _named(self, words: str) -> str:
        return re.sub(r"\{topic (\d+)\}", lambda found: self._resolve(int(found[1]))[0], words)

    def _exit_text(self, code: int) -> str:
        if code == 0:
            return "it ended by itself"
        if code > 0:
            return f"it ended with exit code {code}: {self._last_words()}"
        try:
            return f"it was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"it was ended by signal {-code}"

    def _last_words(self) -> str:
        try:
            text = (self._state_dir / f"{self.group}.log").read_bytes()[-2048:]
        except OSError:
            return "no log"
        lines = text.decode("utf-8", "backslashreplace").strip().splitlines()
        return lines[-1][:REASON_CHARACTERS_MAX] if lines else "it wrote nothing"


def _slots(strategies: Sequence[StrategyConfig]) -> int:
    """Return the ring's capacity: a power of two, what the most patient of the group allows."""
    events = max(config.queue_events for config in strategies)
    return 1 << (events - 1).bit_length()
