"""Why connections end, in few words: a metric's label must not carry a venue's text."""

from __future__ import annotations

import pytest

from gateway.status import end_cause


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("replaced by connection 7: silent: btcusdt@trade", "replaced"),
        ("venue closed: 1008 too many", "venue"),
        ("connection lost", "lost"),
        ("protocol violation: continuation without a beginning", "protocol"),
        ("no streams are left", "plan"),
        ("session stopped", "stop"),
        ("wss://x: subscription refused: anything", "failed"),
        ("", "failed"),
    ],
)
def test_a_reason_is_one_of_few_words(reason: str, word: str) -> None:
    assert end_cause(reason) == word
