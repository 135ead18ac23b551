"""Exact text at the edges."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickd.errors import TickdError
from tickd.events import PRICE_UNDEF
from tickd.units import (
    decimal_to_mantissa,
    duration_ms,
    format_bytes,
    format_duration,
    mantissa_to_decimal,
    mantissa_to_text,
    size_bytes,
)


@given(st.integers(-(2**63) + 2, 2**63 - 2), st.integers(0, 18))
def test_mantissa_survives_its_text(mantissa: int, scale: int) -> None:
    assert decimal_to_mantissa(mantissa_to_text(mantissa, scale), scale) == mantissa


def test_mantissa_text_has_all_its_decimals_and_no_exponent() -> None:
    assert mantissa_to_text(6_183_763, 2) == "61837.63"
    assert mantissa_to_text(1, 18) == "0.000000000000000001"
    assert mantissa_to_text(5, 0) == "5"
    assert mantissa_to_decimal(-150, 2) == Decimal("-1.5")
    assert (mantissa_to_text(PRICE_UNDEF, 2), mantissa_to_decimal(PRICE_UNDEF, 2)) == ("-", None)


def test_trailing_zeros_beyond_the_scale_are_fine_other_digits_are_not() -> None:
    assert decimal_to_mantissa("61837.63000000", 2) == 6_183_763
    with pytest.raises(TickdError, match="more than 2 decimals"):
        decimal_to_mantissa("61837.631", 2)


@pytest.mark.parametrize("text", ["", "1e5", "NaN", "inf", "1.", ".5", "1,5", " 1", "0x1", "1_000"])
def test_what_is_no_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(TickdError, match="not a decimal"):
        decimal_to_mantissa(text, 2)


def test_overflow_is_an_error_and_never_a_wrap() -> None:
    with pytest.raises(TickdError, match="64 bits"):
        decimal_to_mantissa("92233720368547758.07", 2)
    with pytest.raises(TickdError, match="scale 19"):
        decimal_to_mantissa("1", 19)


@pytest.mark.parametrize(
    ("text", "value"),
    [("250ms", 250), ("1.5s", 1500), ("10m", 600_000), ("2h", 7_200_000), ("1 d", 86_400_000)],
)
def test_durations(text: str, value: int) -> None:
    assert duration_ms(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("512MiB", 512 << 20), ("1.5GB", 1_500_000_000), ("10B", 10), ("64 KiB", 65_536)],
)
def test_sizes(text: str, value: int) -> None:
    assert size_bytes(text) == value


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1.0001ms", "1 week", "0.5B", "1mb"])
def test_other_durations_and_sizes_are_refused(text: str) -> None:
    for parse in (duration_ms, size_bytes):
        with pytest.raises(TickdError):
            parse(text)


def test_numbers_for_people() -> None:
    assert [format_bytes(n) for n in (0, 999, 2048, 5 << 20, 7 << 40)] == [
        "0 B",
        "999 B",
        "2 KiB",
        "5 MiB",
        "7.0 TiB",
    ]
    assert [format_duration(s) for s in (0.0452, 12.5, 725, 7500, 273_600)] == [
        "45.2 ms",
        "12.5 s",
        "12m 5s",
        "2h 5m",
        "3d 4h",
    ]
