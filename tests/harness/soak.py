"""The soak: a simulated venue plays for long, the daemon records, ClickHouse dies in the middle.

    python -m tests.harness.soak --seconds 3600 --events-per-s 100000 --directory build/soak

The market plays for `seconds`; what follows is measured against the moment it begins:

    0       1/4        5/12      7/12     drained              1     of the market's time
    | warm-up | before   | outage  | drain    | after            |

At 5/12 the ClickHouse server gets SIGKILL, at 7/12 it is started again on the same data and port;
*drained* is when it has everything that the raw log has, within two seconds. Resident memory of
each process is read from /proc every second. **Flat** means: the mean over *after* differs from
the mean over *before* by `flat-share` (5 %) at most. At the end nothing may be missing: messages
that the venue says it delivered = messages in the raw log = rows in ClickHouse = distinct (node,
seq) there; no gap, no refusal, no pause of a socket; the daemon ends with 0 and so does
`tickd verify`.

Prints one JSON object; writes one CSV line per second. Exit code 0: all of that holds; 1: something
does not, and `failed` says what; 2: it could not be run to the end. Its processes end with it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import types
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from tests.harness.clickhouse_server import ClickHouseServer, Kind
from tests.harness.memory import Window, disk_bytes, rss_bytes, window
from tests.harness.processes import Daemon, server, tickd, venue_of, with_its_parent, write_config
from tests.harness.recording import venue_stats
from tickd.errors import TickdError
from tickd.native import BUILD_PROFILE, RawLogReader

VENUE = "binance-usdm"
SYMBOLS = 20
# The USD-M mix of the simulated market: 70 % quotes of two events, 23 % trades of one, 7 % depth
# messages of a head and eight levels on average.
EVENTS_PER_MESSAGE = (70 * 2 + 23 * 1 + 7 * (1 + 8)) / 100
WARM_UP_TO, OUTAGE_FROM, OUTAGE_TO = 1 / 4, 5 / 12, 7 / 12
# A second of blocks that fill, a second on their way.
DRAINED_S = 2.0
AFTER_SAMPLES_MIN = 5
END_TIMEOUT_S = 1_200.0
DISK_FREE_MIN_BYTES = 4 << 30
SAMPLE_S = 1.0
FRAMES_PER_QUESTION = 20_000_000
PROGRESS_S = 60.0
PATIENCE_S = 60.0
_MESSAGE = re.compile(rb'^\d+ \d+ \d+ \d+ W \d+ \{"stream"', re.MULTILINE)
_ROWS = {
    "trades": "1",
    "quotes": "1",
    # Books that were fetched, not streamed, are rows that no message was sent for.
    "book": "previous_id != 18446744073709551615 OR bitAnd(flags, 32) = 0",
}


class SoakError(Exception):
    """It cannot go on: a process died, the disk fills up, nothing moves."""


@dataclass(frozen=True)
class Plan:
    """What is played, and where its files go."""

    directory: Path
    seconds: float
    events_per_s: float
    kind: Kind
    rate_share_min: float
    flat_share: float
    seed: int = 1

    @property
    def messages_per_s(self) -> float:
        return self.events_per_s / EVENTS_PER_MESSAGE


@dataclass
class Sample:
    """One second; sizes in bytes, times in seconds since the market began."""

    at_s: float
    phase: str
    daemon_rss: int
    clickhouse_rss: int
    venue_rss: int
    events: int = 0
    frames: int = 0
    frames_unsettled: int = 0
    pending_bytes: int = 0
    frames_behind: int = 0
    spool_bytes: int = 0
    spilled: int = 0
    pauses: int = 0


@dataclass
class Run:
    """What is known so far."""

    plan: Plan
    samples: list[Sample] = field(default_factory=list)
    phase: str = "start"
    killed_s: float = 0.0
    back_s: float = 0.0
    drained_s: float = 0.0
    ended_s: float = 0.0
    attempts_failed: int = 0
    settled_at_kill: int = 0
    settled_at_return: int = 0
    disk_bytes_max: int = 0
    facts: dict[str, Any] = field(default_factory=dict)

    def windows(self, name: str) -> dict[str, Window]:
        """Resident memory of a process (`daemon_rss` …) by phase."""
        return {
            phase: window([(s.at_s, getattr(s, name)) for s in self.samples if s.phase == phase])
            for phase in dict.fromkeys(sample.phase for sample in self.samples)
        }


def soak(plan: Plan) -> dict[str, Any]:
    """Play it and return the result. Raises SoakError."""
    run = Run(plan)
    plan.directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        clickhouse = stack.enter_context(ClickHouseServer(plan.kind, plan.directory / "clickhouse"))
        venue = stack.enter_context(
            server(
                *("sim", "--rate", str(plan.messages_per_s), "--symbols", str(SYMBOLS)),
                *("--seconds", str(plan.seconds), "--seed", str(plan.seed)),
                log=plan.directory / "venue.log",
                preexec_fn=with_its_parent,
            )
        )
        config = write_config(
            plan.directory / "tickd.toml",
            state_dir=plan.directory / "state",
            venues=[venue_of(venue)],
            sections={
                "clickhouse": clickhouse.settings(),
                "node": {"shutdown_timeout_ms": 120_000},
                "sink": {"drain_timeout_ms": 100_000},
            },
        )
        daemon = stack.enter_context(
            Daemon(config, plan.directory / "daemon.log", preexec_fn=with_its_parent)
        )
        try:
            _play(run, daemon, clickhouse, venue)
            _end(run, daemon, clickhouse, venue)
        except (AssertionError, TickdError, OSError) as error:
            raise SoakError(f"{type(error).__name__}: {error}\n{daemon.tail()}") from error
        finally:
            _write_series(run)
    return _result(run)


def _play(run: Run, daemon: Daemon, clickhouse: ClickHouseServer, venue: dict[str, Any]) -> None:
    """From the market's first second to its last."""
    rest_url = venue["rest"][VENUE]
    seconds = run.plan.seconds
    told_s = -PROGRESS_S
    run.phase = "warm-up"
    for at_s in _ticks(seconds):
        stats = _patiently(lambda: venue_stats(rest_url))
        status = _sample(run, at_s, daemon, clickhouse, venue)
        if stats["done"]:
            break
        match run.phase:
            case "warm-up" if at_s >= seconds * WARM_UP_TO:
                run.phase = "before"
            case "before" if at_s >= seconds * OUTAGE_FROM:
                clickhouse.kill()
                run.phase, run.killed_s = "outage", at_s
                run.settled_at_kill = status["sink"]["frame_settled"]
            case "outage" if at_s >= seconds * OUTAGE_TO:
                run.settled_at_return = status["sink"]["frame_settled"]
                run.attempts_failed = sum(status["sink"]["attempts_failed"].values())
                clickhouse.start()
                run.phase, run.back_s = "drain", at_s
            case "drain" if _drained(status, run.plan.messages_per_s):
                run.phase, run.drained_s = "after", at_s
        if at_s - told_s >= PROGRESS_S:
            told_s = at_s
            _tell(run, stats)
            _watch_disk(run)
    run.ended_s = run.samples[-1].at_s
    run.facts["venue"] = stats
    run.facts["status"] = status


