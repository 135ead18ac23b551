"""The quarantine: refused blocks kept, listed, given back, and let go with a reason."""

import os

import pytest

from recorder.errors import QuarantineError
from recorder.sink.plan import PlannedBlock
from recorder.spool.quarantine import Quarantine
from tests.unit.recorder.spool.test_spool import body, no_files_above, planned


def test_a_kept_block_comes_back_with_its_reason_and_time(tmp_path):
    quarantine = Quarantine(tmp_path)
    first, second = planned(0), planned(100, "quotes")
    paths = [quarantine.keep(first, body(1), "bad"), quarantine.keep(second, body(2), "worse")]
    assert [path.read_bytes() for path in paths] == [body(1), body(2)]
    for age, path in enumerate(reversed(paths), 5):
        os.utime(path.with_suffix(".json"), ns=(age, age))
    listed = quarantine.list()
    assert [(each.token, each.reason, each.bytes, each.kept_ns) for each in listed] == [
        (second.token, "worse", 1_000, 5),
        (first.token, "bad", 1_000, 6),
    ]
    block = quarantine.load(first.token)
    assert (bytes(block), block.planned, block.plain_bytes) == (body(1), first, 2_000)


def test_rows_that_the_raw_log_lacks_are_listed_without_a_body(tmp_path):
    quarantine = Quarantine(tmp_path)
    quarantine.keep(planned(0), None, "the raw log has no such rows")
    assert [each.bytes for each in quarantine.list()] == [0]
    assert quarantine.load(planned(0).token) is None
    quarantine.release(planned(0).token)
    assert quarantine.list() == []


def test_dropping_leaves_a_line_that_says_who_when_and_why(tmp_path):
    quarantine = Quarantine(tmp_path)
    quarantine.keep(planned(0), body(1), "bad")
    line = quarantine.drop(planned(0).token, who="ann", when_ns=7, reason="known test data")
    assert quarantine.list() == []
    assert quarantine.dropped() == [line]
    assert (line.planned, line.refused) == (planned(0), "bad")
    assert (line.who, line.when_ns, line.reason) == ("ann", 7, "known test data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dropped.jsonl"]


def test_dropping_without_room_for_the_line_keeps_the_block(tmp_path):
    quarantine = Quarantine(tmp_path)
    for number in (0, 100):
        quarantine.keep(planned(number), body(number), "bad")
    quarantine.drop(planned(0).token, who="ann", when_ns=1, reason="r" * 100)
    size = (tmp_path / "dropped.jsonl").stat().st_size
    with no_files_above(size + 50), pytest.raises(OSError):
        quarantine.drop(planned(100).token, who="ann", when_ns=2, reason="r" * 100)
    assert [each.token for each in quarantine.list()] == [planned(100).token]
    assert len(quarantine.dropped()) == 1


def test_a_torn_line_is_no_drop_and_does_not_spoil_the_next(tmp_path):
    quarantine = Quarantine(tmp_path)
    for number in (0, 100):
        quarantine.keep(planned(number), body(number), "bad")
    quarantine.drop(planned(0).token, who="ann", when_ns=1, reason="first")
    path = tmp_path / "dropped.jsonl"
    path.write_bytes(path.read_bytes() + b'{"planned": {"tab')
    assert len(quarantine.dropped()) == 1
    quarantine.drop(planned(100).token, who="ann", when_ns=2, reason="second")
    assert [each.reason for each in quarantine.dropped()] == ["first", "second"]


@pytest.mark.parametrize("room", [100, 1_050], ids=["body", "facts"])
def test_a_disk_that_refuses_leaves_nothing_behind(tmp_path, room):
    quarantine = Quarantine(tmp_path)
    reason = "r" * 1_000
    content = body(1, 500 if room > 1_000 else 1_000)
    with no_files_above(room), pytest.raises(OSError):
        quarantine.keep(planned(0), content, reason)
    assert list(tmp_path.iterdir()) == []
    quarantine.keep(planned(0), content, reason)
    assert bytes(quarantine.load(planned(0).token)) == content


def test_a_keep_that_a_crash_cut_off_is_not_listed(tmp_path):
    """Every prefix of the steps: body only; body and unfinished facts."""
    quarantine = Quarantine(tmp_path)
    path = quarantine.keep(planned(0), body(1), "bad")
    facts = path.with_suffix(".json")
    unfinished = facts.with_name(facts.name + ".new")
    facts.rename(unfinished)
    assert quarantine.list() == []
    unfinished.unlink()
    assert quarantine.list() == []
    quarantine.keep(planned(0), body(1), "bad")
    assert len(quarantine.list()) == 1


def test_damaged_bytes_are_refused(tmp_path):
    quarantine = Quarantine(tmp_path)
    path = quarantine.keep(planned(0), body(1), "bad")
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)
    with pytest.raises(QuarantineError, match="damaged"):
        quarantine.load(planned(0).token)
    path.unlink()
    with pytest.raises(QuarantineError, match="cannot be read"):
        quarantine.load(planned(0).token)


@pytest.mark.parametrize("token", ["nothing", "../quarantine/x", ""])
def test_an_unknown_token_is_refused(tmp_path, token):
    quarantine = Quarantine(tmp_path)
    for ask in (quarantine.load, quarantine.release):
        with pytest.raises(QuarantineError, match="no block"):
            ask(token)


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "x.json").write_bytes(b"{}")
    with pytest.raises(QuarantineError, match=r"x\.json"):
        Quarantine(tmp_path).list()
    (tmp_path / "dropped.jsonl").write_bytes(b"nonsense\n")
    with pytest.raises(QuarantineError, match=r"dropped\.jsonl"):
        Quarantine(tmp_path).dropped()


def test_the_facts_hold_the_whole_plan_line(tmp_path):
    Quarantine(tmp_path).keep(planned(0), body(1), "bad")
    (kept,) = Quarantine(tmp_path).list()
    assert isinstance(kept.planned, PlannedBlock)
    assert kept.planned == planned(0)
