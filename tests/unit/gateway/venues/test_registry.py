"""The registry finds folders by name."""

import pytest

from gateway.errors import UnknownVenueError
from gateway.venues.registry import VENUE_NAMES, find
from tickd.native import VENUES


def test_every_name_finds_its_folder():
    assert [find(name).name for name in VENUE_NAMES] == list(VENUE_NAMES)


def test_every_venue_has_a_decoder_and_every_decoder_a_venue():
    assert sorted(VENUE_NAMES) == sorted(VENUES)


@pytest.mark.parametrize("name", ["", "binance", "binance_spot", "../etc", "BINANCE-SPOT"])
def test_unknown_name_is_refused_and_the_known_ones_are_told(name):
    with pytest.raises(UnknownVenueError) as refused:
        find(name)
    assert "binance-spot" in (refused.value.hint or "")
