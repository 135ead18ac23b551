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
from tickd.testing.wire_log import WireLog

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
        (("--topics", "trade.*.*", "--config", "x.toml"), "stands alone"),
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


def test_a_strategy_whose_topics_do_not_occur_is_told(
    command, capture: Path, strategy: str
) -> None:
    words = (capture, "--strategy", strategy, "--topics")
    assert "  none of its topics occurs" in command("replay", *words, "trade.nowhere.*").out
    assert "none of its topics" not in command("replay", *words, "trade.*.*").out


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


def test_whoever_reads_the_decisions_may_have_enough(capture: Path, tmp_path: Path) -> None:
    """As `| head -1` does; the strategy must not be told that it failed."""
    (tmp_path / "chatty.py").write_text(
        "from strategy_runner.strategy import Strategy\n"
        "class Chatty(Strategy):\n"
        "    def on_book(self, book):\n"
        "        self.context.decide('book', top=book.top(20), text='x' * 10_000)\n"
        "    on_trade = on_quote = lambda self, view: self.context.decide('x', text='x' * 10_000)\n"
    )
    words = ["-m", "tickd", "replay", str(capture), "--strategy", f"{tmp_path}/chatty.py:Chatty"]
    with subprocess.Popen(
        [sys.executable, *words, "--decisions"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def note(log: WireLog, kind: str, **fields: object) -> None:
    log.raw_log.record(0, "C", json.dumps({"kind": kind, **fields}).encode())


def note_later(state: Path, kind: str, **fields: object) -> None:
    log = WireLog(state / "raw", 8)
    note(log, kind, **fields)
    log.close()


def test_a_log_is_compared_with_what_was_decided_live(
    command, strategy: str, tmp_path: Path
) -> None:
    log = WireLog(tmp_path / "raw", 7)
    log.burst(300)
    seq = (log.raw_log.next_frame_no - 1) << 16 | 0xFFFF
    note(log, "strategy", name="sets", state="started", seq=seq)
    note(log, "state", strategy="sets", values={}, orders_reserved=0)
    for _ in range(5):
        log.burst(300)
    log.close()

    def asked() -> tuple[int, dict[str, Any]]:
        answer = command("replay", tmp_path, "--strategy", strategy, "--json")
        return answer.code, json.loads(answer.out)["strategies"]["sets"]

    code, silent = asked()
    assert (code, silent["live"]) == (0, "was ended live before it could tell its hash")
    assert silent["decisions"] > 100
    said = {"count": silent["decisions"], "hash": silent["hash"]}
    note_later(tmp_path, "decisions", strategy="sets", **said)
    code, same = asked()
    assert (code, same["live"], same["hash"]) == (0, "as live", silent["hash"])
    note_later(tmp_path, "decisions", strategy="sets", count=said["count"], hash="0" * 64)
    code, other = asked()
    assert (code, other["live"]) == (3, "NOT as live")
    rows = [["trade.a.b", "conflate", seq + 1, seq + 9, 12, 1]]
    note_later(tmp_path, "conflated", feed="sets", rows=rows)
    note_later(tmp_path, "decisions", strategy="sets", **said)
    code, slow = asked()
    told = "as live, 11 records merged or dropped as then"
    assert (code, slow["live"]) == (0, told)


@pytest.mark.parametrize(
    ("topics", "params", "says"),
    [
        (["*"], {"fails_at": 0}, "NOT as live"),
        (["*"], {"fails_at": 5000}, "not compared: it ran live with other params"),
        (["quote.*.*"], {}, "not compared: it ran live with other topics and params"),
    ],
)
def test_what_ran_live_with_something_else_is_not_compared(
    command, strategy: str, tmp_path: Path, topics: list[str], params: dict[str, int], says: str
) -> None:
    log = WireLog(tmp_path / "raw", 7)
    log.burst(300)
    seq = (log.raw_log.next_frame_no - 1) << 16 | 0xFFFF
    given = {"class": strategy, "topics": topics, "params": params}
    note(log, "strategy", name="sets", state="started", seq=seq, **given)
    log.burst(300)
    note(log, "decisions", strategy="sets", count=1, hash="0" * 64)
    log.close()
    words = ("replay", tmp_path, "--strategy", strategy, "--params", '{"fails_at": 0}', "--json")
    answer = command(*words)
    told = json.loads(answer.out)
    found = told["strategies"]["sets"]
    assert (answer.code, found["live"]) == (3 if says == "NOT as live" else 0, says)
    # Everything there is, or what it had live: the first burst was before its start.
    # A second that passes meanwhile is an event of the clock, which is none of the strategy's.
    missing = told["events"] - found["events"]
    assert (missing < 100) == (says != "NOT as live")
