"""The plan file: what survives which cut, and what is refused."""

import pytest

from recorder.errors import PlanError
from recorder.plan import Plan, PlannedBlock


def block(table="trades", seq_from=1, seq_to=100, **fields):
    facts = {"node": 1, "day": 20_000, "rows": 5, "hash": "00ff", "encoder": 1}
    facts |= {"seq_first": seq_from, "seq_last": seq_to}
    return PlannedBlock(table=table, seq_from=seq_from, seq_to=seq_to, **(facts | fields))


def test_a_planned_block_is_open_until_its_commit(tmp_path):
    path = tmp_path / "sink" / "plan.jsonl"
    plan = Plan(path)
    assert plan.is_new
    first, second = block(), block("quotes")
    plan.plan([first, second], 100)
    plan.commit(first, "inserted")
    plan.close()
    again = Plan(path)
    assert not again.is_new
    assert again.open_blocks == [second]
    again.close()


def test_progress_covers_tables_without_rows(tmp_path):
    plan = Plan(tmp_path / "plan.jsonl")
    plan.plan([block()], 100)
    assert {plan.progress(table) for table in ("trades", "gaps", "book")} == {100}
    plan.close()


def test_every_cut_of_the_file_keeps_a_prefix_of_what_was_promised(tmp_path):
    """Exhaustive: the file is cut at every byte."""
    path = tmp_path / "plan.jsonl"
    plan = Plan(path)
    head = path.stat().st_size
    promised = [block("trades", 1, 100), block("quotes", 1, 100), block("trades", 101, 200)]
    plan.plan(promised[:2], 100)
    plan.plan(promised[2:], 200)
    plan.close()
    data = path.read_bytes()
    for cut in range(head, len(data) + 1):
        path.write_bytes(data[:cut])
        survivor = Plan(path)
        found = survivor.open_blocks
        assert found == promised[: len(found)], f"cut at {cut}"
        # A table whose plan line is lost must not count as planned.
        for lost in promised[len(found) :]:
            assert survivor.progress(lost.table) < lost.seq_to, f"cut at {cut}"
        survivor.close()


def test_a_damaged_line_in_the_middle_is_refused(tmp_path):
    path = tmp_path / "plan.jsonl"
    plan = Plan(path)
    plan.plan([block()], 100)
    plan.close()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b'{"plan": 5}\n' + lines[1])
    with pytest.raises(PlanError, match="line 2"):
        Plan(path)


def test_compaction_keeps_open_blocks_and_progress_only(tmp_path):
    path = tmp_path / "plan.jsonl"
    plan = Plan(path)
    for number in range(50):
        planned = block(seq_from=number * 10 + 1, seq_to=number * 10 + 10)
        plan.plan([planned], planned.seq_to)
        if number != 7:
            plan.commit(planned, "inserted")
    plan.close()
    again = Plan(path)
    assert [planned.seq_from for planned in again.open_blocks] == [71]
    assert again.progress("trades") == 500
    assert len(path.read_bytes().splitlines()) == 2
    again.close()


def test_a_second_promise_for_a_place_replaces_the_first_and_moves_no_other_table(tmp_path):
    path = tmp_path / "plan.jsonl"
    plan = Plan(path)
    plan.plan([block()], 100)
    plan.replan(block(hash="beef", seq_to=150))
    assert [planned.hash for planned in plan.open_blocks] == ["beef"]
    assert (plan.progress("trades"), plan.progress("quotes")) == (150, 100)
    plan.close()


def test_the_token_names_place_and_content():
    assert block().token == "trades-1-20000-1-100-00ff"
    assert block(hash="beef").token != block().token
