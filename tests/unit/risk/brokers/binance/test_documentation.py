"""The example of docs/brokers/binance.md against the struct of its account."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from risk.brokers.binance.config import BinanceConfig
from tickd.config import parse

PAGE = Path(__file__).parents[5] / "docs/brokers/binance.md"


class Accounts(msgspec.Struct):
    accounts: tuple[BinanceConfig, ...]


def test_example_is_a_configuration() -> None:
    (example,) = re.findall(r"```toml\n(.+?)```", PAGE.read_text(), re.DOTALL)
    (account,) = parse(example.encode(), Accounts).accounts
    assert account.environment == "testnet"
