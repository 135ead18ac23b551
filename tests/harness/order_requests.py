"""What brokers' tests ask for: accounts, requests, approvals, contexts. Imports no SDK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from risk.approval import SEAL, ApprovedOrder
from risk.brokers.port import BrokerContext, OnReport, Traded
from risk.brokers.shioaji.config import ShioajiAccountConfig
from risk.orders import Request, Wanted
from tickd.native import EventBatch
from tickd.ports import Clock
from tickd.secrets import Secret

API_KEY, SECRET_KEY = "an-api-key-of-tests", "a-secret-key-of-tests"
CA_PASSWORD, PERSON_ID = "a-certificate-password", "A123456789"
SYMBOLS = ("2330", "2330-ODD", "TXFR1")
TRADED = {
    symbol: Traded(number, symbol, 2, 0, "1")
    for number, symbol in enumerate(("2330", "2330-ODD", "TXFF6", "TXFR1"), 7)
}


def config(**changes: Any) -> ShioajiAccountConfig:
    return ShioajiAccountConfig(
        **{
            "name": "sino",
            "api_key": Secret(API_KEY),
            "secret_key": Secret(SECRET_KEY),
            "symbols": SYMBOLS,
            "ca_path": "ca.pfx",
            "ca_password": Secret(CA_PASSWORD),
            "person_id": Secret(PERSON_ID),
            **changes,
        }
    )


class NoMarket:
    """Implements `risk.brokers.port.Market`; a real venue's broker does not look at it."""

    def on_batch(self, take: Callable[[EventBatch], None]) -> None:
        raise AssertionError(take)

    def on_definition(self, define: Callable[[int, bytes], None]) -> None:
        raise AssertionError(define)


def context(
    clock: Clock, on_report: OnReport, confirm: Callable[[ApprovedOrder], bool]
) -> BrokerContext:
    return BrokerContext(clock, on_report, confirm, TRADED.get, NoMarket(), tuple, lambda: False)


def request(**changes: Any) -> Request:
    return Request(
        **{
            "client_id": 1,
            "strategy": "s",
            "account": "sino",
            "instrument": 7,
            "venue": "shioaji",
            "symbol": "2330",
            "side": "B",
            "price": 58_050,
            "size": 3,
            **changes,
        }
    )


def approved(number: int = 1, **changes: Any) -> ApprovedOrder:
    return ApprovedOrder(request(**changes), number, 0, seal=SEAL)


def wanted(ref: str, venue_id: str = "", **changes: Any) -> Wanted:
    return Wanted(
        **{
            "number": 1,
            "ref": ref,
            "venue_id": venue_id,
            "instrument": 7,
            "symbol": "2330",
            "side": "B",
            "price": 58_050,
            "size": 3,
            **changes,
        }
    )
