"""Parts of the log: exactly the ranges, each with the same tables from end to end."""

from random import Random

from recorder.repair.parts import Part, parts_of
from recorder.sink.ledger import Spilled


def spilled(table, seq_from, seq_to):
    return Spilled(table=table, seq_from=seq_from, seq_to=seq_to, cause="test")


def test_ranges_that_overlap_are_cut_where_the_tables_change():
    ranges = [spilled("a", 10, 29), spilled("b", 20, 39), spilled("a", 35, 36)]
    assert parts_of(ranges) == [
        Part(10, 19, ("a",)),
        Part(20, 29, ("a", "b")),
        Part(30, 34, ("b",)),
        Part(35, 36, ("a", "b")),
        Part(37, 39, ("b",)),
    ]


def test_what_is_left_out_is_in_no_part():
    assert parts_of([spilled("a", 0, 99)], [(20, 29), (90, 200)]) == [
        Part(0, 19, ("a",)),
        Part(30, 89, ("a",)),
    ]


def test_random_ranges_agree_with_a_set_of_numbers():
    for seed in range(200):
        dice = Random(seed)
        ranges = [
            spilled(dice.choice("abc"), first := dice.randrange(50), first + dice.randrange(20))
            for _ in range(dice.randrange(8))
        ]
        without = [(first := dice.randrange(60), first + dice.randrange(9)) for _ in range(2)]
        wanted = {
            (each.table, number)
            for each in ranges
            for number in range(each.seq_from, each.seq_to + 1)
            if not any(first <= number <= last for first, last in without)
        }
        parts = parts_of(ranges, without)
        covered = [
            (table, number)
            for part in parts
            for number in range(part.seq_from, part.seq_to + 1)
            for table in part.tables
        ]
        assert len(covered) == len(set(covered)), f"seed {seed}"
        assert set(covered) == wanted, f"seed {seed}"
        assert [part.seq_from for part in parts] == sorted(part.seq_from for part in parts)
