"""`kill -9` while a simulated venue plays on: of the daemon at random moments and while it starts,
and of its ClickHouse, which another time hangs.

The venue keeps a log of what it sent. Afterwards every message sent is in the raw log or inside its
gap (exact id ranges for trades), ClickHouse holds exactly the rows of the raw log, and
`tickd verify` is clean. A failure names the seed of the moments.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness.losses import unexplained
from tests.harness.processes import Daemon, query, server, tickd, venue_of, write_config
from tests.harness.recording import Recording, recording_of, sent_by

pytestmark = [pytest.mark.proof, pytest.mark.embedded, pytest.mark.timeout(600)]

KILLS = 10
CLICKHOUSE_KILLS = 4
RATE = 10_000
SYMBOLS = 5
EVENT_TABLES = ("trades", "quotes", "book", "states", "gaps")


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("TICKD_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)


@contextmanager
def played(folder: Path, seed: int) -> Iterator[Daemon]:
    """A daemon, not yet started, at a venue that plays until the block ends."""
    arguments = ["sim", "--rate", str(RATE), "--symbols", str(SYMBOLS), "--seed", str(seed)]
    sent_log = folder / "sent.log"
    with server(*arguments, "--sent-log", str(sent_log), log=folder / "sim.log") as sim:
        table = venue_of(sim)
        config = write_config(folder / "tickd.toml", state_dir=folder / "state", venues=[table])
        daemon = Daemon(config, folder / "daemon.log")
        try:
            yield daemon
        finally:
            daemon.close()


def prove(folder: Path, daemon: Daemon, seed: int) -> Recording:
    """Nothing lost silently, exact ids, every row exactly once."""
    recording = recording_of(folder / "state")
    sent = sent_by(folder / "sent.log")
    lost = unexplained(sent, recording)
    assert not lost, f"{len(lost)} of {len(sent)}: {lost[:3]} TICKD_SEED={seed}"
    # The judge itself: what is taken out of the recording is missed.
    robbed = replace(recording, records=[r for r in recording.records if r.frame_no % 5_000])
    assert unexplained(sent, robbed), "a planted loss was not seen"
    for symbol in {gap.symbol for gap in recording.gaps() if gap.channel == "trade"}:
        assert recording.lost_trade_ids(symbol) == recording.gap_trade_ids(symbol), (
            f"{symbol} TICKD_SEED={seed}"
        )
    for table in EVENT_TABLES:
        (row,) = query(
            daemon.config, f"SELECT count() AS n, uniqExact(node, seq) AS u FROM {table}"
        )
        assert int(row["n"]) == int(row["u"]), f"{table} {row} TICKD_SEED={seed}"
    verified = tickd("verify", str(daemon.config), timeout=300)
    assert verified.returncode == 0, f"{verified.stdout}{verified.stderr} TICKD_SEED={seed}"
    return recording


def stopped_cleanly(daemon: Daemon, *, frames_min: int) -> None:
    daemon.wait_for(lambda s: s["sink"]["caught_up"] and s["raw_log"]["frames"] > frames_min)
    assert daemon.stop() == 0, daemon.tail()


def test_nothing_is_lost_silently_over_ten_kills(tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    with played(tmp_path, seed) as daemon:
        for _ in range(KILLS):
            daemon.start()
            daemon.wait_for(lambda s: s["raw_log"]["frames"] > 1000)
            time.sleep(moments.uniform(0.05, 2.5))  # the moment of death is what varies
            daemon.kill()
        daemon.start()
        stopped_cleanly(daemon, frames_min=5_000)
    recording = prove(tmp_path, daemon, seed)
    restarts = [gap for gap in recording.gaps() if gap.cause == "RESTART"]
    assert restarts, "ten kills at full speed and no gap"
    assert sum(len(f) for f in recording.market_frames().values()) > KILLS * 1000


def test_nothing_is_lost_silently_over_kills_while_it_starts(tmp_path: Path, seed: int) -> None:
    """Dead during imports, recovery, migration, catching up: the next start finds what is there."""
    moments = random.Random(seed)
    with played(tmp_path, seed) as daemon:
        daemon.start()
        daemon.wait_for(lambda s: s["sink"]["caught_up"] and s["raw_log"]["frames"] > 20_000)
        daemon.kill()
        for _ in range(KILLS):
            daemon.launch()
            time.sleep(moments.uniform(0.0, 2.0))  # the moment of death is what varies
            daemon.kill()
        daemon.start()
        stopped_cleanly(daemon, frames_min=5_000)
    prove(tmp_path, daemon, seed)


def test_rows_are_stored_once_over_kills_of_clickhouse(tmp_path: Path, seed: int) -> None:
    """The daemon lives on and loses nothing; its ClickHouse is started again."""
    moments = random.Random(seed)
    with played(tmp_path, seed) as daemon:
        daemon.start()
        daemon.wait_for(lambda s: s["sink"]["caught_up"])
        for number in range(CLICKHOUSE_KILLS):
            time.sleep(moments.uniform(0.05, 1.5))  # the moment of death is what varies
            os.kill(daemon.clickhouse_pid(), signal.SIGKILL)
            daemon.wait_for(lambda s, n=number: s["sink"]["restarts"] > n and s["sink"]["url"])
        status = daemon.wait_for(lambda s: s["sink"]["caught_up"])
        assert status["raw_log"]["pauses"] == 0
        stopped_cleanly(daemon, frames_min=5_000)
    recording = prove(tmp_path, daemon, seed)
    assert recording.gaps() == []


def test_rows_are_stored_once_over_a_clickhouse_that_hangs(tmp_path: Path, seed: int) -> None:
    """Stopped for ever: it is given up, ended and started again while its rows wait in files."""
    with played(tmp_path, seed) as daemon:
        daemon.start()
        daemon.wait_for(lambda s: s["sink"]["caught_up"] and s["sink"]["rows_committed"])
        hung = daemon.clickhouse_pid()
        os.kill(hung, signal.SIGSTOP)
        daemon.wait_for(lambda s: s["sink"]["url"] is None, timeout=40)
        waiting = daemon.wait_for(lambda s: s["sink"]["spool"]["blocks"], timeout=60)
        assert waiting["sink"]["hangs"] == 0, "it was ended before anything went to the spool"
        back = daemon.wait_for(lambda s: s["sink"]["restarts"] and s["sink"]["url"], timeout=120)
        assert (back["sink"]["hangs"], back["sink"]["restarts"]) == (1, 1)
        assert daemon.clickhouse_pid() != hung
        status = daemon.wait_for(lambda s: s["sink"]["caught_up"], timeout=120)
        assert status["raw_log"]["pauses"] == 0
        assert status["raw_log"]["frames"] > RATE * 40
        stopped_cleanly(daemon, frames_min=5_000)
    recording = prove(tmp_path, daemon, seed)
    assert recording.gaps() == []
