"""Numbers that no life gives twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.errors import OutboxError
from risk.order_numbers import BLOCK_NUMBERS, OrderNumbers, number_of, ref_of


def opened(path: Path, **given: int) -> OrderNumbers:
    numbers = OrderNumbers(path, first=1)
    numbers.open(**given)
    return numbers


def test_every_life_begins_behind_all_that_the_last_one_could_have_given(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    highest = 0
    for _ in range(5):
        numbers = opened(path)
        assert numbers.take() > highest
        # Not closed in order: a kill closes nothing.
        highest = numbers._durable - 1
        numbers.close()


def test_more_than_a_block_is_given_while_the_next_becomes_durable(tmp_path: Path) -> None:
    numbers = opened(tmp_path / "numbers")
    given: list[int] = []
    while len(given) < 5 * BLOCK_NUMBERS:
        try:
            given.append(numbers.take())
        except OutboxError:
            continue  # the disk is slower than this loop
    assert given == list(range(1, 5 * BLOCK_NUMBERS + 1))
    numbers.close()
    again = opened(tmp_path / "numbers")
    assert again.take() > given[-1]
    again.close()


def test_torn_slot_leaves_the_other_one(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    for _ in range(3):
        opened(path).close()
    data = bytearray(path.read_bytes())
    newest = max(
        range(0, len(data), 4096), key=lambda at: int.from_bytes(data[at + 8 : at + 16], "little")
    )
    other = 4096 - newest
    floor = int.from_bytes(data[other + 8 : other + 16], "little")
    data[newest + 9] ^= 0xFF
    path.write_bytes(data)
    numbers = opened(path)
    assert numbers.error is None
    assert numbers.take() == floor
    numbers.close()


def test_broken_file_gives_no_number(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(b"\1" * 5000)
    numbers = opened(path)
    assert "not a file of numbers" in (numbers.error or "")
    with pytest.raises(OutboxError):
        numbers.take()
    numbers.close()


def test_lost_file_begins_behind_the_outbox(tmp_path: Path) -> None:
    numbers = opened(tmp_path / "numbers", at_least=77)
    assert numbers.take() == 77
    numbers.close()


@given(st.integers(0, 36**9))
def test_ref_and_number_are_one(number: int) -> None:
    ref = ref_of(number)
    assert len(ref) >= 6
    assert number_of(ref) == number


@pytest.mark.parametrize("ref", ["", "web-1", "00001", "ABCDEF", "0000001", "çççççç"])
def test_what_is_no_ref_of_ours_has_no_number(ref: str) -> None:
    assert number_of(ref) is None
