"""The registry finds folders by name."""

import pytest

from gateway.errors import UnknownVenueError
from gateway.venues.registry import (
    CALLBACK_VENUE_NAMES,
    SOCKET_VENUE_NAMES,
    VENUE_NAMES,
    find,
    find_callback,
    is_callback,
)


def test_every_name_finds_its_folder():
    assert [find(name).name for name in SOCKET_VENUE_NAMES] == list(SOCKET_VENUE_NAMES)
    assert [find_callback(name).name for name in CALLBACK_VENUE_NAMES] == ["shioaji"]
    assert [name for name in VENUE_NAMES if is_callback(name)] == list(CALLBACK_VENUE_NAMES)
    with pytest.raises(UnknownVenueError):
        find("shioaji")


def test_venue_without_a_decoder_is_refused_with_the_line_that_is_missing():
    with pytest.raises(UnknownVenueError, match="no decoder") as refused:
        find("okx", decoded=("binance-spot",))
    assert "venues.rs" in (refused.value.hint or "")


@pytest.mark.parametrize("name", ["", "binance", "binance_spot", "../etc", "BINANCE-SPOT"])
def test_unknown_name_is_refused_and_the_known_ones_are_told(name):
    with pytest.raises(UnknownVenueError) as refused:
        find(name)
    assert "binance-spot" in (refused.value.hint or "")
