"""`tickd replay`: what it prints, what it refuses, and that no run differs from another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness.market_lines import write_capture

ROOT = Path(__file__).parents[3]
STRATEGY = """
from strategy_runner.strategy import Strategy


class Sets(Strategy):
    class Config(Strategy.Config):
        fails_at: int = 0

    def on_start(self):
        self.words = set()

    def on_trade(self, trade):
        self.words.add(f"{trade.side}{trade.price}")
        self.context.decide("words", words=sorted(self.words)[:5], count=len(self.words))
        if len(self.words) == self.config.fails_at:
            raise LookupError("as ordered")
"""


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return write_capture(tmp_path / "capture", 3, 800)


@pytest.fixture
def strategy(tmp_path: Path) -> str:
    (tmp_path / "sets.py").write_text(STRATEGY)
    return f"{tmp_path}/sets.py:Sets"


def result_of(command: Any, *words: object) -> dict[str, Any]:
    return json.loads(command("replay", *words, "--json").out)


def test_it_tells_events_decisions_and_their_hash(command, capture: Path, strategy: str) -> None:
    answer = command("replay", capture, "--strategy", strategy)
    assert answer.code == 0
    digest = result_of(command, capture, "--strategy", strategy)["strategies"]["sets"]["hash"]
    assert f"  decisions {digest}" in answer.out.splitlines()
    assert answer.out.splitlines()[1].startswith("sets: ")
    assert len(digest) == 64


def test_decisions_are_lines_for_pipes(command, capture: Path, strategy: str) -> None:
    answer = command("replay", capture, "--strategy", strategy, "--decisions", "--json")
    *lines, last = [json.loads(line) for line in answer.out.splitlines()]
    assert len(lines) == last["strategies"]["sets"]["decisions"] > 100
    assert {line["kind"] for line in lines} == {"decide"}


@pytest.mark.parametrize("form", ["inline", "json", "toml", "config"])
def test_a_failure_is_told_with_its_reason(
    command, capture: Path, strategy: str, tmp_path: Path, form: str
) -> None:
    words: list[object] = ["--strategy", strategy, "--params"]
    match form:
        case "inline":
            words.append('{"fails_at": 20}')
        case "json":
            (tmp_path / "p.json").write_text('{"fails_at": 20}')
            words.append(tmp_path / "p.json")
        case "toml":
            (tmp_path / "p.toml").write_text("fails_at = 20")
            words.append(tmp_path / "p.toml")
        case _:
            text = (
                f'[[strategies]]\nname = "sets"\nclass = "{strategy}"\nparams = {{fails_at = 20}}'
            )
            (tmp_path / "c.toml").write_text(text)
            words = ["--config", tmp_path / "c.toml"]
    answer = command("replay", capture, *words)
    assert answer.code == 1
    assert "failed: LookupError: as ordered (sets.py:" in answer.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "no strategy"),
        (("--strategy", "nowhere"), "not module:Class"),
        (("--strategy", "a:B", "--params", "{"), "--params"),
        (("--strategy", "a:B", "--config", "x.toml"), "stands alone"),
    ],
)
def test_what_cannot_be_run_is_refused(command, capture: Path, words, says: str) -> None:
    answer = command("replay", capture, *words)
    assert answer.code == 2
    assert says in answer.err


def test_a_class_that_is_not_there_is_told(command, capture: Path) -> None:
    answer = command("replay", capture, "--strategy", "no_such_module:Nobody")
    assert answer.code == 1
    assert "failed: no module no_such_module" in answer.out


def test_the_order_of_sets_changes_no_decision(capture: Path, strategy: str) -> None:
    """The same strategy in processes whose text hashes differ."""
    found = set()
    for seed in ("1", "2"):
        words = ["-m", "tickd", "replay", str(capture), "--strategy", strategy, "--json"]
        done = subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            check=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        found.add(json.loads(done.stdout)["strategies"]["sets"]["hash"])
    assert len(found) == 1
