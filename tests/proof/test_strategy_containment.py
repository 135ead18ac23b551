"""Whatever a strategy does, the recorder loses nothing and the other strategies go on.

Method: one daemon records a simulated market of known length and runs one strategy for each way to
misbehave beside one that behaves. At the end the market's own count, the raw log and the strategy
that behaves agree, and of every other one the status says why it ended. No time is asserted.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from strategy_runner.config import StrategyConfig
from tests.harness.processes import Daemon, server, venue_of, write_config
from tests.harness.strategy_log import controls, decided, records
from tickd.app.control import ask

pytestmark = [
    pytest.mark.proof,
    pytest.mark.embedded,
    pytest.mark.skipif(find_spec("chdb") is None, reason="chdb is not installed"),
    pytest.mark.timeout(120),
]

BAD = Path(__file__).parents[1] / "servers" / "misbehaving.py"
HANG_MS = 2_000
MEMORY_BYTES = 400 << 20
SECONDS = 12
WAYS = ("raise", "spin_50_ms", "spin_5_ms", "loop", "hog", "segfault", "exit", "print")


def strategy(name: str, kind: str, **more: object) -> str:
    lines = [f'name = "{name}"', f'class = "{BAD}:{kind}"']
    lines += [f"{key} = {json.dumps(value)}" for key, value in more.items()]
    return "\n[[strategies]]\n" + "\n".join(lines) + "\n"


def sections() -> Iterator[str]:
    yield strategy("good", "Counting")
    yield strategy("killed", "Counting")
    yield strategy("back_again", "Counting", restart="on_failure")
    yield strategy("hang_in_await", "Hanging", callback_timeout_ms=500)
    for way in WAYS:
        text = strategy(
            way, "Bad", hang_ms_max=HANG_MS, memory_bytes_max=MEMORY_BYTES, queue_events=4096
        )
        yield text + f'params = {{ what = "{way}" }}\n'


def stats(venue: dict[str, Any]) -> dict[str, Any]:
    with urllib.request.urlopen(f"{venue['rest']['binance-usdm']}/_stats", timeout=10) as reply:
        return dict(json.load(reply))


def by_name(status: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in status["strategies"]}


def test_nothing_a_strategy_does_hurts_the_recorder_or_another(tmp_path: Path) -> None:
    options = ("--symbols", "3", "--rate", "2000", "--seconds", str(SECONDS))
    with server("sim", "--market", "usdm", *options, log=tmp_path / "sim.log") as venue:
        config = write_config(
            tmp_path / "tickd.toml", state_dir=tmp_path / "state", venues=[venue_of(venue)]
        )
        config.write_text(config.read_text() + "".join(sections()))
        daemon = Daemon(config, tmp_path / "daemon.log")
        try:
            daemon.start()
            status = daemon.wait_for(lambda now: by_name(now)["good"]["events"] > 500)
            for name in ("killed", "back_again"):
                os.kill(by_name(status)[name]["pid"], signal.SIGKILL)
            ends = ("raise", "loop", "hog", "segfault", "exit", "hang_in_await", "killed")
            status = daemon.wait_for(
                lambda now: (
                    all(by_name(now)[name]["state"] == "stopped" for name in ends)
                    and by_name(now)["back_again"]["restarts"] == 1
                    and by_name(now)["back_again"]["state"] == "running"
                    and by_name(now)["spin_50_ms"]["merged"] > 0
                    and by_name(now)["spin_5_ms"]["merged"] > 0
                )
            )
            status = daemon.wait_for(lambda _: stats(venue)["done"])
            sent = sum(each["messages"] for each in stats(venue)["connections"])
            status = daemon.wait_for(lambda now: now["raw_log"]["frames"] > sent)
            histograms: Any = asyncio.run(ask(daemon.state_dir, "histograms"))
            assert daemon.stop() == 0
        finally:
            daemon.close()
    # Each event of the one that behaves was on time or late, and is told once; reports are a second
    # old at most.
    assert 500 < sum(histograms["recv_to_strategy.good"]) <= by_name(status)["good"]["delivered"]
    check_reasons(by_name(status))
    # What was on its way to one that ended is told, and told of nobody else.
    assert by_name(status)["loop"]["undelivered"] > 0
    assert by_name(status)["good"]["undelivered"] == 0
    check_the_record(tmp_path / "state", by_name(status), sent)


def test_no_strategy_outlives_its_daemon(tmp_path: Path) -> None:
    """Not even one that never looks up: the daemon is killed while they run."""
    with server("sim", "--market", "usdm", "--symbols", "2", log=tmp_path / "sim.log") as venue:
        config = write_config(
            tmp_path / "tickd.toml", state_dir=tmp_path / "state", venues=[venue_of(venue)]
        )
        loop = strategy("loop", "Bad", hang_ms_max=3_600_000) + 'params = { what = "loop" }\n'
        config.write_text(config.read_text() + strategy("good", "Counting") + loop)
        daemon = Daemon(config, tmp_path / "daemon.log")
        try:
            daemon.start()
            status = daemon.wait_for(
                lambda now: by_name(now)["good"]["events"] and by_name(now)["loop"]["waiting"]
            )
            children = {each["pid"] for each in by_name(status).values()}
            assert all(is_alive(pid) for pid in children)
            daemon.kill()
        finally:
            daemon.close()
        while any(is_alive(pid) for pid in children):
            time.sleep(0.02)  # the timeout of the test is the judge


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def check_reasons(strategies: dict[str, dict[str, Any]]) -> None:
    reasons = {name: each["reason"] for name, each in strategies.items()}
    assert "RuntimeError: a bad day" in reasons["raise"]
    assert "it hangs" in reasons["loop"]
    assert "bytes of memory" in reasons["hog"]
    assert "SIGSEGV" in reasons["segfault"]
    assert "exit code 7" in reasons["exit"]
    assert "SIGKILL" in reasons["killed"]
    assert "awaited longer than 500 ms" in reasons["hang_in_await"]
    assert not reasons["good"] + reasons["back_again"] + reasons["print"]


def check_the_record(state_dir: Path, strategies: dict[str, dict[str, Any]], sent: int) -> None:
    log = records(state_dir)
    assert sum(payload.startswith(b'{"stream"') for type_, payload in log if type_ == "W") == sent
    assert not controls(log, "drop")
    stopped = {
        each["name"]: each for each in controls(log, "strategy") if each["state"] == "stopped"
    }
    assert set(stopped) == set(strategies)
    good = strategies["good"]
    assert (good["dropped"], good["merged"], good["offered"]) == (0, 0, good["delivered"])
    # What it decided is what it decides over the log: nothing was lost or late in between. The slow
    # one decided over merged events, which the log tells.
    for name, kind, params in (
        ("good", "Counting", {}),
        ("spin_5_ms", "Bad", {"what": "spin_5_ms", "after": 1 << 60}),
    ):
        config = StrategyConfig(name=name, class_=f"{BAD}:{kind}", params=params)
        digests = decided(state_dir, config)
        count = strategies[name]["decisions"]
        assert count > 10
        rows = [fields for fields in controls(log, "conflated") if fields["feed"] == name]
        assert bool(rows) == (name == "spin_5_ms")
        assert digests[count] == strategies[name]["hash"], name
        if rows:
            assert decided(state_dir, config, all_events=True)[count] != digests[count]
