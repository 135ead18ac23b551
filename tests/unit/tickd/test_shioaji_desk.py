"""The stand-in for Shioaji's order entry against the real package: same attributes, same calls."""

import inspect
from dataclasses import fields
from pathlib import Path

import pytest

shioaji = pytest.importorskip("shioaji")
core = pytest.importorskip("shioaji._core")

from tickd.testing import shioaji_trades as shapes  # noqa: E402
from tickd.testing.shioaji_desk_client import DeskClient  # noqa: E402
from tickd.testing.shioaji_order_messages import deal_message, order_message  # noqa: E402

SAME = {
    shapes.Deal: (shioaji.Deal, {"datetime"}),
    shapes.OrderResult: (shioaji.OrderResult, {"ca", "order_type"}),
    shapes.OrderStatusInfo: (shioaji.OrderStatusInfo, set()),
    shapes.Trade: (shioaji.Trade, set()),
    shapes.Health: (shioaji.TradeCacheHealth, set()),
    shapes.HealthReason: (shioaji.TradeCacheHealthReason, set()),
}
PART = {
    shapes.Balance: shioaji.AccountBalance,
    shapes.MarginFigures: shioaji.Margin,
    shapes.Position: shioaji.StockPosition,
}
CALLS = (
    "login",
    "logout",
    "activate_ca",
    "subscribe_trade",
    "usage",
    "set_event_callback",
    "set_order_callback",
    "set_session_down_callback",
    "place_order",
    "cancel_order",
    "update_order",
    "update_status",
    "list_trades",
    "order_deal_records",
    "list_positions",
    "account_balance",
    "margin",
    "trade_cache_health",
)
MAPPING = {"dict", "keys", "copy"}


def attributes(kind):
    return {name for name in dir(kind) if not name.startswith("_")} - MAPPING


@pytest.mark.parametrize("shape", SAME, ids=lambda shape: shape.__name__)
def test_a_shape_has_exactly_the_attributes_of_the_real_class(shape):
    real, left_out = SAME[shape]
    assert {each.name for each in fields(shape)} == attributes(real) - left_out


@pytest.mark.parametrize("shape", PART, ids=lambda shape: shape.__name__)
def test_a_part_of_a_shape_has_only_attributes_of_the_real_class(shape):
    assert {each.name for each in fields(shape)} <= attributes(PART[shape])


def test_futures_positions_have_what_is_read_of_stocks():
    assert {each.name for each in fields(shapes.Position)} - {"id"} <= attributes(
        shioaji.FuturePosition
    )


@pytest.mark.parametrize("name", CALLS)
def test_a_call_takes_only_parameters_of_the_real_one(name):
    real = inspect.signature(getattr(shioaji.Shioaji, name)).parameters
    mine = inspect.signature(getattr(DeskClient, name)).parameters
    assert list(mine) == [each for each in real if each in mine]
    for each, parameter in mine.items():
        is_keyword_only = parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert (real[each].kind is inspect.Parameter.KEYWORD_ONLY) is is_keyword_only


def test_the_real_classes_still_cannot_be_made():
    """Should a later version make them, the shapes can go."""
    for real, _ in SAME.values():
        with pytest.raises(TypeError, match="cannot create"):
            real()


def test_messages_have_only_fields_of_the_packages_typed_dicts():
    stub = Path(core.__file__).with_name("_core.pyi").read_text()
    for message in (order_message(), deal_message(), deal_message(futures=True)):
        names = set(message)
        for part in ("operation", "order", "status", "contract"):
            names |= set(message.get(part, {}))
        assert {name for name in names if f"    {name}: " not in stub} == set()
