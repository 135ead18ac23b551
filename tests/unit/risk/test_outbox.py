"""The write-ahead file: what it keeps, what it promises, what it does when it cannot."""

from __future__ import annotations

import os
import resource
import select
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from risk.errors import OutboxError
from risk.order_facts import State
from risk.outbox import Outbox
from risk.outbox_format import HEADER_BYTES, CancelAsked, NotSent, Record, scan
from tests.harness.order_world import World
from tests.reference.outbox import read_outbox
from tickd.clock import SystemClock

BYTES = 1 << 16


def outbox(folder: Path, durability: str = "process", size: int = BYTES) -> Outbox:
    return Outbox(folder, durability=durability, bytes_max=size, clock=SystemClock())  # type: ignore[arg-type]


def only(folder: Path) -> Path:
    (path,) = folder.glob("*.tob")
    return path


def records(count: int) -> list[Record]:
    return [CancelAsked(number, number * 7) for number in range(1, count + 1)]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_was_appended_is_found_again_by_two_readers(tmp_path: Path) -> None:
    first = outbox(tmp_path)
    assert first.open().records == ()
    for record in records(3):
        first.append(record)
    first.close()
    read = read_outbox(only(tmp_path))
    assert read.payloads == [[2, 1, 7], [2, 2, 14], [2, 3, 21]]
    assert read.numbers == [1, 2, 3]
    second = outbox(tmp_path)
    assert list(second.open().records) == records(3)
    second.close()


def test_file_cut_at_every_byte_keeps_every_whole_record_and_takes_new_ones(tmp_path: Path) -> None:
    first = outbox(tmp_path)
    first.open()
    ends = [HEADER_BYTES, *(first.append(record) for record in records(3))]
    first.close()
    whole = only(tmp_path).read_bytes()
    for cut in range(HEADER_BYTES, ends[-1] + 1):
        # A cut in front of bytes that were never written: the preallocated zeros.
        only(tmp_path).write_bytes(whole[:cut].ljust(len(whole), b"\0"))
        again = outbox(tmp_path)
        opened = again.open()
        kept = sum(end <= cut for end in ends[1:])
        # Zeros at the end of a record look like room; a record may so be whole a little earlier.
        assert len(opened.records) - kept in (0, 1)
        assert not opened.is_damaged
        again.append(CancelAsked(99, 0))
        again.close()
        read = read_outbox(only(tmp_path))
        assert len(read.payloads) == len(opened.records) + 1
        assert read.torn_bytes == 0


def test_any_flipped_bit_is_noticed(tmp_path: Path) -> None:
    first = outbox(tmp_path)
    first.open()
    end = [first.append(record) for record in records(2)][-1]
    first.close()
    whole = only(tmp_path).read_bytes()
    for at in range(HEADER_BYTES, end):
        changed = bytearray(whole)
        changed[at] ^= 1
        found = scan(bytes(changed))
        assert found is not None
        is_padding = list(found.records) == records(2)
        assert not is_padding or whole[at] == 0
    assert scan(b"\1" + whole[1:]) is None


def test_whole_records_behind_a_broken_one_are_damage_and_the_file_is_kept(tmp_path: Path) -> None:
    first = outbox(tmp_path)
    first.open()
    positions = [first.append(record) for record in records(3)]
    first.close()
    path = only(tmp_path)
    data = bytearray(path.read_bytes())
    data[positions[0] + 17] ^= 0xFF
    path.write_bytes(data)
    second = outbox(tmp_path)
    opened = second.open()
    assert opened.is_damaged
    assert list(opened.records) == records(1)
    second.close()
    assert path.with_suffix(".damaged").read_bytes() == bytes(data)


def test_disk_lets_nothing_out_before_the_intent_is_durable(tmp_path: Path) -> None:
    with World(tmp_path, durability="disk") as world:
        seen: list[int] = []
        path = only(tmp_path / "outbox")

        def note(record: dict[str, object]) -> None:
            if record.get("state") == "sent":
                sync = world.outbox._sync
                assert sync is not None
                seen.append(sync.synced - read_outbox(path).end)

        world.on_record = note
        watched: list[int] = []
        world.outbox.watch(lambda _old, new: watched.append(new or 0))
        orders = [world.submit(price=9_000 + 5 * at) for at in range(20)]
        assert {order.state for order in orders} == {State.PENDING_NEW}
        assert not world.venue.inbox
        while not all(order.asked_mono_ns for order in orders):
            assert select.select(watched[-1:], [], [], 10)[0]
            world.outbox.collect()
        assert {order.state for order in orders} == {State.SENT}
        # The file held all twenty intents; each was durable up to its own end at least.
        assert len(seen) == 20
        assert seen[-1] == 0


def test_disk_sends_what_was_approved_only_if_no_halt_came_meanwhile(tmp_path: Path) -> None:
    with World(tmp_path, durability="disk") as world:
        watched: list[int] = []
        world.outbox.watch(lambda _old, new: watched.append(new or 0))
        order = world.submit()
        world.desk.halt.trip()
        while order.state is State.PENDING_NEW:
            assert select.select(watched[-1:], [], [], 10)[0]
            world.outbox.collect()
        assert order.state is State.DENIED
        assert order.reason == "HALTED"
        assert not world.venue.sent
        assert world.exposure() == (0, 0, 0)