def _ticks(seconds: float) -> Iterator[float]:
    """Seconds since now, once per `SAMPLE_S`; gives up when the market does not end."""
    begin = time.monotonic()
    number = 0
    while (at_s := time.monotonic() - begin) < 2 * seconds + END_TIMEOUT_S:
        yield at_s
        number += 1
        time.sleep(max(0.0, begin + number * SAMPLE_S - time.monotonic()))
    raise SoakError("the market does not end")


def _sample(
    run: Run, at_s: float, daemon: Daemon, clickhouse: ClickHouseServer, venue: dict[str, Any]
) -> dict[str, Any]:
    assert daemon.process is not None
    if daemon.process.poll() is not None:
        raise SoakError(f"the daemon ended with {daemon.process.returncode}: {daemon.tail()}")
    status = _patiently(daemon.status)
    raw, sink = status["raw_log"], status["sink"]
    run.samples.append(
        Sample(
            at_s=at_s,
            phase=run.phase,
            daemon_rss=rss_bytes(daemon.process.pid),
            clickhouse_rss=rss_bytes(clickhouse.pid),
            venue_rss=rss_bytes(venue["pid"]),
            events=status["bus"]["events"],
            frames=raw["frames"],
            frames_unsettled=max(0, raw["next_frame_no"] - 1 - sink["frame_settled"]),
            pending_bytes=sink["pending_bytes"],
            frames_behind=sink["frames_behind"],
            spool_bytes=sink["spool"]["bytes"],
            spilled=len(sink["spilled"]),
            pauses=raw["pauses"],
        )
    )
    return status


