"""The doctor's look at the disk: may we write, how much room, how long an fsync, how fast.

The probes write one file of their own into the state directory and remove it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from recorder.config import DiskGuardConfig
from recorder.raw.disk_guard import Guard, Level
from tickd.app.asking import AS_WHOM
from tickd.app.findings import Finding, fail, ok, warn
from tickd.app.machine_checks import errno_words
from tickd.app.owner_checks import strangers
from tickd.units import format_bytes

__all__ = [
    "DiskSpeed",
    "check_disk",
    "check_writable",
    "judge_room",
    "judge_speed",
    "judge_syncs",
    "measure_speed",
    "measure_syncs",
]

# A chunk of the raw log as it comes, and how many of them tell a p99.
CHUNK_BYTES: Final = 64 << 10
SYNCS_MAX: Final = 200
SYNCS_SECONDS: Final = 3.0
SYNC_MS_OK: Final = 20.0
# The raw log tolerates what one fsync interval holds; beyond a second memory fills instead.
SYNC_MS_MAX: Final = 1_000.0
SPEED_BYTES: Final = 64 << 20
SPEED_SECONDS: Final = 3.0
SPEED_OK: Final = 50e6
SPEED_MIN: Final = 5e6


class DiskSpeed(NamedTuple):
    """What was written, on the disk included, and how long that took."""

    bytes: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.bytes / max(self.seconds, 1e-9)


@contextmanager
def _probe_file(directory: Path) -> Iterator[int]:
    """An unbuffered file of ours, gone afterwards whatever happens. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix=".doctor-", dir=directory)
    try:
        Path(name).unlink()  # nobody finds it, and a kill leaves nothing
        yield descriptor
    finally:
        os.close(descriptor)


def nearest(path: Path) -> Path:
    """`path`, or the nearest above it that exists, or that we may look at: where it would be."""
    path = path.absolute()
    while not _seen(path):
        path = path.parent
    return path


