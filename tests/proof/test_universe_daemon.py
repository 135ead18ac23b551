"""Universes of a running daemon: ranked by the venue and by our own tables, swapped, remembered.

Method: the simulated venue logs what it hands to its sockets; surges change what its tickers say
while its messages stay the same. Of the symbols that stay every trade must be in the raw log, by
its id.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.harness.losses import unexplained
from tests.harness.processes import Daemon, query, server, tickd, venue_of, write_config
from tests.harness.recording import Recording, Sent, order_fault, recording_of, sent_by
from tickd.events import SEQ_INDEX_BITS

pytestmark = [pytest.mark.proof, pytest.mark.embedded, pytest.mark.timeout(300)]

RATE, SYMBOLS, COUNT = 2_000, 8, 3
SETTLE_FRAMES = 2 * RATE
REFRESH_S = 60.0  # the least


def universe(**fields: object) -> str:
    """A universe of the busiest and a group that records its members, as TOML."""
    values = {"name": "best", "venue": "binance-usdm", "count": COUNT, "rank": "trades"} | fields
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    group = {
        "name": "members",
        "patterns": ["binance-usdm:{best}@depth", "binance-usdm:{best}@trade"],
        "priority": 60,
    }
    lines.append("[[subscriptions]]")
    lines += [f"{key} = {json.dumps(value)}" for key, value in group.items()]
    return "\n".join(["[[universes]]", *lines, ""])


def write(path: Path, sim: dict[str, Any], text: str, **venue: object) -> None:
    table = venue_of(sim, **{"symbols": [], "channels": ["trade"], **venue})
    write_config(path, state_dir=path.parent / "state", venues=[table])
    path.write_text(path.read_text() + text)


def members(*symbols: str) -> Any:
    def are_in(status: dict[str, Any]) -> bool:
        (best,) = status["universes"]
        (venue,) = status["venues"]
        planned = venue["streams_count"] == 2 * len(symbols)
        return bool(best["members"] == list(symbols) and planned and status["state"] == "recording")

    return are_in


def settle(daemon: Daemon) -> dict[str, Any]:
    frames = daemon.status()["raw_log"]["frames"]
    return daemon.wait_for(lambda s: s["raw_log"]["frames"] >= frames + SETTLE_FRAMES)


class Run(NamedTuple):
    """What happened: the symbols, the venue's word, the raw log, the pictures."""

    names: list[str]
    sent: list[Sent]
    recording: Recording
    before: dict[str, Any]
    after: dict[str, Any]
    again: dict[str, Any]  # of the second life, before its first scan could be due
    snapshot: dict[str, Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("universe")
    sent_log, path = folder / "sent.log", folder / "tickd.toml"
    arguments = ["sim", "--rate", str(RATE), "--symbols", str(SYMBOLS), "--seed", "3"]
    with server(*arguments, "--sent-log", str(sent_log), log=folder / "sim.log") as sim:
        names = sim["symbols"]["binance-usdm"]
        rest_url = sim["rest"]["binance-usdm"]
        write(path, sim, universe(refresh_seconds=REFRESH_S))
        with Daemon(path, folder / "daemon.log") as daemon:
            before = daemon.wait_for(members(*names[:3]))
            settle(daemon)
            # From now on the last day of the sixth was the busiest: the third goes.
            order_fault(rest_url, kind="surge", symbol=names[5], argument=100)
            after = daemon.wait_for(members(names[5], *names[:2]), timeout=REFRESH_S + 60)
            settle(daemon)
            assert daemon.stop() == 0, daemon.tail()
        # A scan would now find others, and finds nothing: the file is what there is.
        order_fault(rest_url, kind="surge", symbol=names[7], argument=10_000)
        order_fault(rest_url, kind="rest_down", argument=600_000)
        with Daemon(path, folder / "again.log") as daemon:
            again = daemon.wait_for(lambda status: status["venues"][0]["streams_count"])
            settle(daemon)
            assert daemon.stop() == 0, daemon.tail()
    return Run(
        names=names,
        sent=sent_by(sent_log),
        recording=recording_of(folder / "state"),
        before=before,
        after=after,
        again=again,
        snapshot=json.loads((folder / "state" / "universes" / "best.json").read_text()),
    )


def controls(run: Run, kind: str, *, life: int) -> list[dict[str, Any]]:
    """The control records of a kind, of the first or the second life."""
    border = second_start(run)
    said = [
        json.loads(each.payload)
        for each in run.recording.records
        if each.kind == "C" and (each.frame_no < border) == (life == 1)
    ]
    return [each for each in said if each["kind"] == kind]


def second_start(run: Run) -> int:
    """The frame with which the second life began."""
    starts = [
        each.frame_no
        for each in run.recording.records
        if each.kind == "C" and json.loads(each.payload)["kind"] == "start"
    ]
    assert len(starts) == 2
    return starts[1]


def test_nothing_is_lost_on_those_who_stay(run: Run) -> None:
    assert unexplained(run.sent, run.recording) == []
    sent: dict[str, list[int]] = defaultdict(list)
    homes: dict[str, list[int]] = defaultdict(list)
    for line in run.sent:
        if line.stream.endswith("@trade"):
            symbol = line.stream.partition("@")[0].upper()
            sent[symbol].append(json.loads(line.payload)["data"]["t"])
            homes[symbol].append(line.connection)
    border = second_start(run)
    for symbol in run.names[:2]:
        trades = run.recording.events("trade", symbol)
        ids = trades["id"][trades["seq"] >> np.uint64(SEQ_INDEX_BITS) < border].tolist()
        assert len(ids) > RATE // 10
        assert ids == list(range(ids[0], ids[-1] + 1)) == sent[symbol][: len(ids)], symbol
        assert len(set(homes[symbol][: len(ids)])) == 1, "the stream never moved"
        assert len(set(homes[symbol])) == 2, "and was carried again"
    lost = [gap for gap in run.recording.gaps() if gap.symbol in run.names[:2]]
    assert {gap.cause for gap in lost} <= {"RESTART"}


def test_no_connection_ended_for_a_swap(run: Run) -> None:
    numbers = [
        sorted(number for line in status["venues"][0]["lines"] for number in line["connections"])
        for status in (run.before, run.after)
    ]
    assert numbers[0] == numbers[1]
    reasons = {each["reason"] for each in controls(run, "disconnect", life=1)}
    assert reasons == {"session stopped"}


def test_the_swap_is_on_record_with_its_figures(run: Run) -> None:
    first, second = controls(run, "universe", life=1)
    assert (first["symbols"], first["added"], first["removed"]) == (run.names[:3],) * 2 + ([],)
    assert second["symbols"] == [run.names[5], *run.names[:2]]
    assert (second["added"], second["removed"]) == ([run.names[5]], [run.names[2]])
    assert (second["source"], second["rank"]) == ("venue", "trades")
    assert second["values"] == sorted(second["values"], reverse=True)
    assert second["taken_ns"] - first["taken_ns"] >= REFRESH_S * 10**9
    plan = controls(run, "plan", life=1)[-1]
    assert plan["cause"] == "universe best"
    assert {name.partition("@")[0].upper() for name in plan["added"]} == {run.names[5]}
    assert {name.partition("@")[0].upper() for name in plan["removed"]} == {run.names[2]}
    assert plan["moved"] == []
    shed = controls(run, "shed", life=1)
    assert {topic for each in shed for topic in each["topics"]} == {
        f"{channel}.binance-usdm.{run.names[2]}" for channel in ("trade", "depth")
    }
    assert {each["cause"] for each in shed} == {"universe best"}


def test_a_restart_begins_with_the_file_and_asks_nobody(run: Run) -> None:
    expected = [run.names[5], *run.names[:2]]
    assert run.snapshot["symbols"] == expected
    (best,) = run.again["universes"]
    assert (best["members"], best["changes"], best["failures"]) == (expected, 0, 0)
    assert controls(run, "universe", life=2) == []
    plan = controls(run, "plan", life=2)[0]
    assert plan["cause"] == "start"
    assert {name.partition("@")[0].upper() for name in plan["added"]} == set(expected)


def test_our_own_tables_rank_what_was_recorded_and_a_reload_swaps_it_in(tmp_path: Path) -> None:
    """Everybody's trades are recorded, the books of the two with the most."""
    path = tmp_path / "tickd.toml"
    arguments = ["sim", "--rate", str(RATE), "--symbols", str(SYMBOLS), "--seed", "3"]
    sent_log = tmp_path / "sent.log"
    with server(*arguments, "--sent-log", str(sent_log), log=tmp_path / "sim.log") as sim:
        names = sim["symbols"]["binance-usdm"]
        write(path, sim, "", symbols=names)
        with Daemon(path, tmp_path / "daemon.log") as daemon:
            daemon.wait_for(lambda status: status["sink"]["rows_committed"] > 10 * RATE)
            write(path, sim, universe(source="clickhouse", count=2), symbols=names)
            ended = tickd("reload", str(path))
            assert ended.returncode == 0, ended.stderr
            status = daemon.wait_for(
                lambda status: status["venues"][0]["streams_count"] == SYMBOLS + 2
            )
            settle(daemon)
            counted = query(
                path, "SELECT symbol, sum(trades) AS n FROM bars_1h GROUP BY symbol ORDER BY n DESC"
            )
            assert daemon.stop() == 0, daemon.tail()
    (best,) = status["universes"]
    assert best["members"] == [row["symbol"] for row in counted[:2]] == names[:2]
    recording = recording_of(tmp_path / "state")
    assert unexplained(sent_by(sent_log), recording) == []
    (change,) = [
        said
        for each in recording.records
        if each.kind == "C" and (said := json.loads(each.payload))["kind"] == "universe"
    ]
    assert (change["source"], change["symbols"]) == ("clickhouse", names[:2])
    for symbol in names:
        ids = recording.trade_ids(symbol)
        assert ids == list(range(ids[0], ids[-1] + 1)), symbol
        heads = recording.events("depth", symbol)
        assert bool(len(heads)) == (symbol in names[:2])