def _patiently(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Ask again where a busy machine did not answer in time; the same error for long is one."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except (TickdError, OSError):
            if time.monotonic() > until:
                raise
            time.sleep(SAMPLE_S)


def _drained(status: dict[str, Any], messages_per_s: float) -> bool:
    """Whether ClickHouse has everything but the last moment's blocks."""
    sink = status["sink"]
    distance = status["raw_log"]["next_frame_no"] - 1 - sink["frame_settled"]
    return bool(sink["caught_up"] and distance <= DRAINED_S * messages_per_s)


def _end(run: Run, daemon: Daemon, clickhouse: ClickHouseServer, venue: dict[str, Any]) -> None:
    """Let everything arrive, stop the daemon, count independently, verify."""
    sent = sent_messages(run.facts["venue"])

    def arrived(status: dict[str, Any]) -> bool:
        decoder, raw, sink = status["decoder"], status["raw_log"], status["sink"]
        unsettled = raw["next_frame_no"] - 1 - sink["frame_settled"]
        return bool(decoder["frames"] >= sent and unsettled <= 0 and sink["caught_up"])

    last = daemon.wait_for(arrived, timeout=END_TIMEOUT_S)
    facts = run.facts
    facts["status"] = last
    facts["venue"] = venue_stats(venue["rest"][VENUE])
    facts["daemon_exit"] = daemon.stop()
    _tell_line("the daemon has stopped; counting")
    facts["recorded"] = recorded_messages(run.plan.directory / "state" / "raw")
    facts |= stored_messages(clickhouse, last["raw_log"]["next_frame_no"])
    _watch_disk(run)
    begin = time.monotonic()
    verified = tickd("verify", "--json", str(daemon.config), timeout=END_TIMEOUT_S * 3)
    facts["verify_exit"] = verified.returncode
    facts["verify_s"] = time.monotonic() - begin
    facts["verify_words"] = (verified.stderr or verified.stdout)[-2000:]


def sent_messages(stats: dict[str, Any]) -> int:
    return sum(connection["messages"] for connection in stats["connections"])


def recorded_messages(raw: Path) -> int:
    """Stream messages in the raw log, counted by their text."""
    return sum(len(_MESSAGE.findall(records)) for _, records in RawLogReader(str(raw)))


def stored_messages(clickhouse: ClickHouseServer, frame_next: int) -> dict[str, int]:
    """Rows of stream messages, and distinct (node, seq) among them, in bounded questions."""
    rows = distinct = 0
    for first in range(0, frame_next, FRAMES_PER_QUESTION):
        span = f"seq >= {first << 16} AND seq < {first + FRAMES_PER_QUESTION << 16}"
        for table, condition in _ROWS.items():
            sql = f"SELECT count(), uniqExact(node, seq) FROM tickd.{table}"
            found = clickhouse.ask(f"{sql} WHERE ({condition}) AND {span} FORMAT TSV").split()
            rows += int(found[0])
            distinct += int(found[1])
    return {"stored": rows, "distinct": distinct}


def _watch_disk(run: Run) -> None:
    run.disk_bytes_max = max(run.disk_bytes_max, disk_bytes(run.plan.directory))
    free = shutil.disk_usage(run.plan.directory).free
    if free < DISK_FREE_MIN_BYTES:
        raise SoakError(f"only {free:,} bytes are free at {run.plan.directory}")


def _tell(run: Run, stats: dict[str, Any]) -> None:
    sample = run.samples[-1]
    _tell_line(
        f"{sample.at_s:6.0f} s {run.phase:8} daemon {sample.daemon_rss >> 20} MiB, "
        f"ClickHouse {sample.clickhouse_rss >> 20} MiB, venue {sample.venue_rss >> 20} MiB; "
        f"sent {sent_messages(stats):,}, not in ClickHouse {sample.frames_unsettled:,}, "
        f"late {stats['late_ms_max']:.0f} ms at most, disk {run.disk_bytes_max >> 20} MiB"
    )


def _tell_line(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - it is a program


def _write_series(run: Run) -> None:
    with (run.plan.directory / "series.csv").open("w", newline="") as file:
        names = list(Sample.__dataclass_fields__)
        writer = csv.writer(file)
        writer.writerow(names)
        for sample in run.samples:
            row = [getattr(sample, name) for name in names]
            writer.writerow([f"{cell:.1f}" if isinstance(cell, float) else cell for cell in row])


def _result(run: Run) -> dict[str, Any]:
    plan, facts = run.plan, run.facts
    status, venue = facts["status"], facts["venue"]
    rss = {name: run.windows(f"{name}_rss") for name in ("daemon", "clickhouse", "venue")}
    before, after = (rss["daemon"].get(name) for name in ("before", "after"))
    flat = after.mean / before.mean - 1 if before and after and before.mean else None
    first, last = run.samples[0], run.samples[-1]
    events_per_s = (last.events - first.events) / max(1e-9, last.at_s - first.at_s)
    decoder = status["decoder"]
    checks = {
        "raw log = venue": facts["recorded"] == sent_messages(venue),
        "ClickHouse = venue": facts["stored"] == sent_messages(venue),
        "no row twice": facts["distinct"] == facts["stored"],
        "no gap, no refusal": not decoder.get("gaps", 0) and not decoder.get("refused", 0),
        "no socket paused": status["raw_log"]["pauses"] == 0,
        "ClickHouse was away": run.attempts_failed > 0
        and run.settled_at_return - run.settled_at_kill <= DRAINED_S * plan.messages_per_s,
        "drained while the market went on": (after.samples if after else 0) >= AFTER_SAMPLES_MIN,
        "memory flat": flat is not None and abs(flat) <= plan.flat_share,
        "rate": events_per_s >= plan.rate_share_min * plan.events_per_s,
        "daemon ended cleanly": facts["daemon_exit"] == 0,
        "verify clean": facts["verify_exit"] == 0,
    }
    mib = 1 << 20
    return {
        "ok": all(checks.values()),
        "failed": [name for name, held in checks.items() if not held],
        "seconds": round(last.at_s, 1),
        "events_per_s": round(events_per_s),
        "messages_per_s": round(sent_messages(venue) / max(1e-9, venue["running_s"])),
        "wanted": {"events_per_s": plan.events_per_s, "messages_per_s": round(plan.messages_per_s)},
        "venue_sent": sent_messages(venue),
        "raw_log_has": facts["recorded"],
        "clickhouse_has": facts["stored"],
        "clickhouse_distinct": facts["distinct"],
        "venue_late_ms": {"mean": venue["late_ms_mean"], "max": venue["late_ms_max"]},
        "outage_s": [round(run.killed_s, 1), round(run.back_s, 1)],
        "drain_s": round(run.drained_s - run.back_s, 1) if run.drained_s else None,
        "attempts_failed_in_outage": run.attempts_failed,
        "falls_behind": status["sink"]["falls_behind"],
        "rss_change": None if flat is None else round(flat, 4),
        "rss_mib": {
            name: {phase: _mib(value) for phase, value in phases.items()}
            for name, phases in rss.items()
        },
        "pending_bytes_max": max(sample.pending_bytes for sample in run.samples),
        "spool_bytes_max": max(sample.spool_bytes for sample in run.samples),
        "spilled_ranges_max": max(sample.spilled for sample in run.samples),
        "disk_bytes": {
            "most": run.disk_bytes_max,
            "raw_log": disk_bytes(plan.directory / "state" / "raw"),
            "sink": disk_bytes(plan.directory / "state" / "sink"),
            "clickhouse": disk_bytes(plan.directory / "clickhouse"),
            "free_mib": shutil.disk_usage(plan.directory).free // mib,
        },
        "verify_s": round(facts["verify_s"], 1),
        "verify": None if checks["verify clean"] else facts["verify_words"],
        "server": plan.kind,
        "build": BUILD_PROFILE,
        "checks": checks,
    }


def _mib(found: Window) -> dict[str, float]:
    mib = 1 << 20
    return {
        "mean": round(found.mean / mib, 1),
        "min": round(found.least / mib, 1),
        "max": round(found.most / mib, 1),
        "slope_per_hour": round(found.slope_per_hour / mib, 1),
        "samples": found.samples,
    }


@contextmanager
def _in(directory: Path | None, *, keep: bool) -> Iterator[Path]:
    """The scratch directory; a soak leaves gigabytes, so they go unless they are to be kept."""
    place = Path(tempfile.mkdtemp(prefix="tickd-soak-", dir=directory))
    try:
        yield place
    finally:
        if not keep:
            shutil.rmtree(place, ignore_errors=True)


def _stop(number: int, _: types.FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)  # so that every `finally` ends its process


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3600.0, help="length of the market")
    parser.add_argument("--events-per-s", type=float, default=100_000.0)
    parser.add_argument("--server", choices=["real", "embedded"], default="real")
    parser.add_argument("--directory", type=Path, help="where the scratch directory is made")
    parser.add_argument("--series", type=Path, help="where the CSV goes")
    parser.add_argument("--result", type=Path, help="where the JSON goes besides the output")
    parser.add_argument("--rate-share-min", type=float, default=0.9, help="of the wanted rate")
    parser.add_argument("--flat-share", type=float, default=0.05, help="see above")
    parser.add_argument("--keep", action="store_true", help="leave every file")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    if options.directory is not None:
        options.directory.mkdir(parents=True, exist_ok=True)
    with _in(options.directory, keep=options.keep) as place:
        plan = Plan(
            directory=place,
            seconds=options.seconds,
            events_per_s=options.events_per_s,
            kind=options.server,
            rate_share_min=options.rate_share_min,
            flat_share=options.flat_share,
        )
        try:
            result = soak(plan)
        except (SoakError, urllib.error.URLError) as error:
            _tell_line(f"the soak was broken off: {error}")
            result = {"ok": False, "failed": ["could not be run to the end"], "fault": str(error)}
        if options.series is not None and (place / "series.csv").exists():
            options.series.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(place / "series.csv", options.series)
        text = json.dumps(result)
        if options.result is not None:
            options.result.parent.mkdir(parents=True, exist_ok=True)
            options.result.write_text(text + "\n")
        print(text, flush=True)  # noqa: T201 - it is a program
    return 0 if result["ok"] else 2 if "fault" in result else 1


if __name__ == "__main__":
    sys.exit(main())