def _seen(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return path == path.parent


def check_writable(state_dir: Path) -> Finding:
    """Create, write, fsync, remove: what the daemon does first; then, whether it may open all."""
    name = "state directory"
    place = nearest(state_dir)
    owner = f"for uid {os.geteuid()}"
    remedy = f"mkdir -p {state_dir} and chown it to the daemon's user (unit: StateDirectory=)"
    try:
        with _probe_file(place) as descriptor:
            os.write(descriptor, b"tickd doctor\n")
            os.fsync(descriptor)
        barred = strangers(place) if place == state_dir.absolute() else []
    except OSError as error:
        if "ENOSPC" in (words := errno_words(error)):
            return warn(name, f"{place}: {words}", "make room: docs/how-to/full-disk.md")
        if place == state_dir.absolute() and (uid := _other_owner(place)) is not None:
            # As a rule nothing is wrong with it: a person asks, and the daemon is somebody else.
            remedy = f"it belongs to uid {uid}: ask {AS_WHOM}; if it should be yours, chown it"
        return fail(name, f"{place} {owner}: {words}", remedy)
    if barred:
        more = f", and {len(barred) - 1:,} more" if barred[1:] else ""
        words = f"{barred[0]}{more}: not the daemon's to open, whoever made it"
        # With the slash: under DynamicUser= the directory is reached through a link.
        return fail(name, words, f"chown -R --reference={place} {place}/")
    there = "" if place == state_dir.absolute() else ", where it will be made"
    return ok(name, f"{place} can be written {owner}{there}")


def _other_owner(place: Path) -> int | None:
    try:
        uid = place.stat().st_uid
    except OSError:
        return None
    return uid if uid != os.geteuid() else None


def judge_room(free: int, total: int, guard: DiskGuardConfig, *, starting: bool) -> Finding:
    """By the levels at which the daemon itself reacts.

    Args: `starting`: a full disk must not keep a daemon from the start that makes room on it.
    """
    name = "free space"
    words = f"{format_bytes(free)} of {format_bytes(total)} free"
    remedy = "make room, ship segments away, or a bigger disk: docs/how-to/full-disk.md"
    levels = Guard(guard)
    level = max(
        (each for each in Level if each and free < levels.enter_bytes(each, total)),
        default=Level.OK,
    )
    if level is Level.OK:
        return ok(name, words)
    words += f", the disk guard calls that {level.name.lower()}"
    if level is Level.FULL and not starting:
        return fail(name, f"{words}: sockets are not read", remedy)
    return warn(name, words, remedy)


def measure_syncs(directory: Path, mono_ns: Callable[[], int]) -> list[float]:
    """Milliseconds of each write of a chunk with its fdatasync. Raises OSError."""
    chunk = os.urandom(CHUNK_BYTES)  # a disk that compresses has nothing to gain
    taken: list[float] = []
    begun_ns = mono_ns()
    with _probe_file(directory) as descriptor:
        while len(taken) < SYNCS_MAX and mono_ns() - begun_ns < SYNCS_SECONDS * 1e9:
            before_ns = mono_ns()
            os.write(descriptor, chunk)
            os.fdatasync(descriptor)
            taken.append((mono_ns() - before_ns) / 1e6)
    return taken


def judge_syncs(taken: Sequence[float], fsync_ms: int) -> Finding:
    """Args: `taken`: ms each; `fsync_ms`: the interval that the config file asks for."""
    name = "fsync"
    ordered = sorted(taken)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    words = f"p50 {ordered[len(ordered) // 2]:.2f} ms, p99 {p99:.2f} ms over {len(ordered)} writes"
    if p99 > SYNC_MS_MAX:
        return fail(name, words, "another disk: this one cannot keep a log of what comes")
    if p99 > fsync_ms:
        return warn(
            name,
            f"{words}, longer than raw_log.fsync_ms = {fsync_ms}",
            "a power cut may cost more than fsync_ms: a local SSD, or a longer interval",
        )
    if p99 > SYNC_MS_OK:
        return warn(name, words, "a local SSD takes 1 to 10 ms; who else writes to this disk?")
    return ok(name, words)


def measure_speed(directory: Path, mono_ns: Callable[[], int]) -> DiskSpeed:
    """Write for a while in big pieces and fsync. Raises OSError."""
    piece = os.urandom(4 << 20)
    written = 0
    begun_ns = mono_ns()
    with _probe_file(directory) as descriptor:
        while written < SPEED_BYTES and mono_ns() - begun_ns < SPEED_SECONDS * 1e9:
            written += os.write(descriptor, piece)
        os.fsync(descriptor)
    return DiskSpeed(written, (mono_ns() - begun_ns) / 1e9)


def judge_speed(speed: DiskSpeed) -> Finding:
    name = "disk speed"
    words = f"{format_bytes(round(speed.per_second))}/s written and synced"
    if speed.per_second < SPEED_MIN:
        return fail(name, words, "150,000 messages a second need about 10 MB/s: another disk")
    if speed.per_second < SPEED_OK:
        return warn(name, words, "enough for a quiet day; recovery and rebuilds will be slow")
    return ok(name, words)


def check_disk(
    state_dir: Path,
    *,
    guard: DiskGuardConfig,
    fsync_ms: int,
    quick: bool,
    mono_ns: Callable[[], int],
) -> list[Finding]:
    """Room and rights; the disk's speed, too, unless `quick`."""
    place = nearest(state_dir)
    writable = check_writable(state_dir)
    try:
        usage = shutil.disk_usage(place)
    except OSError as error:
        words = f"{place}: {errno_words(error)}"
        return [writable, fail("free space", words, "as root, or as the daemon's user")]
    findings = [writable, judge_room(usage.free, usage.total, guard, starting=quick)]
    needed = SPEED_BYTES + SYNCS_MAX * CHUNK_BYTES
    if quick or writable.remedy:
        return findings
    if usage.free < 4 * needed:
        left_out = f"not measured: that takes {format_bytes(needed)} for a moment"
        return [*findings, warn("disk speed", left_out, "make room first")]
    try:
        findings.append(judge_syncs(measure_syncs(place, mono_ns), fsync_ms))
        findings.append(judge_speed(measure_speed(place, mono_ns)))
    except OSError as error:
        findings.append(fail("disk speed", errno_words(error), "see: dmesg"))
    return findings
