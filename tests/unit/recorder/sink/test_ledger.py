"""The ledger against a set of sequence numbers, by property."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from recorder.sink.ledger import Ledger, Spilled

bounds = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted)
steps = st.lists(st.tuples(st.booleans(), bounds), max_size=30)


def spilled(seq_from, seq_to, table="trades", cause="behind"):
    return Spilled(table=table, seq_from=seq_from, seq_to=seq_to, cause=cause)


@given(steps)
def test_it_holds_exactly_what_was_added_and_not_removed_in_ranges_apart(script):
    ledger, model = Ledger(), set()
    for adding, (low, high) in script:
        numbers = set(range(low, high + 1))
        if adding:
            ledger.add(spilled(low, high))
            model |= numbers
        else:
            ledger.remove("trades", low, high)
            model -= numbers
        found = ledger.items("trades")
        assert {n for each in found for n in range(each.seq_from, each.seq_to + 1)} == model
        assert all(a.seq_to + 1 < b.seq_from for a, b in pairwise(found))


def test_many_ranges_become_fewer_and_larger_never_smaller():
    ledger = Ledger()
    begins = range(0, 40_000, 10)
    for begin in begins:
        ledger.add(spilled(begin, begin + 1))
    found = ledger.items("trades")
    assert len(found) <= 256
    assert all(any(r.seq_from <= n and n + 1 <= r.seq_to for r in found) for n in begins)


def test_a_joined_range_keeps_the_earlier_cause_and_tables_do_not_mix():
    ledger = Ledger()
    ledger.add(spilled(1, 5, cause="behind"))
    ledger.add(spilled(4, 9, cause="spool_full"))
    ledger.add(spilled(20, 10))
    ledger.add(spilled(1, 9, table="quotes", cause="by_hand"))
    assert ledger.items() == [
        spilled(1, 9, cause="behind"),
        spilled(1, 9, table="quotes", cause="by_hand"),
    ]
