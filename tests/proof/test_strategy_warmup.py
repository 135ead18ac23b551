"""A strategy of a daemon goes on where it was, whoever was killed, and a replay knows what it knew.

Method: a daemon records a simulated market; the strategy says at every start what it knows. Its
process is killed with -9, then the daemon is, then the daemon is stopped. Each later start knows
books, values and a position from before; `tickd replay` repeats the last run decision for decision.
"""

from __future__ import annotations

import json
import os
import signal
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
"""
SECTION = """
[[strategies]]
name = "knowing"
class = "{path}:Knowing"
restart = "on_failure"
"""


def mine(status: dict[str, Any]) -> dict[str, Any]:
    (found,) = status["strategies"]
    return dict(found)


def is_warm(status: dict[str, Any]) -> bool:
    return bool(mine(status)["state"] == "running" and mine(status)["warmth"]["from_image"])


def test_every_start_but_the_first_knows_what_was_known(tmp_path: Path) -> None:
    (tmp_path / "knowing.py").write_text(CODE)
    options = ("--symbols", "3", "--rate", "500")
    with server("sim", "--market", "usdm", *options, log=tmp_path / "sim.log") as venue:
        config = write_config(
            tmp_path / "tickd.toml", state_dir=tmp_path / "state", venues=[venue_of(venue)]
        )
        config.write_text(config.read_text() + SECTION.format(path=tmp_path / "knowing.py"))
        image = tmp_path / "state" / "strategies" / "knowing.image"
        daemon = Daemon(config, tmp_path / "daemon.log")
        try:
            daemon.start()
            daemon.wait_for(lambda now: mine(now)["decisions"] > 4 and image.exists())
            os.kill(mine(daemon.status())["pid"], signal.SIGKILL)
            daemon.wait_for(lambda now: mine(now)["restarts"] == 1 and is_warm(now))
            daemon.kill()
            daemon.start()
            # Long enough for the books of this life: those of the one before ended with it.
            daemon.wait_for(lambda now: is_warm(now) and mine(now)["decisions"] > 4)
            assert daemon.stop() == 0
            daemon.start()
            status = daemon.wait_for(lambda now: is_warm(now) and mine(now)["decisions"] > 4)
            assert daemon.stop() == 0
        finally:
            daemon.close()
    warmth = mine(status)["warmth"]
    assert warmth["notes"] == []
    assert 0 < mine(status)["warmed_from"] == warmth["known_from"] < warmth["to"]
    log = records(tmp_path / "state")
    started = [each for each in controls(log, "strategy") if each["state"] == "started"]
    assert len(started) == 4
    assert {each["seq"] for each in controls(log, "warm")} == {each["seq"] for each in started}
    done = tickd("replay", str(tmp_path / "state"), "--config", str(config), "--decisions")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  as live" in done.stdout.splitlines()
    first = json.loads(done.stdout.splitlines()[0])
    assert first["what"] == "start"
    for book, trade in first["fields"]["books"].values():
        # A daemon's restart ends its books; each begins again with the venue's snapshot.
        assert book is None or (book[0] == 2 and len(book[3][0]) == 3)
        assert trade[0] <= started[-1]["seq"]
    assert live_runs(tmp_path / "state")["knowing"].image is not None
