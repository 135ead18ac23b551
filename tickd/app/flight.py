"""The flight recorder at work: its entries in a file as they come, dumps when something happens.

`STATE_DIR/flight/current.jsonl` grows by a line per entry, written by a thread of its own, so a
`kill -9` or a crash of native code loses at most what that thread had in hand; a disk that hangs
holds up nobody but it. `dumps/flight-*.jsonl` are copies of the ring: at SIGUSR2, at every event
that calls for an operator (level error: a halt, lost data, a watchdog that is not pinged), at an
exception that ends the daemon. A life that ended without a word is found by the next one and kept.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import queue
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

import orjson
import structlog

from tickd.telemetry.flight import Entry, FlightRing

__all__ = ["DUMPS_MAX", "FlightKeeper", "read_entries"]

log = structlog.get_logger(__name__)

DUMPS_MAX: Final = 10
FATAL_MAX: Final = 5
# Then a new file is begun; the one before is kept beside it.
FILE_BYTES_MAX: Final = 2 << 20
# Entries that may wait for the disk; beyond them the file misses some, the ring does not.
WAITING_MAX: Final = 1_024
# An error that comes again and again fills no directory.
DUMP_EVERY_NS: Final = 60_000_000_000
JOIN_S: Final = 2.0
BEGIN, END = "flight_began", "flight_ended"
_UNSAFE: Final = re.compile(r"[^a-z0-9_]+")

# (what is to be done, the entry or the cause)
_Job = tuple[str, Any]


class FlightKeeper:
    """Files of one daemon's flight recorder. Raises nothing for a disk that refuses."""

    def __init__(self, ring: FlightRing, state_dir: Path, *, mono_ns: Callable[[], int]) -> None:
        self.ring = ring
        self._directory = state_dir.absolute() / "flight"
        self._dumps = state_dir.absolute() / "dumps"
        self._mono_ns = mono_ns
        self._jobs: queue.Queue[_Job] = queue.Queue(maxsize=WAITING_MAX)
        self._thread = threading.Thread(target=self._write, name="flight", daemon=True)
        self._dumped_ns: dict[str, int] = {}  # by cause
        self._fatal: IO[bytes] | None = None
        self._lock: IO[bytes] | None = None
        self.missed = 0  # entries that are not in the file or a dump: no room, or no JSON
        self.dumps_total: dict[str, int] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """From here on entries go into the file; an exception leaves a dump before it goes on."""
        self._begin()
        try:
            yield
        except BaseException as error:
            if isinstance(error, Exception | BaseExceptionGroup):
                self.ring.note("daemon_crashed", "critical", exc_info=error)
            raise
        finally:
            self._end()

    def dump(self, cause: str) -> None:
        """Copy the ring into a file, soon and by the thread."""
        self._put(("dump", cause))

    # The loop's and any other thread's side ------------------------------------------------------

    def _begin(self) -> None:
        if not self._is_ours():
            return  # the raw log refuses this life; the file is the other one's
        left = self._left_behind()
        self.ring.listener = self._on_entry
        self._thread.start()
        self.ring.note(BEGIN, pid=os.getpid())
        self._catch_fatal()
        if left is not None:
            log.warning("last_life_ended_suddenly", path=str(left), hint=f"tickd flight {left}")

    def _end(self) -> None:
        self.ring.note(END)
        self.ring.listener = None
        if self._thread.is_alive():
            with suppress(queue.Full):
                self._jobs.put(("end", None), timeout=JOIN_S)
            self._thread.join(JOIN_S)  # a disk that hangs must not hold up the end
        if self._lock is not None:
            self._lock.close()
        if self._fatal is not None:
            faulthandler.disable()
            path, size = Path(self._fatal.name), os.fstat(self._fatal.fileno()).st_size
            self._fatal.close()
            if not size:
                path.unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        """Whether no other daemon records here; the lock goes with the process."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._lock = (self._directory / "lock").open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # a disk that refuses is no other daemon
        return True

    def _on_entry(self, entry: Entry) -> None:
        self._put(("entry", entry))
        if entry["level"] not in ("error", "critical", "exception"):
            return
        cause = str(entry["event"])
        now_ns = self._mono_ns()
        if now_ns - self._dumped_ns.get(cause, now_ns - DUMP_EVERY_NS) >= DUMP_EVERY_NS:
            self._dumped_ns[cause] = now_ns
            self.dump(cause)

    def _put(self, job: _Job) -> None:
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self.missed += 1

    def _catch_fatal(self) -> None:
        """Let a fatal signal leave all threads' stacks; under systemd the journal has them."""
        if "JOURNAL_STREAM" in os.environ:
            return
        try:
            self._dumps.mkdir(parents=True, exist_ok=True)
            self._fatal = (self._dumps / f"fatal-{_stamp(self.ring)}.txt").open("wb")
        except OSError:
            return
        faulthandler.enable(self._fatal)
        _keep(self._dumps, "fatal-*.txt", FATAL_MAX)

    # The thread's side ---------------------------------------------------------------------------

    def _write(self) -> None:
        file: IO[bytes] | None = None
        while True:
            what, value = self._jobs.get()
            if what == "end":
                break
            if what == "dump":
                self._dump(value)
                continue
            line = self._line(value)
            try:
                if file is None or file.tell() > FILE_BYTES_MAX:
                    file = self._next_file(file)
                file.write(line)
            except (OSError, ValueError):
                self.missed += 1
                file = None  # full or gone: the next entry tries again
        if file is not None:
            with suppress(OSError):
                file.close()

    def _line(self, entry: Entry) -> bytes:
        """An entry as JSON; nothing for one that has none: it must not end the thread."""
        try:
            return orjson.dumps(entry, default=str) + b"\n"
        except (TypeError, ValueError):
            self.missed += 1
            return b""

    def _next_file(self, file: IO[bytes] | None) -> IO[bytes]:
        self._directory.mkdir(parents=True, exist_ok=True)
        current = self._directory / "current.jsonl"
        if file is not None:
            file.close()
            current.replace(self._directory / "before.jsonl")
        return current.open("ab", buffering=0)

    def _dump(self, cause: str) -> None:
        name = _UNSAFE.sub("-", cause)[:40]
        try:
            path = self._dumps / f"flight-{_stamp(self.ring)}-{name}.jsonl"
            self._dumps.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(map(self._line, self.ring.entries())))
            _keep(self._dumps, "flight-*.jsonl", DUMPS_MAX)
        except (OSError, OverflowError, ValueError) as error:
            self.ring.note("flight_dump_failed", "warning", words=str(error))
            return
        self.dumps_total[name] = self.dumps_total.get(name, 0) + 1
        self.ring.note("flight_dumped", path=str(path))

    def _left_behind(self) -> Path | None:
        """Keep the file of a life that did not say its end; empty the place for ours."""
        current = self._directory / "current.jsonl"
        try:
            entries = read_entries(current)
            if not entries:
                return None
            if entries[-1].get("event") == END:
                current.replace(self._directory / "before.jsonl")
                return None
            moment = datetime.fromtimestamp(entries[-1]["wall_ns"] / 1e9, UTC)
            self._dumps.mkdir(parents=True, exist_ok=True)
            kept = self._dumps / f"flight-{moment:%Y%m%dT%H%M%S}-sudden-end.jsonl"
            current.replace(kept)
            _keep(self._dumps, "flight-*.jsonl", DUMPS_MAX)
        except (OSError, KeyError, TypeError):
            return None
        return kept


def read_entries(path: Path) -> list[Entry]:
    """The entries of a file; a line that was cut off by a crash is left out. Raises OSError."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_bytes().splitlines():
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return entries


def _keep(directory: Path, pattern: str, most: int) -> None:
    for old in sorted(directory.glob(pattern))[:-most]:
        with suppress(OSError):
            old.unlink()


def _stamp(ring: FlightRing) -> str:
    ns = ring.wall_ns()
    return f"{datetime.fromtimestamp(ns // 1_000_000_000, UTC):%Y%m%dT%H%M%S}-{ns % 10**9:09d}"
