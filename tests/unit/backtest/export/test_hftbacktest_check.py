"""The validator: a good file passes, and each rule is shown to see what it is for."""

import io
import zipfile

import numpy as np
import pytest

from backtest.export.hftbacktest_check import Grid, check_files
from backtest.export.hftbacktest_rows import (
    BUY,
    CLEAR,
    DEPTH,
    EXCH,
    LOCAL,
    ROW,
    SELL,
    SNAPSHOT,
    TRADE,
)

BOTH = EXCH | LOCAL
GRID = Grid(tick=5, scale=1)


def good():
    """An opening book, a change, a late row in its two halves, a trade."""
    lines = [
        (BOTH | BUY | CLEAR, 100, 200, 99.5, 0),
        (BOTH | SELL | CLEAR, 100, 200, 101.0, 0),
        (BOTH | BUY | SNAPSHOT, 100, 200, 99.5, 3),
        (BOTH | SELL | SNAPSHOT, 100, 200, 101.0, 4),
        (EXCH | BUY | DEPTH, 110, 230, 99.5, 2),
        (BOTH | BUY | DEPTH, 120, 220, 100.0, 1),
        (LOCAL | BUY | DEPTH, 110, 230, 99.5, 2),
        (BOTH | SELL | TRADE, 130, 240, 100.0, 0.5),
    ]
    rows = np.zeros(len(lines), ROW)
    for place, line in enumerate(lines):
        for name, value in zip(("ev", "exch_ts", "local_ts", "px", "qty"), line, strict=True):
            rows[name][place] = value
    return rows


def saved(path, rows, name="data"):
    np.savez(path, **{name: rows})
    return path


def rules(*paths):
    return {problem.rule for problem in check_files(paths, GRID)}


def test_a_good_file_has_no_problem(tmp_path):
    assert check_files([saved(tmp_path / "a.npz", good())], GRID) == []


def change(row, **fields):
    def apply(rows):
        for name, value in fields.items():
            rows[name][row] = value

    return apply


BREAKS = [
    ("neither EXCH nor LOCAL", change(7, ev=BUY | TRADE)),
    ("not exactly one side", change(7, ev=BOTH | TRADE)),
    ("not exactly one side", change(7, ev=BOTH | BUY | SELL | TRADE)),
    ("unknown code", change(7, ev=BOTH | BUY | 9)),
    ("unknown flags", change(7, ev=BOTH | BUY | TRADE | 1 << 16)),
    ("local_ts is not after exch_ts", change(7, exch_ts=240)),
    ("local_ts is not after exch_ts", change(7, exch_ts=250)),
    ("px is not finite", change(7, px=np.nan)),
    ("px is not finite", change(7, px=np.inf)),
    ("qty is negative or not finite", change(7, qty=-1)),
    ("qty is negative or not finite", change(7, qty=np.nan)),
    ("px is not on the tick grid", change(7, px=100.1)),
    ("px is not on the tick grid", change(7, px=np.nextafter(100.0, 200))),
    ("exch_ts descends", change(7, exch_ts=119)),
    ("local_ts descends", change(7, local_ts=229)),
    (
        "a snapshot row without a clear row before it, by local_ts",
        change(7, ev=LOCAL | BUY | SNAPSHOT),
    ),
    (
        "a snapshot row without a clear row before it, by exch_ts",
        change(7, ev=EXCH | BUY | SNAPSHOT),
    ),
]


@pytest.mark.parametrize(("rule", "spoil"), BREAKS)
def test_each_rule_sees_what_it_is_for(rule, spoil, tmp_path):
    rows = good()
    spoil(rows)
    (problem,) = check_files([saved(tmp_path / "a.npz", rows)], GRID)
    assert problem == ("a.npz", 7, rule, 1)


def test_a_snapshot_at_another_time_than_its_clear_is_none(tmp_path):
    rows = good()
    rows["local_ts"][2:4] = 201
    assert rules(saved(tmp_path / "a.npz", rows)) == {
        "a snapshot row without a clear row before it, by local_ts"
    }


def test_order_goes_on_over_files(tmp_path):
    first, second = saved(tmp_path / "a.npz", good()), saved(tmp_path / "b.npz", good())
    assert rules(first, second) == {"exch_ts descends", "local_ts descends"}
    later = good()
    later["exch_ts"] += 1_000
    later["local_ts"] += 1_000
    assert rules(first, saved(tmp_path / "c.npz", later)) == set()


def test_other_arrays_are_refused(tmp_path):
    other_name = saved(tmp_path / "a.npz", good(), name="events")
    packed = np.zeros(3, [(name, ROW[name]) for name in ROW.names if name != "fval"])
    flat = np.asfortranarray(np.zeros((4, 2)))
    assert "no array named data" in rules(other_name).pop()
    assert "rows of another type" in rules(saved(tmp_path / "b.npz", packed)).pop()
    assert "not one C-contiguous" in rules(saved(tmp_path / "c.npz", flat)).pop()
    (tmp_path / "d.npz").write_bytes(b"no archive")
    assert "no array named data" in rules(tmp_path / "d.npz").pop()


@pytest.mark.parametrize("bytes_more", [-1, 1])
def test_a_member_shorter_or_longer_than_its_header_is_refused(bytes_more, tmp_path):
    file = io.BytesIO()
    np.save(file, good())
    data = file.getvalue()
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("data.npy", data[:-1] if bytes_more < 0 else data + b"x")
    (problem,) = check_files([tmp_path / "a.npz"], GRID)
    assert ("fewer" if bytes_more < 0 else "more bytes") in problem.rule
