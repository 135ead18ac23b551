"""docs/how-to/trace-a-slow-batch.md: its settings and its commands, with a daemon that trades.

Method: the page's first settings are the daemon's, slow enough that a strategy which computes for
some milliseconds makes slow batches; then every `tickd` line of the page is run as it stands.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.harness.processes import Daemon, server, tickd, venue_of, write_config

pytestmark = [pytest.mark.proof, pytest.mark.timeout(200)]

PAGE = (Path(__file__).parents[2] / "docs/how-to/trace-a-slow-batch.md").read_text()
SETTINGS = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
STRATEGY_BAR = re.compile("process strategy.slow .*█")
STRATEGY = """
import time
from strategy_runner.strategy import Strategy

class Slow(Strategy):
    def on_trade(self, event):
        until = time.perf_counter() + 0.006
        while time.perf_counter() < until:
            pass
"""


def typed(line: str, config: Path) -> list[str]:
    words = shlex.split(line, comments=True)
    words = words[: words.index("|")] if "|" in words else words
    assert words[0] == "tickd"
    return [str(config) if word == "tickd.toml" else word for word in words[1:]]


def test_the_commands_of_the_page_show_where_the_time_went(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(STRATEGY)
    arguments = ["sim", "--rate", "200", "--symbols", "2", "--seed", "7"]
    with server(*arguments, log=tmp_path / "sim.log") as sim:
        config = write_config(
            tmp_path / "tickd.toml",
            state_dir=tmp_path / "state",
            venues=[venue_of(sim)],
            # Nobody listens there: a trace is made without what never comes.
            sections={"clickhouse": {"url": "http://127.0.0.1:9"}, "sink": {"drain_timeout_ms": 9}},
        )
        strategy = f'[[strategies]]\nname = "slow"\nclass = "{tmp_path}/slow.py:Slow"\n'
        strategy += 'isolation = "inproc"\ntopics = ["trade.*.*"]\n'
        config.write_text(config.read_text() + SETTINGS + strategy)
        daemon = Daemon(config, tmp_path / "daemon.log")
        try:
            daemon.start()
            # A busy start may make slower batches than the strategy does.
            every = ("trace", str(config), "--count", "300")
            daemon.wait_for(lambda _: STRATEGY_BAR.search(tickd(*every).stdout))
            said = {
                line: tickd(*typed(line, config)).stdout
                for line in COMMANDS
                if not line.startswith("tickd run")
            }
            daemon.stop()
        finally:
            daemon.close()
    assert len(said) == 4
    picture = said["tickd trace tickd.toml"].splitlines()
    assert "traced for slow" in picture[1] or "traced for ratio" in picture[1]
    assert any(line.lstrip().startswith("publish") for line in picture), picture
    assert (
        len(re.findall("^batch that ends", said["tickd trace tickd.toml --count 3"], re.MULTILINE))
        == 3
    )
    traces: Any = json.loads(next(text for line, text in said.items() if "--json" in line))
    [trace] = traces
    assert trace["latency_ns"] > 5_000_000
    names = [span["name"] for span in trace["spans"]]
    assert names[0] == "process market-data"
