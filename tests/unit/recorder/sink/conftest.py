"""What the sink's tests put in place of a fixture: cut connections leave inserts under way."""

import pytest


@pytest.fixture
def database(own_database):
    return own_database
