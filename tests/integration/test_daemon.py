"""The whole program as processes: a simulated venue, the daemon, and every command that asks it.

One recording serves all questions: starting ClickHouse takes longer than answering.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.ipc
import pytest

from tests.harness.processes import REPOSITORY, Daemon, server, tickd, venue_of, write_config

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(find_spec("chdb") is None, reason="chdb is not installed"),
    pytest.mark.timeout(90),
]

VENUE = "binance-usdm"
SYMBOLS = 3


@dataclass
class Recording:
    """A daemon at work, and later its remains."""

    config: Path
    state_dir: Path
    daemon: Daemon
    status: dict[str, Any]
    metrics: str
    ready: tuple[int, str]
    exit_code: int = -1

    def tickd(self, command: str, *arguments: str) -> str:
        done = tickd(command, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def query(self, sql: str, form: str = "json") -> str:
        return self.tickd("query", "--config", str(self.config), "--format", form, sql)


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    """A market of two seconds, recorded to its end; the daemon still runs."""
    folder = tmp_path_factory.mktemp("daemon")
    market = ("--rate", "2000", "--symbols", str(SYMBOLS), "--seconds", "2", "--seed", "3")
    with server("sim", *market, log=folder / "sim.log") as sim:
        config = write_config(
            folder / "tickd.toml",
            state_dir=folder / "state",
            venues=[venue_of(sim)],
            sections={"sink": {"age_ms_max": 100}},
        )
        with Daemon(config, folder / "daemon.log") as daemon:
            daemon.wait_until_quiet(frames_min=3_000)
            status = daemon.wait_for(
                lambda s: (
                    s["sink"]["frame_settled"] >= s["raw_log"]["written"] - 50
                    and s["sink"]["rows_committed"] > 3_000
                )
            )
            base = f"http://127.0.0.1:{status['http_port']}"
            yield Recording(
                config=config,
                state_dir=folder / "state",
                daemon=daemon,
                status=status,
                metrics=fetch(f"{base}/metrics")[1],
                ready=fetch(f"{base}/readyz"),
            )
            daemon.stop()


def test_daemon_records_and_says_so(recording: Recording) -> None:
    assert recording.ready == (200, "ready\n")
    assert recording.status["state"] == "recording"
    assert recording.status["decoder"].get("refused", 0) == 0
    page = recording.tickd("status", str(recording.config), "--topics")
    assert "recording" in page
    assert f"trade.{VENUE}." in page
    answer = json.loads(recording.tickd("status", str(recording.state_dir), "--json", "--topics"))
    assert answer["topics_count"] == len(answer["topics"]) >= 3 * SYMBOLS
    assert "to bus p99" in page
    assert all(row["bus_p99_ms"] > 0 for row in answer["topics"] if row["events"])


def test_metrics_agree_with_the_status(recording: Recording) -> None:
    values = dict(
        line.rsplit(" ", 1) for line in recording.metrics.splitlines() if line[:1] not in ("#", "")
    )
    status = recording.status
    frames = sum(
        float(v) for name, v in values.items() if name.startswith("tickd_recorder_raw_frames")
    )
    assert frames >= status["raw_log"]["frames"]
    assert any(name.startswith("tickd_gateway_events_total{") for name in values)
    assert float(values['tickd_recorder_raw_write_latency_seconds_bucket{le="+Inf"}']) > 0
    assert not [name for name in values if "USDT" in name and "worst" not in name]


def test_clickhouse_answers_in_every_format(recording: Recording) -> None:
    sql = "SELECT symbol, count() AS trades FROM trades GROUP BY symbol ORDER BY symbol"
    rows = [json.loads(line) for line in recording.query(sql).splitlines()]
    assert len(rows) == SYMBOLS
    counts = {row["symbol"]: int(row["trades"]) for row in rows}
    table = csv.DictReader(io.StringIO(recording.query(sql, "csv")))
    assert {row["symbol"]: int(row["trades"]) for row in table} == counts
    page = recording.query(sql, "table")
    assert all(symbol in page for symbol in counts)


def test_arrow_stream_is_read_by_arrow(recording: Recording) -> None:
    command = ["query", "--config", str(recording.config), "-f", "arrow", "SELECT id FROM trades"]
    done = subprocess.run(
        [sys.executable, "-m", "tickd", *command], capture_output=True, check=True
    )
    ids = pyarrow.ipc.open_stream(done.stdout).read_all().column("id")
    assert len(ids) == int(json.loads(recording.query("SELECT count() AS n FROM trades"))["n"])


def test_wrong_sql_is_one_sentence(recording: Recording) -> None:
    done = tickd("query", "--config", str(recording.config), "SELECT nothing FROM nowhere")
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_migrate_finds_nothing_to_do(recording: Recording) -> None:
    assert "applied nothing" in recording.tickd("migrate", str(recording.config))


def test_verify_agrees_beside_the_running_daemon(recording: Recording) -> None:
    report = json.loads(recording.tickd("verify", str(recording.config), "--json"))
    assert report["ok"]
    assert report["tables"]["trades"]["stored"] > 0
    assert report["frames"]["without_rows"]["acks"] > 0
    assert "unexplained" not in report["frames"]["without_rows"]


def test_verify_in_sql_agrees_beside_the_running_daemon(recording: Recording) -> None:
    report = json.loads(recording.tickd("verify", str(recording.config), "--sql", "--json"))
    assert report["ok"]
    assert report["mode"] == "sql"


def test_second_daemon_over_the_same_state_is_refused(recording: Recording) -> None:
    done = tickd("run", str(recording.config))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("example", "argument", "says"),
    [
        ("read_raw_log.py", "state", "TRADE"),
        ("replay_book.py", "state", "SYNCED"),
        ("export_trades.py", "state", "turnover"),
        ("subscribe.py", "state", f"trade.{VENUE}."),
        ("query_clickhouse.py", "tickd.toml", "'volume'"),
    ],
)
def test_example_runs_over_the_recording(
    recording: Recording, example: str, argument: str, says: str
) -> None:
    done = subprocess.run(
        [sys.executable, f"examples/{example}", str(recording.config.parent / argument)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert says in done.stdout


@pytest.mark.proof
def test_demo_records_asks_and_ends_by_itself(tmp_path: Path) -> None:
    done = tickd("demo", "--seconds", "1", "--rate", "1000", "--symbols", "3", timeout=80)
    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("simulated venue at", "recording", "each event exactly once", "no difference"):
        assert said in done.stdout
