"""The stand-in's judgement of signatures, by the examples that Binance publishes."""

from __future__ import annotations

from typing import Any

from risk.stands.binance.access import BAD_KEY, BAD_SIGNATURE, BAD_TIME, Access
from tests.harness.binance_stand import API_KEY, SECRET

# web-socket-api.md, "SIGNED request example (HMAC)", state of 2025-04-25, read 2026-11-21.
NOW_MS = 1645423376532
CALL: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "side": "SELL",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "0.01000000",
    "price": "52000.00",
    "newOrderRespType": "ACK",
    "recvWindow": 100,
    "timestamp": NOW_MS,
    "apiKey": API_KEY,
    "signature": "cc15477742bd704c29492d96c7ead9414dfd8e0ec4a00f947bb5bb454ddbd08a",
}


def test_documented_call_is_let_in_and_its_signature_has_no_case() -> None:
    access = Access(API_KEY, SECRET)
    assert access.check_call(CALL, NOW_MS) is None
    upper = {**CALL, "signature": CALL["signature"].upper()}
    assert access.check_call(upper, NOW_MS) is None


def test_anything_else_is_refused() -> None:
    access = Access(API_KEY, SECRET)
    assert access.check_call({**CALL, "price": "52000.01"}, NOW_MS) == BAD_SIGNATURE
    assert access.check_call({**CALL, "apiKey": "x"}, NOW_MS) == BAD_KEY
    assert access.check_call({}, NOW_MS) == BAD_KEY
    assert Access(API_KEY, "other").check_call(CALL, NOW_MS) == BAD_SIGNATURE


def test_time_window_is_the_documented_one() -> None:
    access = Access(API_KEY, SECRET)
    assert access.check_call(CALL, NOW_MS + 100) is None
    assert access.check_call(CALL, NOW_MS + 101) == BAD_TIME
    assert access.check_call(CALL, NOW_MS - 999) is None
    assert access.check_call(CALL, NOW_MS - 1_000) == BAD_TIME
