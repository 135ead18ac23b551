"""Groups end where the rows say, however the rows arrive."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backtest.export.groups import Groups
from tickd.rows import Lists, TableRows


def book(counts):
    """Messages with so many bid levels each, numbered."""
    ends = np.cumsum(np.array(counts, np.int64)).astype(np.uint64)
    total = int(ends[-1]) if counts else 0
    none = Lists(np.zeros(len(counts), np.uint64), np.zeros(0, np.int64))
    values = Lists(ends, np.arange(total, dtype=np.int64))
    columns = {"seq": np.arange(len(counts), dtype=np.uint64)}
    return TableRows("book", columns | {"bid_price": values, "ask_price": none})


def plain(counts, rows_max, levels_max):
    """The rule, row by row."""
    groups, group = [], []
    for number, count in enumerate(counts):
        group.append((number, count))
        if len(group) >= rows_max or sum(c for _, c in group) >= levels_max:
            groups.append(group)
            group = []
    return groups + [group] * bool(group)


@given(
    st.lists(st.integers(0, 9), max_size=40),
    st.lists(st.integers(0, 40)),
    st.integers(1, 9),
    st.integers(1, 30),
)
def test_groups_are_those_of_the_rule_however_rows_are_cut(counts, cuts, rows_max, levels_max):
    rows, groups = book(counts), Groups(rows_max, levels_max)
    bounds = sorted({0, len(counts), *(cut for cut in cuts if cut <= len(counts))})
    found = []
    for start, stop in pairwise(bounds):
        found += list(groups.add(rows.slice(start, stop)))
    found += list(groups.rest())
    expected = plain(counts, rows_max, levels_max)
    assert [[int(seq) for seq in group.integers("seq")] for group in found] == [
        [number for number, _ in group] for group in expected
    ]
    # The lists went with their rows.
    values = np.concatenate([g.lists("bid_price").values for g in found]) if found else []
    assert list(values) == list(range(sum(counts)))
    assert [list(g.lists("bid_price").lengths) for g in found] == [
        [count for _, count in group] for group in expected
    ]


@given(st.lists(st.integers(0, 5), max_size=30), st.randoms())
def test_rows_with_lists_are_taken_and_ordered_like_rows_of_python_lists(counts, random):
    rows = book(counts)
    lists = rows.lists("bid_price")
    python = np.split(lists.values, lists.ends[:-1].astype(int)) if counts else []
    order = list(range(len(counts)))
    random.shuffle(order)
    moved = lists.ordered(np.array(order, np.intp))
    taken = rows.take(np.array([place % 2 == 0 for place in range(len(counts))], bool))
    assert list(moved.lengths) == [counts[place] for place in order]
    assert list(moved.values) == [v for place in order for v in python[place].tolist()]
    assert list(taken.lists("bid_price").values) == [v for part in python[::2] for v in part]
