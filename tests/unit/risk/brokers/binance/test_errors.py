"""Which refusals prove that nothing happened: the table, code by code."""

from __future__ import annotations

import msgspec
import pytest

from risk.brokers.binance.errors import (
    Refusal,
    RefusedError,
    is_definitive,
    is_duplicate,
    refusal_of,
)
from tickd.errors import Action

# (status, code): final?
TABLE = {
    (400, -1013): True,  # filter failure
    (400, -1021): True,  # timestamp
    (400, -1022): True,  # signature
    (400, -1102): True,
    (400, -1111): True,
    (400, -1121): True,
    (400, -2010): True,
    (400, -2011): True,
    (400, -2013): True,
    (400, -2019): True,  # margin
    (400, -2022): True,  # reduce-only
    (400, -4116): True,
    (400, -5022): True,  # post-only
    (401, -2015): True,
    (403, 0): True,  # the firewall, before the order entry
    (418, -1003): True,
    (429, -1003): True,
    (429, -1015): True,
    (429, 0): True,
    (400, 0): False,  # a page of a proxy
    (404, 0): False,
    (400, -1000): False,
    (400, -1001): False,
    (400, -1006): False,
    (408, -1007): False,
    (400, -1007): False,
    (429, -1007): False,
    (500, -1000): False,
    (502, 0): False,
    (503, -1008): False,
    (504, -1007): False,
    (503, -2010): False,  # whatever a 5xx says
    (200, -2010): False,
    (302, 0): False,
    (0, 0): False,
}


@pytest.mark.parametrize(("status", "code"), TABLE)
def test_classification(status: int, code: int) -> None:
    assert is_definitive(Refusal(status, code, "")) is TABLE[status, code]


def test_body_that_is_no_refusal_keeps_its_words() -> None:
    assert refusal_of(400, b'{"code":-2010,"msg":"no\\nmoney"}') == Refusal(
        400, -2010, "no\\nmoney"
    )
    assert refusal_of(502, b"<html>\x00Bad gateway") == Refusal(502, 0, "<html>\\x00Bad gateway")
    assert refusal_of(400, b'{"code":"x"}').code == 0
    assert len(refusal_of(500, b"x" * 10_000).words) == 200
    assert refusal_of(400, msgspec.Raw(b"null")).code == 0


def test_duplicates_are_proofs_of_life() -> None:
    assert is_duplicate(Refusal(400, -4116, ""))
    assert is_duplicate(Refusal(400, -2010, "Duplicate order sent."))
    assert not is_duplicate(Refusal(400, -2010, "Account has insufficient balance."))


def test_refused_credentials_are_fatal() -> None:
    for code in (-1002, -1022, -2014, -2015):
        assert RefusedError("x", Refusal(401, code, "")).action is Action.FATAL
    assert RefusedError("x", Refusal(400, -1021, "")).action is Action.RETRY
