"""A strategy of a daemon goes on where it was, whoever was killed, and a replay knows what it knew.

Method: a daemon records a simulated market; the strategy says at every start what it knows. Its
process is killed with -9, then the daemon is, then the daemon is stopped. Each later start knows
books, values and a position from before; so does the same strategy inside of the daemon. One of a
pair raises every second and comes back. `tickd replay` repeats every last run.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from backtest.live_runs import live_runs
from tests.harness.processes import Daemon, server, tickd, venue_of, write_config
from tests.harness.strategy_log import controls, records

pytestmark = [
    pytest.mark.proof,
    pytest.mark.embedded,
    pytest.mark.skipif(find_spec("chdb") is None, reason="chdb is not installed"),
    pytest.mark.timeout(120),
]

CODE = """
from strategy_runner.strategy import Strategy


class Knowing(Strategy):
    def on_start(self):
        self.tell("start")
        self.context.call_every(250_000_000)

    def on_timer(self, timer):
        self.tell("timer")

    def tell(self, what):
        books = {}
        for each in self.context.instruments.values():
            book, trade = self.context.book(each.id), self.context.last.trade(each.id)
            books[each.symbol] = [
                book and [book.state, book.last_id, book.total("B"), book.top(3)],
                trade and [trade.seq, trade.price],
            ]
        self.context.decide(what, books=books, known_from=self.context.known_from)


class Flaky(Knowing):
    def on_start(self):
        super().on_start()
        self.timers = 0

    def on_timer(self, timer):
        super().on_timer(timer)
        self.timers += 1
        if self.timers == 4:
            raise RuntimeError("again")
"""
SECTIONS = """
[[strategies]]
name = "knowing"
class = "{path}:Knowing"
restart = "on_failure"

[[strategies]]
name = "inside"
class = "{path}:Knowing"
isolation = "inproc"

[[strategies]]
name = "calm"
class = "{path}:Knowing"
group = "pair"

[[strategies]]
name = "flaky"
class = "{path}:Flaky"
group = "pair"
restart = "on_failure"
"""
NAMES = ("knowing", "inside", "calm", "flaky")


def mine(status: dict[str, Any], name: str = "knowing") -> dict[str, Any]:
    (found,) = (each for each in status["strategies"] if each["name"] == name)
    return dict(found)


def is_warm(status: dict[str, Any], *names: str) -> bool:
    return all(
        mine(status, name)["state"] in ("running", "waiting")
        and mine(status, name)["warmth"]["from_image"]
        for name in names or NAMES
    )


def has_decided(status: dict[str, Any]) -> bool:
    return all(mine(status, name)["decisions"] > 4 for name in NAMES)


def test_every_start_but_the_first_knows_what_was_known(tmp_path: Path) -> None:
    (tmp_path / "knowing.py").write_text(CODE)
    options = ("--symbols", "3", "--rate", "500")
    with server("sim", "--market", "usdm", *options, log=tmp_path / "sim.log") as venue:
        config = write_config(
            tmp_path / "tickd.toml", state_dir=tmp_path / "state", venues=[venue_of(venue)]
        )
        config.write_text(config.read_text() + SECTIONS.format(path=tmp_path / "knowing.py"))
        kept = tmp_path / "state" / "strategies"
        images = [kept / f"{group}.image" for group in ("knowing", "inside", "group-pair")]
        daemon = Daemon(config, tmp_path / "daemon.log")
        try:
            daemon.start()
            daemon.wait_for(
                lambda now: has_decided(now) and all(image.exists() for image in images)
            )
            os.kill(mine(daemon.status())["pid"], signal.SIGKILL)
            daemon.wait_for(lambda now: mine(now)["restarts"] == 1 and is_warm(now, "knowing"))
            daemon.kill()
            daemon.start()
            # Long enough for the books of this life: those of the one before ended with it.
            daemon.wait_for(lambda now: is_warm(now) and has_decided(now))
            assert daemon.stop() == 0
            daemon.start()
            daemon.wait_for(lambda now: is_warm(now) and has_decided(now))
            status = daemon.wait_for(lambda now: mine(now, "flaky")["restarts"] > 1)
            assert daemon.stop() == 0
        finally:
            daemon.close()
    for name in NAMES:
        warmth = mine(status, name)["warmth"]
        assert warmth["notes"] == [], name
        assert 0 < mine(status, name)["warmed_from"] == warmth["known_from"] < warmth["to"]
    assert (mine(status, "calm")["restarts"], mine(status, "calm")["reason"]) == (0, "")
    assert "RuntimeError: again" in mine(status, "flaky")["last_failure"]
    check_replay(tmp_path / "state", config)


def check_replay(state_dir: Path, config: Path) -> None:
    log = records(state_dir)
    started = [each for each in controls(log, "strategy") if each["state"] == "started"]
    assert Counter(each["name"] for each in started) == {
        "knowing": 4,
        "inside": 3,
        "calm": 3,
        "flaky": 3,
    }
    assert {each["seq"] for each in controls(log, "warm")} == {each["seq"] for each in started}
    done = tickd("replay", str(state_dir), "--config", str(config), "--decisions")
    assert done.returncode == 1, done.stdout + done.stderr  # one of them failed, as it did live
    printed = done.stdout.splitlines()
    assert printed.count("  as live") == len(NAMES)
    firsts: dict[str, Any] = {}
    for line in printed:
        if line.startswith("{"):
            fields = json.loads(line)
            firsts.setdefault(fields["strategy"], fields)
    assert set(firsts) == set(NAMES)
    runs = live_runs(state_dir)
    for name, first in firsts.items():
        assert first["what"] == "start"
        for book, trade in first["fields"]["books"].values():
            # A daemon's restart ends its books; each begins again with the venue's snapshot.
            assert book is None or (book[0] == 2 and len(book[3][0]) == 3)
            assert trade[0] <= runs[name].seq_from
        assert runs[name].image is not None
    assert len(runs["flaky"].failures) > 1
