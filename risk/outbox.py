"""The write-ahead file of orders: an intent is in it before the order leaves, its outcome after.

One preallocated file, written in the caller's step (the page cache survives the process) and made
durable by a native thread (`disk`). When it is nearly full a shorter one is written beside it, in
slices, and takes its place in one step. What a record means is risk/recovery.py's business.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Literal, Protocol, final

import msgspec

from risk.errors import OutboxError
from risk.outbox_damage import OutboxDamage
from risk.outbox_files import file_name, is_gone, write_at
from risk.outbox_format import (
    HEADER_BYTES,
    Carried,
    Held,
    Record,
    Scan,
    encode_payload,
    header,
    scan,
)
from tickd.durable import sync_directory
from tickd.native import Histogram, SyncThread, outbox_frame
from tickd.ports import Clock

__all__ = ["Carrier", "Opened", "Outbox"]

# A new file is begun when this share is used.
_FULL_NUMERATOR: Final = 3
_FULL_DENOMINATOR: Final = 4
# Orders that one step carries into a new file: about a microsecond and a half each, measured.
_SLICE_ORDERS: Final = 128
# After a failure a new file is tried this often.
_RETRY_NS: Final = 1_000_000_000


class Carrier(Protocol):
    """Who knows the orders that a new file begins with."""

    def kept(self) -> Iterable[int]:
        """Numbers of all orders that a restart must know."""
        ...

    def carried(self, number: int) -> Carried | None:
        """All that is known of one of them; None: it has been forgotten since."""
        ...

    def held(self) -> Iterable[Held]:
        """What is held, by strategy and instrument."""
        ...


class Opened(msgspec.Struct, frozen=True):
    """What a start found. torn_bytes: cut off; is_damaged: more than a torn end is wrong."""

    records: tuple[Record, ...]
    torn_bytes: int
    is_damaged: bool


class _Fresh:
    """A file that is being filled to take the other's place."""

    def __init__(self, path: Path, fd: int, generation: int, kept: Iterable[int]) -> None:
        self.path = path
        self.fd = fd
        self.generation = generation
        self.offset = HEADER_BYTES
        self.number = 0
        # Orders that are not in it yet as they are now; a dict for its order.
        self.pending: dict[int, None] = dict.fromkeys(kept)


