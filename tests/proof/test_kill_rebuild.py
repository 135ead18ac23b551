"""`tickd rebuild` killed with -9 in the middle, again and again: the same result in the end.

Against the embedded and the real server, which live on. Rows were deleted, doubled and changed by
hand; another node has rows and bars in the same tables. The moments are steps of the journal, plus
a little; a failure names their seed.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recorder.sink.plan import Plan
from tests.harness.clickhouse_server import ClickHouseServer, Kind, require
from tests.harness.processes import REPOSITORY, tickd, write_config
from tickd.native import EVENT_TABLES
from tickd.testing.wire_log import WireLog

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]

KILLS = 6
BARS = ("ohlcv_1s", "ohlcv_1m", "ohlcv_1h")
HARM = (
    "DELETE FROM tickd.{table} WHERE node = 1 AND seq % 5 = 1",
    (
        "INSERT INTO tickd.{table} SELECT * FROM tickd.{table} WHERE node = 1 AND seq % 7 = 2 "
        "SETTINGS deduplicate_insert = 'disable', insert_deduplicate = 0"
    ),
    (
        "ALTER TABLE tickd.{table} UPDATE flags = flags + 1 WHERE node = 1 AND seq % 11 = 3 "
        "SETTINGS mutations_sync = 1"
    ),
)


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("TICKD_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)


def record(state: Path) -> None:
    """A raw log of some thousand messages, and a plan that says they were all sent."""
    log = WireLog(state / "raw", 1, group_bytes=30_000)
    for _ in range(30):
        log.burst(200)
        log.raw_log.write_now()
        while log.raw_log.written < log.raw_log.next_frame_no - 1:
            pass
    seq_to = log.raw_log.next_frame_no << 16
    log.close()
    plan = Plan(state / "sink" / "plan.jsonl")
    plan.start_at(dict.fromkeys(EVENT_TABLES, seq_to))
    plan.close()


def others(server: ClickHouseServer) -> list[str]:
    """What node 2 has: rows by hash, bars by their values."""
    found = []
    for table in ("trades", "quotes", *BARS):
        columns = "volume, high, low, trades" if table in BARS else "*"
        found.append(
            server.ask(
                f"SELECT count(), sum(cityHash64({columns})) FROM tickd.{table} WHERE node = 2"
            )
        )
    return found


def killed_at(config: Path, state: Path, steps: int, delay_s: float) -> bool:
    """Start a rebuild and kill it after so many changes of its journal; False: it was quicker."""
    journal = state / "sink" / "repair.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "tickd", "rebuild", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=REPOSITORY,
    )
    seen, known = 0, journal.read_bytes() if journal.exists() else b""
    try:
        while seen < steps and process.poll() is None:
            now = journal.read_bytes() if journal.exists() else b""
            seen, known = seen + (now != known), now
        time.sleep(delay_s)
    finally:
        ended = process.poll() is not None
        process.kill()
        process.wait(10)
    return not ended


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("embedded", marks=pytest.mark.embedded),
        pytest.param("real", marks=pytest.mark.server),
    ],
)
def test_killed_in_the_middle_and_run_again_every_row_is_there_once(
    kind: Kind, tmp_path: Path, seed: int
) -> None:
    require(kind)
    dice = random.Random(seed)
    state = tmp_path / "state"
    record(state)
    with ClickHouseServer(kind, tmp_path / "clickhouse") as server:
        config = write_config(
            tmp_path / "tickd.toml",
            state_dir=state,
            venues=[],
            sections={
                "clickhouse": server.settings(),
                "repair": {"rows_per_s": 0, "step_events_max": 1_000, "delete_within_s": 2},
            },
        )
        tickd("migrate", str(config), check=True)
        kills = sum(killed_at(config, state, dice.randrange(1, 8), 0.0) for _ in range(2))
        filled = tickd("rebuild", str(config))
        assert filled.returncode == 0, f"{filled.stderr} TICKD_SEED={seed}"
        for table in ("trades", "quotes"):
            server.ask(
                f"INSERT INTO tickd.{table} SELECT * REPLACE (2 AS node) FROM tickd.{table} "
                "WHERE seq % 3 = 0"
            )
        before = others(server)
        for table in ("trades", "quotes", "book"):
            for statement in HARM:
                server.ask(statement.format(table=table))
        for _ in range(KILLS):
            kills += killed_at(config, state, dice.randrange(1, 12), dice.random() * 0.2)
        done = tickd("rebuild", str(config))
        assert done.returncode == 0, f"{done.stderr} TICKD_SEED={seed}"
        assert kills >= KILLS // 2, "too few were killed in the middle to say anything"
        for table in EVENT_TABLES:
            doubled = server.number(
                f"SELECT count() - uniqExact(seq) FROM tickd.{table} WHERE node = 1"
            )
            assert doubled == 0, f"{table} TICKD_SEED={seed}"
        dry = tickd("rebuild", str(config), "--dry-run", "--json")
        assert dry.stdout.strip() == '{"differences":[],"left":[]}', f"TICKD_SEED={seed}"
        assert others(server) == before, f"TICKD_SEED={seed}"
        # Node 2 has no log here, so its rows are not judged; bars of node 1 are.
        server.ask("DELETE FROM tickd.trades WHERE node = 2")
        server.ask("DELETE FROM tickd.quotes WHERE node = 2")
        for bars in BARS:
            server.ask(f"DELETE FROM tickd.{bars} WHERE node = 2")
        proof = tickd("verify", str(config))
        assert proof.returncode == 0, f"{proof.stdout} {proof.stderr} TICKD_SEED={seed}"
