"""The last runs of `tickd verify`, so that the daemon's metrics can show them: one small file.

A run is a process of its own, often of a timer; what it found must not be seen in its log alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from recorder.verify.report import VerifyReport
from tickd.durable import replace_file
from tickd.telemetry.metrics import Metrics, Values

__all__ = ["Run", "declare_verified", "note_run", "read_runs"]

_FILE: Final = "verified.json"


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run. ended_ns: wall clock; unchecked: what could not be looked at."""

    ended_ns: int
    findings: int
    unchecked: int


def note_run(state_dir: Path, report: VerifyReport, *, wall_ns: int) -> None:
    """Keep that a run of its mode has ended; a directory that cannot be written keeps nothing."""
    run = Run(ended_ns=wall_ns, findings=report.findings_count, unchecked=len(report.unchecked))
    with suppress(OSError):
        runs = {**read_runs(state_dir), report.mode: run}
        replace_file(state_dir / _FILE, msgspec.json.encode(runs), mode=0o644)


def read_runs(state_dir: Path) -> dict[str, Run]:
    """The last run of each mode; none where the file is absent or damaged."""
    try:
        return msgspec.json.decode((state_dir / _FILE).read_bytes(), type=dict[str, Run])
    except (OSError, msgspec.DecodeError):
        return {}


def declare_verified(metrics: Metrics, state_dir: Path) -> None:
    """Per mode (kind: deep or sql); nothing before the first run."""
    runs = metrics.once_per_scrape(lambda: read_runs(state_dir))

    def read(figure: Callable[[Run], float]) -> Callable[[], Values]:
        return lambda: {(mode,): figure(run) for mode, run in runs().items()}

    for name, text, values in (
        ("timestamp_seconds", "When `tickd verify` ended last.", read(lambda r: r.ended_ns / 1e9)),
        ("findings", "What it found to differ.", read(lambda run: run.findings)),
        ("unchecked", "What it could not look at.", read(lambda run: run.unchecked)),
    ):
        metrics.read_gauge(f"tickd_recorder_verify_{name}", text, values, ("kind",))
