"""The outbox on a disk that takes no change any more: what cannot go away stays, nothing ends."""

from __future__ import annotations

import select
from pathlib import Path

import pytest

from tests.harness.order_world import World


def refused(*_: object, **__: object) -> None:
    raise OSError(30, "Read-only file system")


def rotated(world: World) -> None:
    """Fill the file until it is replaced; the old one is not taken away yet."""
    before = world.outbox.rotations_count
    order = world.acked(price=9_000)
    while world.outbox.rotations_count == before:
        world.router.replace(order.request.client_id, price=9_005, size=20)
        world.venue.process()
        world.venue.deliver_all()
        world.router.tick()


def test_an_old_file_that_cannot_go_is_tried_again_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with World(tmp_path, done_max=8, outbox_bytes_max=1 << 17) as world:
        with monkeypatch.context() as disk:
            disk.setattr(Path, "unlink", refused)
            watched: list[int] = []
            world.outbox.watch(lambda _old, new: watched.append(new or 0))
            rotated(world)
            sync = world.outbox._sync
            assert sync is not None
            while not sync.synced:
                assert select.select(watched[-1:], [], [], 10)[0]
            world.router.tick()
            assert world.outbox._replaced
            assert world.outbox.is_up
        while world.outbox._replaced:
            world.outbox.collect()
        assert len(list((tmp_path / "outbox").glob("*.tob"))) == 1


def test_a_new_file_that_cannot_go_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with World(tmp_path) as world:
        world.outbox._fail(OSError(28, "No space left on device"))
        with monkeypatch.context() as disk:
            disk.setattr(Path, "unlink", refused)
            writes: list[int] = []

            def second_fails(fd: int, _data: bytes, _at: int) -> None:
                writes.append(fd)
                if len(writes) > 1:  # behind the header
                    refused()

            disk.setattr("risk.outbox.write_at", second_fails)
            world.wait(1_001)
            assert len(writes) == 2
            assert not world.outbox.is_up
            world.outbox.close()
