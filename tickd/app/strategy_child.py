"""A strategy process: the composition root of a child that hosts one group of strategies.

`python -m tickd.app.strategy_child` reads one line from its pipe, joins two rings by the
descriptors that it inherited, feeds what comes to the host and sends back what the host says. It
ends when it is told, when no strategy is left, or when the daemon is gone. It opens no socket.
"""

from __future__ import annotations

import signal

# Before any slow import: what is sent to the whole terminal or cgroup is meant for the daemon,
# which stops this child last.
for _ignored in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
    signal.signal(_ignored, signal.SIG_IGN)

import ctypes  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Final  # noqa: E402

import msgspec  # noqa: E402
import orjson  # noqa: E402
import structlog  # noqa: E402

from strategy_runner.decisions import line_of  # noqa: E402
from strategy_runner.runner import StrategyHost  # noqa: E402
from strategy_runner.wants import feed_of  # noqa: E402
from tickd.app.strategy_images import ImageFile  # noqa: E402
from tickd.app.strategy_portions import Portions  # noqa: E402
from tickd.app.strategy_warmup import Warmup  # noqa: E402
from tickd.app.strategy_wire import Said, Start, Stopped, Told, Warmth  # noqa: E402
from tickd.clock import SystemClock  # noqa: E402
from tickd.native import EventBatch, RingReader, RingWriter  # noqa: E402

log = structlog.get_logger(__name__)

_PR_SET_PDEATHSIG: Final = 1
_PIPE: Final = 0
_REPORT_NS: Final = 1_000_000_000
_WAIT_MS: Final = 250
# Events of one portion. What the daemon says is looked at in between, so it must stay short: it
# grows while strategies are quick and shrinks when one is not.
_PORTION_MAX: Final = 4_096
_QUICK_NS: Final = 5_000_000
_SLOW_NS: Final = 20_000_000
# The daemon takes answers in every turn of its loop; one that does not for so long is gone or lost.
_ANSWER_S_MAX: Final = 10.0
# Between two pieces of an image, so that the daemon has turns of its loop for others.
_PIECE_S: Final = 0.001
_LINE_BYTES_MAX: Final = 16 << 20
# Behind the recorder where cores are short: one that computes without end gets a quarter of a core
# beside a thread of the daemon, not half.
_NICE: Final = 5


