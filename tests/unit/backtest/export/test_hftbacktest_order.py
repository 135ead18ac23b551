"""Both orders at once, with runs and blocks of a few rows, against sorting in memory."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.export.hftbacktest_order import EventOrder
from backtest.export.hftbacktest_rows import BUY, DEPTH, EXCH, LOCAL, ROW, SNAPSHOT, TRADE
from backtest.export.npz import NpzWriter, read_npz

CODES = st.sampled_from([TRADE, DEPTH, SNAPSHOT])


def made(stamps):
    """Rows in the order of receipt; `order_id` numbers them."""
    rows = np.zeros(len(stamps), ROW)
    rows["order_id"] = np.arange(len(stamps))
    rows["exch_ts"] = [exch for exch, _ in stamps]
    rows["ev"] = [code | BUY for _, code in stamps]
    rows["local_ts"] = np.arange(len(stamps)) // 3 + 1_000
    return rows


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, 30), CODES), max_size=80),
    st.lists(st.integers(0, 80), max_size=5),
    st.integers(1, 9),
    st.integers(1, 5),
)
def test_every_row_stands_once_in_each_order(tmp_path_factory, stamps, cuts, run_rows, block_rows):
    folder = tmp_path_factory.mktemp("order")
    order = EventOrder(folder / "a", folder / "b", run_rows=run_rows, block_rows=block_rows)
    rows = made(stamps)
    bounds = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    for start, stop in pairwise(bounds):
        order.add(rows[start:stop])
        if start % 2:
            order.flush()
    found = np.concatenate([np.empty(0, ROW), *order.rows()])
    again = np.concatenate([np.empty(0, ROW), *order.rows()])
    assert found.tobytes() == again.tobytes()
    assert len(found) == order.staying + order.moving

    local = found[(found["ev"] & LOCAL) != 0]
    exch = found[(found["ev"] & EXCH) != 0]
    assert local["order_id"].tolist() == list(range(len(rows)))
    # Of one time the trades first, then in the order of receipt: Python's sort is stable.
    by_time = sorted(range(len(rows)), key=lambda n: (stamps[n][0], stamps[n][1] != TRADE))
    assert exch["order_id"].tolist() == by_time
    for half in (local, exch):
        for name in ("exch_ts", "local_ts"):
            assert (half[name] == rows[name][half["order_id"].astype(int)]).all()


def test_only_rows_that_came_late_are_split(tmp_path):
    order = EventOrder(tmp_path / "a", tmp_path / "b")
    order.add(made([(5, DEPTH), (7, DEPTH), (6, TRADE), (7, DEPTH), (9, TRADE)]))
    found = np.concatenate(list(order.rows()))
    flags = [(int(row["order_id"]), int(row["ev"]) & (EXCH | LOCAL)) for row in found]
    both = EXCH | LOCAL
    assert flags == [(0, both), (2, EXCH), (1, both), (2, LOCAL), (3, both), (4, both)]


def test_an_array_in_pieces_is_one_array_to_numpy_and_always_the_same_bytes(tmp_path):
    rows = made([(n, DEPTH) for n in range(1_000)])
    for name, compress in (("a", False), ("b", False), ("c", True)):
        writer = NpzWriter(tmp_path / f"{name}.npz", "data", ROW, len(rows), compress=compress)
        for start in range(0, 1_000, 300):
            writer.write(rows[start : start + 300])
        writer.close()
        with np.load(tmp_path / f"{name}.npz") as file:
            assert file["data"].dtype == ROW
            assert file["data"].tobytes() == rows.tobytes()
        pieces = list(read_npz(tmp_path / f"{name}.npz", "data", ROW))
        assert np.concatenate(pieces).tobytes() == rows.tobytes()
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert (tmp_path / "c.npz").stat().st_size < (tmp_path / "a.npz").stat().st_size
