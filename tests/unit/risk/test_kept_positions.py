"""The positions file: every shape of it is read, a damaged one is kept and holds up arming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from risk.kept_positions import Day, damaged_path, set_aside
from risk.ledger import FILE
from tests.unit.risk.test_ledger import DEALS, executed, folded, held_by, kept, made


def rewritten(folder: Path, change: Any) -> None:
    file = json.loads((folder / FILE).read_bytes())
    change(file)
    (folder / FILE).write_text(json.dumps(file))


def renamed(folder: Path) -> list[Path]:
    """Damaged files that a person has looked at."""
    return list(folder.glob(f"{FILE}.damaged-*"))


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ([9, 500, 700], Day(9, 500, 700)),
        ([9, 500], Day(9, 500, 500)),  # without the peak
        ([9, 500, 700, 42, 1], Day(9, 500, 700)),  # of a build that says more
    ],
)
def test_a_day_of_any_build_is_read(said: list[int], known: Day) -> None:
    assert Day.of(said) == known


@pytest.mark.parametrize("said", [[], [9]])
def test_a_day_that_does_not_say_where_it_began_is_none(said: list[int]) -> None:
    with pytest.raises(ValueError, match="members"):
        Day.of(said)


@pytest.mark.parametrize("members", [2, 3, 4, 5])
async def test_the_days_loss_goes_on_behind_a_file_of_another_build(
    tmp_path: Path, members: int
) -> None:
    whole = executed(DEALS)
    oracle = await kept(tmp_path, whole)
    rewritten(
        tmp_path,
        lambda file: file["positions"].update(
            days={k: [*v, 0, 0][:members] for k, v in file["positions"]["days"].items()}
        ),
    )
    again = made(tmp_path)
    again.recover(whole, held_by(whole))
    assert again.fault is None
    assert again.problems() == []
    assert again.day_pnl("main") == oracle.day_pnl("main") != 0
    assert folded(again) == folded(oracle)


async def test_a_file_of_the_first_build_says_nothing_of_what_has_no_cost(tmp_path: Path) -> None:
    oracle = await kept(tmp_path, executed(DEALS))
    rewritten(tmp_path, lambda file: file.pop("uncosted"))
    again = made(tmp_path)
    again.recover(executed(DEALS))
    assert folded(again) == folded(oracle)


async def test_a_damaged_file_is_kept_and_holds_up_arming_over_restarts(tmp_path: Path) -> None:
    whole = executed(DEALS)
    await kept(tmp_path, whole)
    damaged = (tmp_path / FILE).read_bytes()[:-30]
    (tmp_path / FILE).write_bytes(damaged)
    for life in range(2):
        ledger = made(tmp_path)
        ledger.recover(whole, held_by(whole))
        (problem,) = ledger.problems()
        assert "tickd risk acknowledge" in problem
        assert "daily loss" in problem
        await ledger.keep(at_once=True)
        assert (tmp_path / FILE).exists(), life
        assert damaged_path(tmp_path / FILE).read_bytes() == damaged
    assert ledger.acknowledge()
    assert ledger.problems() == []
    assert not ledger.acknowledge()
    assert [each.read_bytes() for each in renamed(tmp_path)] == [damaged]
    again = made(tmp_path)
    again.recover(whole, held_by(whole))
    assert again.problems() == []


async def test_a_damaged_file_that_cannot_be_renamed_is_never_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = executed(DEALS)
    await kept(tmp_path, whole)
    (tmp_path / FILE).write_bytes(b"{")

    def refused(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as disk:
        disk.setattr(Path, "rename", refused)
        ledger = made(tmp_path)
        ledger.recover(whole, held_by(whole))
        await ledger.keep(at_once=True)
        assert (tmp_path / FILE).read_bytes() == b"{"
        assert "Read-only" in str(ledger.fault)
        with pytest.raises(OSError, match="Read-only"):
            ledger.acknowledge()
        assert ledger.problems()
    await ledger.keep(at_once=True)
    assert damaged_path(tmp_path / FILE).read_bytes() == b"{"
    assert ledger.fault is None
    assert ledger.problems()


def test_the_first_damaged_file_keeps_its_name(tmp_path: Path) -> None:
    for content in ("first", "second"):
        (tmp_path / FILE).write_text(content)
        set_aside(tmp_path / FILE, wall_ns=7)
    assert damaged_path(tmp_path / FILE).read_text() == "first"
    assert (tmp_path / f"{FILE}.damaged-7").read_text() == "second"
