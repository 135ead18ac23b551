"""The spool: what it keeps, in which order, within which limit, and what damage costs."""

import contextlib
import resource
import signal
from pathlib import Path
from random import Random

import pytest
from structlog.testing import capture_logs

from recorder.errors import SpoolDamagedError
from recorder.sink.plan import PlannedBlock
from recorder.spool.spool import Spool
from tests.reference.spool import read_spool
from tickd.testing.clock import ManualClock


class Body(bytes):
    """A block of any bytes."""

    table = "trades"
    rows = 5
    encoding = None
    format = "Native"

    @property
    def body(self):
        return memoryview(self)

    @property
    def nbytes(self):
        return len(self)

    @property
    def plain_bytes(self):
        return 2 * len(self)


def planned(seq_from, table="trades", **fields):
    facts = {"node": 1, "day": 20_000, "rows": 5, "hash": f"{seq_from:016x}", "encoder": 1}
    facts |= {"seq_to": seq_from + 99, "seq_first": seq_from + 1, "seq_last": seq_from + 50}
    return PlannedBlock(table=table, seq_from=seq_from, **(facts | fields))


def body(seed, size=1_000):
    return Body(Random(seed).randbytes(size))


def opened(directory, *, bytes_max=1 << 20, **options):
    spool = Spool(directory, bytes_max=bytes_max, clock=ManualClock(1_000), **options)
    spool.open()
    return spool


def filled(directory, count, **options):
    spool = opened(directory, **options)
    for number in range(count):
        assert spool.put(planned(number * 100), body(number), unknown=False)
    return spool


def files(directory):
    return sorted(directory.rglob("*.spool"))


def test_a_block_comes_back_byte_for_byte_and_waits_until_done(tmp_path):
    spool = filled(tmp_path, 1)
    first = planned(0)
    assert spool.peek("trades") == (first, False)
    for _ in range(2):
        block = spool.read(first)
        assert (bytes(block), block.body == body(0)) == (body(0), True)
    assert (block.table, block.rows, block.encoding, block.nbytes) == ("trades", 5, None, 1_000)
    assert (block.plain_bytes, block.hash, block.format) == (2_000, first.hash, "Native")
    assert spool.blocks == 1
    spool.done(first)
    assert spool.peek("trades") is None
    assert (spool.blocks, spool.bytes, spool.oldest_ns, files(tmp_path)) == (0, 0, 0, [])
    with pytest.raises(SpoolDamagedError):
        spool.read(first)


def test_the_oldest_of_each_table_comes_first_in_whatever_order_they_were_put(tmp_path):
    spool = opened(tmp_path)
    order = [300, 100, 200, 0]
    for seq_from in order:
        spool.put(planned(seq_from), body(seq_from), unknown=False)
        spool.put(planned(seq_from, "quotes"), body(seq_from + 1), unknown=True)
    for seq_from in sorted(order):
        assert spool.peek("trades") == (planned(seq_from), False)
        assert spool.peek("quotes") == (planned(seq_from, "quotes"), True)
        spool.done(planned(seq_from))
        spool.done(planned(seq_from, "quotes"))
    assert spool.planned() == []


def test_a_restart_finds_what_waits_and_calls_it_perhaps_sent(tmp_path):
    spool = filled(tmp_path, 5)
    spool.done(planned(200))
    spool.put(planned(0, "quotes"), body(9), unknown=False)
    spool.close()
    again = opened(tmp_path)
    left = [planned(number) for number in (0, 100, 300, 400)]
    assert again.planned() == [planned(0, "quotes"), *left]
    assert again.peek("trades") == (planned(0), True)
    assert [bytes(again.read(each)) for each in left] == [body(n) for n in (0, 1, 3, 4)]
    assert (again.blocks, again.table("trades").blocks, again.table("quotes").blocks) == (5, 4, 1)
    assert again.bytes == spool.bytes
    assert again.oldest_ns == again.table("trades").oldest_ns == 1_000
    again.put(planned(500), body(5), unknown=False)
    assert len(files(tmp_path / "trades")) == 2, "a new life writes to a file of its own"


def test_mark_unknown_is_remembered(tmp_path):
    spool = filled(tmp_path, 1)
    spool.mark_unknown(planned(0))
    assert spool.peek("trades") == (planned(0), True)


def test_a_block_of_the_same_place_replaces_the_old_one(tmp_path):
    spool = filled(tmp_path, 2)
    newer = planned(0, hash="new")
    spool.put(newer, body(77), unknown=False)
    assert spool.planned() == [newer, planned(100)]
    assert bytes(spool.read(newer)) == body(77)
    assert not spool.holds(planned(0))
    with pytest.raises(SpoolDamagedError):
        spool.read(planned(0))
    spool.done(planned(0))  # not this one: nothing happens
    assert spool.holds(newer)


