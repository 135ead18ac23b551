"""The SDK's numbers to exact integers and back."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.brokers.shioaji.numbers import (
    MalformedError,
    mantissa,
    money,
    plain_float,
    seconds_ns,
    whole,
)


@pytest.mark.parametrize("value", [580.05, Decimal("580.05"), "580.05"])
def test_a_price_is_the_same_integer_whatever_type_it_comes_in(value):
    assert mantissa(value, 2) == 58_005
    assert mantissa(value, 4) == 5_800_500


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, None, b"1", "", "1e", [1]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(MalformedError):
        mantissa(value, 2)


def test_a_price_off_the_grid_is_refused_and_never_rounded():
    with pytest.raises(MalformedError, match="more than 2 decimals"):
        mantissa(580.055, 2)
    with pytest.raises(MalformedError):
        whole(1.5)


@given(st.integers(-(10**12), 10**12), st.integers(0, 4))
def test_a_price_that_leaves_as_a_float_comes_back_as_it_was(price, scale):
    assert mantissa(plain_float(price, scale), scale) == price


def test_a_price_that_a_float_cannot_hold_is_refused():
    with pytest.raises(MalformedError, match="does not survive"):
        plain_float(12345678901234567891, 2)


def test_venue_time_is_seconds_of_utc_and_becomes_nanoseconds():
    # 2023-01-13 10:15:34.038 in Taiwan, as the documentation's example has it.
    assert seconds_ns(1673576134.038) == 1_673_576_134_038_000_000
    assert seconds_ns("1673576134.038") == 1_673_576_134_038_000_000
    assert seconds_ns(0.0) is None
    assert seconds_ns(None) is None


def test_money_is_exact_to_its_eighth_decimal():
    assert money(1234.56) == 123_456_000_000
    assert money(-0.1) == -10_000_000
