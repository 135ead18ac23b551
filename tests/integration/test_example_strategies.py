"""The strategies of examples/: each decides over a made-up market, and decides the same again.

The recorder-only set-up runs as a daemon on the simulated venue.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from backtest.run import replay
from backtest.sources import source_of
from strategy_runner.config import StrategyConfig
from tests.harness.market_lines import write_capture
from tests.harness.processes import Daemon, server
from tests.harness.recording import recording_of
from tickd.clock import SystemClock

EXAMPLES = Path(__file__).parents[2] / "examples"
MESSAGES = 6_000
# (file, class, parameters for a market of three trades a second, decisions that must occur)
CASES: list[tuple[str, str, dict[str, Any], set[str]]] = [
    ("ofi_chaser", "OfiChaser", {"side": "B"}, {"intent", "cancel", "chase"}),
    ("ofi_chaser", "OfiChaser", {"side": "A", "lots": 2}, {"intent", "cancel", "chase"}),
    ("vpin_guard", "VpinGuard", {"buckets": 5}, {"intent", "aside", "back"}),
    ("hawkes_momentum", "HawkesMomentum", {"base": 1.0}, {"intent", "enter", "leave"}),
    ("custom_indicator", "SpreadPayer", {}, {"paid"}),
]


def run(capture: Path, config: StrategyConfig, burst_frames: int) -> list[bytes]:
    decisions: list[bytes] = []
    result = replay(
        source_of(capture, burst_frames),
        [config],
        clock=SystemClock(),
        on_decision=decisions.append,
    )
    report = result.strategies[config.name]
    assert (report["failures"], report["stopped"]) == (0, "end of the replay")
    return decisions


@pytest.mark.parametrize(("file", "kind", "params", "expected"), CASES)
def test_an_example_decides_and_decides_the_same_again(
    file: str, kind: str, params: dict[str, Any], expected: set[str], tmp_path: Path
) -> None:
    capture = write_capture(tmp_path / "capture", 8, MESSAGES)
    config = StrategyConfig(
        name=file.replace("_", "-"), class_=f"{EXAMPLES}/{file}.py:{kind}", params=params
    )
    first = run(capture, config, 256)
    lines = [json.loads(line) for line in first]
    counts = Counter(line.get("what", line["kind"]) for line in lines)
    assert set(counts) == expected, counts
    assert all(count >= 3 for count in counts.values()), counts
    assert run(capture, config, 7) == first


def test_every_strategy_among_the_examples_is_run_here() -> None:
    files = {path.stem for path in EXAMPLES.glob("*.py") if "(Strategy)" in path.read_text()}
    assert files == {file for file, *_ in CASES}


def test_the_recorder_alone_records_the_simulated_venue(tmp_path: Path) -> None:
    with server("sim", "--symbols", "3", "--rate", "2000", log=tmp_path / "sim.log") as sim:
        text = (EXAMPLES / "recorder_only.toml").read_text()
        venue = 'name = "binance-usdm"\n'
        urls = (
            f'ws_url = "{sim["ws"]["binance-usdm"]}"\nrest_url = "{sim["rest"]["binance-usdm"]}"\n'
        )
        text = text.replace(venue, venue + urls)
        text = text.replace("id = 1\n", "id = 1\nshutdown_timeout_ms = 1000\n")
        text = text.replace("/var/lib/tickd", str(tmp_path / "state"))
        text = text.replace("file:///mnt/archive", f"file://{tmp_path}/archive")
        # Nobody answers there: the raw log does not wait for ClickHouse.
        text = text.replace("http://127.0.0.1:8123", "http://127.0.0.1:9")
        config = tmp_path / "tickd.toml"
        config.write_text(text + "\n[http]\nport = 0\n")
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            daemon.wait_for(lambda status: status["raw_log"]["frames"] >= 2_000, timeout=30)
            daemon.stop()
    recording = recording_of(tmp_path / "state")
    assert {topic.split(".")[0] for topic in recording.topics} >= {"trade", "quote", "depth"}
    assert len(recording.records) >= 2_000
