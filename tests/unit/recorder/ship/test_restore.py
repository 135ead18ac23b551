"""The way back from a store in memory: everything, a part, half of it, and what must be refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from recorder.ship.config import ShipConfig
from recorder.ship.errors import ShipError
from recorder.ship.files import Folders
from recorder.ship.keeper import OfflineKeeper
from recorder.ship.restore import Restorer, Wish
from recorder.sink.plan import Plan
from tests.reference import raw_log as reference
from tests.unit.recorder.ship.conftest import NODE, Yard
from tests.unit.recorder.ship.test_retention import segment_of
from tickd.events import SEQ_INDEX_BITS
from tickd.native import Decoder, RawLog, manifest_read


def restorer(yard: Yard, to: Path) -> Restorer:
    return Restorer(
        yard.config,
        node=NODE,
        folders=Folders(to),
        bucket=yard.bucket,
        keeper=OfflineKeeper(to / "raw", to / "sink" / "plan.jsonl"),
        clock=yard.clock,
    )


def contents(state_dir: Path) -> dict[str, bytes]:
    folder = state_dir / "raw" / "segments"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
async def shipped(yard: Yard) -> Yard:
    aside = yard.state_dir / "raw" / "quarantine" / "x.bin"
    aside.write_bytes(b"torn")
    yard.clock.step_wall(10**18)
    assert (await yard.shipper().run()).ok
    return yard


async def test_a_lost_machine_comes_back_from_the_bucket_alone(
    shipped: Yard, tmp_path: Path
) -> None:
    to = tmp_path / "new"
    report = await restorer(shipped, to).run(Wish())
    assert report.ok, report
    assert report.manifest == "restored"
    assert contents(to) == contents(shipped.state_dir)
    assert (to / "raw" / "quarantine" / "x.bin").read_bytes() == b"torn"
    assert reference.read_log(to / "raw") == reference.read_log(shipped.state_dir / "raw")
    again = await restorer(shipped, to).run(Wish())
    assert (again.restored, again.manifest) == ([], "kept")
    assert len(again.present) == len(contents(to)) + 1
    log = RawLog(str(to / "raw"), node=NODE)
    assert log.recovery["clean"]
    assert log.restore_decoder(Decoder()) > 0
    log.close()


async def test_a_part_is_fetched_and_the_rest_is_known_to_be_elsewhere(
    shipped: Yard, tmp_path: Path
) -> None:
    to = tmp_path / "new"
    sealed = [line for line in shipped.lines() if line["kind"] == "sealed"]
    second = sealed[1]
    report = await restorer(shipped, to).run(
        Wish(frame_from=second["frame_first"] + 1, frame_to=second["frame_last"])
    )
    assert report.ok
    assert report.restored == [f"segments/{second['segment']}"]
    assert list(contents(to)) == [second["segment"]]
    removed = {line["file"] for line in manifest_read(str(to / "raw")) if line["kind"] == "removed"}
    assert removed == {f"segments/{line['segment']}" for line in sealed} - set(report.restored)
    # By time, the same directory takes the next one as well.
    third = sealed[2]
    more = await restorer(shipped, to).run(
        Wish(recv_from_ns=third["recv_first"], recv_to_ns=third["recv_first"])
    )
    assert more.ok
    assert f"segments/{third['segment']}" in more.restored
    assert contents(to)[third["segment"]] == contents(shipped.state_dir)[third["segment"]]


async def test_only_the_manifest(shipped: Yard, tmp_path: Path) -> None:
    to = tmp_path / "new"
    report = await restorer(shipped, to).run(Wish(), manifest_only=True)
    assert report.manifest == "restored"
    assert contents(to) == {}
    assert manifest_read(str(to / "raw")) == [
        line for line in shipped.lines() if line["line"] < report.lines
    ]


async def test_what_came_half_goes_on_and_what_came_wrong_begins_anew(
    shipped: Yard, tmp_path: Path
) -> None:
    to = tmp_path / "new"
    good, bad = (path for path in shipped.segments()[:2])
    parts = to / "raw" / "restoring"
    parts.mkdir(parents=True)
    (parts / f"segments_{good.name}").write_bytes(good.read_bytes()[:1000])
    (parts / f"segments_{bad.name}").write_bytes(b"z" * 1000)
    report = await restorer(shipped, to).run(Wish())
    assert report.ok, report.failures
    assert contents(to) == contents(shipped.state_dir)
    assert list(parts.iterdir()) == []


async def test_a_changed_object_is_refused_and_a_file_that_differs_is_not_overwritten(
    shipped: Yard, tmp_path: Path
) -> None:
    to = tmp_path / "new"
    first, second, *_ = shipped.segments()
    key = shipped.keys.segment(first.name)
    await shipped.bucket.delete(key)
    await shipped.bucket.create(key, bytes(first.stat().st_size))
    mine = to / "raw" / "segments" / second.name
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    report = await restorer(shipped, to).run(Wish())
    assert [(file, kind) for file, kind, _ in report.failures] == [
        (f"segments/{first.name}", "different"),
        (f"segments/{second.name}", "different"),
    ]
    assert not (to / "raw" / "segments" / first.name).exists()
    assert mine.read_bytes() == b"mine"
    assert not report.ok


async def test_a_damaged_snapshot_is_passed_over(shipped: Yard, tmp_path: Path) -> None:
    (newest,) = await shipped.bucket.list(shipped.keys.manifests)
    content = await shipped.bucket.read_whole(newest.key, newest.bytes)
    later = f"{shipped.keys.manifests}{10**11:012d}-{'0' * 16}.jsonl"
    await shipped.bucket.create(later, content.replace(b'"sealed"', b'"sealad"'))
    assert (await restorer(shipped, tmp_path / "new").run(Wish())).ok


async def test_the_wrong_node_and_the_wrong_directory_are_refused(
    shipped: Yard, tmp_path: Path, make_log
) -> None:
    stranger = Restorer(
        shipped.config,
        node=NODE + 1,
        folders=Folders(tmp_path / "new"),
        bucket=shipped.bucket,
        keeper=OfflineKeeper(tmp_path / "new" / "raw", tmp_path / "none"),
        clock=shipped.clock,
    )
    with pytest.raises(ShipError, match="holds no manifest"):
        await stranger.run(Wish())
    make_log(tmp_path / "other")
    before = contents(tmp_path / "other")
    with pytest.raises(ShipError, match="another log"):
        await restorer(shipped, tmp_path / "other").run(Wish())
    assert contents(tmp_path / "other") == before


async def test_removed_segments_come_back_into_their_own_log_and_stay(
    shipped: Yard,
) -> None:
    keep = msgspec.structs.replace(shipped.config, keep_days=7)
    plan = Plan(shipped.state_dir / "sink" / "plan.jsonl")
    plan.plan([], 10**9 << SEQ_INDEX_BITS)
    plan.close()
    before = contents(shipped.state_dir)
    removed = (await shipped.retention(keep).run()).segments
    assert removed
    report = await restorer(shipped, shipped.state_dir).run(Wish())
    assert report.ok
    assert sorted(report.restored) == [f"segments/{name}" for name in removed]
    assert contents(shipped.state_dir) == before
    assert {shipped.kinds(name)[-1] for name in removed} == {"restored"}
    # The manifest's stamps are the machine's own, far behind this clock's.
    shipped.clock.step_wall(shipped.lines()[-1]["at_ns"] + 10**9 - shipped.clock.wall_ns())
    assert (await shipped.retention(keep).run()).segments == []


async def test_a_sealed_segment_that_never_got_there_is_named_as_lost(
    yard: Yard, tmp_path: Path
) -> None:
    first = yard.segments()[0]
    elsewhere = tmp_path / "elsewhere"
    shutil.move(first, elsewhere)
    await yard.shipper().run()
    report = await restorer(yard, tmp_path / "new").run(Wish())
    assert report.lost == [first.name]
    assert not report.ok


def test_a_wish_takes_what_overlaps() -> None:
    segment = segment_of(3)  # frames 30 to 39, received in 0 to 3 days
    assert Wish().takes(segment)
    assert Wish(frame_from=39, frame_to=39).takes(segment)
    assert not Wish(frame_from=40).takes(segment)
    assert not Wish(frame_to=29).takes(segment)
    assert not Wish(recv_from_ns=segment.recv_last_ns + 1).takes(segment)
    assert ShipConfig().enabled is False
