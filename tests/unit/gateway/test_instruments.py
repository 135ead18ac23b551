"""Steps become scales exactly."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.instruments import InstrumentDefinition, control_record, scale_and_step


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("0.01000000", (2, 1)),
        ("0.10", (1, 1)),
        ("1", (0, 1)),
        ("1.00000000", (0, 1)),
        ("0.00500", (3, 5)),
        ("10", (0, 10)),
        ("1e-8", (8, 1)),
        ("5E+1", (0, 50)),
        ("0.000000000000000001", (18, 1)),
    ],
)
def test_scale_and_step(step, expected):
    assert scale_and_step(step) == expected


@pytest.mark.parametrize(
    "step", ["", "0", "0.00000000", "-1", "NaN", "Infinity", "1,5", "1e-19", "1e19", "x" * 500]
)
def test_what_is_no_step_is_refused(step):
    with pytest.raises(ValueError):
        scale_and_step(step)


@given(st.decimals(min_value="1e-18", max_value="1", allow_nan=False, places=18))
def test_scale_and_step_lose_nothing(value):
    scale, mantissa = scale_and_step(format(value, "f"))
    assert Decimal(mantissa).scaleb(-scale) == value
    assert scale == 0 or mantissa % 10


def test_control_record_has_every_field_of_the_native_instrument():
    definition = InstrumentDefinition(
        venue="binance-coinm",
        symbol="BTCUSD_PERP",
        asset_class="perpetual",
        price_scale=1,
        size_scale=0,
        tick=1,
        lot=1,
        multiplier="100",
    )
    assert json.loads(control_record(definition)) == {
        "kind": "instrument",
        "venue": "binance-coinm",
        "symbol": "BTCUSD_PERP",
        "asset_class": "perpetual",
        "price_scale": 1,
        "size_scale": 0,
        "tick": 1,
        "lot": 1,
        "multiplier": "100",
    }
