"""A login that cannot be: what is wrong is said once, as an error of the broker."""

from __future__ import annotations

import sys

import pytest

from risk.brokers.shioaji.line import INSTALL_HINT, Line
from risk.brokers.shioaji.rate import CallRate
from risk.errors import BrokerError
from tests.harness.order_requests import config
from tickd.clock import SystemClock
from tickd.errors import Action


async def test_a_broken_install_of_the_sdk_is_an_error_of_the_broker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An import error that escaped would have kept `tickd panic` from asking other accounts."""
    monkeypatch.setitem(sys.modules, "shioaji", None)  # whoever imports it gets an ImportError
    line = Line(
        config(),
        confirm=lambda _order: False,
        on_items=lambda _items: None,
        rate=CallRate(10, 10.0),
        clock=SystemClock(),
        factory=None,
    )
    with pytest.raises(BrokerError, match="login: ModuleNotFoundError") as refused:
        await line.open()
    assert (refused.value.action, refused.value.hint) == (Action.FATAL, INSTALL_HINT)
    with pytest.raises(BrokerError, match="lists: ModuleNotFoundError"):
        await line.query(lambda: __import__("shioaji"), "lists")
    await line.close()
