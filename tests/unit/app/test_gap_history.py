"""What a row of the table `gaps` tells: open, closed with what stays missing, or nobody knows."""

from __future__ import annotations

import pytest

from tickd.app.gap_history import _row
from tickd.topics import CHANNELS

NOBODY = str(2**64 - 1)
SINCE = "2026-01-02 03:04:05.000000000"


@pytest.mark.parametrize(
    ("channel", "first", "closed", "state", "missing"),
    [
        ("trade", "100", 0, "open", 12),
        ("trade", "100", 1, "closed", 3),
        ("aggtrade", "100", 0, "open", 12),
        ("trade", NOBODY, 0, "unknown", None),
        ("depth", "100", 0, "unknown", None),
    ],
)
def test_state_of_a_gap(
    channel: str, first: str, closed: int, state: str, missing: int | None
) -> None:
    number = CHANNELS.index(channel)
    row = _row(SINCE, 1.5, number, "okx", "X", "restart", first, "111", "12", closed, "3")
    assert (row["state"], row["missing"]) == (state, missing)
    assert row["topic"] == f"{channel}.okx.X"


def test_a_gap_of_frame_numbers_is_the_nodes() -> None:
    row = _row(SINCE, 1.5, CHANNELS.index("gap"), "", "", "restart", "1", "9", "9", 0, "0")
    assert (row["topic"], row["state"], row["missing"]) == ("node", "unknown", None)
