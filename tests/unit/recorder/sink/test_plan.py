"""The plan file: what survives which cut, and what is refused."""

import pytest

from recorder.errors import PlanError
from recorder.sink.plan import Plan, PlannedBlock


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


def ranges(plan, table="trades"):
    return [(each.seq_from, each.seq_to) for each in plan.spilled() if each.table == table]


def test_a_spill_is_one_fact_at_every_cut_of_the_file(tmp_path):
    """Exhaustive: ranges of all tables, closed blocks and progress are there, or none of them."""
    path = tmp_path / "plan.jsonl"
    plan = Plan(path)
    sent, unsent = block("trades", 1, 100), block("trades", 101, 200)
    plan.plan([sent], 100)
    plan.plan([unsent], 200)
    head = path.stat().st_size
    plan.spill("trades", 101, 200, "spool_full", closing=[unsent])
    middle = path.stat().st_size
    plan.spill_to(500, "behind")
    plan.close()
    data = path.read_bytes()
    for cut in range(head, len(data) + 1):
        path.write_bytes(data[:cut])
        survivor = Plan(path)
        facts = (survivor.open_blocks, ranges(survivor), ranges(survivor, "gaps"))
        if cut < middle:
            assert facts == ([sent, unsent], [], []), f"cut at {cut}"
            assert survivor.progress("gaps") == 200
        elif cut < len(data):
            assert facts == ([sent], [(101, 200)], []), f"cut at {cut}"
            assert survivor.progress("gaps") == 200
        else:
            assert facts == ([sent], [(101, 500)], [(201, 500)])
            assert survivor.progress("gaps") == 500
        survivor.close()


def test_the_ledger_survives_compaction_and_shrinks_by_what_is_restored(tmp_path):
    path = tmp_path / "plan.jsonl"
    plan = Plan(path)
    plan.spill_to(1_000, "behind")
    plan.restored("trades", 1, 400)
    plan.restored("trades", 600, 700)
    for _ in range(2):
        plan.close()
        plan = Plan(path)
        assert ranges(plan) == [(401, 599), (701, 1_000)]
        assert ranges(plan, "quotes") == [(1, 1_000)]
        assert {each.cause for each in plan.spilled()} == {"behind"}
    plan.restored("trades", 0, 2_000)
    assert ranges(plan) == []
    plan.close()


def test_a_range_by_hand_moves_no_progress_and_closes_nothing(tmp_path):
    plan = Plan(tmp_path / "plan.jsonl")
    open_block = block(seq_from=1, seq_to=100)
    plan.plan([open_block], 1_000)
    plan.spill("trades", 1, 500, "by_hand")
    assert plan.progress("trades") == 1_000
    assert plan.open_blocks == [open_block]
    assert plan.is_open("trades", 50, 500)
    assert not plan.is_open("trades", 101, 500)
    plan.close()


def test_nothing_counts_as_settled_from_the_first_spilled_row_on(tmp_path):
    plan = Plan(tmp_path / "plan.jsonl")
    plan.plan([], 1_000)
    plan.spill("trades", 301, 500, "by_hand")
    assert (plan.settled("trades"), plan.settled("quotes")) == (300, 1_000)
    plan.close()


def test_an_outage_of_any_length_stays_one_range_per_table(tmp_path):
    path = tmp_path / "plan.jsonl"
    plan = Plan(path)
    for number in range(1, 60):
        plan.spill_to(number * 100, "behind")
    plan.close()
    again = Plan(path)
    assert {len(ranges(again, table)) for table in ("trades", "quotes", "gaps")} == {1}
    assert path.stat().st_size < 2_000
    again.close()
