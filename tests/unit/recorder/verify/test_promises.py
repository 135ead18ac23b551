"""What the sink still owes, and the files that say so, damaged one by one."""

from __future__ import annotations

import pytest

from recorder.sink.plan import Plan, PlannedBlock
from recorder.spool.quarantine import Quarantine
from recorder.spool.spool import Spool
from recorder.verify.promises import read_promises
from recorder.verify.report import Kind, ranges_of
from tickd.native import BlockBuilder
from tickd.testing.clock import ManualClock
from tickd.testing.events import EventStream

NODE = 1


def built(cuts=3):
    stream, blocks, seq_from = EventStream(seed=1), [], 0
    for _ in range(cuts):
        builder = BlockBuilder(node=NODE, seq_from=seq_from)
        builder.push(stream.batch(200))
        cut = [block for block in builder.finish() if block.table == "quotes"]
        blocks += cut
        seq_from = cut[0].seq_to + 1
    return blocks


@pytest.fixture
def blocks():
    return built()


@pytest.fixture
def planned(tmp_path, blocks):
    """All blocks in the plan, as open ones."""
    entries = [PlannedBlock.of(block, NODE) for block in blocks]
    plan = Plan(tmp_path / "plan.jsonl")
    for entry in entries:
        plan.plan([entry], entry.seq_to)
    plan.close()
    return entries


@pytest.fixture
def spooled(tmp_path, blocks, planned):
    spool = Spool(tmp_path / "spool", bytes_max=1 << 30, clock=ManualClock())
    spool.open()
    for entry, block in zip(planned, blocks, strict=True):
        assert spool.put(entry, block, unknown=False)
    spool.close()
    (path,) = (tmp_path / "spool").glob("*/*.spool")
    return path


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def kinds(found):
    return [finding.kind for finding in found.findings]


def test_nothing_there_promises_nothing(tmp_path):
    found = read_promises(tmp_path, NODE)
    assert (found.pending, found.findings) == ([], [])


def test_open_and_spilled_ranges_are_pending_and_the_plan_stays_as_it_is(tmp_path, planned):
    plan = Plan(tmp_path / "plan.jsonl")
    plan.commit(planned[0], "inserted")
    plan.spill("book", 5, 9, "the spool is full")
    plan.close()
    before = (tmp_path / "plan.jsonl").read_bytes()
    found = read_promises(tmp_path, NODE)
    assert (tmp_path / "plan.jsonl").read_bytes() == before
    assert {(p.table, p.state) for p in found.pending} == {
        ("quotes", "planned"),
        ("book", "spilled"),
    }
    assert ranges_of(found.pending, "book") == [(5, 9)]
    # Neighbouring blocks are one range.
    assert len({block.day for block in planned[1:]}) > 0
    assert ranges_of(found.pending, "quotes") == [(planned[1].seq_from, planned[-1].seq_to)]
    assert found.findings == []
    assert found.checked.plan_lines == before.count(b"\n")


def test_a_torn_last_line_of_the_plan_is_no_finding(tmp_path, planned):
    with (tmp_path / "plan.jsonl").open("ab") as file:
        file.write(b'{"commit":{"table":"quo')
    assert read_promises(tmp_path, NODE).findings == []


def test_a_damaged_line_of_the_plan_is_named(tmp_path, planned):
    flip(tmp_path / "plan.jsonl", 1)
    (finding,) = read_promises(tmp_path, NODE).findings
    assert finding.kind is Kind.PLAN_DAMAGED
    assert str(tmp_path / "plan.jsonl") in finding.text


def test_a_block_of_another_node_contradicts_the_plan(tmp_path, planned):
    found = read_promises(tmp_path, NODE + 1)
    assert set(kinds(found)) == {Kind.PLAN_DAMAGED}


def test_whole_spool_files_are_counted_and_no_finding(tmp_path, spooled, planned):
    found = read_promises(tmp_path, NODE)
    assert found.findings == []
    assert found.checked.spool_blocks == len(planned)


def test_a_flipped_bit_in_a_spooled_block_names_that_block(tmp_path, spooled, planned):
    flip(spooled, spooled.stat().st_size - 9)
    (finding,) = read_promises(tmp_path, NODE).findings
    assert (finding.kind, finding.count) == (Kind.SPOOL_DAMAGED, planned[-1].rows)
    assert (finding.seq_from, finding.seq_to) == (planned[-1].seq_from, planned[-1].seq_to)


def test_a_flipped_bit_in_a_header_leaves_bytes_that_are_no_block(tmp_path, spooled):
    flip(spooled, 50)
    assert kinds(read_promises(tmp_path, NODE)) == [Kind.SPOOL_DAMAGED]


def test_a_torn_tail_of_the_spool_is_what_a_crash_leaves(tmp_path, spooled, planned):
    spooled.write_bytes(spooled.read_bytes()[:-20])
    found = read_promises(tmp_path, NODE)
    assert found.findings == []
    assert found.checked.spool_blocks == len(planned) - 1


def test_quarantined_and_dropped_blocks_are_pending_with_their_reason(tmp_path, blocks, planned):
    quarantine = Quarantine(tmp_path / "quarantine")
    for entry, block in zip(planned[:2], blocks[:2], strict=True):
        quarantine.keep(entry, block, "constraint levels is violated")
    quarantine.drop(planned[0].token, who="someone", when_ns=1, reason="a broken venue")
    plan = Plan(tmp_path / "plan.jsonl")
    for entry in planned:
        plan.commit(entry, "quarantined")
    plan.close()
    found = read_promises(tmp_path, NODE)
    assert {(p.state, p.cause) for p in found.pending} == {
        ("quarantined", "constraint levels is violated"),
        ("dropped", "a broken venue (someone)"),
    }
    assert found.findings == []
    assert found.checked.quarantined_blocks == 1


def test_a_quarantined_block_whose_bytes_changed_is_named(tmp_path, blocks, planned):
    path = Quarantine(tmp_path / "quarantine").keep(planned[0], blocks[0], "refused")
    flip(path, 100)
    found = read_promises(tmp_path, NODE)
    assert kinds(found) == [Kind.QUARANTINE_DAMAGED]
    assert found.findings[0].seq_from == planned[0].seq_first
