"""The shipper over a real raw log and a store in memory: every run ends in the same state."""

from __future__ import annotations

import msgspec
import xxhash

from recorder.ship.config import ShipConfig
from recorder.ship.store import open_bucket
from tests.unit.recorder.ship.conftest import Yard


async def test_every_sealed_segment_gets_there_whole_and_the_manifest_says_so(yard: Yard) -> None:
    report = await yard.shipper().run()
    assert report.ok
    paths = yard.segments()
    assert report.shipped == [f"segments/{path.name}" for path in paths]
    assert len(paths) > 1
    for path in paths:
        key = yard.keys.segment(path.name)
        stamp = path.name[21:]
        assert key == f"tickd/7/{stamp[:4]}/{stamp[4:6]}/{stamp[6:8]}/{path.name}"
        stored = await yard.bucket.read_whole(key, path.stat().st_size)
        assert stored == path.read_bytes()
        assert yard.kinds(path.name) == ["shipped", "verified"]
    last = [line for line in yard.lines() if line["kind"] == "verified"][-1]
    assert last["hash"] == xxhash.xxh3_64_hexdigest(paths[-1].read_bytes())
    assert last["url"] == "memory://"


async def test_a_second_run_does_nothing(yard: Yard) -> None:
    await yard.shipper().run()
    before = yard.lines()
    there = await yard.keys_there()
    report = await yard.shipper().run()
    assert (report.shipped, report.present, report.snapshot, report.ok) == ([], [], None, True)
    assert yard.lines() == before
    assert await yard.keys_there() == there


async def test_an_object_that_came_without_a_line_is_compared_and_counts(yard: Yard) -> None:
    """As after kill -9 between the upload and the manifest's line."""
    first = yard.segments()[0]
    await yard.bucket.create(yard.keys.segment(first.name), first.read_bytes())
    report = await yard.shipper().run()
    assert report.ok
    assert report.present == [f"segments/{first.name}"]
    assert yard.kinds(first.name) == ["shipped", "verified"]


async def test_another_object_of_that_name_is_never_overwritten(yard: Yard) -> None:
    first = yard.segments()[0]
    key = yard.keys.segment(first.name)
    for other in (b"something else", first.read_bytes()[:-1] + b"x"):
        await yard.bucket.delete(key)
        await yard.bucket.create(key, other)
        report = await yard.shipper().run()
        assert [(file, kind) for file, kind, _ in report.failures] == [
            (f"segments/{first.name}", "different")
        ]
        assert await yard.bucket.read_whole(key, len(other)) == other
        assert yard.kinds(first.name) == []
    # The others are not held up by it.
    assert all(yard.kinds(path.name) for path in yard.segments()[1:])


async def test_a_file_that_rotted_is_not_shipped(yard: Yard) -> None:
    first = yard.segments()[0]
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    report = await yard.shipper().run()
    assert [kind for _, kind, _ in report.failures] == ["damaged"]
    assert await yard.bucket.stat(yard.keys.segment(first.name)) is None


async def test_large_files_go_in_parts_and_leave_nothing_behind(yard: Yard) -> None:
    config = msgspec.structs.replace(yard.config, part_bytes=5 << 20)
    folder = yard.state_dir / "sink" / "quarantine"
    folder.mkdir(parents=True)
    content = bytes(range(256)) * (11 << 12)
    (folder / "block.native").write_bytes(content)
    yard.clock.step_wall(10**18)
    report = await yard.shipper(config).run()
    assert report.ok, report.failures
    digest = xxhash.xxh3_64_hexdigest(content)
    key = f"tickd/7/aside/sink/quarantine/block.native-{digest}"
    assert await yard.bucket.read_whole(key, len(content)) == content
    assert await yard.bucket.list(yard.keys.uploading) == []


async def test_spool_and_quarantine_are_shipped_by_content_once_they_rest(yard: Yard) -> None:
    spool = yard.state_dir / "sink" / "spool" / "trades" / "00000001.spool"
    spool.parent.mkdir(parents=True)
    spool.write_bytes(b"one")
    config = msgspec.structs.replace(yard.config, aside_age_s=3600)
    yard.clock.step_wall(spool.stat().st_mtime_ns - yard.clock.wall_ns() + 3599 * 10**9)
    shipper = yard.shipper(config)
    assert "sink/spool/trades/00000001.spool" not in (await shipper.run()).shipped
    yard.clock.step_wall(2 * 10**9)
    assert (await shipper.run()).shipped == ["sink/spool/trades/00000001.spool"]
    assert (await shipper.run()).shipped == []
    assert (await yard.shipper(config).run()).shipped == []  # a new process knows, too
    spool.write_bytes(b"two!")
    yard.clock.step_wall(10**16)
    assert (await shipper.run()).shipped == ["sink/spool/trades/00000001.spool"]
    assert len(await yard.bucket.list(f"{yard.keys.root}/aside")) == 2


async def test_size_only_ships_but_verifies_nothing_until_asked(yard: Yard) -> None:
    config = msgspec.structs.replace(yard.config, verify="size")
    assert (await yard.shipper(config).run()).ok
    names = [path.name for path in yard.segments()]
    assert {tuple(yard.kinds(name)) for name in names} == {("shipped",)}
    report = await yard.shipper(config).verify()
    assert sorted(report.verified) == [f"segments/{name}" for name in names]
    assert {tuple(yard.kinds(name)) for name in names} == {("shipped", "verified")}


async def test_verify_tells_of_what_has_gone_or_changed_and_the_next_run_heals(yard: Yard) -> None:
    shipper = yard.shipper()
    await shipper.run()
    gone, changed, *_ = (yard.keys.segment(path.name) for path in yard.segments())
    await yard.bucket.delete(gone)
    await yard.bucket.delete(changed)
    await yard.bucket.create(changed, b"other")
    report = await shipper.verify()
    assert [kind for _, kind, _ in report.failures] == ["missing", "different"]
    healed = await shipper.run()
    assert healed.shipped == [f"segments/{yard.segments()[0].name}"]
    assert await yard.bucket.stat(gone) is not None


async def test_the_manifest_is_in_the_store_and_old_copies_go(yard: Yard) -> None:
    shipper = yard.shipper()
    await shipper.run()
    folder = yard.state_dir / "sink" / "quarantine"
    folder.mkdir(parents=True)
    for number in range(12):
        (folder / f"{number}.native").write_bytes(b"x%d" % number)
        yard.clock.step_wall(10**18)
        report = await shipper.run()
        assert report.snapshot is not None
    found = await yard.bucket.list(yard.keys.manifests)
    assert len(found) == 8
    content = await yard.bucket.read_whole(found[-1].key, found[-1].bytes)
    assert content == (yard.state_dir / "raw" / "MANIFEST.jsonl").read_bytes()


async def test_stop_ends_the_run_and_the_next_one_goes_on(yard: Yard) -> None:
    shipper = yard.shipper()
    shipper.stop()
    report = await shipper.run()
    assert [kind for _, kind, _ in report.failures] == ["stopped"]
    assert await yard.keys_there() == []
    assert (await yard.shipper().run()).ok


async def test_another_store_gets_everything_again(yard: Yard, tmp_path) -> None:
    await yard.shipper().run()
    config = ShipConfig(url=f"file://{tmp_path}/objects", aside_age_s=0)
    yard.bucket = open_bucket(config)
    report = await yard.shipper(config).run()
    assert len(report.shipped) == len(yard.segments())
    stored = tmp_path / "objects" / yard.keys.segment(yard.segments()[0].name)
    assert stored.read_bytes() == yard.segments()[0].read_bytes()
