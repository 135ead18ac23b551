"""A daemon that ships, removes and is killed while it records; then its log from the bucket alone.

ClickHouse is the judge: `tickd verify` compares it with the log that was fetched back.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.processes import REPOSITORY, Daemon, server, tickd, venue_of, write_config
from tests.reference import raw_log as reference
from tickd.native import manifest_read

pytestmark = [pytest.mark.proof, pytest.mark.embedded, pytest.mark.timeout(400)]

RATE = 12_000
SECONDS = 14


@pytest.fixture
def clickhouse(tmp_path: Path) -> Iterator[dict[str, object]]:
    """An embedded server beside the daemon, as a section of its configuration."""
    if importlib.util.find_spec("chdb") is None:
        pytest.skip("needs the embedded ClickHouse (extra tickd[embedded])")
    directory = tmp_path / "clickhouse"
    command = [sys.executable, "-m", "recorder.embedded.server", f"--directory={directory}"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=REPOSITORY,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        said = next(said for line in child.stdout if (said := json.loads(line)).get("port"))
        key = directory / "http.key"
        yield {"url": f"http://127.0.0.1:{said['port']}", "password": {"file": str(key)}}
        child.stdin.close()
        child.wait(30)


def test_segments_leave_and_come_back_and_clickhouse_agrees(
    tmp_path: Path, clickhouse: dict[str, object]
) -> None:
    state_dir, objects = tmp_path / "state", tmp_path / "objects"
    ship = {"url": f"file://{objects}", "every_s": 1, "aside_age_s": 0, "keep_days": 0}
    arguments = ["sim", "--rate", str(RATE), "--symbols", "4", "--seconds", str(SECONDS)]
    with server(*arguments, log=tmp_path / "sim.log") as sim:
        config = write_config(
            tmp_path / "tickd.toml",
            state_dir=state_dir,
            venues=[venue_of(sim)],
            sections={"ship": ship, "raw_log": {"segment_seconds": 1}, "clickhouse": clickhouse},
        )
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            daemon.wait_for(lambda status: status["ship"]["removed"] >= 1)
            daemon.kill()
            daemon.start()
            daemon.wait_for(lambda status: status["ship"]["removed"] >= 2)
            daemon.wait_until_quiet(frames_min=RATE)
            status = daemon.wait_for(
                lambda s: s["sink"]["caught_up"] and s["sink"]["blocks_waiting"] == 0
            )
            assert status["ship"]["last"]["ok"], status["ship"]
            asked = tickd("ship", str(config), "--verify", "--json")
            assert asked.returncode == 0, asked.stderr + asked.stdout
            assert json.loads(asked.stdout)["verified"] > 0
            assert daemon.stop() == 0, daemon.tail()
    offline = tickd("ship", str(config), "--json")
    assert offline.returncode == 0, offline.stderr + offline.stdout
    assert json.loads(offline.stdout)["shipped"] >= 1
    here = {path.name for path in (state_dir / "raw" / "segments").iterdir()}
    removed = [line for line in manifest_read(str(state_dir / "raw")) if line["kind"] == "removed"]
    assert removed
    assert not here & {Path(line["file"]).name for line in removed}
    listed = tickd("inspect", str(state_dir))
    assert listed.stdout.count(" store ") == len(removed)
    frames = tickd("inspect", str(state_dir), "--frames", "--limit", "1")
    assert "tickd restore --frames" in frames.stderr
    # What is in the store only is no difference, as long as it is there.
    verified = tickd("verify", str(config), "--remote")
    assert verified.returncode == 0, verified.stdout + verified.stderr

    # A new machine: the bucket, and the ClickHouse that survived.
    new = tmp_path / "new"
    restored = tickd("restore", "--config", str(config), "--to", str(new), "--json")
    assert restored.returncode == 0, restored.stderr + restored.stdout
    other = tmp_path / "new.toml"
    other.write_text(config.read_text().replace(f'"{state_dir}"', f'"{new}"'))
    verified = tickd("verify", str(other))
    assert verified.returncode == 0, verified.stdout + verified.stderr

    # And without one: an empty database is filled from what was fetched.
    empty = tmp_path / "empty.toml"
    empty.write_text(other.read_text().replace("[clickhouse]", '[clickhouse]\ndatabase = "fresh"'))
    for name in ("migrate", "rebuild", "verify"):
        done = tickd(name, str(empty))
        assert done.returncode == 0, name + done.stdout + done.stderr

    # The old one: what it had removed comes back into its place.
    back = tickd("restore", "--config", str(config), "--to", str(state_dir), "--json")
    assert back.returncode == 0, back.stderr + back.stdout
    assert len(json.loads(back.stdout)["restored"]) == len(removed)
    assert reference.read_log(new / "raw") == reference.read_log(state_dir / "raw")
    verified = tickd("verify", str(config))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "key" not in (tmp_path / "daemon.log").read_text()