def test_files_rotate_and_go_when_nothing_of_theirs_waits(tmp_path):
    spool = filled(tmp_path, 20, file_bytes_max=5_000)
    assert len(files(tmp_path)) > 4
    assert all(path.stat().st_size <= 5_000 for path in files(tmp_path))
    for number in range(19):
        spool.done(planned(number * 100))
    assert len(files(tmp_path)) == 1
    assert spool.bytes == sum(path.stat().st_size for path in files(tmp_path))
    spool.done(planned(1_900))
    assert (files(tmp_path), spool.bytes) == ([], 0)


def test_the_limit_is_what_the_files_occupy(tmp_path):
    spool = opened(tmp_path, bytes_max=20_000)
    count = 0
    while spool.put(planned(count * 100), body(count), unknown=False):
        count += 1
    assert 10 < count < 20
    assert spool.bytes == sum(path.stat().st_size for path in files(tmp_path)) <= 20_000
    assert spool.counters.full == 1
    for number in range(count // 2):
        spool.done(planned(number * 100))
    assert spool.put(planned(99_000), body(1), unknown=False)


def test_the_number_of_blocks_is_limited_too(tmp_path):
    spool = filled(tmp_path, 3, blocks_max=3)
    assert not spool.put(planned(300), body(3), unknown=False)
    spool.done(planned(0))
    assert spool.put(planned(300), body(3), unknown=False)


def test_what_may_not_grow_takes_nothing_and_gives_what_it_has(tmp_path):
    spool = filled(tmp_path, 3)
    spool.may_grow = False
    assert not spool.put(planned(9_000), body(1, 100), unknown=False)
    assert spool.counters.full == 1
    assert len(spool.planned()) == 3
    spool.may_grow = True
    assert spool.put(planned(9_000), body(1, 100), unknown=False)
    spool.close()


def test_the_document_describes_the_files(tmp_path):
    """The reader in tests/reference was written from docs/formats/spool.md."""
    spool = filled(tmp_path, 4)
    spool.done(planned(100))
    (path,) = files(tmp_path)
    records = read_spool(path)
    assert [record.done for record in records] == [False, True, False, False]
    assert [record.body for record in records] == [body(number) for number in range(4)]
    assert all(record.whole for record in records)
    header = records[3].header
    assert header["planned"] == {
        name: getattr(planned(300), name) for name in PlannedBlock.__struct_fields__
    }
    assert {name: header[name] for name in ("encoding", "format", "plain_bytes", "put_ns")} == {
        "encoding": None,
        "format": "Native",
        "plain_bytes": 2_000,
        "put_ns": 1_000,
    }


def test_a_file_cut_at_any_byte_keeps_every_whole_block(tmp_path):
    """Exhaustive over the last two of three records."""
    spool = filled(tmp_path, 3, blocks_max=9)
    spool.close()
    (path,) = files(tmp_path)
    data = path.read_bytes()
    ends = [*[record.offset for record in read_spool(path)][1:], len(data)]
    for cut in range(ends[0], len(data) + 1):
        path.write_bytes(data[:cut])
        again = opened(tmp_path)
        whole = sum(1 for end in ends if end <= cut)
        assert [bytes(again.read(each)) for each in again.planned()] == [
            body(number) for number in range(whole)
        ], f"cut at {cut}"
        assert path.stat().st_size == ends[whole - 1]
        assert again.counters.torn_bytes == cut - ends[whole - 1]


def test_a_file_of_nothing_but_a_torn_record_is_deleted(tmp_path):
    filled(tmp_path, 1).close()
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    assert opened(tmp_path).blocks == 0
    assert files(tmp_path) == []


@pytest.mark.parametrize("live", [True, False])
def test_a_flipped_bit_costs_exactly_its_block(tmp_path, live):
    """Every byte of the middle one of three blocks, one random bit each; read live or reopened."""
    spool = opened(tmp_path)
    for number in range(3):
        spool.put(planned(number * 100), body(number, 60), unknown=False)
    (path,) = files(tmp_path)
    data = path.read_bytes()
    first, middle, last = read_spool(path)
    dice = Random(3)
    outcomes = set()
    for at in range(middle.offset, last.offset):
        flipped = bytearray(data)
        flipped[at] ^= 1 << dice.randrange(8)
        path.write_bytes(flipped)
        survivor = spool if live else opened(tmp_path)
        kept = {}
        for each in survivor.planned():
            with contextlib.suppress(SpoolDamagedError):
                kept[each.seq_from] = bytes(survivor.read(each))
        assert kept[0] == first.body, f"byte {at}"
        assert kept[200] == last.body, f"byte {at}"
        assert kept.get(100, middle.body) == middle.body, f"byte {at}"
        outcomes.add((100 in kept, survivor.blocks))
        path.write_bytes(data)
    # Live, headers are not read again, so only the body counts; the state byte decides nothing.
    assert outcomes == ({(True, 3), (False, 3)} if live else {(True, 3), (False, 3), (False, 2)})


def test_a_bodys_bytes_that_look_like_a_record_are_not_one(tmp_path):
    filled(tmp_path / "a", 1).close()
    (inner,) = files(tmp_path / "a")
    spool = opened(tmp_path / "b")
    imitation = inner.read_bytes()[:300]
    spool.put(planned(0), Body(imitation), unknown=False)
    spool.put(planned(100), body(1), unknown=False)
    spool.close()
    again = opened(tmp_path / "b")
    assert bytes(again.read(planned(0))) == imitation
    assert again.blocks == 2


@contextlib.contextmanager
def no_files_above(size):
    """The kernel's own way to refuse: short writes up to the limit, then EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with capture_logs():  # the test's own output is a file too
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)


def test_a_write_that_the_disk_cuts_short_is_undone(tmp_path):
    spool = filled(tmp_path, 2)
    (path,) = files(tmp_path)
    size = path.stat().st_size
    with no_files_above(size + 500):
        assert not spool.put(planned(200), body(2), unknown=False)
    assert path.stat().st_size == size
    assert (spool.blocks, spool.counters.faults, spool.bytes) == (2, 1, size)
    assert "too large" in (spool.fault or "")
    assert spool.put(planned(200), body(2), unknown=False)
    assert spool.fault is None
    assert [bytes(spool.read(each)) for each in spool.planned()] == [body(n) for n in range(3)]


def test_a_first_write_that_fails_leaves_no_file(tmp_path):
    spool = opened(tmp_path)
    with no_files_above(100):
        assert not spool.put(planned(0), body(0), unknown=False)
    assert (files(tmp_path), spool.blocks, spool.bytes) == ([], 0, 0)


def test_a_directory_that_cannot_be_made_is_an_answer(tmp_path):
    (tmp_path / "spool").write_bytes(b"not a directory")
    spool = opened(tmp_path / "spool")
    assert not spool.put(planned(0), body(0), unknown=False)
    assert spool.counters.faults == 1
    (tmp_path / "spool").unlink()
    assert spool.put(planned(0), body(0), unknown=False)


def test_a_file_that_is_gone_is_damage_of_its_blocks_only(tmp_path):
    spool = filled(tmp_path, 10, file_bytes_max=3_000)
    files(tmp_path)[0].unlink()
    lost = 0
    for each in spool.planned():
        try:
            spool.read(each)
        except SpoolDamagedError:
            lost += 1
        spool.done(each)
    assert 0 < lost < 5
    assert (spool.blocks, spool.bytes, files(tmp_path)) == (0, 0, [])


def test_random_use_agrees_with_a_dictionary(tmp_path):
    """Against an obvious model, with restarts; the seed is in the name of what fails."""
    for seed in range(5):
        dice = Random(seed)
        directory = tmp_path / str(seed)
        options = {"bytes_max": 60_000, "file_bytes_max": dice.choice([1_500, 7_000, 1 << 20])}
        spool, model = opened(directory, **options), {}
        for step in range(300):
            match dice.randrange(10):
                case 0:
                    spool.close()
                    spool = opened(directory, **options)
                case 1 | 2 | 3 if model:
                    key = dice.choice(sorted(model))
                    spool.done(model.pop(key)[0])
                case _:
                    table = dice.choice(["trades", "quotes", "gaps"])
                    entry = planned(dice.randrange(40) * 100, table, hash=str(step))
                    content = body(step, dice.randrange(1, 3_000))
                    if spool.put(entry, content, unknown=False):
                        model[(table, entry.seq_from)] = (entry, content)
            assert spool.blocks == len(model), f"seed {seed} step {step}"
            assert spool.bytes <= 60_000
        found = {(each.table, each.seq_from): bytes(spool.read(each)) for each in spool.planned()}
        assert found == {key: content for key, (_, content) in model.items()}, f"seed {seed}"
        held = sum(path.stat().st_size for path in files(directory))
        assert spool.bytes == held, f"seed {seed}"


def descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_no_descriptor_is_left_open(tmp_path):
    before = descriptors()
    spool = filled(tmp_path, 30, file_bytes_max=3_000)
    for each in spool.planned()[:20]:
        spool.read(each)
        spool.done(each)
    assert descriptors() == before + 1
    spool.close()
    assert descriptors() == before
