"""A power cut at random moments: everything that was said to be on the disk is there.

A small daemon records under load on an ext4 file system in a file; a copy of that file is what a
power cut leaves. Each copy is mounted and recovered. ClickHouse lives elsewhere and survives. The
seed of the moments is shown with a failure.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from recorder.raw.recover import LogReplay, rebuild
from recorder.sink.plan import Plan
from tests.harness import clickhouse_server
from tests.harness.clickhouse_server import ClickHouseServer
from tests.harness.crash import Node, Nursery, drawn_seed, holes, prove_log, prove_rows
from tests.harness.power import Disks, disks
from tests.reference.raw_log import read_log, read_manifest
from tickd.events import SEQ_INDEX_BITS
from tickd.native import EVENT_TABLES, RawLog

pytestmark = [pytest.mark.proof, pytest.mark.embedded, pytest.mark.timeout(300)]

CUTS = 12
GROUP_MS, FSYNC_MS = 50, 300
# A sync itself takes its time, and the test must see that it did.
SLACK_MS = 250
ROUNDS = 4
LEAP = 1 << 24


class Cut(NamedTuple):
    """A copy, and what had been promised before it was made."""

    image: Path
    at_ns: int
    frame_synced: int


@pytest.fixture
def power() -> Iterator[Disks]:
    with disks() as all_of_them:
        yield all_of_them


def test_what_was_synced_is_there_and_the_rest_is_within_the_bound(
    tmp_path: Path, power: Disks
) -> None:
    dice = random.Random(drawn_seed())
    image, disk = power.made(), power.folder / "disk"
    power.mount(image, disk)
    cuts = []
    with Nursery(tmp_path) as nursery:
        node = Node(
            tmp_path / "node",
            nursery,
            clickhouse={"url": "http://127.0.0.1:9"},
            state_dir=disk / "state",
            log={"group_ms": GROUP_MS, "fsync_ms": FSYNC_MS, "segment_bytes_max": 200_000},
        )
        node.begin()
        node.wait_for(lambda said: len(said.synced) > 3)
        for _ in range(CUTS):
            time.sleep(dice.uniform(0.05, 0.6))  # the moment is what varies
            promised, at_ns = node.said(0).frame_synced, time.time_ns()
            assert nursery.pid is not None
            cuts.append(Cut(power.copied(image, nursery.pid), at_ns, promised))
        node.kill()
    power.unmount(disk)
    losses_ms = []
    for number, cut in enumerate(cuts):
        power.mount(cut.image, disk)
        losses_ms.append(recovered(cut, disk / "state"))
        power.unmount(disk)
        assert losses_ms[-1] <= FSYNC_MS + GROUP_MS + SLACK_MS, f"cut {number}: {losses_ms}"
    assert max(losses_ms) > 0, "nothing was ever lost: this was no power cut"


def recovered(cut: Cut, state: Path) -> float:
    """Recover a copy twice; return how much time was lost, ms."""
    raw = state / "raw"
    log = RawLog(str(raw), node=1)
    first = log.recovery
    log.close()
    assert first["frame_last"] >= cut.frame_synced
    assert first["manifest_damaged_lines"] == 0
    again = RawLog(str(raw), node=1)
    second = again.recovery
    again.close()
    found = (second["segments_sealed"], second["truncated_bytes"], second["quarantined"])
    assert found == (0, 0, []), "the second recovery found something"
    assert second["frame_last"] == first["frame_last"]
    read_manifest(raw)  # asserts the chain
    records = read_log(raw)
    assert holes(records) == []
    assert records[-1].frame_last == first["frame_last"]
    plan = Plan(state / "sink" / "plan.jsonl")
    seq_recovered = ((first["frame_last"] + 1) << SEQ_INDEX_BITS) - 1
    whole = [block for block in plan.open_blocks if block.seq_to <= seq_recovered]
    plan.close()
    assert whole, "nothing is planned, so nothing is proved of plans"
    assert all(each.same for each in rebuild(whole, LogReplay(raw), 1))
    return (cut.at_ns - records[-1].recv_ns) / 1e6


def orphans(server: ClickHouseServer, database: str, frame_from: int, frame_to: int) -> int:
    """Rows of frames that the raw log does not have."""
    first, last = frame_from << SEQ_INDEX_BITS, ((frame_to + 1) << SEQ_INDEX_BITS) - 1
    return sum(
        server.number(
            f"SELECT count() FROM {database}.{table} WHERE seq BETWEEN {first} AND {last}"
        )
        for table in EVENT_TABLES
    )


@pytest.mark.parametrize(("durability", "fsync_ms"), [("written", 5_000), ("disk", 50)])
def test_clickhouse_that_survives_holds_each_recorded_row_once(
    tmp_path: Path, power: Disks, durability: str, fsync_ms: int
) -> None:
    """`written`: rows may be stored whose bytes are lost; they are gone after the start. `disk`:
    there are none at any time.
    """
    clickhouse_server.require("embedded")
    dice = random.Random(drawn_seed())
    image, disk = power.made(), power.folder / "disk"
    power.mount(image, disk)
    beyond = []
    with (
        ClickHouseServer("embedded", tmp_path / "clickhouse") as server,
        Nursery(tmp_path) as nursery,
    ):
        node = Node(
            tmp_path / "node",
            nursery,
            clickhouse=server.settings(),
            sink={"durability": durability},
            state_dir=disk / "state",
            log={"group_ms": 20, "fsync_ms": fsync_ms, "segment_bytes_max": 1_000_000},
        )
        for _ in range(ROUNDS):
            node.begin()
            node.wait_for(lambda said: said.live and said.stored)
            time.sleep(dice.uniform(0.3, 1.2))  # the moment is what varies
            assert nursery.pid is not None
            image = power.copied(image, nursery.pid, then=signal.SIGKILL)
            assert nursery.ended(10) == -signal.SIGKILL
            power.unmount(disk)
            power.mount(image, disk)
            last = max((record.frame_last for record in read_log(node.raw)), default=0)
            beyond.append(orphans(server, node.database, last + 1, last + LEAP - 1))
        node.finish()
        prove_log(node, power_cut=True)
        prove_rows(node, server)
    if durability == "disk":
        assert beyond == [0] * ROUNDS
    else:
        assert any(beyond), "no row was ever beyond the log: nothing is proved"
    power.unmount(disk)
