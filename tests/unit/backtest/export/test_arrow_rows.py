"""Decimals: 64 by 64 to 128 bits, compared with Python's own."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.export.arrow_rows import decimals
from backtest.export.errors import RefusedRowsError
from tickd.events import PRICE_UNDEF

MANTISSAS = st.integers(-(1 << 63), (1 << 63) - 1)


@given(st.lists(st.tuples(MANTISSAS, st.integers(0, 18)), min_size=1), st.integers(0, 18))
def test_every_mantissa_at_every_scale_is_exact(rows, at_least):
    scale = max(at_least, *(each for _, each in rows), 0)
    mantissas = np.array([mantissa for mantissa, _ in rows], np.int64)
    found = decimals(mantissas, np.array([s for _, s in rows], np.uint8), scale, "price")
    with localcontext(prec=60):
        expected = [None if m == PRICE_UNDEF else Decimal(m).scaleb(-s) for m, s in rows]
        assert found.to_pylist() == expected


def test_more_decimals_than_the_column_has_are_refused_not_rounded():
    with pytest.raises(RefusedRowsError, match="price has rows of 3 decimals"):
        decimals(np.array([1, 2]), np.array([2, 3], np.uint8), 2, "price")


def test_an_undefined_scale_is_refused_unless_the_value_is_undefined_too():
    unknown = np.array([255, 2], np.uint8)
    assert decimals(np.array([PRICE_UNDEF, 5]), unknown, 2, "price").to_pylist() == [
        None,
        Decimal("0.05"),
    ]
    with pytest.raises(RefusedRowsError):
        decimals(np.array([5, 5]), unknown, 2, "price")