class _Child:
    """Feeds a host out of a ring until it is told to stop."""

    def __init__(self, start: Start) -> None:
        self._feed = RingReader.open(*start.feed)
        self._answers = RingWriter.open(*start.answers)
        for descriptor in (*start.feed, *start.answers):
            os.close(descriptor)
        self._clock = SystemClock()
        self._config = start
        self._definitions: dict[int, bytes] = {}
        image = Path(start.state_dir) / f"{start.group}.image"
        self._images = ImageFile(image, self._clock)
        self._warmth = Warmth()
        self._warmup: Warmup | None = None
        if start.raw_log:
            self._warmup = Warmup(
                self._new_host,
                raw_log=Path(start.raw_log),
                image=image,
                seconds=start.warmup_seconds,
                clock=self._clock,
                wait=time.sleep,
            )
        self._host = self._new_host()
        self._portion = 1
        self._portions = Portions(start.traces_slow_ns, lambda line: self._say(Said.TRACE, line))
        self._take = self._traced_portion_of if start.traces_slow_ns else self._portion_of
        self._started = False
        self._report_due_ns = 0

    def run(self) -> None:
        """Raises NativeError: the ring makes no sense."""
        if self._warmup is None:
            self._say(Said.READY, b"")
        reason = self._work()
        self._feed.finish()
        self._host.stop(reason)
        self._report()
        self._images.close()

    def _work(self) -> str:
        while True:
            entry = self._feed.take(self._portion)
            if isinstance(entry, EventBatch):
                self._take(entry)
            elif entry is None:
                there, is_pipe = self._feed.wait(_WAIT_MS, _PIPE)
                if is_pipe and not there:
                    return "the daemon is gone"
            elif entry[0] == "definition":
                self._define(entry[1], entry[2])
                continue
            elif entry[1] == Told.STOP:
                return entry[2].decode()
            else:
                self._told(entry[1], entry[2])
                if self._config.warms_only and entry[1] == Told.START:
                    return "it is warm"
            if self._clock.mono_ns() >= self._report_due_ns:
                self._report()
            if self._started and not self._host.running:
                return "no strategy is left"

    def _told(self, what: int, content: bytes) -> None:
        if what == Told.TRACE:
            self._portions.ask(content)
            return
        seq = int(content or b"0")
        if what == Told.WARM and self._warmup is not None:
            self._say(Said.READY, b"%d" % self._warmup.advance(seq))
        elif what == Told.START:
            if self._warmup is not None:
                self._begin_warm(self._warmup, seq)
            if self._config.warms_only:
                return
            self._host.tell(self._feed)
            self._host.start()
            self._started = True
            self._say(Said.STARTED, b"")
        elif what == Told.KEEP:
            self._images.keep(self._host, seq)

    def _begin_warm(self, warmup: Warmup, seq: int) -> None:
        """Begin with an image that is on record, and with nothing else: so does a replay."""
        image, pieces, self._warmth = warmup.finish(seq)
        self._warmup = None
        strategy = self._config.strategies[0]
        for number, piece in enumerate(pieces):
            fields = {"kind": "warm", "strategy": strategy.name, "feed": feed_of(strategy)}
            part = {"seq": seq, "part": number, "parts": len(pieces), "image": piece}
            self._say(Said.RECORD, line_of({**fields, **part}))
            time.sleep(_PIECE_S)
        self._host = self._new_host()
        self._host.restore(image)
        log.info("strategies_warmed", **msgspec.to_builtins(self._warmth))

    def _define(self, instrument: int, definition: bytes) -> None:
        self._definitions[instrument] = definition
        self._host.define(instrument, definition)
        if self._warmup is not None:
            self._warmup.define(instrument, definition)

    def _new_host(self) -> StrategyHost:
        host = StrategyHost(
            self._config.strategies,
            record=lambda line: self._say(Said.RECORD, line),
            clock=self._clock,
            state_dir=Path(self._config.state_dir),
            on_stopped=self._stopped,
            own_process=True,
            over=self._config.over,
        )
        for instrument, definition in self._definitions.items():
            host.define(instrument, definition)
        return host

    def _portion_of(self, events: EventBatch) -> None:
        began_ns = self._clock.mono_ns()
        self._host.feed(events)
        took_ns = self._clock.mono_ns() - began_ns
        if took_ns < _QUICK_NS:
            self._portion = min(self._portion * 2, _PORTION_MAX)
        elif took_ns > _SLOW_NS:
            self._portion = max(self._portion // 4, 1)

    def _traced_portion_of(self, events: EventBatch) -> None:
        began_ns = self._clock.mono_ns()
        self._portion_of(events)
        self._portions.note(events, began_ns, self._clock.mono_ns())

    def _stopped(self, name: str, reason: str) -> None:
        self._say(Said.STOPPED, msgspec.json.encode(Stopped(strategy=name, reason=reason)))

    def _report(self) -> None:
        self._report_due_ns = self._clock.mono_ns() + _REPORT_NS
        warmth = msgspec.to_builtins(self._warmth)
        self._say(Said.REPORT, orjson.dumps({**self._host.report(), "warmth": warmth}))

    def _say(self, what: Said, content: bytes) -> None:
        """Send to the daemon; waits for room, which a busy daemon makes soon."""
        until = time.monotonic() + _ANSWER_S_MAX
        while not self._answers.text(what, content):
            if time.monotonic() > until:
                raise SystemExit("the daemon takes no answers")
            time.sleep(0.001)


def main() -> None:
    start = msgspec.json.decode(_first_line(), type=Start)
    # However the daemon dies, and whatever a strategy is doing then, this process goes with it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != start.parent:
        sys.exit("the daemon is gone")
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would be as large as it may grow
    # If memory runs out the kernel takes a strategy, never the recorder.
    Path("/proc/self/oom_score_adj").write_text("1000")
    sys.path.append(str(Path.cwd()))  # where `module:Class` of the operator lives; shadows nothing
    _Child(start).run()


def _first_line() -> bytes:
    """Return the start message; behind it comes nothing but the end of the pipe."""
    with os.fdopen(os.dup(_PIPE), "rb") as pipe:
        return pipe.readline(_LINE_BYTES_MAX)


if __name__ == "__main__":
    main()
