"""Latency probes in a real PostgreSQL that is killed and comes back, while a daemon records.

Method: each event of a finite market is counted in exactly one interval, so the rows' counts must
add up to what the daemon published: over all, and by venue and channel. The server is killed with
-9 in the middle; nothing waits, nothing is lost, nothing is there twice.
"""

from __future__ import annotations

import asyncio
import re
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.harness.processes import Daemon, server, tickd, venue_of, write_config

if find_spec("asyncpg") is None:
    pytest.skip("asyncpg is not installed", allow_module_level=True)

from recorder.probes.config import PostgresConfig
from recorder.probes.postgres import PostgresFaultError, connected
from recorder.probes.rows import Key, Probes, Reading
from tests.harness.postgres_server import PASSWORD, PostgresServer, binaries, postgres_server
from tickd.secrets import Secret

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(binaries() is None, reason="postgresql is not installed"),
    pytest.mark.timeout(300),
]

PAGE = Path(__file__).parents[2] / "docs/how-to/latency-in-postgres.md"
SUMS = "SELECT sum(count)::bigint AS n FROM latency_probes WHERE stage = 'recv_to_bus' AND venue "


def started(folder: Path, sim: dict[str, Any], postgres: PostgresServer) -> Daemon:
    secret = folder / "password"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    config = write_config(
        folder / "tickd.toml",
        state_dir=folder / "state",
        venues=[venue_of(sim)],
        sections={
            "postgres": {
                "enabled": True,
                "port": postgres.port,
                "password": {"file": str(secret)},
                "interval_ms": 200,
                "timeout_ms": 2000,
            },
            # Nobody listens there: the probes do not need ClickHouse.
            "clickhouse": {"url": "http://127.0.0.1:9"},
            "sink": {"drain_timeout_ms": 100},
        },
    )
    config.write_text(config.read_text().replace('"file": ', "file = "))
    return Daemon(config, folder / "daemon.log")


def metrics(daemon: Daemon) -> dict[str, float]:
    url = f"http://127.0.0.1:{daemon.status()['http_port']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if line.startswith("tickd_recorder_probe_"))
    return {name.removeprefix("tickd_recorder_probe_"): float(value) for name, _, value in pairs}


def test_every_event_is_in_one_row_though_the_server_is_killed(tmp_path: Path) -> None:
    arguments = ["sim", "--rate", "3000", "--symbols", "5", "--seconds", "12", "--seed", "7"]
    with postgres_server() as postgres, server(*arguments, log=tmp_path / "sim.log") as sim:
        daemon = started(tmp_path, sim, postgres)
        try:
            daemon.start()
            daemon.wait_for(lambda _: metrics(daemon)["rows_total"] > 10)
            postgres.kill()
            frames = daemon.status()["raw_log"]["frames"]
            away = daemon.wait_for(
                lambda s: (
                    metrics(daemon)["waiting_rows"] > 10
                    and metrics(daemon)["failures_total"] > 0
                    and s["raw_log"]["frames"] > frames + 1000
                )
            )
            assert away["state"] == "recording"
            assert metrics(daemon)["up_state"] == 0
            postgres.start()
            daemon.wait_for(
                lambda _: (
                    metrics(daemon)["connects_total"] == 2 and metrics(daemon)["waiting_rows"] == 0
                )
            )
            last = daemon.wait_until_quiet(frames_min=20_000)
            daemon.stop()
        finally:
            daemon.close()
        rows = postgres.ask("SELECT * FROM latency_probes ORDER BY ts", database="tickd")
        [whole] = postgres.ask(SUMS + "= ''", database="tickd")
        [parts] = postgres.ask(SUMS + "<> ''", database="tickd")
        answers = [postgres.ask(sql, database="tickd") for sql in questions()]
    # When the daemon leaves, each book says that it has ended.
    ends = len(sim["symbols"]["binance-usdm"])
    assert last["bus"]["events"] + ends == whole["n"] == parts["n"]
    assert whole["n"] > 10_000
    judge(rows)
    assert len(answers[0]) == 10
    assert all(not answer for answer in answers[1:]), "no row is of that noon, or so old"
    assert PASSWORD not in daemon.log.read_text()


def questions() -> list[str]:
    """What the how-to asks, in its order; not what only makes users and databases."""
    blocks = re.findall(r"^```sql\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    every = [each.strip() for block in blocks for each in block.split(";") if each.strip()]
    return [each for each in every if re.search(r"^(SELECT|DELETE)", each, re.MULTILINE)]


def judge(rows: list[dict[str, Any]]) -> None:
    stages = {row["stage"] for row in rows}
    assert {"recv_to_bus", "recv_to_raw", "raw_fsync", "loop_lag"} <= stages
    channels = {(row["venue"], row["channel"]) for row in rows if row["venue"]}
    assert {("binance-usdm", name) for name in ("trade", "quote", "depth")} <= channels
    assert {row["node"] for row in rows} == {1}
    for row in rows:
        assert 0 < row["p50_ns"] <= row["p99_ns"] <= row["p999_ns"] <= row["max_ns"] < 60 * 10**9
    usual = [row["interval_ms"] for row in rows[len(rows) // 2 : -20]]
    assert all(100 < each < 5_000 for each in usual)


def test_migrating_is_done_once_and_a_user_with_few_rights_can_store(tmp_path: Path) -> None:
    with postgres_server() as postgres:
        config = tmp_path / "tickd.toml"
        secret = tmp_path / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o600)
        config.write_text(
            f"[postgres]\nport = {postgres.port}\npassword = {{ file = '{secret}' }}\n"
        )
        first = tickd("migrate", str(config), "--postgres", check=True)
        again = tickd("migrate", str(config), "--postgres", check=True)
        assert "applied 001_latency_probes" in first.stdout
        assert "applied nothing" in again.stdout
        postgres.ask("CREATE ROLE writer LOGIN PASSWORD 'w'")
        for grant in ("SELECT ON tickd_migrations", "SELECT, INSERT ON latency_probes"):
            postgres.ask(f"GRANT {grant} TO writer", database="tickd")
        settings = PostgresConfig(port=postgres.port, user="writer", password=Secret("w"))
        asyncio.run(stored_twice(settings))
        assert len(postgres.ask("SELECT * FROM latency_probes_ms", database="tickd")) == 1
        postgres.ask("UPDATE tickd_migrations SET sha256 = 'other'", database="tickd")
        with pytest.raises(PostgresFaultError, match="another text"):
            asyncio.run(stored_twice(settings))
        wrong = PostgresConfig(port=postgres.port, password=Secret("wrong"))
        with pytest.raises(PostgresFaultError, match="password") as raised:
            asyncio.run(stored_twice(wrong))
        assert "wrong" not in str(raised.value)


async def stored_twice(settings: PostgresConfig) -> None:
    """A copy whose answer was lost is made again: the row is there once."""
    probes = Probes(1)
    reading = Reading(Key("recv_to_bus"), [(10, 5)], 9)
    rows = probes.rows([reading], wall_ns=1_000_000, mono_ns=1)
    async with connected(settings) as connection:
        assert await connection.migrate() == []
        await connection.copy(rows)
        await connection.copy(rows)
