"""The account's table: what it refuses, and that it shows no secret."""

import pytest

from tests.harness.order_requests import API_KEY, CA_PASSWORD, PERSON_ID, SECRET_KEY, config
from tickd.secrets import Secret


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"symbols": ()}, "symbols is empty"),
        ({"orders_per_10s_max": 251}, "at most 250"),
        ({"accounting_per_5s_max": 26}, "at most 25"),
        ({"cancels_share": 1.0}, "below 1"),
        ({"queue_orders_max": 0}, "must be positive"),
        ({"probe_seconds": -1.0}, "must be positive"),
        ({"ca_path": ""}, "real orders need"),
        ({"ca_password": None}, "real orders need"),
        ({"ca_password": Secret("")}, "real orders need"),
        ({"simulation_funds": 1000}, "simulation = true"),
        ({"name": "Not a name"}, "account name"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        config(**changes)


def test_secrets_are_in_no_representation():
    for text in (repr(config()), str(config())):
        for secret in (API_KEY, SECRET_KEY, CA_PASSWORD, PERSON_ID):
            assert secret not in text