@final
class Outbox:
    """The file of one daemon; `bytes_max` is its whole size on disk."""

    def __init__(
        self,
        folder: Path,
        *,
        durability: Literal["process", "disk"],
        bytes_max: int,
        clock: Clock,
    ) -> None:
        self._folder = folder
        self._is_durable = durability == "disk"
        self._bytes_max = bytes_max
        self._clock = clock
        # What is wrong with it until a person has looked.
        self.damage = OutboxDamage(folder, clock)
        # Why nothing is taken; None: all is well.
        self.error: str | None = "not open"
        self.rotations_count = 0
        self.failures_count = 0
        # From the decision until an order may leave: written, or with `disk` durable.
        self.latency = Histogram()
        self._fd: int | None = None
        self._path = folder / file_name(0)
        self._generation = 0
        self._offset = 0
        self._capacity = 0
        self._number = 0
        self._sync: SyncThread | None = None
        self._fresh: _Fresh | None = None
        # Who waits for the disk: (behind which byte of the file, what to call, since when).
        self._waiting: deque[tuple[int, Callable[[bool], object], int | None]] = deque()
        # Files that go once their successor is durable.
        self._replaced: list[Path] = []
        self._tried_ns: int | None = None
        self._on_sync: Callable[[int | None, int | None], None] | None = None

    # --- start -------------------------------------------------------------------------------

    def open(self) -> Opened:
        """Read what the last life left and get ready to write; blocks for the disk.

        What stands in the way of writing is kept as `error`. Raises OutboxError: there is a file
        and it cannot be read.
        """
        found, damaged = self._read()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self.damage.look(damaged)
            for leftover in self._folder.glob("*.new"):
                leftover.unlink()
            if found is None:
                fresh = self._make(kept=())
                fresh.path.rename(self._folder / file_name(fresh.generation))
                sync_directory(self._folder)
                self._take_over(fresh)
            else:
                self._resume(found)
            self.error = None
        except OSError as error:
            self._fail(error)
        if found is None:
            return Opened((), 0, bool(damaged))
        return Opened(found.records, found.torn_bytes, bool(damaged) or found.beyond > 0)

    def _read(self) -> tuple[Scan | None, list[Path]]:
        """Return the newest readable file's content, and newer ones that are damaged."""
        damaged: list[Path] = []
        try:
            paths = sorted(self._folder.glob("outbox-*.tob"), reverse=True)
            for path in paths:
                found = scan(path.read_bytes())
                if found is not None:
                    self._path, self._generation = path, found.generation
                    return found, damaged
                damaged.append(path)
                self._generation = max(self._generation, int(path.stem.rpartition("-")[2]))
        except (OSError, ValueError) as error:
            raise OutboxError(f"{self._folder}: cannot be read: {error}") from error
        return None, damaged

    def _resume(self, found: Scan) -> None:
        if found.beyond:
            self.damage.copy(self._path)
        for path in self._folder.glob("outbox-*.tob"):
            if path != self._path:
                path.unlink()
        self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        self._capacity = os.fstat(self._fd).st_size
        if found.torn_bytes:
            # A shorter record over a torn one must have zeros behind it.
            os.ftruncate(self._fd, found.end)
        self._capacity = max(self._capacity, self._bytes_max)
        os.posix_fallocate(self._fd, 0, self._capacity)
        os.fsync(self._fd)
        self._offset, self._number = found.end, found.number
        self._begin_sync()

    def _begin_sync(self) -> None:
        assert self._fd is not None
        before = None if self._sync is None else self._sync.fileno()
        if self._sync is not None:
            self._sync.leave()  # it may be in a sync of the old file, which nobody waits for
        directory = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sync = SyncThread(self._fd, directory)
        finally:
            os.close(directory)
        if self._on_sync is not None:
            self._on_sync(before, sync.fileno())
        self._sync = sync

    # --- writing -----------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether an intent would be taken."""
        return self.error is None

    def append(self, record: Record, since_ns: int | None = None) -> int:
        """Write a record into the page cache; return the byte behind it.

        since_ns: monotonic; an order has been on its way out since then, and is timed.
        Raises OutboxError: it is not in the file, and no record will be until `tick` succeeds.
        """
        fresh = self._fresh
        if fresh is not None and not isinstance(record, Held):
            fresh.pending[record.number] = None
        if self.error is not None:
            raise OutboxError(self.error)
        assert self._fd is not None
        data = outbox_frame(self._number + 1, encode_payload(record))
        end = self._offset + len(data)
        if end > self._capacity:
            raise self._fail(OSError(errno.ENOSPC, "the outbox is full"))
        try:
            write_at(self._fd, data, self._offset)
        except OSError as error:
            raise self._fail(error) from error
        self._offset = end
        self._number += 1
        if self._is_durable:
            if self._sync is not None:
                self._sync.want(end)
        elif since_ns is not None:
            self.latency.record(self._clock.mono_ns() - since_ns)
        return end

    def note(self, record: Record) -> None:
        """Append a record that nothing waits for; what it says is carried into the next file."""
        try:
            self.append(record)
        except OutboxError:
            self.failures_count += 1

    def when_durable(
        self, position: int, then: Callable[[bool], object], since_ns: int | None = None
    ) -> None:
        """Call `then(True)` from `collect` once all before `position` is on the disk.

        `then(False)`: it never will be. since_ns: as of `append`.
        """
        self._waiting.append((position, then, since_ns))

    def watch(self, on_sync: Callable[[int | None, int | None], None]) -> None:
        """Tell which descriptor to watch, `on_sync(old, new)`: now, and whenever it changes."""
        self._on_sync = on_sync
        if self._sync is not None:
            on_sync(None, self._sync.fileno())

    def unwatch(self) -> None:
        """Watch no more: the loop ends."""
        if self._on_sync is not None and self._sync is not None:
            self._on_sync(self._sync.fileno(), None)
        self._on_sync = None

    @property
    def is_carrying(self) -> bool:
        """Whether a new file is being filled."""
        return self._fresh is not None

    def collect(self) -> None:
        """Call who waited for what the disk has by now. Non-blocking."""
        if self._sync is None:
            return
        self._sync.hush()
        if number := self._sync.errno:
            if self.error is None:
                self._fail(OSError(number, os.strerror(max(number, 0))))
            return
        synced = self._sync.synced
        if self._replaced and synced:
            # The new file and its name are durable: only now may the old ones go.
            self._replaced = [path for path in self._replaced if not is_gone(path)]
        while self._waiting and self._waiting[0][0] <= synced:
            _, then, since_ns = self._waiting.popleft()
            if since_ns is not None:
                self.latency.record(self._clock.mono_ns() - since_ns)
            then(True)

    def _fail(self, error: OSError) -> OutboxError:
        """Take nothing more: after an error nobody knows what the file holds."""
        self.error = f"{self._folder}: {error.strerror or error}"
        self.failures_count += 1
        waiting, self._waiting = self._waiting, deque()
        for _, then, _ in waiting:
            then(False)
        return OutboxError(self.error)

    # --- a new file --------------------------------------------------------------------------

    def tick(self, carrier: Carrier) -> None:
        """Carry a slice of orders into a new file where one is needed. Bounded work."""
        now_ns = self._clock.mono_ns()
        if self._fresh is None:
            is_nearly_full = self._offset * _FULL_DENOMINATOR >= self._capacity * _FULL_NUMERATOR
            if self.error is None and not is_nearly_full:
                return
            if self._tried_ns is not None and now_ns - self._tried_ns < _RETRY_NS:
                return
            self._tried_ns = now_ns
        try:
            if self._fresh is None:
                self._fresh = self._make(carrier.kept())
            self._carry(self._fresh, carrier)
        except OSError as error:
            self._drop_fresh()
            if self.error is not None or self._offset >= self._capacity:
                self._fail(error)

    def _make(self, kept: Iterable[int]) -> _Fresh:
        generation = self._generation + 1
        path = self._folder / f"{file_name(generation)}.new"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, self._bytes_max)
            write_at(fd, header(generation, self._clock.wall_ns()), 0)
        except OSError:
            os.close(fd)
            is_gone(path)  # gives a full disk its bytes back
            raise
        return _Fresh(path, fd, generation, kept)

    def _carry(self, fresh: _Fresh, carrier: Carrier) -> None:
        parts: list[bytes] = []
        for _ in range(min(len(fresh.pending), _SLICE_ORDERS)):
            number = next(iter(fresh.pending))
            del fresh.pending[number]
            if (carried := carrier.carried(number)) is not None:
                fresh.number += 1
                parts.append(outbox_frame(fresh.number, encode_payload(carried)))
        is_last = not fresh.pending
        if is_last:
            for held in carrier.held():
                fresh.number += 1
                parts.append(outbox_frame(fresh.number, encode_payload(held)))
        data = b"".join(parts)
        if fresh.offset + len(data) > self._bytes_max:
            raise OSError(errno.ENOSPC, "what must be kept does not fit into the outbox")
        write_at(fresh.fd, data, fresh.offset)
        fresh.offset += len(data)
        if is_last:
            fresh.path.rename(self._folder / file_name(fresh.generation))
            if self._fd is not None:
                self._replaced.append(self._path)
            self._take_over(fresh)

    def _take_over(self, fresh: _Fresh) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._fd = fresh.fd
        self._fresh = None
        self._path = self._folder / file_name(fresh.generation)
        self._generation = fresh.generation
        self._offset, self._number = fresh.offset, fresh.number
        self._capacity = self._bytes_max
        self.error = None
        self.rotations_count += 1
        self._begin_sync()
        assert self._sync is not None
        # All that was waited for has been carried; it is durable with the first group.
        self._waiting = deque((self._offset, *rest[1:]) for rest in self._waiting)
        self._sync.want(self._offset)

    def figures(self) -> tuple[int, int, int]:
        """Bytes used, bytes of the file, how many wait for the disk."""
        return self._offset, self._capacity, len(self._waiting)

    def _drop_fresh(self) -> None:
        if self._fresh is not None:
            os.close(self._fresh.fd)
            is_gone(self._fresh.path)  # else the next start takes it away
            self._fresh = None

    def close(self) -> None:
        """Make all durable and let go. Blocks for the disk; raises nothing."""
        self.unwatch()
        if self._sync is not None:
            self._sync.stop()
            self._sync = None
        self._drop_fresh()
        if self._fd is not None:
            try:
                os.fsync(self._fd)
            except OSError as error:
                self.error = f"{self._folder}: {error.strerror or error}"
            os.close(self._fd)
            self._fd = None
        self.error = self.error or "closed"
