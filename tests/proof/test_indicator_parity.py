"""Native and numpy indicators agree bit by bit: two thousand inputs per indicator.

Method: as in tests/property/test_indicator_parity.py, for longer rows.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.indicator_parity import NATIVE_CASES, ROWS_MAX, agree
from tests.reference.indicator_rows import BYTES

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]


@pytest.mark.parametrize("name", NATIVE_CASES)
@settings(max_examples=2000, deadline=None)
@given(
    data=st.binary(min_size=BYTES, max_size=2 * BYTES * ROWS_MAX), cut=st.integers(0, 2 * ROWS_MAX)
)
def test_native_equals_twin_on_two_thousand_inputs(name: str, data: bytes, cut: int) -> None:
    agree(name, data, cut)
