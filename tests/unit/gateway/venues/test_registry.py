"""The registry finds folders by name."""

import pytest

from gateway.errors import UnknownVenueError
from gateway.venues.registry import VENUE_NAMES, find


def test_every_name_finds_its_folder():
    assert [find(name).name for name in VENUE_NAMES] == list(VENUE_NAMES)


def test_venue_without_a_decoder_is_refused_with_the_line_that_is_missing():
    with pytest.raises(UnknownVenueError, match="no decoder") as refused:
        find("okx", decoded=("binance-spot",))
    assert "venues.rs" in (refused.value.hint or "")


@pytest.mark.parametrize("name", ["", "binance", "binance_spot", "../etc", "BINANCE-SPOT"])
def test_unknown_name_is_refused_and_the_known_ones_are_told(name):
    with pytest.raises(UnknownVenueError) as refused:
        find(name)
    assert "binance-spot" in (refused.value.hint or "")
