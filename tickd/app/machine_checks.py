"""The doctor's look at the machine: clock, file descriptors, kernel limits, this build.

Probes read, functions called `judge_…` decide about what was read. Nothing is changed, nothing
leaves the machine.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
from pathlib import Path
from typing import Final

from tickd.app.findings import Finding, fail, ok, warn
from tickd.native import BUILD_PROFILE, VERSION
from tickd.telemetry.system_clock import ClockState, read_clock

__all__ = [
    "check_machine",
    "judge_clock",
    "judge_files",
    "judge_kernel",
    "judge_shared_memory",
]

# The kernel's own bound on its error; receive times are compared with the venues', in ms.
ERROR_US_OK: Final = 100_000
ERROR_US_MAX: Final = 1_000_000
# Sockets, segments, ClickHouse, strategies' pipes: some hundred at most, and room for a storm.
FILES_OK: Final = 4_096
FILES_MIN: Final = 256
SHARED_BYTES_OK: Final = 256 << 20

# (file below /proc/sys, which number of it, at least, what it is for)
KERNEL: Final = (
    ("net/ipv4/tcp_rmem", 2, 4 << 20, "a burst waits in the socket while the loop is busy"),
    ("net/core/somaxconn", 0, 1_024, "scrapes and control connections wait to be accepted"),
    ("fs/file-max", 0, 65_536, "open files of the whole machine"),
    ("kernel/threads-max", 0, 4_096, "threads of the daemon and its children"),
)


def judge_clock(state: ClockState | None) -> Finding:
    """A clock nobody disciplines is no reason not to record; every latency is then a guess."""
    name = "clock"
    remedy = "run chrony or systemd-timesyncd on this machine; see: timedatectl"
    if state is None:
        words = "adjtimex may not be asked here, whether it is in step is unknown"
        return warn(name, words, "timedatectl tells; in a unit: ProtectClock=no")
    # Whole nanoseconds first: a float's own error is not to take a microsecond away.
    offset_us, error_us_max = round(state.offset_s * 1e9) // 1_000, round(state.error_max_s * 1e6)
    figures = f"offset {offset_us:,} µs, at most {error_us_max:,} µs wrong"
    if not state.synchronised:
        return warn(name, f"nothing keeps it in step: {figures}", remedy)
    if error_us_max > ERROR_US_MAX:
        return warn(name, f"in step, but hardly: {figures}", remedy)
    if error_us_max > ERROR_US_OK:
        return warn(name, f"in step, roughly: {figures}", "a nearer time server; chronyc sources")
    return ok(name, f"in step, {figures}")


def judge_files(soft: int, hard: int) -> Finding:
    """The limit of open files."""
    name = "open files"
    words = f"limit {_number(soft)}, could be {_number(hard)}"
    remedy = "LimitNOFILE=65536 in the unit, or ulimit -n 65536"
    if soft != resource.RLIM_INFINITY and soft < FILES_MIN:
        return fail(name, words, remedy)
    if soft != resource.RLIM_INFINITY and soft < FILES_OK:
        return warn(name, words, remedy)
    return ok(name, words)


def _number(limit: int) -> str:
    return "without end" if limit == resource.RLIM_INFINITY else f"{limit:,}"


def judge_kernel(root: Path = Path("/proc/sys")) -> list[Finding]:
    """Each limit of `KERNEL`; one that cannot be read, as in some containers, is left out."""
    findings = []
    for path, which, least, why in KERNEL:
        name = path.replace("/", ".")
        try:
            value = int((root / path).read_text().split()[which])
        except (OSError, ValueError, IndexError):
            continue
        if value < least:
            remedy = f"sysctl -w {name}: at least {least}, and a line in /etc/sysctl.d"
            findings.append(warn(name, f"{value:,}, {least:,} recommended: {why}", remedy))
        else:
            findings.append(ok(name, f"{value:,}"))
    return findings


def judge_shared_memory(free_bytes: int | None) -> Finding:
    """Strategies' processes are fed through shared memory."""
    name = "shared memory"
    remedy = "a bigger /dev/shm (containers: --shm-size 512m)"
    if free_bytes is None:
        return warn(name, "/dev/shm is not there", remedy)  # noqa: S108 - a name
    words = f"{free_bytes >> 20:,} MiB free in /dev/shm"
    return ok(name, words) if free_bytes >= SHARED_BYTES_OK else warn(name, words, remedy)


def _free_shared() -> int | None:
    try:
        return shutil.disk_usage("/dev/shm").free  # noqa: S108 - measured, not written to
    except OSError:
        return None


def check_machine() -> list[Finding]:
    """Everything of this file; some milliseconds."""
    build = f"tickd {VERSION}, native {BUILD_PROFILE} build"
    cores = len(os.sched_getaffinity(0))
    return [
        ok("build", build)
        if BUILD_PROFILE == "release"
        else warn("build", build, "a release build: everything native is ten times slower so"),
        ok("cores", f"{cores} for this process")
        if cores > 1
        else warn("cores", "1 for this process", "2 or more: raw log and ClickHouse take turns"),
        judge_clock(read_clock()),
        judge_files(*resource.getrlimit(resource.RLIMIT_NOFILE)),
        *judge_kernel(),
        judge_shared_memory(_free_shared()),
    ]


def errno_words(error: OSError) -> str:
    """An error's name and words: EROFS tells more than a sentence."""
    code = errno.errorcode.get(error.errno or 0, "")
    return f"{code} {error.strerror or error}".strip()
