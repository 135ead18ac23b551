"""`tickd sim` and `tickd serve-replay` as processes: one JSON line, then the end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.processes import REPOSITORY, tickd

TRADE = '"e":"trade","E":1,"T":1,"s":"BTCUSDT","t":1,"p":"1","q":"1","X":"MARKET","m":true'
CAPTURE = f'1723075200000000000 {{"stream":"btcusdt@trade","data":{{{TRADE}}}}}\n'


def test_sim_says_where_it_listens_and_ends_when_its_market_does() -> None:
    markets = ("--market", "usdm", "--market", "spot", "--symbols", "2", "--seconds", "0.1")
    wire = ("--slow", "close", "--ping-interval-s", "5", "--depth-levels", "3", "--tick-ms", "1")
    done = tickd("sim", *markets, *wire, "--exit-when-done", "--start-at-once")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert set(said["ws"]) == {"binance-usdm", "binance-spot"}
    assert len(said["symbols"]["binance-spot"]) == 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("sim --rate 0", "rate"),
        ("sim --fault nosuch@t=1,symbol=A", "nosuch"),
        ("serve-replay", "no capture"),
        ("serve-replay /nowhere.gz", "nowhere"),
        ("serve-replay x --speed fast", "--speed"),
    ],
)
def test_mistakes_end_with_two_and_a_sentence(arguments: str, complaint: str) -> None:
    done = tickd(*arguments.split())
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_replay_ends_by_signal_with_zero(tmp_path: Path) -> None:
    file = tmp_path / "made"
    file.write_text(CAPTURE)
    command = [sys.executable, "-m", "tickd", "serve-replay", f"usdm:{file}", "--slow", "close"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as server:
        assert server.stdout is not None
        said = json.loads(server.stdout.readline())
        assert said["pid"] == server.pid
        assert said["symbols"] == {"binance-usdm": ["BTCUSDT"]}
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
