"""Every fault of the simulated venue that touches connections, against a real daemon.

Trade ids are gapless, so a loss has exact ids: what is absent from the raw log must be what the GAP
events say, message by message, and nothing else may be absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.harness.losses import unexplained
from tests.harness.processes import Daemon, query, server, tickd, venue_of, write_config
from tests.harness.recording import (
    Recording,
    Sent,
    ledger_of,
    order_fault,
    recording_of,
    sent_by,
    venue_stats,
)

pytestmark = [pytest.mark.proof, pytest.mark.embedded, pytest.mark.timeout(120)]

SYMBOLS = 6
Status = dict[str, Any]


@dataclass
class Played:
    """A finished run."""

    symbols: list[str]
    recording: Recording
    sent: list[Sent]
    ledger: list[dict[str, Any]]
    config: Path

    def unexplained(self) -> list[dict[str, Any]]:
        return unexplained(self.sent, self.recording)

    def verify(self) -> None:
        verified = tickd("verify", str(self.config))
        assert verified.returncode == 0, verified.stdout + verified.stderr


class Play:
    """A daemon at a venue, both running; `played` once the block has ended."""

    def __init__(self, venue: dict[str, Any], daemon: Daemon) -> None:
        self.rest_url: str = venue["rest"]["binance-usdm"]
        self.symbols: list[str] = venue["symbols"]["binance-usdm"]
        self.daemon = daemon
        self.played: Played | None = None

    def fault(self, kind: str, **fields: object) -> None:
        order_fault(self.rest_url, kind=kind, **fields)

    def wait_for(self, condition: Callable[[Status], bool]) -> Status:
        return self.daemon.wait_for(condition, timeout=40)

    def more_frames(self, count: int) -> Status:
        frames = self.daemon.status()["raw_log"]["frames"]
        return self.wait_for(lambda status: status["raw_log"]["frames"] >= frames + count)

    @property
    def result(self) -> Played:
        assert self.played is not None, "the run has not ended"
        return self.played


@contextmanager
def playing(
    folder: Path, *, rate: int = 4_000, sim: tuple[str, ...] = (), **settings: object
) -> Iterator[Play]:
    sent_log = folder / "sent.log"
    arguments = ["sim", "--rate", str(rate), "--symbols", str(SYMBOLS), "--seed", "5"]
    arguments += ["--sent-log", str(sent_log), *sim]
    with server(*arguments, log=folder / "sim.log") as venue:
        table = venue_of(venue, backoff_first_seconds=0.1, **settings)
        config = write_config(folder / "tickd.toml", state_dir=folder / "state", venues=[table])
        with Daemon(config, folder / "daemon.log") as daemon:
            play = Play(venue, daemon)
            play.wait_for(recording_books)
            yield play
            ledger = ledger_of(play.rest_url)["connections"]
            assert daemon.stop() == 0, daemon.tail()
    play.played = Played(
        symbols=play.symbols,
        recording=recording_of(folder / "state"),
        sent=sent_by(sent_log),
        ledger=ledger,
        config=config,
    )


def recording_books(status: Status) -> bool:
    """Every line streams, every snapshot has come."""
    (venue,) = status["venues"]
    return bool(
        status["state"] == "recording"
        and not venue["snapshots_pending"]
        and status["raw_log"]["frames"] > 2_000
    )


def connections_of(status: Status) -> set[int]:
    return {number for line in status["venues"][0]["lines"] for number in line["connections"]}


def test_a_cut_connection_is_a_gap_with_exactly_the_ids_that_were_missed(tmp_path: Path) -> None:
    with playing(tmp_path) as play:
        before = connections_of(play.daemon.status())
        play.fault("disconnect")
        play.wait_for(lambda s: recording_books(s) and not before & connections_of(s))
        play.more_frames(4_000)
    result = play.result
    assert [entry["kind"] for entry in result.ledger] == ["disconnect"]
    causes = {gap.cause for gap in result.recording.gaps()}
    assert causes == {"DISCONNECT"}
    for symbol in result.symbols:
        channels = {gap.channel for gap in result.recording.gaps() if gap.symbol == symbol}
        assert "quote" in channels, "whether a quote is missing cannot be known"
        assert ("trade" in channels) == bool(result.recording.lost_trade_ids(symbol))
        assert result.recording.lost_trade_ids(symbol) == result.recording.gap_trade_ids(symbol)
        assert result.recording.book_states(symbol)[-1] == "SYNCED"
    assert any(result.recording.lost_trade_ids(symbol) for symbol in result.symbols), (
        "the cut lost nothing"
    )
    assert result.unexplained() == []
    result.verify()


def test_a_stalled_connection_loses_nothing_when_it_wakes(tmp_path: Path) -> None:
    with playing(tmp_path) as play:
        before = connections_of(play.daemon.status())
        play.fault("stall", argument=1_500)
        play.more_frames(8_000)
        assert connections_of(play.daemon.status()) == before
    result = play.result
    assert result.recording.gaps() == []
    for symbol in result.symbols:
        assert result.recording.lost_trade_ids(symbol) == []
        assert result.recording.book_states(symbol) == ["BUFFERING", "SYNCED"]
    assert result.unexplained() == []


def test_a_connection_silent_for_too_long_is_replaced_and_the_loss_told(tmp_path: Path) -> None:
    """It never wakes: what it held back is lost, its successor goes on."""
    settings = {
        "silence_seconds": {"trade": 2.0, "quote": 2.0, "depth": 2.0},
        "handover_overlap_seconds": 0.3,
        "watchdog_interval_seconds": 0.2,
    }
    with playing(tmp_path, **settings) as play:
        before = connections_of(play.daemon.status())
        play.fault("stall", argument=600_000)
        play.wait_for(lambda s: recording_books(s) and not before & connections_of(s))
        play.more_frames(4_000)
    result = play.result
    for symbol in result.symbols:
        assert result.recording.lost_trade_ids(symbol) == result.recording.gap_trade_ids(symbol)
        assert result.recording.lost_trade_ids(symbol), "two seconds without a trade"
        assert result.recording.book_states(symbol)[-1] == "SYNCED"
    assert result.unexplained() == []
    result.verify()


def test_an_announced_shutdown_is_survived_without_a_loss(tmp_path: Path) -> None:
    """Make before break: the venue says goodbye under load, and no id is missing or repeated."""
    with playing(tmp_path, rate=5_000, handover_overlap_seconds=0.3) as play:
        before = connections_of(play.daemon.status())
        play.fault("shutdown")
        play.wait_for(lambda s: recording_books(s) and not before & connections_of(s))
        play.more_frames(5_000)
    prove_unbroken(play.result)


def test_rotations_before_the_venue_ends_a_connection_lose_nothing(tmp_path: Path) -> None:
    sim = ("--lifetime-s", "6", "--seconds", "15")
    settings = {
        "rotation_seconds": 3.0,
        "handover_overlap_seconds": 0.3,
        "watchdog_interval_seconds": 0.2,
    }
    with playing(tmp_path, rate=5_000, sim=sim, **settings) as play:
        first = connections_of(play.daemon.status())
        play.wait_for(lambda s: venue_stats(play.rest_url)["done"])
        last = connections_of(play.daemon.status())
        assert min(last) >= max(first) + 3, f"three rotations: {first} became {last}"
    prove_unbroken(play.result)


def prove_unbroken(result: Played) -> None:
    """No gap, no hole, no repeat, in the raw log's events and in ClickHouse."""
    assert result.recording.gaps() == []
    assert result.recording.counters["duplicates"] > 0, "the legs never overlapped"
    for symbol in result.symbols:
        ids = result.recording.trade_ids(symbol)
        assert ids == list(range(ids[0], ids[-1] + 1))
        assert result.recording.book_states(symbol) == ["BUFFERING", "SYNCED"]
    rows = query(
        result.config,
        "SELECT symbol, count() AS n, uniqExact(id) AS u, max(id) - min(id) + 1 AS whole "
        "FROM trades GROUP BY symbol",
    )
    assert {row["symbol"] for row in rows} == set(result.symbols)
    for row in rows:
        assert int(row["n"]) == int(row["u"]) == int(row["whole"]), row
    result.verify()


def test_books_wait_for_a_rest_side_that_is_down(tmp_path: Path) -> None:
    with playing(tmp_path) as play:
        symbol = play.symbols[0]
        play.fault("rest_down", argument=2_500)
        play.fault("gap", symbol=symbol, channel="depth@0ms", count=2)
        play.wait_for(lambda s: bool(s["venues"][0]["snapshots_pending"]))
        play.wait_for(recording_books)
        play.more_frames(2_000)
    result = play.result
    (gap,) = result.recording.gaps()
    assert (gap.symbol, gap.channel, gap.cause) == (symbol, "depth", "SEQUENCE")
    states = result.recording.book_states(symbol)
    assert states.count("GAP") == 1
    assert states[-1] == "SYNCED"
    for other in result.symbols:
        assert result.recording.lost_trade_ids(other) == []
        assert result.recording.book_states(other)[-1] == "SYNCED"
    result.verify()