def test_cancel_of_an_order_that_waits_for_the_disk_keeps_it_at_home(tmp_path: Path) -> None:
    with World(tmp_path, durability="disk") as world:
        order = world.submit()
        assert world.cancel(order) is None
        assert order.state is State.DENIED
        assert world.exposure() == (0, 0, 0)
        watched: list[int] = []
        world.outbox.watch(lambda _old, new: watched.append(new or 0))
        while world.outbox._waiting:
            assert select.select(watched[-1:], [], [], 10)[0]
            world.outbox.collect()
        assert not world.venue.sent


def test_full_disk_denies_new_orders_lets_cancels_out_and_heals(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        order = world.acked()
        with file_size_limit(HEADER_BYTES):
            assert world.denied() == "OUTBOX"
            assert world.exposure() == (0, 10, 0)
            world.wait(1)
            assert world.denied() == "OUTBOX"
            assert world.cancel(order) is None
            assert world.venue.cancels[order.ref] == 1
            world.venue.process()
            world.venue.deliver_all()
            assert order.state is State.CANCELLED
            replaced = world.router.replace(order.request.client_id, price=1, size=1)
            assert replaced is not None
        assert world.alarms() == ["OUTBOX"]
        world.wait(1_001)
        assert world.denied() == "-"
        assert world.alarms() == ["OUTBOX", "OUTBOX_UP"]
        # What could not be written while the disk was full is in the new file.
        world.restart()
        assert world.order(order.number).state is State.CANCELLED


def test_folder_that_cannot_be_written_denies_and_lets_cancels_out(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        order = world.acked()
    (tmp_path / "kept").mkdir()
    (tmp_path / "outbox").rename(tmp_path / "kept" / "outbox")
    (tmp_path / "outbox").write_text("a file where a folder should be")
    with World(tmp_path) as again:
        assert again.denied() == "OUTBOX"
        assert again.router.table.of_number(order.number) is None


def test_terminal_orders_leave_and_the_file_stays_bounded(tmp_path: Path) -> None:
    with World(tmp_path, done_max=8, outbox_bytes_max=1 << 17) as world:
        keeper = world.acked(price=9_000)
        lives = 0
        while world.outbox.rotations_count < 4:
            order = world.acked(price=9_500 + 5 * (lives % 50))
            world.cancel(order)
            world.venue.process()
            world.venue.deliver_all()
            world.wait(100)
            world.venue.orders.pop(order.venue_id)
            lives += 1
            assert lives < 5_000
        while world.outbox._replaced:
            world.outbox.collect()
        assert only(tmp_path / "outbox").stat().st_size == 1 << 17
        assert len(world.router.table.known()) <= 10
        world.restart()
        assert world.order(keeper.number).state is State.ACKED
        assert world.exposure() == (0, 10, 0)
        assert len(world.router.orders()) <= 10


def test_kill_while_a_new_file_is_filled_leaves_the_old_one_in_force(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        order = world.acked()
        fresh = world.outbox._make([order.number])
        os.close(fresh.fd)
        assert fresh.path.exists()
        world.restart()
        assert world.order(order.number).state is State.ACKED
        assert not fresh.path.exists()


def test_positions_survive_a_rotation_and_a_restart(tmp_path: Path) -> None:
    with World(tmp_path, done_max=8, outbox_bytes_max=1 << 17) as world:
        order = world.acked()
        world.venue.trade(next(iter(world.venue.orders.values())), 10)
        world.venue.deliver_all()
        assert order.state is State.FILLED
        rotations = world.outbox.rotations_count
        while world.outbox.rotations_count == rotations:
            each = world.acked(side="A", price=11_000)
            world.cancel(each)
            world.venue.process()
            world.venue.deliver_all()
            world.wait(100)
        world.restart()
        assert world.exposure() == (10, 0, 0)
        assert world.router.table.of_number(order.number) is None
        assert world.router.table.held_by_symbol("main")["ABC"] == 10


def test_closed_outbox_takes_nothing(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    box.open()
    box.close()
    with pytest.raises(OutboxError):
        box.append(CancelAsked(1, 0))


def test_short_record_over_a_torn_long_one_leaves_nothing_of_it(tmp_path: Path) -> None:
    first = outbox(tmp_path)
    first.open()
    begin = first.append(CancelAsked(1, 7))
    end = first.append(NotSent(1, 8, 1, "x" * 200))
    first.close()
    path = only(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: end - 9].ljust(len(whole), b"\0"))
    second = outbox(tmp_path)
    assert second.open().torn_bytes == end - 9 - begin
    second.append(CancelAsked(2, 9))
    second.close()
    read = read_outbox(path)
    assert (len(read.payloads), read.torn_bytes) == (2, 0)


def test_what_happens_while_orders_are_carried_is_in_the_new_file(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        first = world.acked(price=9_000)
        for at in range(200):
            world.acked(price=9_005 + 5 * at)
        box = world.outbox
        box._offset = box._capacity * 3 // 4 + 8  # as if so much had been written
        rotations = box.rotations_count
        world.wait(1)
        assert box.is_carrying
        assert box.rotations_count == rotations
        # It has been carried already, as it was.
        world.cancel(first)
        world.venue.process()
        world.venue.deliver_all()
        while box.rotations_count == rotations:
            world.wait(1)
        world.restart()
        assert world.order(first.number).state is State.CANCELLED
        assert world.exposure() == (0, 2_000, 0)


def test_intents_that_never_become_durable_are_denied_and_never_sent(tmp_path: Path) -> None:
    with World(tmp_path, durability="disk") as world:
        order = world.submit(price=9_000)
        with file_size_limit(HEADER_BYTES):
            assert world.denied() == "OUTBOX"
        assert (order.state, order.reason) == (State.DENIED, "OUTBOX")
        assert world.exposure() == (0, 0, 0)
        assert not world.venue.sent
