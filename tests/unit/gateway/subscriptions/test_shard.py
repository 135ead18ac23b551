"""Shards divide everything, and one more or less moves no more than its share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import PatternError
from gateway.subscriptions.shard import WHOLE, Shard, owner

# Of 4,000 keys a share of 1/n has a standard deviation of at most 1/120.
KEYS = {
    "binance-usdm": [f"binance-usdm:S{number}USDT" for number in range(4_000)],
    "shioaji": [f"shioaji:{number}" for number in range(1_000, 5_000)],
}
EPSILON = 0.03
EXPECTED = [3, 1, 0, 2, 3, 0, 3, 2, 1, 3, 1, 2]  # part of each of twelve symbols, of four parts


@given(st.text(min_size=1), st.text(min_size=1), st.integers(1, 40))
def test_every_symbol_belongs_to_exactly_one_part(venue: str, symbol: str, parts: int) -> None:
    assert sum(Shard(part, parts).holds(venue, symbol) for part in range(parts)) == 1
    assert WHOLE.holds(venue, symbol)


@pytest.mark.parametrize("venue", KEYS)
@pytest.mark.parametrize("parts", [1, 2, 3, 5, 8])
def test_one_part_more_takes_its_share_and_moves_nothing_between_the_others(
    venue: str, parts: int
) -> None:
    keys = KEYS[venue]
    before = {key: owner(key, parts) for key in keys}
    after = {key: owner(key, parts + 1) for key in keys}
    moved = [key for key in keys if before[key] != after[key]]
    assert all(after[key] == parts for key in moved), "a symbol moved between parts that stayed"
    assert len(moved) / len(keys) <= 1 / (parts + 1) + EPSILON
    assert len(moved) / len(keys) >= 1 / (parts + 1) - EPSILON


@pytest.mark.parametrize("venue", KEYS)
@pytest.mark.parametrize("parts", [2, 3, 8])
def test_parts_are_of_one_size(venue: str, parts: int) -> None:
    sizes = [sum(owner(key, parts) == part for key in KEYS[venue]) for part in range(parts)]
    assert max(sizes) - min(sizes) < 2 * EPSILON * len(KEYS[venue])


def test_the_division_is_the_same_in_every_version() -> None:
    """Two daemons of different versions must agree: these never change."""
    assert [owner(f"okx:S{number}-USDT", 4) for number in range(12)] == EXPECTED


@pytest.mark.parametrize(
    "text", ["", "1", "1/", "/2", "2/2", "-1/2", "0/0", "1/2/3", "0/1001", "a/b"]
)
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(PatternError, match="not a shard"):
        Shard.parse(text)


def test_a_shard_is_read_as_it_is_written() -> None:
    assert Shard.parse("3/7") == Shard(3, 7)
    assert str(Shard(3, 7)) == "3/7"
